"""One explanation for each object: the separate regions of a mask, each certified on its own.

    for instance in result.instances():
        print(instance.kept, instance.confidence, instance.box)

A region is an instance where the classifier, shown its pixels alone, still puts the explained class first (or above the
class that it is held against). Regions that
do not are joined, nearest first, until they do: parts of one object lie beside each other, while joining the strongest
first would tie two objects together. A round joins every pair of regions that are each other's nearest, and asks about
all of them in one batch. An instance that keeps the class takes nothing more: it would only grow. What keeps the class
in no way is the last instance, `kept=False`.

Letters: H W the graph's input size, C classes, R regions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.certificate import Classify, graph_picture, shown, softmax, stands
from whymask.runtime.errors import InputError
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
        whole: the explanation that it is a part of.
        cells: bool, (H, W), the part's pixels, one pixel wider where no other part is.
        logits: float32, (C,), of the part's pixels alone, the rest filled.
    """

    def __init__(self, whole: Explanation, cells: NDArray[np.bool_], logits: NDArray[np.float32]) -> None:
        self.whole, self.logits = whole, logits
        self._cells = cells
        self.mask: NDArray[np.uint8] = whole.mask * cells
        """1 on the part's pixels: uint8, (H, W), 0 or 1. The masks of all instances add up to the whole's."""

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


def instances_of(whole: Explanation, classify: Classify, least_share: float = LEAST_SHARE) -> list[Instance]:
    """Divide an explanation into instances.

    Args:
        whole: the explanation; its picture must still hold what was explained.
        classify: the classifier.
        least_share: regions (pixels that touch at an edge or a corner) below this share of the mask are specks, in
            [0, 1]: each is joined to the nearest larger region before anything is asked.

    Returns:
        Instances that keep the class, the surest first; then what does not, if anything, as one instance with
        `kept=False`. Together they are the whole mask; none for an empty mask.

    Raises:
        InputError: a share out of range.
    """
    if not 0.0 <= least_share <= 1.0:
        raise InputError(f"least_share: got {least_share}, expected a share of the mask in [0, 1]")
    labels, count = label_regions(whole.mask)
    if not count:
        return []
    labels, count = join_specks(labels, count, least_share)
    groups = _groups(whole, classify, labels, count)
    cells = grown(labels)
    found = [Instance(whole, np.isin(cells, regions), logits) for regions, logits in groups]
    return sorted(found, key=lambda each: (not each.kept, -each.confidence))


_Group = tuple[list[int], NDArray[np.float32]]
"""Labels of the regions that belong together, and the classifier's logits of them alone."""


def _groups(whole: Explanation, classify: Classify, labels: Labels, count: int) -> list[_Group]:
    """Regions joined until each group keeps the class, or one that does not is left."""
    picture = graph_picture(whole)

    def ask(groups: Sequence[list[int]]) -> list[_Group]:
        keep = np.stack([np.isin(labels, group) for group in groups])
        return list(zip(groups, classify(shown(picture, keep, whole.card)), strict=True))

    asked = ask([[label] for label in range(1, count + 1)])
    gaps = distances(labels, count) if count > 1 else np.zeros((1, 1), np.float32)
    done: list[_Group] = []
    while True:
        done += [group for group in asked if stands(whole, group[1])]
        open_groups = [group for group in asked if not stands(whole, group[1])]
        if len(open_groups) < 2:
            return done + open_groups
        pairs, alone = _mutual_nearest([regions for regions, _ in open_groups], gaps)
        joined = [open_groups[a][0] + open_groups[b][0] for a, b in pairs]
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
