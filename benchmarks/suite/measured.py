"""What a suite is given, and what it measured: sets of pictures, one number a picture for each map and column, costs.

Letters: n pictures of a set, H W the graph's input height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.pictures import Image
from whymask.benchmarks.suite.sample import Cell, Cells
from whymask.runtime.card import InputCard


@dataclass(frozen=True)
class PictureSet:
    """What is judged.

    Attributes:
        name: of the set.
        images: files, or uint8 arrays (height, width, 3) of any size.
        truth: (position in `images`, the graph's input rule) → the object's pixels, bool (H, W); None where unknown.
        stated: what the truth is, in one line.
    """

    name: str
    images: Sequence[Image]
    truth: Callable[[int, InputCard], NDArray[np.bool_]] | None = None
    stated: str = ""


@dataclass
class Cost:
    """What one metric or map has taken so far.

    Attributes:
        seconds: wall clock, of all threads together.
        passes: pictures through the classifier.
        pictures: that it was made for, or that it judged.
    """

    seconds: float = 0.0
    passes: float = 0.0
    pictures: int = 0

    def add(self, other: Cost) -> None:
        """Count another cost in."""
        self.seconds += other.seconds
        self.passes += other.passes
        self.pictures += other.pictures


@dataclass(frozen=True)
class OwnMask:
    """The graph's own mask at the card's threshold, one entry a picture.

    Attributes:
        top1: int64 (n,), the class of the whole picture.
        whole, kept: float64 (n,), probability of that class on the whole picture, and where only the mask is kept.
        area: float64 (n,), share of the pixels that the mask keeps.
        stays: bool (n,), whether the class is still the first where only the mask is kept.
    """

    top1: NDArray[np.int64]
    whole: NDArray[np.float64]
    kept: NDArray[np.float64]
    area: NDArray[np.float64]
    stays: NDArray[np.bool_]


@dataclass(frozen=True)
class Measured:
    """Everything that was measured on one set.

    Attributes:
        pictures: the set.
        files: names of those that could be read, in the order of all figures.
        positions: of these in `pictures.images`.
        unreadable: files that could not be read, with the reason.
        own: of the graph's own mask.
        cells: one number a picture by map and column, float64 (n,), nan where there is none: costly maps have one for
            some pictures only.
        map_costs, metric_costs: by name.
        passes: pictures through the shipped graph.
        seconds: wall clock, with reading and ranking.
        graph_seconds: the part inside the graph, of all threads together.
        threads: that judged chunks side by side.
    """

    pictures: PictureSet
    files: tuple[str, ...]
    positions: tuple[int, ...]
    unreadable: tuple[str, ...]
    own: OwnMask
    cells: Cells = field(repr=False)
    map_costs: dict[str, Cost]
    metric_costs: dict[str, Cost]
    passes: int
    seconds: float
    graph_seconds: float
    threads: int = 1


def joined_owns(parts: Sequence[OwnMask]) -> OwnMask:
    """The own masks of all chunks in one."""
    return OwnMask(*(np.concatenate(values) for values in zip(*(vars(part).values() for part in parts), strict=True)))


def joined_cells(parts: Sequence[Cells], sizes: Sequence[int]) -> Cells:
    """The cells of all chunks in one; nan where a chunk has none."""
    names: dict[Cell, None] = dict.fromkeys(cell for part in parts for cell in part)
    gaps = [np.full(size, np.nan) for size in sizes]
    return {
        cell: np.concatenate([part.get(cell, gap) for part, gap in zip(parts, gaps, strict=True)]) for cell in names
    }


def summed_costs(names: Iterable[str], parts: Sequence[Mapping[str, Cost]]) -> dict[str, Cost]:
    """Costs of all chunks by name, in the order of the names."""
    total = {name: Cost() for name in names}
    for part in parts:
        for name, cost in part.items():
            total[name].add(cost)
    return total
