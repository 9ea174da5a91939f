"""How much two saliency maps of one picture say the same, beyond what every map of a photograph says.

Photographers put what they mean in the middle, so that any two sensible maps agree there. The rank correlation is
therefore given twice: raw, and after the ranks of two centre maps (a box's and a disc's distance) were regressed out.

Letters: n pictures, h w a map's own resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.baselines import centre_map
from whymask.benchmarks.masking import keep_first, pixel_count, pixel_order

Maps = NDArray[np.float32]
IOU_AREA = 0.2
CHANCE_IOU = IOU_AREA / (2.0 - IOU_AREA)
"""Of two masks of that area that know nothing of each other: 0.2² / (0.4 − 0.2²)."""
FLAT = 1e-9
"""Below this share of the ranks' own deviation, what regression leaves is rounding."""


@dataclass(frozen=True)
class Likeness:
    """How alike two maps are, float64 (n,) each.

    Attributes:
        rank: Spearman's rank correlation; 1 of two flat maps, 0 of one.
        partial: the same after the centre was regressed out of both.
        iou: of the two masks that keep the best fifth of the pixels.
    """

    rank: NDArray[np.float64]
    partial: NDArray[np.float64]
    iou: NDArray[np.float64]


def likeness(first: Maps, second: Maps, seed: int = 0) -> Likeness:
    """Compare two maps of each picture.

    Args:
        first, second: float32, (n, h, w), larger is more relevant.
        seed: breaks ties of the masks.
    """
    height, width = first.shape[1:]
    a, b = ranks(first), ranks(second)
    centre = _centre_basis(height, width)
    partial = _correlation(a - a @ centre @ centre.T, b - b @ centre @ centre.T)
    return Likeness(_correlation(a, b), partial, _iou(first, second, seed))


def ranks(maps: Maps) -> NDArray[np.float64]:
    """Ranks of each map's cells around zero, ties by their mean rank: float64, (n, h·w), of unit deviation or all 0."""
    ranked = np.stack([_ranks(each.reshape(-1)) for each in maps])
    spread = ranked.std(axis=1, keepdims=True)
    result: NDArray[np.float64] = np.divide(ranked, spread, out=np.zeros_like(ranked), where=spread > 0)
    return result


def _ranks(values: Maps) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    # The mean rank of a value's copies, around zero: from the number of those below, and its own.
    middle: NDArray[np.float64] = np.cumsum(counts) - (counts + len(values)) / 2
    return middle[inverse]


def _centre_basis(height: int, width: int) -> NDArray[np.float64]:
    """Orthonormal, (h·w, 2): the ranks of a centred box's and a centred disc's distance."""
    rows, columns = (np.linspace(-1, 1, side) for side in (height, width))
    disc = -(rows[:, None] ** 2 + columns[None, :] ** 2).astype(np.float32)
    basis: NDArray[np.float64] = np.linalg.qr(ranks(np.stack([centre_map(height, width), disc])).T)[0]
    return basis


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of rows, (n,); rows come with deviation 1 or less, and as good as 0 where nothing is left of them."""
    spread_a, spread_b = a.std(axis=1), b.std(axis=1)
    flat_a, flat_b = spread_a < FLAT, spread_b < FLAT
    product = (a * b).mean(axis=1) - a.mean(axis=1) * b.mean(axis=1)
    known = ~(flat_a | flat_b)
    result: NDArray[np.float64] = np.divide(product, spread_a * spread_b, out=np.zeros(len(a)), where=known)
    result[flat_a & flat_b] = 1.0
    return result


def _iou(first: Maps, second: Maps, seed: int) -> NDArray[np.float64]:
    one, two = (top_cells(maps, IOU_AREA, [seed, stream]) for stream, maps in enumerate((first, second)))
    both, either = (one & two).sum(axis=(1, 2)), (one | two).sum(axis=(1, 2))
    shared: NDArray[np.float64] = both / np.maximum(either, 1)
    return shared


def top_cells(maps: Maps, area: float, seed: list[int]) -> NDArray[np.bool_]:
    """The best share of each map: bool, (n, h, w), ties in seeded random order."""
    height, width = maps.shape[1:]
    count = pixel_count(area, height, width)
    orders = (pixel_order(each, np.random.default_rng([*seed, i])) for i, each in enumerate(maps))
    return np.stack([keep_first(order, count, height, width) for order in orders])
