"""Every pixel of every map in its rank, for many maps of one picture at once.

`whymask.benchmarks.masking.pixel_order` says what an order is; this gives the same one in a third of the time: the
random order of ties is drawn once a picture, and rank and position are sorted as one integer.

Letters: B pictures, H W their height and width.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.errors import InputError

_SIGN = np.uint32(1 << 31)
_POSITION = np.uint64((1 << 32) - 1)
TIES = 1
"""Last part of the seed of ties, as in the earlier study, so that both rank alike."""


def orders_from_maps(
    maps: Mapping[str, NDArray[np.float32]], places: NDArray[np.int64], seed: int
) -> dict[str, NDArray[np.int64]]:
    """Pixels from the most relevant to the least, ties in seeded random order.

    Args:
        maps: by name, float32 (B, H, W), any range.
        places: int64, (B,), of the pictures in their set; one is seeded by `[seed, its place, TIES]`.
        seed: of the run.

    Returns:
        By name, int64 (B, H·W), flat positions.

    Raises:
        InputError: a map has a value that is not a number.
    """
    for name, values in maps.items():
        if np.isnan(values).any():
            raise InputError(f"map {name}: holds NaN, expected numbers; a map that cannot be ranked cannot be compared")
    orders = {name: np.empty((len(values), values[0].size), np.int64) for name, values in maps.items()}
    for i, place in enumerate(places.tolist() if maps else ()):
        shuffled = np.random.default_rng([seed, place, TIES]).permutation(next(iter(maps.values()))[i].size)
        for name, values in maps.items():
            orders[name][i] = _order(values[i].reshape(-1)[shuffled], shuffled)
    return orders


def _order(relevance: NDArray[np.float32], shuffled: NDArray[np.int64]) -> NDArray[np.int64]:
    """A stable descending order, by one sort of integers: the rank in the upper half, the place in the lower."""
    # Adding zero makes one zero of +0 and −0, which are equal but differ in their bits.
    bits = (-relevance + np.float32(0)).astype(np.float32).view(np.uint32)
    # Read as integers, floats of one sign are in order; flipping bits puts the negative ones below.
    ascending = np.where(bits & _SIGN, ~bits, bits | _SIGN).astype(np.uint64)
    keys = (ascending << np.uint64(32)) | np.arange(relevance.size, dtype=np.uint64)
    keys.sort()
    result: NDArray[np.int64] = shuffled[(keys & _POSITION).astype(np.int64)]
    return result
