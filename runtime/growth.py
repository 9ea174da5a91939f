"""How far a region of a mask may grow into its own surroundings: the pixels that are nearer to it than to any other.

Letters: H W the mask's height and width, R the number of regions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.images import Map
from whymask.runtime.regions import Labels, rim_points

FACTOR = 1.5
"""By which a region's pixels grow in a round: the mask that keeps the class is then at most half too large."""

COARSE = 4
"""Pixels of a side of the squares that are given to regions as one: all distances of a picture at once are a matrix of
tens of megabytes otherwise."""


class Growth:
    """The surroundings of every region, and the levels of saliency by which it grows there.

    Args:
        labels: int32, (H, W), 0 outside every region, at least one region.
        saliency: float32, (H, W), the map that the mask was cut from.
    """

    def __init__(self, labels: Labels, saliency: Map) -> None:
        self.labels, self.saliency = labels, saliency

    @cached_property
    def basins(self) -> Labels:
        """int32, (H, W): the region that each pixel is nearest to, its own where it has one; made when one grows."""
        return basins(self.labels)

    def levels(self, regions: Sequence[int]) -> Iterator[float]:
        """Levels at which regions have FACTOR times their pixels, again and again, up to all of their surroundings.

        Args:
            regions: numbers of those that grow together.
        """
        held = int(np.isin(self.labels, regions).sum())
        values = np.sort(self.saliency[np.isin(self.basins, regions)])[::-1]
        count = float(held)
        while count < len(values):
            count = min(FACTOR * count + 1.0, len(values))
            yield float(values[int(count) - 1])

    def cells(self, regions: Sequence[int], level: float) -> NDArray[np.bool_]:
        """What regions hold at a level: bool, (H, W)."""
        return np.isin(self.basins, regions) & (self.saliency >= level)


def basins(labels: Labels) -> Labels:
    """Give every pixel to the nearest region, in squares of COARSE pixels; a region's own pixels stay its own.

    Args:
        labels: int32, (H, W), 0 outside every region, at least one region.

    Returns:
        int32, (H, W), without 0.
    """
    height, width = labels.shape
    if labels.max() == 1:  # all of the picture may be its region, which then has no rim
        return np.ones_like(labels)
    points, owners = rim_points(labels)
    rows, columns = (np.arange(0, side, COARSE, dtype=np.float32) + (COARSE - 1) / 2 for side in (height, width))
    squared = (rows[:, None, None] - points[:, 0]) ** 2 + (columns[None, :, None] - points[:, 1]) ** 2
    nearest = owners[squared.argmin(axis=-1)]
    spread = nearest.repeat(COARSE, axis=0)[:height].repeat(COARSE, axis=1)[:, :width]
    result: Labels = np.where(labels != 0, labels, spread).astype(np.int32)
    return result
