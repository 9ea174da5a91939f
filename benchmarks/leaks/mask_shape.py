"""Can the class be read off the mask alone, its picture unseen?

A learned explainer may write the class into the shape of its mask. Some of the class always shows: objects have shapes
and places. A heuristic map of the same classifier, cut to the same area in the same picture, cannot conspire: it tells
how much that is.

Letters: n pictures, H W the input size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.intervals import clopper_pearson, paired_difference
from whymask.benchmarks.leaks.readers import read_by_the_best
from whymask.benchmarks.leaks.record import bar, check_record, interval_figure, left_out

NAME = "mask_shape"
EXPLAINER, CAM, AREA_ALONE, MOST_FREQUENT = "explainer", "cam", "area alone", "the most frequent class"
GRIDS = (10, 20)
MOST_CLASSES, FEWEST_OF_A_CLASS = 10, 10
MARGIN = 0.1
"""How much better the explainer's masks may be read than CAM's, at the upper end of the interval. Its maps are finer,
so that honest outlines show more; a code would be read nearly always."""
FEWEST_PICTURES = 200
"""Of readable classes. With 52, 27 of 40 honest pairs of masks, random blobs, missed the bar; with 200, one of 20.

Unlike the bar, this was set after a first measurement: SqueezeNet's masks had missed the bar on 52 pictures."""

STATED = (
    "Encoding check: the class that the classifier sees is read off the binary mask alone, shrunk to 10 × 10 and to "
    "20 × 20 means, by kernel ridge regression with a linear and a Gaussian kernel (best of the readers for every row "
    "alike), in five-fold cross-validation. The explainer's masks are compared with CAM's of the same area in the same "
    "picture, with the mask's area alone, and with the most frequent class."
)


def mask_shape(
    masks: Mapping[str, Mapping[str, NDArray[np.bool_]]], predicted: NDArray[np.int64], seed: int = 0
) -> dict[str, Any]:
    """Run the check.

    Args:
        masks: by a word for their area, such as `own area`, then by map: bool, (n, H, W).
        predicted: int64, (n,), what the classifier sees.
        seed: of the folds and of the bootstrap.
    """
    rows = readable_rows(predicted)
    labels = predicted[rows]
    if len(np.unique(labels)) < 2:
        return left_out(NAME, f"fewer than two classes are seen in {FEWEST_OF_A_CLASS} pictures; give more with -n")
    figures = {MOST_FREQUENT: _share(int(np.unique(labels, return_counts=True)[1].max()), len(labels))}
    bars = []
    for where, of_area in masks.items():
        right = {name: best_read(each[rows], labels, seed) for name, each in of_area.items()}
        own_area = of_area[EXPLAINER][rows].mean(axis=(1, 2))
        right[AREA_ALONE] = read_by_the_best(own_area[:, None], labels, seed)
        figures |= {f"{where}: {name}": _share(int(each.sum()), len(labels)) for name, each in right.items()}
        if CAM in right:
            difference = paired_difference(right[EXPLAINER], right[CAM], seed).interval
            figures[f"{where}: {EXPLAINER} − {CAM}"] = interval_figure(difference, len(labels))
            bars.append(
                bar(f"{where}: surely read no more than {MARGIN:.0%} better than CAM's", difference.high <= MARGIN)
            )
    record = check_record(NAME, STATED, len(labels), figures, bars, classes=np.unique(labels).tolist())
    if reason := _undecided(len(labels), bool(bars)):
        record |= {"passed": None, "reason": reason}
    return record


def _undecided(n: int, has_cam: bool) -> str:
    """Why figures were measured and nothing follows from them; empty where something does."""
    if not has_cam:
        return "nothing to compare with: CAM needs the classifier itself (--run RUN)"
    if n < FEWEST_PICTURES:
        return f"{n} pictures of classes that are seen often enough, {FEWEST_PICTURES} are needed: give more with -n"
    return ""


def best_read(masks: NDArray[np.bool_], labels: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Which classes are read off masks (n, H, W) on the finer or the coarser grid, whichever tells more: bool, (n,)."""
    answers = [read_by_the_best(shrunk(masks, side).reshape(len(masks), -1), labels, seed) for side in GRIDS]
    return max(answers, key=lambda right: int(right.sum()))


def readable_rows(predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pictures of the most frequent classes that are seen often enough to be learnt: int64, positions."""
    classes, counts = np.unique(predicted, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_CLASSES]
    return np.flatnonzero(np.isin(predicted, classes[order][counts[order] >= FEWEST_OF_A_CLASS]))


def shrunk(masks: NDArray[np.bool_], side: int) -> NDArray[np.float64]:
    """Mean of each cell of a grid: float64, (n, side, side), from bool (n, H, W); no finer than the mask itself."""
    result = masks.astype(np.float64)
    for axis in (1, 2):
        length = masks.shape[axis]
        cells = min(side, length)
        starts = np.arange(cells) * length // cells
        lengths = np.diff(np.append(starts, length))
        result = np.add.reduceat(result, starts, axis=axis) / lengths.reshape((-1, 1) if axis == 1 else (-1,))
    return result


def _share(count: int, n: int) -> dict[str, Any]:
    return interval_figure(clopper_pearson(count, n), n)
