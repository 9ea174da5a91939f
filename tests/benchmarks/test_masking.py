"""Exact numbers of pixels, fair ties, honest backgrounds; and the maps that know nothing."""

from __future__ import annotations

import numpy as np
import pytest

from whymask.benchmarks.baselines import centre_map, random_map
from whymask.benchmarks.masking import (
    background_from_fill,
    blur_width,
    blurred,
    compose,
    keep_first,
    pixel_count,
    pixel_order,
)
from whymask.runtime.errors import InputError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("area", [0.05, 0.1, 0.2, 0.3, 0.5])
@pytest.mark.parametrize("kind", ["flat", "two levels", "distinct"])
def test_exactly_the_asked_number_of_pixels_is_kept(area: float, kind: str):
    height, width = 13, 17
    values = {"flat": np.zeros(221), "two levels": np.arange(221) % 2, "distinct": np.arange(221)}[kind]
    order = pixel_order(values.reshape(height, width).astype(np.float32), rng())
    mask = keep_first(order, pixel_count(area, height, width), height, width)
    assert mask.sum() == int(area * 221 + 0.5)


def test_the_most_relevant_pixels_come_first():
    values = rng().permutation(30).reshape(5, 6).astype(np.float32)
    assert values.reshape(-1)[pixel_order(values, rng(1))].tolist() == list(range(29, -1, -1))


def test_ties_are_spread_over_the_picture_and_repeat_with_the_seed():
    flat = np.zeros((20, 20), np.float32)
    first, again, other = (pixel_order(flat, rng(seed)) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    assert abs((first[:100] // 20 < 10).mean() - 0.5) < 0.15


def test_a_map_with_nan_is_refused():
    with pytest.raises(InputError, match="holds NaN, expected numbers"):
        pixel_order(np.array([[0.0, np.nan]], np.float32), rng())


def test_kept_pixels_are_the_pictures_and_dropped_ones_the_background():
    images = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    masks = np.array([[[1, 0, 0, 1], [0, 0, 0, 0]]], np.bool_)
    cut = compose(images, masks, background_from_fill((123.6, 116.4, 300.0)))
    assert cut.dtype == np.uint8
    assert cut[0, 0, 3].tolist() == [9, 10, 11]
    assert cut[0, 1, 0].tolist() == [124, 116, 255]


def test_a_blur_spreads_a_point_as_three_boxes_do():
    images = np.zeros((1, 60, 60, 3), np.uint8)
    images[0, 20:40, 20:40] = 255
    images[0, :, :, 1] = 77
    result = blurred(images).astype(float)
    assert (result[..., 1] == 77).all()
    profile = result[0, 30, :, 0]
    variance = ((np.arange(60) - 29.5) ** 2 * profile).sum() / profile.sum()
    box = blur_width(60, 60)
    assert box == 7
    assert variance == pytest.approx((20**2 - 1) / 12 + 3 * (box**2 - 1) / 12, rel=0.02)


@pytest.mark.parametrize(("side", "box"), [(8, 3), (60, 7), (224, 23)])
def test_the_blurs_box_is_a_tenth_of_the_side_and_odd(side: int, box: int):
    assert blur_width(side, 2 * side) == box


def test_the_top_quarter_of_the_centre_map_is_the_centred_box():
    mask = keep_first(pixel_order(centre_map(8, 16), rng()), 8 * 16 // 4, 8, 16)
    assert mask[2:6, 4:12].all()
    assert mask.sum() == 32


def test_a_random_map_repeats_with_its_seed_and_has_blobs():
    first, again, other = (random_map(28, 28, rng(seed)) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    neighbours = np.corrcoef(first[:, :-1].ravel(), first[:, 1:].ravel())[0, 1]
    assert neighbours > 0.5


@pytest.mark.parametrize(("height", "width"), [(28, 28), (20, 41)])
def test_a_random_map_is_as_strong_in_the_corners_as_in_the_centre(height: int, width: int):
    """With edges repeated, noise was 4.8 times as strong there, and the highest pixels were nearly all of the rim."""
    maps = np.stack([random_map(height, width, rng(seed)) for seed in range(1500)])
    assert maps.shape == (1500, height, width)
    spread = maps.var(axis=0)
    assert np.allclose(spread / spread.mean(), 1.0, atol=0.2)
    best = maps.reshape(1500, -1).argmax(axis=1)
    rows, columns = best // width, best % width
    inner = (
        (rows >= height // 4) & (rows < height - height // 4) & (columns >= width // 4) & (columns < width - width // 4)
    )
    assert inner.mean() > 0.2
