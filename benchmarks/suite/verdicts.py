"""What is said of one map in one column, beside the explainer, in the same pictures.

A verdict says how the explainer does against one other map in one column:

    apart    better, and the two 95 % intervals do not overlap
    better   better in the same pictures: the interval of the paired difference leaves zero out
    within   the paired difference cannot be told from zero, as of fewer than LEAST_PICTURES pictures it never can
    worse    worse in the same pictures

A map that was made for some of the pictures only is judged on these: its verdict compares it with the explainer's mean
over them, and its number of pictures stands beside it.

Letters: n pictures, K cells, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.baselines import EXPLAINER
from whymask.benchmarks.intervals import LEAST_PICTURES, Interval
from whymask.benchmarks.suite.resampling import known, mean_of, percentiles, resampled_means
from whymask.benchmarks.suite.sample import Cell, Cells, Column

APART, BETTER, WITHIN, WORSE = "apart", "better", "within", "worse"
HIGHER, LOWER = "higher", "lower"


@dataclass(frozen=True)
class Figure:
    """One map in one column.

    Attributes:
        cell: which.
        n: pictures that have a value.
        mean: with its interval.
        own: the explainer's mean over the same pictures; None for the explainer, and where it has none.
        difference: the explainer's value minus this map's in the same pictures; None for the explainer.
        verdict: see above; empty for the explainer, and where neither higher nor lower is better.
    """

    cell: Cell
    n: int
    mean: Interval
    own: Interval | None
    difference: Interval | None
    verdict: str


def verdict(better: str, explainer: Interval, other: Interval, difference: Interval) -> str:
    """See the module.

    Args:
        better: `higher` or `lower`; anything else gives no verdict.
        explainer, other: means of the two.
        difference: the explainer's minus the other's, in the same pictures.
    """
    if better not in (HIGHER, LOWER):
        return ""
    gain, loss = (difference.low > 0, difference.high < 0)
    clear = explainer.low > other.high
    if better == LOWER:
        gain, loss, clear = loss, gain, explainer.high < other.low
    return APART if gain and clear else BETTER if gain else WORSE if loss else WITHIN


def figures_of(
    cells: Cells, columns: Mapping[str, Column], maps: Sequence[str], n: int, seed: int
) -> dict[Cell, Figure]:
    """Means, differences and verdicts of all cells of a set.

    Args:
        cells: float64 (n,) each, nan where a picture has no value.
        columns: what each says, by name.
        maps: the judged ones; others get no verdict.
        n: at least 1.
        seed: of the bootstrap.
    """
    means, shares, figures = resampled_means(cells, n, seed), _share_columns(cells), {}
    differences, owns = _resampled_differences(cells, means, n, seed), _own_means(cells, shares, n, seed)
    for cell, values in cells.items():
        mean = mean_of(values, means[cell], cell.column in shares)
        own, difference, said = None, None, ""
        if cell in differences:
            explainer = cells[Cell(EXPLAINER, cell.column)]
            own = owns[_Pattern.of(cell, values)]
            difference = percentiles(float(np.nanmean(explainer - values)), differences[cell])
            if cell.map in maps:
                said = verdict(columns[cell.column].better, own, mean, difference)
                if said and len(known(explainer - values)) < LEAST_PICTURES:
                    said = WITHIN
        figures[cell] = Figure(cell, len(known(values)), mean, own, difference, said)
    return figures


class _Pattern(NamedTuple):
    """A column, and in which pictures a map has a value there."""

    column: str
    known: bytes

    @staticmethod
    def of(cell: Cell, values: NDArray[np.float64]) -> _Pattern:
        """Of a map's values in a column."""
        return _Pattern(cell.column, (~np.isnan(values)).tobytes())


def _own_means(cells: Cells, shares: set[str], n: int, seed: int) -> dict[_Pattern, Interval]:
    """The explainer's means over the pictures of each other map; costly ones share theirs, and are resampled once."""
    rows = {
        _Pattern.of(cell, values): np.where(np.isnan(values), np.nan, cells[own])
        for cell, values in cells.items()
        if cell.map != EXPLAINER and (own := Cell(EXPLAINER, cell.column)) in cells
    }
    rows = {pattern: values for pattern, values in rows.items() if len(known(values))}
    resampled = resampled_means(rows, n, seed)
    return {each: mean_of(values, resampled[each], each.column in shares) for each, values in rows.items()}


def _differences(cells: Cells) -> Cells:
    """The explainer's value minus each other map's, where both have one."""
    found = {
        cell: cells[own] - values
        for cell, values in cells.items()
        if cell.map != EXPLAINER and (own := Cell(EXPLAINER, cell.column)) in cells
    }
    return {cell: values for cell, values in found.items() if not np.isnan(values).all()}


def _resampled_differences(
    cells: Cells, means: Mapping[Cell, NDArray[np.float64]], n: int, seed: int
) -> dict[Cell, NDArray[np.float64]]:
    """Means of `_differences` over the resamples of `means`: means' differences where no picture lacks a value."""
    pairs = {cell: (Cell(EXPLAINER, cell.column), cell) for cell in _differences(cells)}
    whole = {cell: pair for cell, pair in pairs.items() if not any(np.isnan(cells[each]).any() for each in pair)}
    rest = {cell: values for cell, values in _differences(cells).items() if cell not in whole}
    return {cell: means[own] - means[other] for cell, (own, other) in whole.items()} | resampled_means(rest, n, seed)


def _share_columns(cells: Cells) -> set[str]:
    """Columns that count pictures: every value of every map is 0 or 1."""
    columns = {cell.column for cell in cells}
    return columns - {cell.column for cell, values in cells.items() if not np.isin(known(values), (0.0, 1.0)).all()}
