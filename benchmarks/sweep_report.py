"""A measurement as files: JSON, CSV, Markdown, and one HTML page with histograms and differences of paired calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.bench_record import BenchRecord
from whymask.benchmarks.forms import check_targets, write_forms
from whymask.benchmarks.intervals import Interval
from whymask.benchmarks.report import Html, bullets, document, section, table
from whymask.benchmarks.report import verdict as marked
from whymask.benchmarks.suite.charts import STYLE, Dot, bars_chart, dots_chart, of_words, side_by_side
from whymask.benchmarks.sweep_from_bench import sweep_from_bench
from whymask.benchmarks.sweep_parts_words import (
    BEFORE_HEAD,
    PARTS_CAPTION,
    PARTS_HEAD,
    before_caption,
    before_rows,
    parts_rows,
)
from whymask.benchmarks.sweep_record import Row, SweepPoint, SweepRecord
from whymask.benchmarks.sweep_words import (
    HEAD,
    csv_from_sweep,
    headline_text,
    notes,
    page_from_sweep,
    rows_of,
    said_of,
    title,
    where,
)

STEM = "bench"
SHOWN = 95.0
"""Percentile at which a chart ends, so that one interruption does not squeeze all else to a line."""
LEAST_CUT = 100
"""Fewest values of which any are left out."""

Record = BenchRecord | SweepRecord


def page_from_record(record: SweepRecord) -> Html:
    """The whole page."""
    told = "every row may be quoted" if record.verdict.valid else "some rows may not be quoted; the notes say why"
    head = section("In short", marked(record.verdict.valid, told), bullets(_in_short(record)))
    points = [_point(point) for point in record.points]
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    last = section("Notes", bullets([*notes(record), f"versions: {versions}"]))
    before = [
        section("Before the graph", of_words(table(BEFORE_HEAD, before_rows(each), before_caption(each))))
        for each in record.preprocess
    ]
    return document("Latency", [STYLE, head, *points, *before, last], f"{where(record)}. {record.created}.")


def check_output(output: Path) -> None:
    """Refuse an output that names no form or cannot be written, before anything is measured.

    Raises:
        ArtefactError: it cannot be written.
        InputError: an ending that is none of `WRITERS`.
    """
    check_targets(output, STEM, WRITERS)


def write_bench(record: Record, output: Path) -> list[Path]:
    """Write a record as its output's ending says, or in all forms into a folder; gives the files.

    Raises:
        InputError: an ending that is none of `WRITERS`.
    """
    return write_forms(record, output, STEM, WRITERS)


def _swept(record: Record) -> SweepRecord:
    return record if isinstance(record, SweepRecord) else sweep_from_bench(record)


WRITERS: dict[str, Callable[[Record], str]] = {
    ".json": lambda record: record.to_json(),
    ".csv": lambda record: csv_from_sweep(_swept(record)),
    ".md": lambda record: page_from_sweep(_swept(record)),
    ".html": lambda record: page_from_record(_swept(record)),
}


def _in_short(record: SweepRecord) -> list[str]:
    return [
        f"{point.scenario}, batch {point.batch}: "
        + "; ".join(f"{row.name} {headline_text(point, row)}" for row in point.rows)
        for point in record.points
    ]


def _point(point: SweepPoint) -> Html:
    parts: list[str] = [
        table(HEAD, rows_of(point), "Latency of a call beside its counted cost, which holds no noise."),
        bullets(said_of(point)),
    ]
    if beside := parts_rows(point):
        parts.append(table(PARTS_HEAD, beside, PARTS_CAPTION))
    dots = [
        Dot(row.name, Interval(row.ratio.value, row.ratio.low, row.ratio.high), row.kind == "fused")
        for row in point.rows
        if row.ratio
    ]
    charts = (
        [dots_chart(dots, "× classifier alone", "Ratio to the classifier alone, with its interval.")] if dots else []
    )
    charts += [_histogram(row) for row in point.rows if row.extrapolated == 1.0]
    by_name = {row.name: row for row in point.rows}
    charts += [_differences(row, by_name[row.baseline]) for row in point.rows if row.baseline and _is_paired(row)]
    return section(title(point), *parts, side_by_side(charts))


def _is_paired(row: Row) -> bool:
    """Whether a call of the row can be held against one of its classifier: a measured call of one kind."""
    return row.extrapolated == 1.0 and row.kind == "fused"


def _histogram(row: Row) -> Html:
    calls = len(row.samples_ms)
    told = f"{row.name}: {calls} calls{_left_out(calls)}."
    return bars_chart(_cut(np.array(row.samples_ms)), f"{row.name}, ms a call", told)


def _differences(row: Row, baseline: Row) -> Html:
    _, mine, theirs = np.intersect1d(row.rounds, baseline.rounds, return_indices=True)
    differences = np.array(row.samples_ms)[mine] - np.array(baseline.samples_ms)[theirs]
    label = f"{row.name} less {baseline.name}, ms"
    told = f"Difference within each of {len(differences)} pairs of calls{_left_out(len(differences))}."
    return bars_chart(_cut(differences), label, told)


def _cut(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values without the outermost of each side, see `SHOWN`, where there are enough of them."""
    if values.size < LEAST_CUT:
        return values
    low, high = np.percentile(values, (100.0 - SHOWN, SHOWN))
    kept: NDArray[np.float64] = values[(values >= low) & (values <= high)]
    return kept


def _left_out(count: int) -> str:
    """What of so many values `_cut` leaves out."""
    return f"; the highest and the lowest {100 - SHOWN:g} % are not drawn" if count >= LEAST_CUT else ""
