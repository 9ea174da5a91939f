"""Rows of the table of methods out of an evaluation that was made already: the same metrics on the same graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from whymask.benchmarks.baselines import CAM, CENTRE, EXPLAINER, RANDOM
from whymask.benchmarks.methods_page import COLUMNS, KIND, SCHEMA_VERSION
from whymask.benchmarks.rivals.optimised import NAME as OPTIMISED
from whymask.benchmarks.suite.record import Record, cells_from_record, own_from_record, seconds_a_picture
from whymask.benchmarks.suite.sample import Cell
from whymask.runtime.errors import ArtefactError

MAPS: Mapping[str, str] = {
    EXPLAINER: EXPLAINER,
    "optimise": OPTIMISED,
    CAM: CAM,
    "grad_cam": "grad_cam",
    "recipro_cam": "recipro_cam",
    CENTRE: CENTRE,
    RANDOM: RANDOM,
}
"""Row of the table → map of the evaluation."""


def records_from_suite(classifier: str, suite: Record, name: str, steps: int, own_steps: int) -> list[dict[str, Any]]:
    """A record for each row that an evaluation holds.

    Args:
        classifier: what it is called in the table.
        suite: from `whymask.benchmarks.suite.record.read_record`.
        name: of the set of pictures.
        steps: that the evaluation spent on a picture in per-image optimisation.
        own_steps: that the method would take by itself.

    Raises:
        ArtefactError: no such set.
    """
    sets = {each["name"]: each for each in suite["sets"]}
    if name not in sets:
        raise ArtefactError(
            f"{classifier}: the evaluation has no set {name}, only {', '.join(sets)}; evaluate it first"
        )
    common = {
        "kind": KIND,
        "schema": SCHEMA_VERSION,
        "classifier": classifier,
        "graph_sha256": suite["graph"]["sha256"],
        "classifier_sha256": suite["graph"]["card"]["classifier_sha256"],
        "input": [suite["graph"]["card"]["height"], suite["graph"]["card"]["width"]],
        "set": name,
        "clock": f"wall clock on {suite['machine']['cores']} core(s), mean of the evaluation",
        "machine": suite["machine"],
        "versions": suite["versions"],
    }
    found = []
    for row, judged in MAPS.items():
        pictures = _pictures(sets[name], judged)
        if pictures:
            spent = {"steps": steps, "own_steps": own_steps} if judged == OPTIMISED else {"steps": 0, "own_steps": 0}
            stated = suite["method"]["maps"][judged]["stated"]
            found.append({**common, "row": row, "stated": stated, **spent, "pictures": pictures})
    return found


def _pictures(record: Record, judged: str) -> list[dict[str, Any]]:
    """Figures of one map a picture that it was judged on; none where the evaluation has not got it or a column."""
    cells, own = cells_from_record(record), own_from_record(record)
    if any(Cell(judged, column) not in cells for column in COLUMNS):
        return []
    seconds = round(seconds_a_picture(record, judged), 6)
    values = np.stack([cells[Cell(judged, column)] for column in COLUMNS], axis=1)
    return [
        {
            "picture": record["files"][index],
            "class": int(own["top1"][index]),
            "seconds": seconds,
            **{column: round(float(value), 6) for column, value in zip(COLUMNS, values[index], strict=True)},
        }
        for index in np.flatnonzero(~np.isnan(values).any(axis=1))
    ]
