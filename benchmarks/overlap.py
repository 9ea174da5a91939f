"""Does a mask lie on the object? Judged against exact masks, every map at the same area in the same picture.

A minimal explanation need not cover its object, so the share of the mask that lies on the object (precision) is the
figure to ask for; intersection over union is stated beside it.

Letters: H W a picture's height and width, h w a map's own resolution, n pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.intervals import CONFIDENCE, Interval
from whymask.benchmarks.masking import keep_first, pixel_order
from whymask.runtime.errors import InputError
from whymask.runtime.images import resize_map

RESAMPLES = 4000


@dataclass(frozen=True)
class Overlap:
    """How masks lie on their objects, one number a picture.

    Attributes:
        precision: float64 (n,), share of the mask's pixels on the object; 0 for an empty mask, which shows nothing.
        iou: float64 (n,), intersection over union.
    """

    precision: NDArray[np.float64]
    iou: NDArray[np.float64]


def overlap(masks: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Overlap:
    """Compare masks with ground truth.

    Args:
        masks: bool, (n, H, W), true on pixels that are kept.
        truth: bool, (n, H, W), true on the object's pixels.

    Raises:
        InputError: shapes that differ.
    """
    if masks.shape != truth.shape or masks.ndim != 3:
        raise InputError(f"overlap: masks {masks.shape} and ground truth {truth.shape}, expected the same (n, H, W)")
    both, either = ((a).sum(axis=(1, 2)) for a in (masks & truth, masks | truth))
    kept = masks.sum(axis=(1, 2))
    return Overlap(both / np.maximum(kept, 1), both / np.maximum(either, 1))


def masks_of_same_area(maps: NDArray[np.float32], masks: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Of each map, as many of its best pixels as another mask keeps in the same picture.

    Args:
        maps: float32, (n, h, w), larger is more relevant; resized bilinearly to (H, W).
        masks: bool, (n, H, W), whose areas are taken.
        seed: breaks ties.

    Returns:
        bool, (n, H, W).
    """
    height, width = masks.shape[1:]
    resized = resize_map(maps, height, width)
    orders = [pixel_order(each, np.random.default_rng([seed, i])) for i, each in enumerate(resized)]
    return np.stack([keep_first(o, int(m.sum()), height, width) for o, m in zip(orders, masks, strict=True)])


def mean_interval(values: NDArray[np.float64], seed: int = 0, confidence: float = CONFIDENCE) -> Interval:
    """The mean of one number a picture, with its bootstrap interval over pictures (percentiles).

    Raises:
        InputError: no value.
    """
    if not len(values):
        raise InputError("mean: no value, expected one a picture")
    rows = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(values[rows].mean(axis=1), [tail, 1.0 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def mean_cell(values: NDArray[np.float64]) -> str:
    """`mean_interval` as a table's cell, such as `0.46 (0.26–0.66)`."""
    interval = mean_interval(values)
    return f"{interval.value:.2f} ({interval.low:.2f}–{interval.high:.2f})"
