"""Means, intervals and verdicts of an evaluation, for all maps and columns at once, and its headline.

Letters: n pictures of a set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from whymask.benchmarks.baselines import EXPLAINER
from whymask.benchmarks.intervals import Interval
from whymask.benchmarks.suite.record import DIGITS, Record, cells_from_record, columns_from_record
from whymask.benchmarks.suite.resampling import percentiles, resampled_means
from whymask.benchmarks.suite.sample import Cell, Cells, Column
from whymask.benchmarks.suite.verdicts import APART, BETTER, LOWER, WITHIN, WORSE, Figure, figures_of

NAMED = 3
"""Maps that a headline names in one column; more are counted."""

RATIO_OF = "retention_auc"
"""The column whose ratio to the best other map is stated."""
ROBUST, SAME_AREAS = "robust_retention", "fill_retention_same_areas"


@dataclass(frozen=True)
class Ratio:
    """A ratio of two means over the same pictures.

    Attributes:
        name: what is divided by what.
        interval: paired bootstrap over pictures.
        n: of the pictures.
    """

    name: str
    interval: Interval
    n: int


@dataclass(frozen=True)
class Summary:
    """One set of pictures.

    Attributes:
        name: of the set.
        images: number of pictures.
        columns: what was measured, in the order of the tables.
        maps: judged ones, the explainer first.
        references: rows that are no opponent, such as every pixel kept.
        fewer: of the judged maps those that were made for some of the pictures only, with the number of these.
        figures: by cell.
        ratios: that could be formed.
    """

    name: str
    images: int
    columns: tuple[Column, ...]
    maps: tuple[str, ...]
    references: tuple[str, ...]
    fewer: Mapping[str, int]
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
        """The other map that the explainer leads least, or is furthest behind, in a judged column.

        That is the one with the best mean, where all are of the same pictures.
        """
        most = max if column.better == LOWER else min
        compared = [figure for figure in self.rivals(column.name) if figure.difference is not None]
        return most(compared, key=lambda figure: figure.difference.value if figure.difference else 0.0)

    def label(self, name: str) -> str:
        """A map's name, with the number of its pictures where it is not the set's."""
        return f"{name} (n = {self.fewer[name]})" if name in self.fewer else name

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
    judged = tuple(name for name in maps if name in rows)
    return Summary(
        name=record["name"],
        images=n,
        columns=tuple(column for name, column in columns.items() if name in present),
        maps=judged,
        references=tuple(name for name in rows if name not in maps),
        fewer=_fewer(cells, judged, n),
        figures=figures_of(cells, columns, maps, n, seed),
        ratios=tuple(_ratios(cells, judged, n, seed)),
    )


def sentence(summary: Summary) -> str:
    """The headline of a set, with every column in which it does not hold."""
    judged, apart = summary.judged(), summary.apart()
    if not judged:
        return f"{summary.name}: no column with a better side and another map; nothing to judge"
    start = (
        f"{summary.name}, n = {summary.images}{_exceptions(summary)}: explainer better than every other map in "
        f"{len(apart)} of {len(judged)} columns with intervals apart"
    )
    missed = [_missed(summary, column) for column in judged if column not in apart]
    return f"{start}; not in: {', '.join(missed)}." if missed else f"{start}."


def _exceptions(summary: Summary) -> str:
    """Such as ` (50 for rise, occlusion)`."""
    by_n: dict[int, list[str]] = {}
    for name, n in summary.fewer.items():
        by_n.setdefault(n, []).append(name)
    told = "; ".join(f"{n} for {', '.join(names)}" for n, names in sorted(by_n.items()))
    return f" ({told})" if told else ""


def figures_as_json(summary: Summary) -> list[dict[str, object]]:
    """All figures of a set, one row each, for readers of the record and for CSV."""
    rows = []
    for figure in summary.figures.values():
        row: dict[str, object] = {"map": figure.cell.map, "column": figure.cell.column, "n": figure.n}
        row |= _ends("", figure.mean)
        if figure.own is not None and figure.difference is not None:
            row |= _ends("explainer_", figure.own) | _ends("difference_", figure.difference)
            row["verdict"] = figure.verdict
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


def _fewer(cells: Cells, maps: Sequence[str], n: int) -> dict[str, int]:
    """Maps that have no value at all in some pictures where the explainer has one, and the pictures that they have."""
    seen = {name: np.zeros(n, np.bool_) for name in maps}
    for cell, values in cells.items():
        if cell.map in seen:
            seen[cell.map] |= ~np.isnan(values)
    own = seen.get(EXPLAINER, np.zeros(n, np.bool_))
    return {name: int(each.sum()) for name, each in seen.items() if (own & ~each).any()}


def _ratios(cells: Cells, maps: Sequence[str], n: int, seed: int) -> Iterator[Ratio]:
    own, others = Cell(EXPLAINER, RATIO_OF), [Cell(name, RATIO_OF) for name in maps if name != EXPLAINER]
    others = [cell for cell in others if cell in cells]
    if own in cells and others:
        name = f"{RATIO_OF}, explainer / best other"
        everywhere = [cell for cell in others if not (np.isnan(cells[cell]) & ~np.isnan(cells[own])).any()]
        yield from _ratio(name, cells, own, everywhere, n, seed)
        if len(everywhere) < len(others):
            yield from _ratio(f"{name}, on the pictures that all maps were made for", cells, own, others, n, seed)
    for name in maps:
        above, below = Cell(name, ROBUST), Cell(name, SAME_AREAS)
        if above in cells and below in cells:
            yield from _ratio(f"{ROBUST} / {SAME_AREAS}, {name}", cells, above, [below], n, seed)


def _ratio(name: str, cells: Cells, above: Cell, below: Sequence[Cell], n: int, seed: int) -> Iterator[Ratio]:
    """The mean of a cell over the best mean of others, in the pictures that all have; none where that is zero.

    The best of each resample, since which of them is the best is itself a matter of chance.
    """
    values = np.stack([cells[cell] for cell in (above, *below)])
    shared = ~np.isnan(values).any(axis=0)
    if not below or not shared.any():
        return
    means = values[:, shared].mean(axis=1)
    top, *rest = resampled_means(
        {row: np.where(shared, each, np.nan) for row, each in enumerate(values)}, n, seed
    ).values()
    best, bottom = float(means[1:].max()), np.max(rest, axis=0)
    usable = bottom > 0
    if best > 0 and usable.any():
        yield Ratio(name, percentiles(float(means[0]) / best, top[usable] / bottom[usable]), int(shared.sum()))
