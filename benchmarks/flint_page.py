"""Records of `whymask.benchmarks.flint` as a page: fidelity and accuracy with exact intervals, conciseness by τ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from whymask.benchmarks.intervals import clopper_pearson
from whymask.benchmarks.tables import table
from whymask.runtime.errors import ArtefactError

KIND, SCHEMA = "flint", 1
AIM_FIDELITY, AIM_FEW = 0.988, 1.25
"""What is published for MNIST: fidelity 98.8 %, 1.0 to 1.25 attributes for τ from 1.5 to 5."""
AIMED_TAUS = ("1.5", "5")


def read_record(path: Path) -> dict[str, Any]:
    """A record of this study.

    Raises:
        ArtefactError: it is not one.
    """
    again = "make it again with: python -m whymask.benchmarks.flint"
    try:
        record = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ArtefactError(f"{path}: not JSON ({error}); {again}") from None
    if not isinstance(record, dict) or (record.get("kind"), record.get("schema")) != (KIND, SCHEMA):
        raise ArtefactError(f"{path}: not a record of this study; {again}")
    return record


def page_of(records: Sequence[dict[str, Any]]) -> str:
    """A row a run, and what the published marks say of it.

    Args:
        records: from the study's commands, at least one.
    """
    taus = list(records[0]["parts"][0]["important"])
    head = ["data", "classifier", "mode", "seed", "fidelity", "accuracy", *(f"τ {tau}" for tau in taus), "attributes"]
    rows = [_row(record, part) for record in records for part in record["parts"]]
    legend = (
        "Fidelity: share of pictures, not learned from, on which interpreter and classifier name the same class; "
        "accuracy: the classifier's own. In brackets the exact 95 % interval (Clopper and Pearson) of one run; runs of "
        "one data set share pictures. τ: mean number of attributes with relevance above 1/τ. Attributes: those that "
        "are ever above 0, of all."
    )
    marks = (
        f"Published for MNIST (28 × 28, 60,000 pictures to learn from): fidelity {AIM_FIDELITY:.1%}, 1.0 to {AIM_FEW} "
        "attributes for τ from 1.5 to 5. Met or not, run by run:\n\n" + "\n".join(_verdicts(records))
    )
    return f"# FLINT\n\n{table(head, rows, left=3)}\n\n{legend}\n\n{marks}\n\n{_origin(records)}\n"


def share(count: int, n: int) -> str:
    """A share in % with its exact 95 % interval and its numbers."""
    interval = clopper_pearson(count, n)
    return f"{100 * interval.value:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f}; {count}/{n})"


def agreed(part: dict[str, Any], other: str) -> int:
    """Pictures whose predicted class is the one under another key, `interpreted` or `true`."""
    return int((np.asarray(part["predicted"]) == np.asarray(part[other])).sum())


def _row(record: dict[str, Any], part: dict[str, Any]) -> list[str]:
    n = len(part["predicted"])
    return [
        record["data"],
        _classifier(part),
        "by design" if part["by_design"] else "post hoc",
        str(part["seed"]),
        share(agreed(part, "interpreted"), n),
        share(agreed(part, "true"), n) if part["true"] is not None else "–",
        *(f"{np.mean(counts):.2f}" for counts in part["important"].values()),
        f"{part['used_attributes']} of {part['settings']['attributes']}",
    ]


def _classifier(part: dict[str, Any]) -> str:
    name: str = part["settings"]["model"].rpartition(":")[2]
    return name


def _verdicts(records: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for record in records:
        for part in record["parts"]:
            faithful = agreed(part, "interpreted") / len(part["predicted"]) >= AIM_FIDELITY
            few = [float(np.mean(part["important"][tau])) for tau in AIMED_TAUS]
            lines.append(
                f"- {_classifier(part)}, {record['data']}, seed {part['seed']}: fidelity "
                f"{'met' if faithful else 'not met'}; conciseness {few[0]:.2f} to {few[1]:.2f}, "
                f"{'met' if few[1] <= AIM_FEW else 'not met'}; always naming the commonest of "
                f"{len(set(part['predicted']))} predicted classes would reach {_commonest(part):.1%}"
            )
    return lines


def _commonest(part: dict[str, Any]) -> float:
    """Share of the class that the classifier predicts most often: what no attributes at all would reach."""
    return float(np.bincount(part["predicted"]).max() / len(part["predicted"]))


def _origin(records: Sequence[dict[str, Any]]) -> str:
    lines = []
    for record in records:
        part = record["parts"][0]
        versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
        seconds = sum(each["cpu_seconds"] for each in record["parts"])
        lines.append(
            f"- `{record['command']}`: learned from {part['learned_from']} pictures a run, {part['settings']['steps']} "
            f"steps of {part['settings']['batch_size']}; {seconds:.0f} s of processor time in all on "
            f"{record['machine']['cpu']}; {versions}."
        )
    return "\n".join(lines)
