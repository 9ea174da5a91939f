"""A sweep in words: sentences, rows of its tables, Markdown and CSV. Works on a record, measured or made of a pair."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from whymask.benchmarks.bench_scenarios import MULTI, RATE, UNITS
from whymask.benchmarks.latency_stats import Ratio
from whymask.benchmarks.sweep_parts_words import (
    BEFORE_HEAD,
    PARTS_CAPTION,
    PARTS_CSV_HEAD,
    PARTS_HEAD,
    before_caption,
    before_rows,
    parts_csv,
    parts_notes,
    parts_rows,
)
from whymask.benchmarks.sweep_record import CrossCheck, Faster, Row, SweepPoint, SweepRecord
from whymask.benchmarks.tables import table

if TYPE_CHECKING:
    from rich.table import Table

EXTRAPOLATED = "extrapolated"
TAIL_SAMPLES = 1000
"""Fewest samples of which ten lie above p99."""
HEAD = (
    "row",
    "p50, ms",
    "p90, ms",
    "p99, ms",
    "images/s",
    "× classifier alone",
    "multiply-adds",
    "nodes",
    "MB",
    "calls",
    "valid",
)
NARROW = tuple(name for name in HEAD if name not in ("nodes", "MB", "calls"))
"""Columns that a terminal has room for."""
SUMMARISED = tuple(f"{name}_ms" for name in ("min", "p50", "p90", "p95", "p99", "max", "mean", "std"))
CSV_HEAD = (
    "scenario",
    "batch",
    "row",
    "kind",
    "baseline",
    "extrapolated",
    "calls",
    *SUMMARISED,
    "images_per_second",
    "ratio",
    "ratio_low",
    "ratio_high",
    "macs",
    "nodes",
    "bytes",
    "valid",
    "reasons",
    *PARTS_CSV_HEAD,
)


def title(point: SweepPoint) -> str:
    """Such as `offline, batch 16`, with the figure that stands for it."""
    return f"{point.scenario}, batch {point.batch} (headline: {UNITS[point.figure]})"


def sentence(faster: Faster) -> str:
    """`A ran R ± S times faster than B`, S half the interval's width; or that the two cannot be told apart."""
    ratio = faster.ratio
    spread, mark = (ratio.high - ratio.low) / 2.0, f" ({EXTRAPOLATED})" if faster.extrapolated else ""
    if ratio.low <= 1.0:
        return f"{faster.faster} and {faster.slower} cannot be told apart: {_interval(ratio)} times{mark}"
    return f"{faster.faster} ran {_figure(ratio.value)} ± {spread:.2g} times faster than {faster.slower}{mark}"


def check_sentence(check: CrossCheck) -> str:
    """What LoadGen found beside what was found here."""
    apart = 100.0 * (check.loadgen / check.here - 1.0)
    return (
        f"LoadGen, {check.row}: {UNITS[check.figure]} {check.loadgen:.4g} over {check.queries} queries, here "
        f"{check.here:.4g} ({apart:+.1f} %)"
    )


def rows_of(point: SweepPoint) -> list[list[str]]:
    """Cells under `HEAD`, a row a contender."""
    return [_cells(row) for row in point.rows]


def notes(record: SweepRecord) -> list[str]:
    """What a reader must know before quoting a figure, the verdict's reasons first."""
    found = [f"not valid: {reason}" for reason in record.verdict.reasons]
    stated = {row.name: row.stated for point in record.points for row in point.rows}
    found += [f"{name}: {said}" for name, said in stated.items()]
    if record.images.kind == "synthetic":
        found.append(f"pictures are synthetic ({record.images.name}); give real ones with --data DIR")
    if record.images.skipped:
        found.append(f"{len(record.images.skipped)} files could not be decoded: {', '.join(record.images.skipped)}")
    for point in record.points:
        fewest = min(len(row.samples_ms) for row in point.rows)
        if point.scenario == MULTI and fewest < TAIL_SAMPLES:
            found.append(f"{title(point)}: p99 rests on {fewest} calls; {TAIL_SAMPLES} would put ten samples above it")
    found += list(dict.fromkeys(f"{each.name}: {each.transfers}; {each.waiting}" for each in record.files))
    return [*found, *parts_notes(record), *record.notes]


def where(record: SweepRecord) -> str:
    """On what it was measured, in one line."""
    machine, files = record.machine, record.files
    runs = dict.fromkeys(
        f"{each.provider}, {each.precision}, {each.threads} thread{'' if each.threads == 1 else 's'}" for each in files
    )
    sizes = dict.fromkeys(f"{each.height} × {each.width}" for each in files)
    return (
        f"{', '.join(dict.fromkeys(each.classifier_id for each in files))}, {' and '.join(sizes)} px, "
        f"{'; '.join(runs)}, {machine.device or machine.cpu}, {machine.cores} cores"
    )


def sweep_tables(record: SweepRecord) -> list[Table]:
    """A table a point, for the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = []
    for point in record.points:
        made = Table(title=title(point), box=SIMPLE_HEAD)
        for name in NARROW:
            made.add_column(name, justify="left" if name == HEAD[0] else "right", no_wrap=name != HEAD[0])
        for cells in rows_of(point):
            made.add_row(*(cell for name, cell in zip(HEAD, cells, strict=True) if name in NARROW))
        shown.append(made)
    return shown


def page_from_sweep(record: SweepRecord) -> str:
    """The whole sweep in Markdown."""
    parts = ["# Latency", f"{where(record)}. {record.created}."]
    for point in record.points:
        parts += [f"## {title(point)}", table(HEAD, rows_of(point)), _bullets(said_of(point))]
        if beside := parts_rows(point):
            parts += [table(PARTS_HEAD, beside), PARTS_CAPTION]
    for before in record.preprocess:
        parts += ["## Before the graph", before_caption(before), table(BEFORE_HEAD, before_rows(before))]
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    parts += ["## Notes", _bullets([*notes(record), f"versions: {versions}"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def said_of(point: SweepPoint) -> list[str]:
    """The sentences of a point."""
    return [*map(sentence, point.comparisons), *map(check_sentence, point.loadgen)]


def csv_from_sweep(record: SweepRecord) -> str:
    """A line a row and point."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEAD)
    for point in record.points:
        for row in point.rows:
            writer.writerow([*_csv_cells(point, row), *parts_csv(record, point, row)])
    return out.getvalue()


def _csv_cells(point: SweepPoint, row: Row) -> list[object]:
    times = [getattr(row.summary, name) for name in SUMMARISED]
    ratio = [row.ratio.value, row.ratio.low, row.ratio.high] if row.ratio else ["", "", ""]
    cost = [row.cost.get(name, "") for name in ("macs", "nodes", "bytes")]
    start = [point.scenario, point.batch, row.name, row.kind, row.baseline, row.extrapolated, row.summary.count]
    verdict = [row.verdict.valid, "; ".join(row.verdict.reasons)]
    return [*start, *times, row.images_per_second, *ratio, *cost, *verdict]


def _cells(row: Row) -> list[str]:
    ratio = row.ratio
    compared = "" if ratio is None else _interval(ratio)
    times = [f"{value:.3f}" for value in (row.summary.p50_ms, row.summary.p90_ms, row.summary.p99_ms)]
    name = row.name if row.extrapolated == 1.0 else f"{row.name} ({EXTRAPOLATED})"
    valid = "yes" if row.verdict.valid else "no"
    return [name, *times, _figure(row.images_per_second), compared, *_counted(row), str(row.summary.count), valid]


def _interval(ratio: Ratio) -> str:
    """`1.12 (1.10 to 1.14)`."""
    return f"{_figure(ratio.value)} ({_figure(ratio.low)} to {_figure(ratio.high)})"


def _figure(value: float) -> str:
    """Three digits, and all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def _counted(row: Row) -> list[str]:
    """Multiply-adds a picture, nodes and megabytes; a dash where nobody counted."""
    macs, nodes, size = (row.cost.get(name) for name in ("macs", "nodes", "bytes"))
    return [
        "—" if macs is None else f"{_figure(macs / 1e6)} M",
        "—" if nodes is None else f"{nodes:.0f}",
        "—" if size is None else f"{size / 1e6:.3g}",
    ]


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def headline_text(point: SweepPoint, row: Row) -> str:
    """The scenario's figure of a row, with its unit."""
    digits = f"{row.headline:.4g}"
    return f"{digits} images/s" if point.figure == RATE else f"{point.figure[:-3]} {digits} ms"
