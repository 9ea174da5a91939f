"""Means, intervals and verdicts of an evaluation, for all maps and columns at once.

A verdict says how the explainer does against one other map in one column:

    apart    better, and the two 95 % intervals do not overlap
    better   better in the same pictures: the interval of the paired difference leaves zero out
    within   the paired difference cannot be told from zero
    worse    worse in the same pictures

Letters: n pictures, K cells, R resamples.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.baselines import EXPLAINER
from whymask.benchmarks.intervals import CONFIDENCE, Interval, clopper_pearson
from whymask.benchmarks.overlap import RESAMPLES
from whymask.benchmarks.suite.record import DIGITS, Record, cells_from_record, columns_from_record
from whymask.benchmarks.suite.sample import Cell, Cells, Column

APART, BETTER, WITHIN, WORSE = "apart", "better", "within", "worse"
HIGHER, LOWER = "higher", "lower"
ROUND = 500
"""Resamples drawn at a time: a few thousand pictures then take some tens of megabytes."""

NAMED = 3
"""Maps that a headline names in one column; more are counted."""

RATIO_OF = "retention_auc"
"""The column whose ratio to the best other map is stated."""
ROBUST, SAME_AREAS = "robust_retention", "fill_retention_same_areas"


@dataclass(frozen=True)
class Figure:
    """One map in one column.

    Attributes:
        cell: which.
        n: pictures that have a value.
        mean: with its interval.
        difference: the explainer's value minus this map's in the same pictures; None for the explainer.
        verdict: see above; empty for the explainer, and where neither higher nor lower is better.
    """

    cell: Cell
    n: int
    mean: Interval
    difference: Interval | None
    verdict: str


@dataclass(frozen=True)
class Ratio:
    """A ratio of two means over the same pictures.

    Attributes:
        name: what is divided by what.
        interval: paired bootstrap over pictures.
    """

    name: str
    interval: Interval


@dataclass(frozen=True)
class Summary:
    """One set of pictures.

    Attributes:
        name: of the set.
        images: number of pictures.
        columns: what was measured, in the order of the tables.
        maps: judged ones, the explainer first.
        references: rows that are no opponent, such as every pixel kept.
        figures: by cell.
        ratios: that could be formed.
    """

    name: str
    images: int
    columns: tuple[Column, ...]
    maps: tuple[str, ...]
    references: tuple[str, ...]
    figures: Mapping[Cell, Figure]
    ratios: tuple[Ratio, ...]

    def rivals(self, column: str) -> list[Figure]:
        """The other judged maps in a column."""
        cells = [Cell(name, column) for name in self.maps if name != EXPLAINER]
        return [self.figures[cell] for cell in cells if cell in self.figures]

    def judged(self) -> tuple[Column, ...]:
        """Columns in which a verdict is given."""
        return tuple(
            column
            for column in self.columns
            if column.better and Cell(EXPLAINER, column.name) in self.figures and self.rivals(column.name)
        )

    def apart(self) -> tuple[Column, ...]:
        """Columns in which the explainer is better than every other map with intervals apart."""
        return tuple(c for c in self.judged() if all(figure.verdict == APART for figure in self.rivals(c.name)))

    def best_rival(self, column: Column) -> Figure:
        """The other map with the best mean in a judged column."""
        best = min if column.better == LOWER else max
        return best(self.rivals(column.name), key=lambda figure: figure.mean.value)

    def worst_verdict(self, column: Column) -> str:
        """The least favourable verdict of a judged column."""
        return max((figure.verdict for figure in self.rivals(column.name)), key=(APART, BETTER, WITHIN, WORSE).index)


def summaries(record: Record) -> list[Summary]:
    """Every set of a record."""
    columns, maps = columns_from_record(record), tuple(record["method"]["maps"])
    return [summarise(each, columns, maps, record["method"]["seed"]) for each in record["sets"]]


def summarise(record: Record, columns: Mapping[str, Column], maps: Sequence[str], seed: int) -> Summary:
    """Means, intervals, differences and verdicts of one set.

    Args:
        record: the set.
        columns: what each says, by name.
        maps: the judged ones.
        seed: of the bootstrap.
    """
    cells = {cell: values for cell, values in cells_from_record(record).items() if not np.isnan(values).all()}
    n = len(record["files"])
    present = dict.fromkeys(cell.column for cell in cells)
    rows = dict.fromkeys(cell.map for cell in cells)
    means = _bootstrap(cells, n, seed)
    return Summary(
        name=record["name"],
        images=n,
        columns=tuple(column for name, column in columns.items() if name in present),
        maps=tuple(name for name in maps if name in rows),
        references=tuple(name for name in rows if name not in maps),
        figures=_figures(cells, columns, maps, means, _resampled_differences(cells, means, n, seed)),
        ratios=tuple(_ratios(cells, maps, means)),
    )


def sentence(summary: Summary) -> str:
    """The headline of a set, with every column in which it does not hold."""
    judged, apart = summary.judged(), summary.apart()
    if not judged:
        return f"{summary.name}: no column with a better side and another map; nothing to judge"
    start = (
        f"{summary.name}, n = {summary.images}: explainer better than every other map in {len(apart)} of "
        f"{len(judged)} columns with intervals apart"
    )
    missed = [_missed(summary, column) for column in judged if column not in apart]
    return f"{start}; not in: {', '.join(missed)}." if missed else f"{start}."


def figures_as_json(summary: Summary) -> list[dict[str, object]]:
    """All figures of a set, one row each, for readers of the record and for CSV."""
    rows = []
    for figure in summary.figures.values():
        row: dict[str, object] = {"map": figure.cell.map, "column": figure.cell.column, "n": figure.n}
        row |= _ends("", figure.mean)
        if figure.difference is not None:
            row |= _ends("difference_", figure.difference) | {"verdict": figure.verdict}
        rows.append(row)
    return rows


def _ends(prefix: str, interval: Interval) -> dict[str, float]:
    names = (f"{prefix}mean", f"{prefix}low", f"{prefix}high")
    values = (interval.value, interval.low, interval.high)
    return {name: round(value, DIGITS) for name, value in zip(names, values, strict=True)}


def _missed(summary: Summary, column: Column) -> str:
    """A column with its least favourable verdict, and the maps that bring it about where they are few."""
    worst = summary.worst_verdict(column)
    names = [figure.cell.map for figure in summary.rivals(column.name) if figure.verdict == worst]
    told = ", ".join(names) if len(names) <= NAMED else f"{len(names)} maps"
    return f"{column.name} ({worst}: {told})"


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


def _figures(
    cells: Cells,
    columns: Mapping[str, Column],
    maps: Sequence[str],
    means: Mapping[Cell, NDArray[np.float64]],
    differences: Mapping[Cell, NDArray[np.float64]],
) -> dict[Cell, Figure]:
    shares = _share_columns(cells)
    intervals = {cell: _mean(values, means[cell], cell.column in shares) for cell, values in cells.items()}
    figures = {}
    for cell, values in cells.items():
        difference, said = None, ""
        if cell in differences:
            own = cells[Cell(EXPLAINER, cell.column)]
            difference = _percentiles(float(np.nanmean(own - values)), differences[cell])
            own_mean = intervals[Cell(EXPLAINER, cell.column)]
            if cell.map in maps:
                said = verdict(columns[cell.column].better, own_mean, intervals[cell], difference)
        figures[cell] = Figure(cell, int((~np.isnan(values)).sum()), intervals[cell], difference, said)
    return figures


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
    return {cell: means[own] - means[other] for cell, (own, other) in whole.items()} | _bootstrap(rest, n, seed)


def _share_columns(cells: Cells) -> set[str]:
    """Columns that count pictures: every value of every map is 0 or 1."""
    columns = {cell.column for cell in cells}
    return columns - {cell.column for cell, values in cells.items() if not np.isin(_known(values), (0.0, 1.0)).all()}


def _mean(values: NDArray[np.float64], resampled: NDArray[np.float64], is_share: bool) -> Interval:
    known = _known(values)
    if is_share:
        # A bootstrap of pictures that all agree has no width, however few they are.
        return _exact(int(known.sum()), len(known))
    return _percentiles(float(known.mean()), resampled)


@functools.lru_cache(maxsize=4096)
def _exact(kept: int, n: int) -> Interval:
    return clopper_pearson(kept, n)


def _percentiles(value: float, resampled: NDArray[np.float64]) -> Interval:
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.nanquantile(resampled, [tail, 1.0 - tail])
    return Interval(value, float(low), float(high))


def _bootstrap(cells: Cells, n: int, seed: int) -> dict[Cell, NDArray[np.float64]]:
    """Means of all cells over the same resampled pictures, float64 (R,) a cell: `overlap.mean_interval`, many at once.

    A picture without a value counts in no mean. Where a resample holds no picture with a value, its mean is nan.
    """
    if not cells:
        return {}
    values = np.stack(list(cells.values()), axis=1)
    known = ~np.isnan(values)
    filled, rng, parts = np.where(known, values, 0.0), np.random.default_rng(seed), []
    for _ in range(0, RESAMPLES, ROUND):
        rows = rng.integers(n, size=(ROUND, n)) + n * np.arange(ROUND)[:, None]
        counts = np.bincount(rows.reshape(-1), minlength=ROUND * n).reshape(ROUND, n).astype(np.float64)
        # One matrix product gives the sums of every cell; most have a value in every picture.
        weights = np.float64(n) if known.all() else counts @ known
        with np.errstate(invalid="ignore"):
            parts.append(counts @ filled / weights)
    means = np.concatenate(parts)
    return {cell: means[:, place] for place, cell in enumerate(cells)}


def _ratios(cells: Cells, maps: Sequence[str], means: Mapping[Cell, NDArray[np.float64]]) -> Iterable[Ratio]:
    own, others = Cell(EXPLAINER, RATIO_OF), [Cell(name, RATIO_OF) for name in maps if name != EXPLAINER]
    others = [cell for cell in others if cell in cells]
    if own in cells and others:
        best = max(float(_known(cells[cell]).mean()) for cell in others)
        # The best of each resample, since which map is the best is itself a matter of chance.
        resampled = np.max([means[cell] for cell in others], axis=0)
        found = _ratio(
            f"{RATIO_OF}, explainer / best other", float(_known(cells[own]).mean()), best, means[own], resampled
        )
        yield from found
    for name in maps:
        above, below = Cell(name, ROBUST), Cell(name, SAME_AREAS)
        if above in cells and below in cells:
            top, bottom = (float(_known(cells[cell]).mean()) for cell in (above, below))
            yield from _ratio(f"{ROBUST} / {SAME_AREAS}, {name}", top, bottom, means[above], means[below])


def _ratio(
    name: str, above: float, below: float, resampled_above: NDArray[np.float64], resampled_below: NDArray[np.float64]
) -> Iterable[Ratio]:
    """The ratio as a list of one; of none where nothing can be divided by."""
    usable = resampled_below > 0
    if below > 0 and usable.any():
        yield Ratio(name, _percentiles(above / below, resampled_above[usable] / resampled_below[usable]))


def _known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known: NDArray[np.float64] = values[~np.isnan(values)]
    return known
