"""Two records of `whymask evaluate` (`kind: evaluation`), judged picture by picture in a few columns that sum them up.

The whole table has dozens of columns that repeat each other, so that some would always seem to regress by chance.
Judged are the explainer's means of those below, and the area of its own mask, which buys every one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.baselines import EXPLAINER
from whymask.benchmarks.compare_findings import SHARE, Finding, judge_pictures, lost
from whymask.benchmarks.compare_reports import CARD_FIELDS, check_pictures
from whymask.benchmarks.suite.record import cells_from_record, own_from_record, read_record
from whymask.benchmarks.suite.sample import Cell, Cells
from whymask.runtime.errors import ArtefactError

Record = Mapping[str, Any]

JUDGED = (
    "kept_at_threshold",
    "retention_auc",
    "robust_retention",
    "insertion",
    "deletion",
    "sufficiency",
    "comprehensiveness",
    "road",
    "pointing",
)
"""Columns of shares or probabilities, whose change is in points."""


def suite_record(path: Path) -> dict[str, Any]:
    """A record, checked as `whymask evaluate` checks it.

    Raises:
        ArtefactError: it cannot be read, is of another schema, or has not a figure a picture.
    """
    return read_record(path)


def suite_likeness(record: Record) -> dict[str, object]:
    """What two evaluations must share, by the name that `--allow` takes."""
    graph, method = record["graph"], record["method"]
    alike: dict[str, object] = {name: graph["card"][name] for name in CARD_FIELDS}
    sets = [each["name"] for each in record["sets"]]
    return {**alike, "provider": graph["provider"], "sets": sets, "seed": method["seed"]}


def compare_suites(before: Record, after: Record, limit: float) -> tuple[list[Finding], list[str]]:
    """Judge the explainer in every set that both have.

    Args:
        before, after: records of like evaluations.
        limit: how many points each mean may be worse, as a share.

    Returns:
        The findings, and which columns were not judged with the reason.

    Raises:
        ArtefactError: no set, or no judged column, is in both; or a set holds other pictures in the two.
    """
    first, second = ({each["name"]: each for each in record["sets"]} for record in (before, after))
    shared = [name for name in first if name in second]
    if not shared:
        raise ArtefactError(f"no set of pictures in common: {', '.join(first)} and {', '.join(second)}")
    columns, notes = _columns(before["method"]["columns"], after["method"]["columns"])
    findings = [finding for name in shared for finding in _compare_sets(first[name], second[name], columns, limit)]
    return findings, notes


def _columns(before: Record, after: Record) -> tuple[dict[str, str], list[str]]:
    """Better side of the judged columns that mean the same in both records, and why others are left out."""
    found, notes = {}, []
    for name in JUDGED:
        if name not in before or name not in after:
            if name in before or name in after:
                notes.append(f"not judged: {name}, which one of the two did not measure")
        elif before[name] != after[name]:
            notes.append(f"not judged: {name}, which the two define differently")
        else:
            found[name] = str(before[name]["better"])
    if not found:
        raise ArtefactError(
            f"none of the columns {', '.join(JUDGED)} is in both; evaluate both graphs with the same --metrics"
        )
    return found, notes


def _compare_sets(before: Record, after: Record, columns: Mapping[str, str], limit: float) -> list[Finding]:
    check_pictures(before["name"], before["files"], after["files"])
    cells = cells_from_record(before), cells_from_record(after)
    findings = []
    for column, better in columns.items():
        told, figure = [_values(each, column, len(before["files"])) for each in cells], f"{before['name']}: {column}"
        values = _known(*told)
        if values[0].size:
            findings.append(judge_pictures(figure, *values, limit, more_is_better=better == "higher"))
        elif not np.isnan(told[0]).all():
            findings.append(lost(figure, SHARE, float(np.nanmean(told[0]))))
    areas = own_from_record(before)["area"], own_from_record(after)["area"]
    return [*findings, judge_pictures(f"{before['name']}: area at the threshold", *areas, limit, more_is_better=False)]


def _values(cells: Cells, column: str, count: int) -> NDArray[np.float64]:
    """The explainer's value of each picture; nan where it has none."""
    return cells.get(Cell(EXPLAINER, column), np.full(count, np.nan))


def _known(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pictures that have a value in both."""
    both = ~(np.isnan(first) | np.isnan(second))
    return first[both], second[both]
