from __future__ import annotations

import numpy as np
import pytest

from whymask.benchmarks.overlap import masks_of_same_area, mean_interval, overlap
from whymask.runtime import InputError


def square(top: int, left: int, side: int, size: int = 8) -> np.ndarray:
    mask = np.zeros((1, size, size), dtype=bool)
    mask[0, top : top + side, left : left + side] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "precision", "iou"),
    [
        (square(2, 2, 4), 1.0, 1.0),
        (square(2, 2, 2), 1.0, 0.25),
        (square(4, 4, 4), 0.25, 4 / 28),
        (square(0, 0, 2), 0.0, 0.0),
        (square(0, 0, 8), 0.25, 0.25),
        (square(0, 0, 0), 0.0, 0.0),
    ],
    ids=["the object", "a part", "half off", "beside", "everything", "nothing"],
)
def test_overlap_of_known_squares(mask: np.ndarray, precision: float, iou: float):
    found = overlap(mask, square(2, 2, 4))
    assert found.precision[0] == pytest.approx(precision)
    assert found.iou[0] == pytest.approx(iou)


def test_rivals_keep_exactly_as_many_pixels_and_their_best():
    own = np.concatenate([square(0, 0, 3), square(0, 0, 0), square(0, 0, 8)])
    maps = np.arange(64, dtype=np.float32).reshape(1, 8, 8).repeat(3, axis=0)
    rival = masks_of_same_area(maps, own, seed=0)
    assert rival.sum(axis=(1, 2)).tolist() == [9, 0, 64]
    assert rival[0].reshape(-1)[-9:].all()


def test_a_flat_map_is_a_random_one_that_its_seed_decides():
    flat, own = np.zeros((1, 8, 8), np.float32), square(0, 0, 4)
    one, same, other = (masks_of_same_area(flat, own, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).uniform(size=400)
    interval = mean_interval(values)
    half = 1.96 * values.std() / np.sqrt(400)
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.value == pytest.approx(half, rel=0.1)
    assert interval.value - interval.low == pytest.approx(half, rel=0.1)


def test_wrong_arrays_are_refused():
    with pytest.raises(InputError, match=r"masks \(1, 8, 8\) and ground truth \(1, 4, 4\)"):
        overlap(square(0, 0, 2), square(0, 0, 2, size=4))
    with pytest.raises(InputError, match="no value"):
        mean_interval(np.zeros(0))
