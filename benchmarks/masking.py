"""Cut pictures by a map: rank pixels, keep an exact number of them, put a fill where the rest was.

Letters: B batch, H W picture height and width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.errors import InputError

FILL = "fill"
BLUR = "blur"
FILLS = (FILL, BLUR)
BLUR_PASSES = 3


def pixel_count(area: float, height: int, width: int) -> int:
    """Number of pixels nearest to `area`·H·W, halves upwards."""
    return int(np.floor(area * height * width + 0.5))


def pixel_order(relevance: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int64]:
    """Pixels from the most relevant to the least, ties in random order.

    Args:
        relevance: float32, (H, W), any range.
        rng: breaks ties, so that a flat map is a random one and not the top left corner.

    Returns:
        int64, (H·W,), flat positions.

    Raises:
        InputError: the map has a value that is not a number.
    """
    flat = relevance.reshape(-1)
    if np.isnan(flat).any():
        raise InputError("map: holds NaN, expected numbers; a map that cannot be ranked cannot be compared")
    shuffled = rng.permutation(flat.size)
    return shuffled[np.argsort(-flat[shuffled], kind="stable")]


def keep_first(order: NDArray[np.int64], count: int, height: int, width: int) -> NDArray[np.bool_]:
    """Mask of the first `count` pixels of an order: bool, (H, W), exactly `count` of them true."""
    mask = np.zeros(height * width, np.bool_)
    mask[order[:count]] = True
    return mask.reshape(height, width)


def compose(images: NDArray[np.uint8], masks: NDArray[np.bool_], background: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Image where the mask is true, background elsewhere.

    Args:
        images: uint8, (B, H, W, 3), 0–255.
        masks: bool, (B, H, W).
        background: uint8, broadcast to (B, H, W, 3).
    """
    return np.where(masks[..., None], images, background)


def background_from_fill(fill: tuple[float, float, float]) -> NDArray[np.uint8]:
    """The card's fill as uint8 (3,), rounded to what a uint8 picture can hold."""
    return np.clip(np.rint(fill), 0, 255).astype(np.uint8)


def blur_width(height: int, width: int) -> int:
    """Width in pixels of the box of `blurred`: the odd number next to a tenth of the short side, at least 3."""
    return max(3, round(min(height, width) / 10) // 2 * 2 + 1)


def blurred(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Strongly blurred copies: three passes of a box over a tenth of the short side, edges repeated.

    Three boxes of width k come near a Gaussian of standard deviation k / 2, a twentieth of the side.

    Args:
        images: uint8, (B, H, W, 3), 0–255.
    """
    height, width = images.shape[1:3]
    box = blur_width(height, width)
    # All passes of an axis are one matrix: ten times as fast as three running sums over the pictures.
    columns = images.astype(np.float32).reshape(-1, height, width * 3)
    result = (_blur_matrix(height, box) @ columns).reshape(images.shape)
    return np.rint(_blur_matrix(width, box) @ result).astype(np.uint8)


def _blur_matrix(length: int, box: int) -> NDArray[np.float32]:
    """float32, (length, length): the box passes along an axis of this length, as a matrix."""
    matrix = np.eye(length, dtype=np.float32)
    for _ in range(BLUR_PASSES):
        matrix = box_mean(matrix, box, 0)
    return matrix


def box_mean(values: NDArray[np.float32], box: int, axis: int) -> NDArray[np.float32]:
    """Running mean over `box` (odd) neighbours along an axis, edges repeated."""
    pads = [(0, 0)] * values.ndim
    pads[axis] = (box // 2 + 1, box // 2)
    # float64: a float32 running sum over a long row would leave visible bands.
    sums = np.cumsum(np.pad(values, pads, mode="edge"), axis=axis, dtype=np.float64)
    length = values.shape[axis]
    upper, lower = (np.take(sums, range(first, first + length), axis=axis) for first in (box, 0))
    return ((upper - lower) / box).astype(np.float32)
