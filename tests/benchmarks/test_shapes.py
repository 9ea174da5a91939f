from __future__ import annotations

import numpy as np
import pytest

from whymask.benchmarks import shapes
from whymask.benchmarks.shapes import CLASSES, LABELS, NOTHING, make_shapes
from whymask.runtime import InputError

SIZE = 64


@pytest.fixture(scope="module")
def drawn() -> shapes.ShapeSet:
    return make_shapes(400, SIZE, seed=5)


def test_arrays_are_as_documented(drawn: shapes.ShapeSet):
    assert (drawn.images.shape, drawn.images.dtype) == ((400, SIZE, SIZE, 3), np.uint8)
    assert (drawn.masks.shape, drawn.masks.dtype) == ((400, SIZE, SIZE), np.uint8)
    assert (drawn.labels.dtype, drawn.second_labels.dtype) == (np.int64, np.int64)
    assert set(np.unique(drawn.masks)) == {0, 1}
    assert len(drawn) == 400


def test_an_image_depends_on_its_seed_and_index_not_on_the_count():
    many = make_shapes(300, SIZE, seed=5)
    part = make_shapes(4, SIZE, seed=5, start=280)
    assert np.array_equal(many.images[280:284], part.images)
    assert np.array_equal(many.masks[280:284], part.masks)


def test_seeds_share_no_image():
    one, other = (make_shapes(8, SIZE, seed).images for seed in (1, 2))
    assert not any(np.array_equal(a, b) for a in one for b in other)


def test_every_class_occurs_about_equally_often(drawn: shapes.ShapeSet):
    counts = np.bincount(drawn.labels, minlength=len(CLASSES))
    assert len(counts) == len(CLASSES) >= 8
    assert counts.min() > 20


def test_masks_are_exactly_the_pixels_that_the_object_changed(monkeypatch: pytest.MonkeyPatch):
    drawn = make_shapes(60, SIZE, seed=7)
    objects = (drawn.masks | drawn.second_masks).astype(bool)
    with monkeypatch.context() as patch:
        patch.setattr(shapes, "_inside", lambda labels, *_: np.zeros((len(labels), SIZE, SIZE), dtype=bool))
        background = make_shapes(60, SIZE, seed=7)
    changed = (drawn.images != background.images).any(axis=3)
    assert not changed[~objects].any()
    # A pixel of the object may by chance have its background's very colour; hardly any does.
    assert changed[objects].mean() > 0.999


def test_the_two_objects_do_not_touch_and_the_larger_one_gives_the_label(drawn: shapes.ShapeSet):
    paired = drawn.second_labels >= 0
    assert 0.15 < paired.mean() < 0.35
    assert not (drawn.masks & drawn.second_masks).any()
    assert (drawn.second_masks.sum((1, 2)) < 0.8 * drawn.masks.sum((1, 2)))[paired].all()
    assert (drawn.second_masks.sum((1, 2)) > 0)[paired].all()
    assert not drawn.second_masks[~paired].any()
    assert (drawn.labels != drawn.second_labels).all()


def test_no_object_is_cut_by_the_frame():
    drawn = make_shapes(300, SIZE, seed=11)
    # Shapes lie in circles inside the frame, so that at the most a tip reaches its last row.
    rim = np.concatenate([drawn.masks[:, [0, -1]].sum((1, 2)), drawn.masks[:, :, [0, -1]].sum((1, 2))])
    assert rim.max() <= 4


@pytest.mark.parametrize("name", CLASSES)
def test_a_shape_stays_in_its_circle_and_fills_a_good_part_of_it(name: str):
    grid = np.linspace(-1.5, 1.5, 601, dtype=np.float32)
    u, v = np.meshgrid(grid, grid)
    inside = CLASSES[name](u, v)
    assert np.hypot(u, v)[inside].max() <= 1.001
    assert inside[np.hypot(u, v) <= 1].mean() > 0.25


def test_the_class_is_decided_by_the_shape_alone(drawn: shapes.ShapeSet):
    # Mean colours of object and background, and their spread, must not tell one class from the others.
    inside = drawn.masks[..., None].astype(float)
    pixels = drawn.images / 255.0
    cues = [(pixels * weight).sum((1, 2)) / weight.sum((1, 2)) for weight in (inside, 1.0 - inside)]
    spread = np.std(np.concatenate(cues, axis=1), axis=0)
    for label in range(len(CLASSES)):
        own = np.concatenate([cue[drawn.labels == label].mean(0) for cue in cues])
        every = np.concatenate([cue.mean(0) for cue in cues])
        # Standard error of a mean over at least 20 images, at four deviations.
        assert (np.abs(own - every) < 4 * spread / np.sqrt(20)).all()


def test_two_renders_of_a_class_have_one_shape(monkeypatch: pytest.MonkeyPatch):
    centre, radius, angle = (np.full((2, n), value, np.float32) for n, value in ((2, 0.5), (1, 0.4), (1, 0.3)))
    one, other = shapes._inside(np.array([3, 3]), centre, radius, angle, SIZE)
    assert np.array_equal(one, other)
    assert not np.array_equal(one, shapes._inside(np.array([4, 4]), centre, radius, angle, SIZE)[0])


def test_objects_stand_out_from_their_background():
    drawn = make_shapes(200, SIZE, seed=3, two_objects=0.0)
    light = drawn.images.mean(axis=3)
    inside = (light * drawn.masks).sum((1, 2)) / drawn.masks.sum((1, 2))
    outside = (light * (1 - drawn.masks)).sum((1, 2)) / (1 - drawn.masks.astype(int)).sum((1, 2))
    assert (np.abs(inside - outside) > 20).mean() > 0.97


def test_empty_images_say_so():
    drawn = make_shapes(50, SIZE, seed=1, empty=1.0)
    assert (drawn.labels == NOTHING).all()
    assert LABELS[NOTHING] == "nothing"
    assert not drawn.masks.any() and not drawn.second_masks.any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"count": 0, "size": 64}, "count 0"),
        ({"count": 1, "size": 16}, "size 16"),
        ({"count": 1, "size": 64, "two_objects": 1.5}, "two_objects 1.5"),
        ({"count": 1, "size": 64, "empty": -0.1}, "empty -0.1"),
    ],
)
def test_impossible_sets_are_refused(arguments: dict, words: str):
    with pytest.raises(InputError, match=words):
        make_shapes(seed=0, **arguments)
