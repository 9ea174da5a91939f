"""Latency records as one Markdown table, for the page of results and for the front page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whymask.benchmarks.tables import table
from whymask.runtime.errors import ArtefactError

HEAD = (
    "classifier",
    "alone, p50 / p90 ms",
    "with the why, p50 / p90 ms",
    "the why adds",
    "multiply-adds added",
    "valid",
)


def read_latency(path: Path) -> dict[str, Any]:
    """A record that `whymask bench` wrote.

    Raises:
        ArtefactError: it is not one.
    """
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict) or record.get("kind") != "whymask.bench":
        raise ArtefactError(f"{path}: not a record of whymask bench; write it again with: whymask bench FILE -o {path}")
    return record


def latency_block(records: Sequence[dict[str, Any]]) -> str:
    """Where it was measured, a row a classifier, and the reasons of any figure that may not be quoted."""
    first = records[0]
    threads = f"{first['threads']} thread{'' if first['threads'] == 1 else 's'}"
    where = (
        f"ONNX Runtime {first['versions'].get('onnxruntime', '?')} on {first['machine']['cpu']}, {threads}, batch "
        f"{first['batch']}, {first['height']} × {first['width']} px, {first['precision']}; both graphs in one process, "
        "call by call in turn; in brackets the 95 % interval of the ratio."
    )
    reasons = [
        f"- {_name(record)} is not valid: {'; '.join(record['verdict']['reasons'])}."
        for record in records
        if not record["verdict"]["valid"]
    ]
    return "\n\n".join(part for part in (where, table(HEAD, map(_row, records)), "\n".join(reasons)) if part)


def _name(record: dict[str, Any]) -> str:
    return str(record["classifier_id"]).rpartition(":")[2]


def _row(record: dict[str, Any]) -> list[str]:
    def times(which: str) -> str:
        return f"{record[which]['p50_ms']:.2f} / {record[which]['p90_ms']:.2f}"

    ratio, cost = record["ratio"], record["cost"]
    added, low, high = (100 * (ratio[key] - 1) for key in ("value", "low", "high"))
    macs = 100 * cost["explainer_macs"] / cost["classifier_macs"]
    valid = "yes" if record["verdict"]["valid"] else "no"
    return [
        _name(record),
        times("classifier"),
        times("fused"),
        f"+{added:.1f} % ({low:.1f} to {high:.1f})",
        f"+{macs:.1f} %",
        valid,
    ]
