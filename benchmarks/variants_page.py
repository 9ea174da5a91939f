"""Studies of variants as files: JSON with every picture's number, and Markdown tables with intervals.

Differences are paired: the same picture in both rows, the mean over the seeds. Their intervals are bootstrapped over
pictures; what another seed would change they do not hold, so a difference counts as one only where every seed agrees on
its sign.

Letters: S seeds, n pictures.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from whymask.benchmarks.imagenet import RESULTS
from whymask.benchmarks.intervals import Interval
from whymask.benchmarks.overlap import mean_interval
from whymask.benchmarks.program import check_json
from whymask.benchmarks.suite.sample import Column
from whymask.benchmarks.tables import table
from whymask.benchmarks.variants import SHAPES, Row, Study
from whymask.runtime.files import write_atomically
from whymask.runtime.versions import installed_versions

RecordFile = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--out",
        help="JSON file; the page goes beside it.",
        show_default="benchmarks/results/STUDY.json, or STUDY-BASE.json where the base is not the shapes",
    ),
]

SCHEMA_VERSION = 1
PACKAGES = ("whymask", "numpy", "onnxruntime", "torch")
WORSE, BETTER, OPEN = "worse", "better", "not told apart"


def mean_of(row: Row, column: str) -> Interval:
    """A row's mean with its 95 % interval over pictures.

    Raises:
        InputError: no picture has a value.
    """
    values = row.mean(column)
    return mean_interval(values[~np.isnan(values)])


def paired(row: Row, reference: Row, column: str) -> Interval:
    """The row's mean minus the reference's on the same pictures, with its 95 % interval over pictures.

    Raises:
        InputError: no picture has a value in both.
    """
    values = row.mean(column) - reference.mean(column)
    return mean_interval(values[~np.isnan(values)])


def verdict(row: Row, reference: Row, column: Column) -> str:
    """WORSE or BETTER than the reference where the interval leaves zero out and every seed agrees; else OPEN."""
    interval = paired(row, reference, column.name)
    each = row.figures[column.name] - reference.figures[column.name]
    signs = {int(np.sign(np.nanmean(seed))) for seed in each}
    if interval.low <= 0.0 <= interval.high or len(signs) > 1:
        return OPEN
    return BETTER if (interval.value > 0) == (column.better == "higher") else WORSE


def cell(interval: Interval, digits: int = 3) -> str:
    """A number with its interval."""
    return f"{interval.value:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def means_table(study: Study) -> str:
    """Every column of every row."""
    rows = [[row.variant.name, *(cell(mean_of(row, column.name)) for column in study.columns)] for row in study.rows]
    return table(["variant", *(column.name for column in study.columns)], rows)


def differences_table(study: Study) -> str:
    """Every column of every row minus the reference's; ▼ worse, ▲ better, nothing where they are not told apart."""
    marks = {WORSE: " ▼", BETTER: " ▲", OPEN: ""}
    rows = [
        [
            row.variant.name,
            *(
                f"{cell(paired(row, study.reference, column.name))}"
                f"{marks[verdict(row, study.reference, column)] if column.better else ''}"
                for column in study.columns
            ),
        ]
        for row in study.rows[1:]
    ]
    return table([f"minus {study.reference.variant.name}", *(column.name for column in study.columns)], rows)


def columns_list(columns: Sequence[Column]) -> str:
    """What each column is."""
    wanted = {"higher": " Higher is better.", "lower": " Lower is better.", "": ""}
    return "\n".join(f"- `{column.name}`: {column.stated}.{wanted[column.better]}" for column in columns)


def study_page(study: Study, head: str, verdicts: str) -> str:
    """The whole page of a study.

    Args:
        head: its title and what was done, Markdown.
        verdicts: what can be said of it, Markdown.
    """
    seeds = len(study.reference.facts)
    steps = (
        f"{len(study.pictures)} pictures that nothing was trained or calibrated on; {seeds} "
        f"{'seed' if seeds == 1 else 'seeds'} a row. In brackets: 95 % intervals, bootstrapped over pictures; another "
        "seed may move a row by more."
    )
    parts = [head, steps, verdicts, "## Figures", means_table(study)]
    if len(study.rows) > 1:
        parts += ["## Paired differences", "▼ worse, ▲ better than the first row.", differences_table(study)]
    return "\n\n".join([*parts, columns_list(study.columns), ""])


def record_from_study(study: Study, command: str) -> dict[str, Any]:
    """A study as JSON can hold it; a number that a picture does not have is null.

    Args:
        command: what a reader runs to make it again.
    """
    return {
        "schema": SCHEMA_VERSION,
        "kind": study.name,
        "command": command,
        "base": study.base,
        "versions": {"python": platform.python_version()} | installed_versions(PACKAGES),
        "columns": [{"name": each.name, "better": each.better, "stated": each.stated} for each in study.columns],
        "pictures": list(study.pictures),
        "rows": [
            {
                "variant": row.variant.name,
                "fields": dict(row.variant.fields),
                "seeds": list(row.facts),
                "figures": {name: [_numbers(seed) for seed in values] for name, values in row.figures.items()},
            }
            for row in study.rows
        ],
    }


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(each) else round(float(each), 6) for each in values]


def write_records(out: Path, records: Sequence[dict[str, Any]], page: str) -> None:
    """Write studies as JSON, and their page beside it.

    Args:
        out: the JSON file; see `check_json`.
        records: one a base.
        page: Markdown.
    """
    write_atomically(out, json.dumps(list(records), ensure_ascii=False, separators=(",", ":")) + "\n")
    write_atomically(out.with_suffix(".md"), page)


def record_file(out: Path | None, name: str, bases: Sequence[str]) -> Path:
    """Where a study's record goes, before an hour of training: one base's does not take the place of another's.

    Args:
        out: as asked for; None is NAME.json among the results, with the base behind the name where it is one that is
            not the shapes.
        name: of the study.
        bases: that it is made on.

    Raises:
        InputError: see `check_json`.
    """
    ending = "" if len(bases) != 1 or bases[0] == SHAPES else f"-{bases[0]}"
    found = RESULTS / f"{name}{ending}.json" if out is None else out
    check_json(found)
    return found
