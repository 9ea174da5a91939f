from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from whymask.runtime.errors import InputError
from whymask.runtime.explainer import Explainer
from whymask.runtime.images import Picture, rgb_from
from whymask.runtime.overlay import PART_CONTOURS
from whymask.runtime.results import bounding_box, overlay_names, pictures_from, record, run_lengths, write_overlay


def touch(*paths: Path) -> list[Path]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return list(paths)


def test_each_picture_once_and_nothing_that_was_made_here(tmp_path: Path):
    a, b, _ = touch(tmp_path / "a.jpg", tmp_path / "sub" / "b.png", tmp_path / "out" / "a.png")
    assert pictures_from([tmp_path, a, tmp_path / "sub"], tmp_path / "out") == [a, b]


def test_paths_without_a_picture_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"absent: no such file or folder"):
        pictures_from([tmp_path / "absent"], tmp_path / "out")
    with pytest.raises(InputError, match=r"no picture in .*; expected JPEG, PNG, WebP"):
        pictures_from([tmp_path], tmp_path / "out")
    with pytest.raises(InputError, match=r"read from and written to this folder; choose another for -o"):
        pictures_from([tmp_path], tmp_path)


def test_namesakes_get_numbers_and_no_picture_is_overwritten(tmp_path: Path):
    out = tmp_path / "out"
    files = touch(tmp_path / "x" / "cat.jpg", tmp_path / "y" / "Cat.png", tmp_path / "cat.bmp", out / "dog.png")
    assert [path.name for path in overlay_names(files, out).values()] == [
        "cat.png",
        "Cat-2.png",
        "cat-3.png",
        "dog-2.png",
    ]


@pytest.mark.parametrize(
    ("mask", "counts", "box"),
    [
        ([[0, 1], [0, 1]], [2, 2], [1, 0, 2, 2]),
        ([[1, 0, 0], [1, 0, 0]], [0, 2, 4], [0, 0, 1, 2]),
        ([[0, 0, 0]], [3], None),
        ([[0, 0, 0], [0, 1, 0]], [3, 1, 2], [1, 1, 2, 2]),
    ],
)
def test_run_lengths_and_box(mask: list[list[int]], counts: list[int], box: list[int] | None):
    array = np.array(mask, np.uint8)
    assert run_lengths(array) == counts
    assert bounding_box(array) == box


def test_a_record_is_in_the_pictures_own_frame(explainer: Explainer, red_square: Picture):
    large = red_square.repeat(2, axis=0).repeat(2, axis=1)
    values = record(explainer.explain(large), Path("a/b.png"), Path("out/b.png"))
    assert (values["file"], values["overlay"], values["label"], values["target"]) == ("a/b.png", "b.png", "red", None)
    assert values["mask"]["size"] == [64, 64]
    assert sum(values["mask"]["counts"]) == 64 * 64
    assert values["box"] == [0, 16, 32, 48]
    assert values["kept"] is True


def two_squares() -> Picture:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32, :16] = picture[:32, 48:] = (255, 0, 0)
    return picture


def test_a_record_lists_instances_where_they_were_asked_for(explainer: Explainer):
    result = explainer.explain(two_squares())
    assert "instances" not in record(result, Path("a.png"), Path("a.png"))
    values = record(result, Path("a.png"), Path("a.png"), result.instances())
    assert [each["box"] for each in values["instances"]] == [[0, 0, 16, 32], [48, 0, 64, 32]]
    assert [each["kept"] for each in values["instances"]] == [True, True]
    assert sum(sum(each["mask"]["counts"][1::2]) for each in values["instances"]) == sum(values["mask"]["counts"][1::2])
    first = values["instances"][0]
    assert set(first) == {"kept", "confidence", "area", "box", "mask"}
    assert (first["area"], first["mask"]["size"]) == (pytest.approx(1 / 8, abs=0.01), [64, 64])


def test_the_overlay_shows_each_instances_contour(explainer: Explainer, tmp_path: Path):
    result = explainer.explain(two_squares())
    write_overlay(result, tmp_path / "whole.png")
    write_overlay(result, tmp_path / "parts.png", result.instances())
    drawn = {name: rgb_from(tmp_path / f"{name}.png").reshape(-1, 3) for name in ("whole", "parts")}
    found = {
        name: [bool((pixels == colour).all(axis=1).any()) for colour in PART_CONTOURS] for name, pixels in drawn.items()
    }
    assert found == {"whole": [True, *[False] * 4], "parts": [True, True, *[False] * 3]}


@pytest.mark.parametrize(("size", "expected"), [((32, 40), (224, 280)), ((300, 225), (300, 225))])
def test_small_pictures_are_drawn_enlarged(
    explainer: Explainer, tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
):
    result = explainer.explain(np.full((*size, 3), 100, np.uint8))
    write_overlay(result, tmp_path / "overlay.png")
    assert rgb_from(tmp_path / "overlay.png").shape == (*expected, 3)
    assert list(tmp_path.iterdir()) == [tmp_path / "overlay.png"]
