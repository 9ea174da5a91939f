from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from whymask.runtime.errors import InputError
from whymask.runtime.explainer import Explainer
from whymask.runtime.images import Picture, rgb_from
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


@pytest.mark.parametrize(("size", "expected"), [((32, 40), (224, 280)), ((300, 225), (300, 225))])
def test_small_pictures_are_drawn_enlarged(
    explainer: Explainer, tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
):
    result = explainer.explain(np.full((*size, 3), 100, np.uint8))
    write_overlay(result, tmp_path / "overlay.png")
    assert rgb_from(tmp_path / "overlay.png").shape == (*expected, 3)
    assert list(tmp_path.iterdir()) == [tmp_path / "overlay.png"]
