"""The rows of the table of methods, their records, and the page: quality with intervals, time, and what can ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.baselines import CAM, CENTRE, EXPLAINER, RANDOM
from whymask.benchmarks.overlap import mean_cell, mean_interval
from whymask.benchmarks.records import record_of_schema
from whymask.benchmarks.suite.sweeps import SWEEP
from whymask.benchmarks.tables import table
from whymask.runtime.errors import ArtefactError

KIND, SCHEMA_VERSION = "whymask.methods", 2
COLUMNS = ("retention_auc", "retention_10", "retention_20", "retention_30", "insertion", "deletion")
"""Of the suite's sweep."""
DIFFERENCE = "retention_auc"
"""The column in which the explainer is held against each row, picture by picture."""


@dataclass(frozen=True)
class MethodRow:
    """A row of the table.

    Attributes:
        label: what it is called there.
        in_graph: whether it runs in the exported graph, and why not.
        per_image: whether it is a method of METHODS, with steps.
        has_map: whether there is a map to judge.
        settles: whether it may end before its steps do.
    """

    label: str
    in_graph: str
    per_image: bool = False
    has_map: bool = True
    settles: bool = False


_STEPS = "no: gradients, step after step"
ROWS: Mapping[str, MethodRow] = {
    EXPLAINER: MethodRow("amortized (ours)", "yes"),
    "optimise": MethodRow("per-image optimum of our objective", _STEPS, per_image=True),
    "activation-matching": MethodRow("activation matching, U-Net", _STEPS, per_image=True),
    "activation-matching-plain": MethodRow("activation matching, plain autoencoder", _STEPS, per_image=True),
    "marc": MethodRow("MaRC", _STEPS, per_image=True, settles=True),
    CAM: MethodRow("CAM", "yes, as a graph of its own (`bench --against cam`)"),
    "grad_cam": MethodRow("Grad-CAM", "no: a gradient"),
    "recipro_cam": MethodRow("Recipro-CAM", "yes, as a graph of its own (`bench --against recipro-cam`)"),
    "flint": MethodRow("FLINT", "yes, as attributes (`export --attributes`)", has_map=False),
    CENTRE: MethodRow("centre", "needs none"),
    RANDOM: MethodRow("random", "needs none"),
}
FLINT_WORDS = (
    "FLINT has no row of figures: the relevance of an attribute is one number a picture, and its attributes are read "
    "from pooled maps by a dense layer, so that no pixel can be ranked by it ([docs/flint.md](../../../docs/flint.md))."
)


def read_record(path: Path) -> dict[str, Any]:
    """A record of the table.

    Raises:
        ArtefactError: another file, another schema, or a row that this version does not know.
    """
    record = record_of_schema(path, KIND, SCHEMA_VERSION)
    if record.get("row") not in ROWS:
        raise ArtefactError(f"{path}: row {record.get('row')!r} is unknown, expected one of {', '.join(ROWS)}")
    return record


def page_from_records(records: Sequence[dict[str, Any]]) -> str:
    """The page of all classifiers, as Markdown."""
    by_classifier: dict[str, dict[str, dict[str, Any]]] = {}
    for record in records:
        by_classifier.setdefault(record["classifier"], {})[record["row"]] = record
    columns = {column.name: column for column in SWEEP.columns}
    said = "\n".join(f"- `{name}` ({columns[name].better} is better): {columns[name].stated}." for name in COLUMNS)
    head = (
        "# Methods in one table\n\nThe same pictures, the same areas, the same fill, judged by the classifier in an "
        "exported graph, by `python -m whymask.benchmarks.methods_table`. In brackets: 95 % intervals, bootstrapped "
        "over pictures. `ours − it`: paired difference in `retention_auc`, in bold where its interval leaves zero out. "
        "Seconds a picture are for maps alone, medians of what the list below a table says: by the wall, or of the "
        "processor (cpu), in which two busy cores count twice. **Reduced**: fewer steps "
        "than the method's own, so not what it can do, and no win over it is printed in bold. Retention at equal area "
        "also rewards masks of thousands of scattered pixels, as optimising every pixel can make them: read it beside "
        "insertion and deletion."
    )
    sections = [_section(name, rows) for name, rows in by_classifier.items()]
    return "\n\n".join([head, *sections, said, FLINT_WORDS]) + "\n"


def _section(name: str, rows: Mapping[str, dict[str, Any]]) -> str:
    """All rows on the pictures that they share; below, on more pictures, those that have them."""
    shared = common_pictures(rows)
    wide = {key: row for key, row in rows.items() if len(row["pictures"]) > len(shared)}
    left_out = [ROWS[key].label for key in ROWS if key not in rows and ROWS[key].has_map]
    parts = [f"## {name}", _table(rows, shared)]
    if left_out:
        parts.append(f"Not measured here: {', '.join(left_out)}.")
    if len(wide) > 1:
        parts += ["### The rows that have more pictures", _table(wide, common_pictures(wide))]
    ordered = [(key, rows[key]) for key in ROWS if key in rows]
    parts.append("\n".join(f"- {ROWS[key].label}: {row['stated']}. {_timed(row)}" for key, row in ordered))
    return "\n\n".join(parts)


def _table(rows: Mapping[str, dict[str, Any]], names: Sequence[str]) -> str:
    some = next(iter(rows.values()))
    head = ["method", "in the exported graph", "steps", "s / picture", *COLUMNS, "ours − it"]
    lines = [_line(key, rows, names) for key in ROWS if key in rows or not ROWS[key].has_map]
    size = some["input"]
    facts = f"{len(names)} pictures of {some['set']}, {size[0]} × {size[1]} px."
    return f"{facts}\n\n{table(head, lines, left=2)}"


def _timed(row: Mapping[str, Any]) -> str:
    """On what the seconds were counted: rows of one table may be of different machines."""
    return f"Time: {row['clock']}, {row['machine']['cpu']}."


def common_pictures(rows: Mapping[str, dict[str, Any]]) -> list[str]:
    """Names of the pictures that every row has, in the order of the first.

    Raises:
        ArtefactError: rows that different classifiers judged, or no picture in common.
    """
    if len({row["classifier_sha256"] for row in rows.values()}) > 1:
        raise ArtefactError("methods: rows of one name were judged by different classifiers; run all of them on one")
    names = [{each["picture"] for each in row["pictures"]} for row in rows.values()]
    shared = set.intersection(*names)
    if not shared:
        raise ArtefactError("methods: the rows have no picture in common; run all with the same --pictures")
    first = next(iter(rows.values()))
    return [each["picture"] for each in first["pictures"] if each["picture"] in shared]


def _line(key: str, rows: Mapping[str, dict[str, Any]], common: Sequence[str]) -> list[str]:
    row = ROWS[key]
    if not row.has_map:
        return [row.label, row.in_graph, "", "", *["–" for _ in COLUMNS], ""]
    record = rows[key]
    values = {column: values_of(record, column, common) for column in (*COLUMNS, "seconds")}
    cells = [mean_cell(values[column]) for column in COLUMNS]
    seconds = f"{np.median(values['seconds']):.3g} {'wall' if record['clock'].startswith('wall') else 'cpu'}"
    return [row.label, row.in_graph, _steps(row, record), seconds, *cells, _difference(key, rows, common)]


def _difference(key: str, rows: Mapping[str, dict[str, Any]], common: Sequence[str]) -> str:
    if key == EXPLAINER or EXPLAINER not in rows:
        return ""
    own, its = (values_of(rows[each], DIFFERENCE, common) for each in (EXPLAINER, key))
    interval = mean_interval(own - its)
    text = f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
    unfair = interval.low > 0 and is_reduced(rows[key])
    return f"**{text}**" if (interval.low > 0 or interval.high < 0) and not unfair else text


def _steps(row: MethodRow, record: Mapping[str, Any]) -> str:
    if not record["own_steps"]:
        return ""
    if is_reduced(record):
        return f"{record['steps']} of {record['own_steps']}, **reduced**"
    return f"{'≤ ' if row.settles else ''}{record['steps']}"


def is_reduced(record: Mapping[str, Any]) -> bool:
    """Whether a per-image method had fewer steps than its own."""
    return int(record["steps"]) < int(record["own_steps"])


def values_of(record: Mapping[str, Any], column: str, names: Sequence[str]) -> NDArray[np.float64]:
    """A column on some pictures, float64 (n,), in their order."""
    by_name = {each["picture"]: each for each in record["pictures"]}
    return np.asarray([by_name[name][column] for name in names], np.float64)
