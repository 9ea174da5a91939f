"""RISE: a pixel is relevant as far as the pictures that show it keep the class.

Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models" (arXiv 1806.07421),
eq. 5–6: S(p) = 1 / (N·E[M]) Σ_i f(x ⊙ M_i) · M_i(p) over N random masks M_i. The graph is asked as it ships, so that no
torch is needed, and where a mask drops a pixel it takes the card's fill instead of black.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.rivals.rival import Maps
from whymask.benchmarks.suite.sample import Ask, probability
from whymask.runtime.errors import InputError
from whymask.runtime.images import resize_map

MASKS = 1000
"""N; the paper takes 4000 for VGG-16 and 8000 for ResNet-50."""
CELLS = 7
KEEP = 0.5
"""Share of cells that a mask shows, E[M]."""
ROWS = 32
"""Most pictures in one question: more masks than these leave the cache before they are weighed."""


class RandomMasks:
    """N smooth random masks, section 3.2 of the paper; always the same for a seed.

    Cells of ⌈H/7⌉ × ⌈W/7⌉ pixels, where the paper says ⌊·⌋: with that a shift by a whole cell would leave the picture.

    Args:
        count: N.
        height, width: H W.
        seed: of all draws.

    Raises:
        InputError: no mask is asked for.
    """

    def __init__(self, count: int, height: int, width: int, seed: int) -> None:
        if count < 1:
            raise InputError(f"rise: {count} masks, expected at least 1; the default is {MASKS}")
        rng = np.random.default_rng(seed)
        self.count, self._size = count, (height, width)
        self._cell = (-(-height // CELLS), -(-width // CELLS))
        self._grids = (rng.random((count, CELLS, CELLS)) < KEEP).astype(np.float32)
        self._shifts = np.stack([rng.integers(0, cell + 1, count) for cell in self._cell], axis=1)

    def blocks(self, rows: int = ROWS) -> Iterator[NDArray[np.float32]]:
        """All masks in order, `rows` at a time: float32 (≤ rows, H, W), in [0, 1]."""
        height, width = self._size
        for first in range(0, self.count, rows):
            grids, shifts = self._grids[first : first + rows], self._shifts[first : first + rows]
            large = resize_map(grids, *((CELLS + 1) * cell for cell in self._cell))
            yield np.stack([m[y : y + height, x : x + width] for m, (y, x) in zip(large, shifts, strict=True)])


def rise_maps(ask: Ask, fill: NDArray[np.uint8], masks: RandomMasks) -> Maps:
    """The method as a function on uint8 pictures.

    Args:
        ask: the shipped graph.
        fill: uint8, (3,).
        masks: shared by all pictures.
    """

    def maps(images: NDArray[np.uint8], target: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float32]:
        del places
        sums = np.zeros((len(images), images.shape[1] * images.shape[2]))
        for block in masks.blocks():
            for i, image in enumerate(images):
                logits = ask(dimmed(image, block, fill))
                sums[i] += probability(logits, np.full(len(block), target[i])) @ block.reshape(len(block), -1)
        relevance: NDArray[np.float32] = (sums / (masks.count * KEEP)).astype(np.float32)
        return relevance.reshape(images.shape[:3])

    return maps


def dimmed(image: NDArray[np.uint8], masks: NDArray[np.float32], fill: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture under each mask, mixed with the fill where the mask is between 0 and 1.

    Args:
        image: uint8, (H, W, 3).
        masks: float32, (N, H, W), in [0, 1].
        fill: uint8, (3,).

    Returns:
        uint8, (N, H, W, 3).
    """
    shown = np.empty((len(masks), *image.shape), np.uint8)
    # A colour of a mask at a time stays in the cache; numpy is slow on an innermost axis of three.
    for colour, background in enumerate(fill.astype(np.float32)):
        above = image[..., colour] - background
        for mask, each in zip(masks, shown, strict=True):
            mixed = mask * above
            mixed += background + np.float32(0.5)  # to the nearest: casting cuts off
            each[..., colour] = mixed
    return shown
