"""The separate regions of a mask, and how far they lie from each other; numpy alone.

Letters: H W the mask's height and width, R the number of regions.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.overlay import contour

Labels: TypeAlias = NDArray[np.int32]
Points: TypeAlias = NDArray[np.float32]

RIM_POINTS = 64
"""Points that stand for a region's rim when distances are measured: on 224 × 224 pixels a few pixels apart, and few
enough that all distances between twenty regions are one small matrix."""


def label_regions(mask: NDArray[np.uint8]) -> tuple[Labels, int]:
    """Number the regions of a mask; pixels that touch at an edge or a corner belong together.

    Two passes over runs, not pixels: runs of neighbouring rows that touch are edges of a graph, whose parts are found
    by hooking the higher root onto the lower one and shortening the paths, all edges at once.

    Args:
        mask: uint8, (H, W), 0 or 1.

    Returns:
        int32, (H, W), 0 outside the mask, else 1 … R in the order of each region's first pixel; and R.
    """
    starts, stops, stride = _runs(mask)
    roots = _united(len(starts), *_touching(starts, stops, stride))
    names, numbers = np.unique(roots, return_inverse=True)
    labels = np.zeros(mask.shape, np.int32)
    labels[mask != 0] = np.repeat(numbers + 1, stops - starts)
    return labels, len(names)


def join_specks(labels: Labels, count: int, least: float) -> tuple[Labels, int]:
    """Give every small region's pixels to the nearest large one; of small ones alone, the largest counts as large.

    Args:
        labels: int32, (H, W), as of `label_regions`.
        count: R.
        least: share of the mask's pixels from which a region is large, in [0, 1].

    Returns:
        int32, (H, W), numbered anew in the same order, and the number of large regions.
    """
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    large = sizes >= min(least * sizes.sum(), sizes.max(initial=0))
    if large.all():
        return labels, count
    numbers = np.where(large, np.cumsum(large), 0)
    points, owners = rim_points(labels)
    trusted = large[owners - 1]
    centres = _centres(labels, sizes)[~large]
    nearest = _squared_distances(centres, points[trusted]).argmin(axis=1)
    numbers[~large] = numbers[owners[trusted][nearest] - 1]
    return np.concatenate([[0], numbers]).astype(np.int32)[labels], int(large.sum())


def rim_points(labels: Labels) -> tuple[Points, NDArray[np.int32]]:
    """At most `RIM_POINTS` points of each region's rim, evenly spread in reading order, and whose they are.

    Args:
        labels: int32, (H, W), 0 outside every region. Regions do not touch each other.

    Returns:
        float32, (P, 2), row and column in pixels, and int32, (P,), labels in rising order.
    """
    rows, columns = np.nonzero(contour(labels != 0, 1))
    owners = labels[rows, columns]
    order = np.argsort(owners, kind="stable")
    rows, columns, owners = rows[order], columns[order], owners[order]
    sizes = np.bincount(owners)[owners]
    place = np.arange(len(owners)) - np.searchsorted(owners, owners)
    # Of `size` points the one at `place` is taken where place · taken / size passes a whole number.
    taken = np.minimum(sizes, RIM_POINTS)
    chosen = (place * taken) % np.maximum(sizes, 1) < taken
    return np.stack([rows, columns], axis=1)[chosen].astype(np.float32), owners[chosen]


def distances(labels: Labels, count: int) -> NDArray[np.float32]:
    """Distance in pixels between any two regions: between the nearest two of their `rim_points`.

    Args:
        labels: int32, (H, W), as of `label_regions` or `join_specks`.
        count: R, at least 2.

    Returns:
        float32, (R, R), 0 on the diagonal.
    """
    points, owners = rim_points(labels)
    first = np.searchsorted(owners, np.arange(1, count + 1))
    squared = _squared_distances(points, points)
    least = np.minimum.reduceat(np.minimum.reduceat(squared, first, axis=0), first, axis=1)
    result: NDArray[np.float32] = np.sqrt(least)
    return result


def grown(labels: Labels) -> Labels:
    """The labels, each region one pixel wider on all sides; where two would meet, the higher number has the pixel.

    Args:
        labels: int32, (H, W), 0 outside every region.
    """
    height, width = labels.shape
    padded = np.pad(labels, 1)
    wider = np.max([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0)
    result: Labels = np.where(labels != 0, labels, wider)
    return result


def _runs(mask: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Begin and end (exclusive) of each run in the flattened mask with a zero on both sides of each row; its width."""
    padded = np.pad(mask != 0, ((0, 0), (1, 1)))
    steps = np.diff(padded.ravel().astype(np.int8))
    return np.flatnonzero(steps == 1) + 1, np.flatnonzero(steps == -1) + 1, padded.shape[1]


def _touching(
    starts: NDArray[np.intp], stops: NDArray[np.intp], stride: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of runs, the second in the row below the first, that touch at an edge or a corner."""
    first = np.searchsorted(stops, starts + stride, side="left")
    last = np.searchsorted(starts, stops + stride, side="right")
    counts = last - first
    upper = np.repeat(np.arange(len(starts)), counts)
    offset = np.arange(len(upper)) - np.repeat(np.cumsum(counts) - counts, counts)
    return upper, first[upper] + offset


def _united(count: int, left: NDArray[np.intp], right: NDArray[np.intp]) -> NDArray[np.intp]:
    """The lowest node of each node's part of a graph; every round at least halves the unfinished parts' trees."""
    roots = np.arange(count)
    while True:
        a, b = roots[left], roots[right]
        apart = a != b
        if not apart.any():
            return roots
        np.minimum.at(roots, np.maximum(a, b)[apart], np.minimum(a, b)[apart])
        while (roots[roots] != roots).any():
            roots = roots[roots]


def _centres(labels: Labels, sizes: NDArray[np.intp]) -> Points:
    """Mean row and column of each region: float32, (R, 2)."""
    rows, columns = np.nonzero(labels)
    owners = labels[rows, columns] - 1
    sums = [np.bincount(owners, weights=axis, minlength=len(sizes)) for axis in (rows, columns)]
    return (np.stack(sums, axis=1) / np.maximum(sizes, 1)[:, None]).astype(np.float32)


def _squared_distances(points: Points, others: Points) -> NDArray[np.float32]:
    """float32, (P, Q), between (P, 2) and (Q, 2)."""
    rows, columns = (points[:, None, axis] - others[None, :, axis] for axis in (0, 1))
    result: NDArray[np.float32] = rows * rows + columns * columns
    return result
