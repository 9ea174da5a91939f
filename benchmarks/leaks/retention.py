"""Whether a classifier keeps its class on the best pixels of a map: one question, asked by several checks.

Letters: n pictures, H W the input size, h w a map's own resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.baselines import centre_map, random_map
from whymask.benchmarks.masking import compose, keep_first, pixel_count, pixel_order
from whymask.benchmarks.suite.sample import Ask
from whymask.runtime.images import resize_map

CALL = 128
"""Pictures of one call: 20 MB at 224 × 224."""


def best_pixels(
    maps: NDArray[np.float32], areas: Sequence[float], size: tuple[int, int], seed: int
) -> list[NDArray[np.bool_]]:
    """Masks of the best pixels of each map at some areas: bool, (n, H, W) each, nested, ties in seeded random order.

    Args:
        maps: float32, (n, h, w), larger is more relevant; resized bilinearly.
        areas: shares of the pixels.
        size: H and W.
        seed: breaks ties.
    """
    height, width = size
    masks = [np.empty((len(maps), height, width), np.bool_) for _ in areas]
    for i, each in enumerate(maps):
        order = pixel_order(resize_map(each, height, width), np.random.default_rng([seed, i]))
        for area, kept in zip(areas, masks, strict=True):
            kept[i] = keep_first(order, pixel_count(area, height, width), height, width)
    return masks


def blind_maps(count: int, size: tuple[int, int], seed: int) -> dict[str, NDArray[np.float32]]:
    """Maps that see neither picture nor classifier: float32, (count, *size), `random` and `centre`."""
    random = np.stack([random_map(*size, np.random.default_rng([seed, i])) for i in range(count)])
    return {"random": random, "centre": np.broadcast_to(centre_map(*size), random.shape)}


def top1_of(ask: Ask, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """int64, (n,), in calls of a bounded size."""
    starts = range(0, len(images), CALL)
    return np.concatenate([ask(images[i : i + CALL]).argmax(axis=1) for i in starts])


def kept_class(
    ask: Ask, images: NDArray[np.uint8], masks: NDArray[np.bool_], fill: NDArray[np.uint8], target: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether the class stands when only the masks' pixels are kept: bool, (n,)."""
    kept: NDArray[np.bool_] = top1_of(ask, compose(images, masks, fill)) == target
    return kept
