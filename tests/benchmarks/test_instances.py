from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from colour_graph import LABELS as COLOURS
from colour_graph import write_graph
from PIL import Image

from whymask.benchmarks import instances as module
from whymask.benchmarks.instance_pictures import (
    ObjectPicture,
    PictureSet,
    is_of_shapes,
    mosaics,
    one_of_its_class,
    two_of_its_class,
)
from whymask.benchmarks.instances import AS_CUT, Case, Score, match, measure_instances, row_from_scores
from whymask.benchmarks.shapes import LABELS, make_shapes, make_twins
from whymask.runtime import Explainer, InputError, load

SIZE = 32


@pytest.fixture
def colours(tmp_path: Path) -> Explainer:
    return load(write_graph(tmp_path / "colours.onnx"), threads=1)


@pytest.fixture
def shapes(tmp_path: Path) -> Explainer:
    """Takes pictures of 32 × 32 and has the shapes' labels; what it says of them is not asked."""
    explainer = load(write_graph(tmp_path / "shapes.onnx"), threads=1)
    classifier = explainer.card.classifier
    object.__setattr__(classifier, "labels", LABELS)
    object.__setattr__(classifier, "num_classes", len(LABELS))
    return explainer


def two_reds(label: int = 0) -> ObjectPicture:
    objects = np.zeros((2, SIZE, SIZE), bool)
    objects[0, :16, :8] = objects[1, :16, 24:] = True
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[objects.any(axis=0)] = (255, 0, 0)
    return ObjectPicture(picture, objects, label)


def one_red() -> ObjectPicture:
    both = two_reds()
    picture = np.where(both.objects[1][..., None], np.uint8(0), both.image)
    return ObjectPicture(picture, both.objects[:1], 0)


def test_instances_are_matched_by_largest_overlap_and_once():
    masks = np.zeros((3, 1, 10), bool)
    masks[0, 0, 0:6] = masks[1, 0, 0:4] = masks[2, 0, 9:] = True
    objects = np.zeros((2, 1, 10), bool)
    objects[0, 0, 0:4] = objects[1, 0, 4:6] = True
    assert match(list(masks), objects) == [(1, 0, 1.0), (0, 1, pytest.approx(1 / 3))]
    assert match([], objects) == []


def test_objects_that_are_found_are_counted_and_overlap(colours: Explainer):
    pictures = PictureSet("reds", "two", (two_reds(), one_red(), two_reds(label=1)))
    measured = measure_instances(colours, pictures, areas=(0.2,))
    own = measured.scores[Case("explainer", None)]
    assert [(each.certified, each.regions, each.objects, each.matched) for each in own] == [(2, 2, 2, 2), (1, 1, 1, 1)]
    assert all(each.precision == 1.0 and each.iou > 0.9 for each in own)
    assert [each.certified for each in measured.scores[Case("all-ones", 1.0)]] == [1, 1]
    assert {case.map for case in measured.scores} == {"explainer", AS_CUT, "random", "centre", "all-ones"}
    row = row_from_scores(Case("explainer", None), own)
    assert (row["n"], row["area"], row["pictures_by_count"], row["n_matched"]) == (2, "threshold", [0, 1, 1], 2)
    assert row["count_accuracy"]["value"] == row["found"]["value"] == 1.0
    assert row["count_accuracy"]["low"] == pytest.approx(0.025**0.5, abs=1e-4)


def test_what_a_map_misses_is_no_match(colours: Explainer):
    measured = measure_instances(colours, PictureSet("reds", "two", (two_reds(),)), areas=())
    (centre,) = measured.scores[Case("centre", None)]
    assert (centre.certified, centre.regions, centre.matched) == (1, 1, 1)  # it grew until it held one of them
    missed = Score(0, 1, 2, np.nan, np.nan, 0, 0.1)
    row = row_from_scores(Case("centre", None), [missed])
    assert (row["iou"], row["precision"], row["count_accuracy"]["value"], row["found"]["value"]) == (None, None, 0, 0)


def test_pictures_that_are_called_something_else_are_no_evidence(colours: Explainer):
    with pytest.raises(InputError, match="greens: the classifier calls none of 1 pictures by its class"):
        measure_instances(colours, PictureSet("greens", "two", (two_reds(label=1),)))


def test_twins_are_of_one_class_apart_and_seeded():
    twins = make_twins(20, SIZE, seed=3)
    assert np.array_equal(twins.labels, twins.second_labels)
    assert not (twins.masks & twins.second_masks).any()
    assert (twins.masks.mean(axis=(1, 2)) > 0.03).all()
    assert (twins.second_masks.mean(axis=(1, 2)) > 0.03).all()
    later = make_twins(5, SIZE, seed=3, start=15)
    assert np.array_equal(later.images, twins.images[15:])
    assert not np.array_equal(make_twins(5, SIZE, seed=4).images, twins.images[:5])
    with pytest.raises(InputError, match="twins: count 0, size 32; expected a count from 1 and a size from 32"):
        make_twins(0, SIZE, seed=3)


def test_shapes_come_with_the_objects_of_the_explained_class(shapes: Explainer, colours: Explainer):
    assert is_of_shapes(shapes)
    assert not is_of_shapes(colours)
    one, two = one_of_its_class(shapes, 6, seed=5), two_of_its_class(shapes, 6, seed=5)
    assert {each.objects.shape for each in one.pictures} == {(1, SIZE, SIZE)}
    assert {each.objects.shape for each in two.pictures} == {(2, SIZE, SIZE)}
    drawn = make_shapes(6, SIZE, seed=5, two_objects=1.0)
    assert [each.label for each in one.pictures] == drawn.labels.tolist()
    assert all(np.array_equal(a.objects[0], b == 1) for a, b in zip(one.pictures, drawn.masks, strict=True))


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Eight of each colour."""
    paths = [tmp_path / f"{name}{number}.png" for name in COLOURS for number in range(8)]
    for position, path in enumerate(paths):
        Image.fromarray(np.full((20, 24, 3), np.eye(3)[position // 8] * 255, np.uint8)).save(path)
    return paths


def test_a_mosaic_shows_two_of_a_class_on_a_diagonal(colours: Explainer, photos: list[Path]):
    made = mosaics(colours, photos, 8, seed=0)
    for each in made.pictures:
        assert each.image.shape == (SIZE, SIZE, 3)
        assert each.objects.sum(axis=(1, 2)).tolist() == [SIZE * SIZE // 4] * 2
        of_class = (each.image == np.eye(3)[each.label] * 255).all(axis=2)
        assert np.array_equal(of_class, each.objects.any(axis=0))
        assert not of_class[:16].all(axis=1).any()
    assert {each.label for each in made.pictures} == {0, 1, 2}
    again = mosaics(colours, photos, 8, seed=0)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(made.pictures, again.pictures, strict=True))
    with pytest.raises(InputError, match="8 of 8 photographs keep their class as a tile, of 1 classes, none of which"):
        mosaics(colours, photos[:8], 8, seed=0)


def test_a_photograph_that_the_filled_frame_renames_is_left_out(colours: Explainer, tmp_path: Path):
    Image.fromarray(np.full((20, 24, 3), (20, 0, 0), np.uint8)).save(tmp_path / "faint.png")
    with pytest.raises(InputError, match="0 of 8 photographs keep their class as a tile"):
        mosaics(colours, [tmp_path / "faint.png"] * 8, 8, seed=0)


def test_the_command_writes_a_record_and_prints_a_table(
    tmp_path: Path, colours: Explainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(module, "_sets", lambda *_: [PictureSet("reds", "two reds", (two_reds(), one_red()))])
    module.judge(tmp_path / "colours.onnx", tmp_path / "out.json", 2, 7)
    record = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert (record["schema"], record["graph"]) == (1, "colours.onnx")
    assert record["command"] == "python -m whymask.benchmarks.instances colours.onnx --count 2 --seed 7"
    assert len(record["sets"][0]["rows"]) == 4 * 4 + 1
    printed = capsys.readouterr().out
    assert "| explainer | threshold | 2 | 100.0% [15.8%, 100.0%] |" in printed
    assert "| centre | threshold | 2 | " in printed
    assert (tmp_path / "out.md").read_text("utf-8") in printed


def test_sets_are_chosen_by_what_the_classifier_knows(
    colours: Explainer, shapes: Explainer, photos: list[Path], monkeypatch: pytest.MonkeyPatch
):
    def chosen(explainer: Explainer) -> list[str]:
        return [each.name for each in module._sets(explainer, 4, 0)]

    assert chosen(shapes) == ["one shape and another's", "two shapes of one class"]
    monkeypatch.setattr(module, "data_root", Path)
    monkeypatch.setattr(module, "evaluation_sets", lambda root: {module.MOSAIC_SET: photos})
    assert chosen(colours) == ["mosaics of photographs"]
