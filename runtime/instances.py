"""One explanation for each object: the separate regions of a mask, each certified on its own.

    for instance in result.instances():
        print(instance.kept, instance.confidence, instance.box)

A region is an instance where the classifier, shown its pixels alone, still puts the explained class first (or above the
class that it is held against). Regions that do not are joined, nearest first, until they do: parts of one object lie
beside each other, while joining the strongest first would tie two objects together. A round joins every pair of regions
that are each other's nearest, and asks about all of them in one batch. An instance that keeps the class takes nothing
more: it would only grow. What keeps the class in no way is the last instance, `kept=False`.

Half of a mask that just holds a decision seldom holds it alone. So a region may take more of its surroundings before it
is joined: the most salient pixels that are nearer to it than to another region, half as many again a round, until it
keeps the class. Instances then hold pixels that the mask has not, and still do not overlap; without `grow` they divide
the mask.

Letters: H W the graph's input size, C classes, R regions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.certificate import Classify, graph_picture, shown, softmax, stands
from whymask.runtime.checks import is_within
from whymask.runtime.errors import InputError
from whymask.runtime.growth import Growth
from whymask.runtime.images import Window, check_sizes, window_of
from whymask.runtime.regions import Labels, distances, grown, join_specks, label_regions
from whymask.runtime.results import bounding_box

if TYPE_CHECKING:
    from whymask.runtime.explanation import Explanation

LEAST_SHARE = 0.05
"""Smaller regions are specks. One cell of a 14 × 14 saliency is a twentieth of a mask of a tenth of the picture; and at
most twenty regions are left, which bounds what the certificates cost."""


class Instance:
    """A part of a mask, and what the classifier says when it sees that part alone.

    Args:
        whole: the explanation that it is a part of, cut at the part's own level where it grew.
        cells: bool, (H, W), what may belong to the part: its pixels, and such as no other part has.
        logits: float32, (C,), of the part's pixels alone, the rest filled.
    """

    def __init__(self, whole: Explanation, cells: NDArray[np.bool_], logits: NDArray[np.float32]) -> None:
        self.whole, self.logits = whole, logits
        self._cells = cells
        self.mask: NDArray[np.uint8] = whole.mask * cells
        """1 on the part's pixels: uint8, (H, W), 0 or 1. Where none grew, the masks of all add up to the whole's."""

    def __repr__(self) -> str:
        """What, how sure and how much, in one line."""
        kept = "" if self.kept else ", kept=False"
        return f"Instance(label={self.label!r}, confidence={self.confidence:.3f}, area={self.area:.3f}{kept})"

    @property
    def index(self) -> int:
        """Index of the class that is explained."""
        return self.whole.index

    @property
    def label(self) -> str:
        """Name of the class that is explained."""
        return self.whole.label

    @property
    def kept(self) -> bool:
        """Whether the class is top-1 when this part alone is shown, or above the class that it is held against."""
        return stands(self.whole, self.logits)

    @property
    def confidence(self) -> float:
        """Softmax probability of the class when this part alone is shown, in [0, 1]."""
        return float(softmax(self.logits)[self.index])

    @property
    def area(self) -> float:
        """Share of the graph's pixels, in [0, 1]."""
        return float(np.count_nonzero(self.mask) / self.mask.size)

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """Left, top, right, bottom in pixels of the caller's picture, the last two exclusive; None if it has no pixel.

        A part can have none only in a picture smaller than the graph's input.
        """
        found = bounding_box(self.mask_at(*self.whole.picture.shape[:2]))
        return None if found is None else (found[0], found[1], found[2], found[3])

    def mask_at(self, height: int, width: int) -> NDArray[np.uint8]:
        """The part in the frame of the caller's picture, at any size, with the whole mask's smooth edges.

        Args:
            height, width: size of the frame that shows the whole picture, in pixels.

        Returns:
            uint8, (height, width), 0 or 1.

        Raises:
            InputError: a size below one pixel.
        """
        check_sizes((height, width))
        shown_height, shown_width = self.whole.picture.shape[:2]
        window = window_of(shown_height, shown_width, self.whole.card.input)
        rows, columns = _nearest_cells(window, (height, width), self._cells.shape)
        return self.whole.mask_at(height, width) * self._cells[np.ix_(rows, columns)]


def instances_of(
    whole: Explanation, classify: Classify, least_share: float = LEAST_SHARE, grow: bool = True
) -> list[Instance]:
    """Divide an explanation into instances.

    Args:
        whole: the explanation; its picture must still hold what was explained.
        classify: the classifier.
        least_share: regions (pixels that touch at an edge or a corner) below this share of the mask are specks, in
            [0, 1]: each is joined to the nearest larger region before anything is asked.
        grow: whether a region that does not keep the class may take more of its surroundings before it is joined.

    Returns:
        Instances that keep the class, the surest first; then what does not, if anything, as one instance with
        `kept=False`. Without `grow` they are together the whole mask; none for an empty mask.

    Raises:
        InputError: a share out of range.
    """
    if not is_within(least_share, 0.0, 1.0):
        raise InputError(f"least_share: got {least_share!r}, expected a share of the mask in [0, 1]")
    labels, count = label_regions(whole.mask)
    if not count:
        return []
    labels, count = join_specks(labels, count, least_share)
    growth = Growth(labels, whole.resized) if grow else None
    groups = _groups(whole, _Asker(whole, classify, labels, growth), labels, count)
    found = _instances(whole, groups, grown(labels), growth)
    return sorted(found, key=lambda each: (not each.kept, -each.confidence))


class _Group(NamedTuple):
    """Labels of the regions that belong together, the classifier's logits of them alone, and the level they grew to."""

    regions: list[int]
    logits: NDArray[np.float32]
    level: float | None = None


class _Asker:
    """Asks about groups of regions, all of a round in one batch; those that do not keep the class may grow."""

    def __init__(self, whole: Explanation, classify: Classify, labels: Labels, growth: Growth | None) -> None:
        self.whole, self.classify, self.labels, self.growth = whole, classify, labels, growth
        self.picture = graph_picture(whole)

    def __call__(self, groups: Sequence[list[int]]) -> list[_Group]:
        """Each group as it is or, where only that keeps the class, grown as little as it has to."""
        asked = [_Group(*each) for each in zip(groups, self._logits(map(self._own, groups)), strict=True)]
        if self.growth is None:
            return asked
        growing = {
            place: self.growth.levels(each.regions)
            for place, each in enumerate(asked)
            if not stands(self.whole, each.logits)
        }
        while levels := {place: level for place, left in growing.items() if (level := next(left, None)) is not None}:
            cells = (self.growth.cells(groups[place], level) for place, level in levels.items())
            for (place, level), logits in zip(levels.items(), self._logits(cells), strict=True):
                if stands(self.whole, logits):
                    asked[place] = _Group(groups[place], logits, level)
                    del growing[place]
        return asked

    def _own(self, regions: list[int]) -> NDArray[np.bool_]:
        return np.isin(self.labels, regions)

    def _logits(self, cells: Iterable[NDArray[np.bool_]]) -> NDArray[np.float32]:
        """Of the picture's pixels in each of some cells, bool (H, W): float32, (N, C)."""
        return self.classify(shown(self.picture, np.stack(list(cells)), self.whole.card))


def _instances(whole: Explanation, groups: Sequence[_Group], wider: Labels, growth: Growth | None) -> list[Instance]:
    """The groups as instances. A rim that one did not grow into belongs to the neighbour that was asked about it."""
    larger = [label for group in groups if group.level is not None for label in group.regions]
    taken = np.isin(growth.basins, larger) if growth is not None and larger else np.zeros(wider.shape, bool)

    def instance(group: _Group) -> Instance:
        if growth is None or group.level is None:
            return Instance(whole, np.isin(wider, group.regions) & ~taken, group.logits)
        return Instance(whole.cut_at(group.level), np.isin(growth.basins, group.regions), group.logits)

    return [instance(group) for group in groups]


def _groups(whole: Explanation, ask: _Asker, labels: Labels, count: int) -> list[_Group]:
    """Regions joined until each group keeps the class, or one that does not is left."""
    asked = ask([[label] for label in range(1, count + 1)])
    gaps = distances(labels, count) if count > 1 else np.zeros((1, 1), np.float32)
    done: list[_Group] = []
    while True:
        done += [group for group in asked if stands(whole, group.logits)]
        open_groups = [group for group in asked if not stands(whole, group.logits)]
        if len(open_groups) < 2:
            return done + open_groups
        pairs, alone = _mutual_nearest([group.regions for group in open_groups], gaps)
        joined = [open_groups[a].regions + open_groups[b].regions for a, b in pairs]
        asked = ask(joined) + [open_groups[each] for each in alone]


def _mutual_nearest(groups: list[list[int]], gaps: NDArray[np.float32]) -> tuple[list[tuple[int, int]], list[int]]:
    """Pairs of groups that are each other's nearest, at least one, and the groups in no pair.

    Args:
        groups: at least two lists of labels.
        gaps: float32, (R, R), distances between regions.
    """

    def gap(a: int, b: int) -> float:
        return float(gaps[np.ix_(np.array(groups[a]) - 1, np.array(groups[b]) - 1)].min())

    pairs: list[tuple[int, int]] = []
    met: set[int] = set()
    # Nearest pairs first: the first pair that a group is met in is that with its nearest.
    for _, a, b in sorted((gap(a, b), a, b) for a, b in itertools.combinations(range(len(groups)), 2)):
        if met.isdisjoint((a, b)):
            pairs.append((a, b))
        met |= {a, b}
    paired = {each for pair in pairs for each in pair}
    return pairs, [each for each in range(len(groups)) if each not in paired]


def _nearest_cells(
    window: Window, size: tuple[int, int], cells: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of the graph's pixel nearest to each row and column of the picture's frame."""
    starts, shares = (window.top, window.left), (window.height, window.width)
    rows, columns = (
        np.clip(((np.arange(new) + 0.5) / new - start) / share * old, 0, old - 1).astype(np.intp)
        for new, start, share, old in zip(size, starts, shares, cells, strict=True)
    )
    return rows, columns
