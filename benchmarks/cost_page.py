"""The cost study as a Markdown page: the bars, what was counted, and what stands against a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whymask.benchmarks.records import record_of_kind
from whymask.benchmarks.tables import table
from whymask.runtime.backends import CERTIFICATES

SCHEMA_VERSION = 2
"""Of schema 1 are records with the one form `certified`, which is `both` now."""
COST_KIND = "whymask.cost"
BARS = {
    "resnet50": 1.06,
    "resnet18": 1.10,
    "mobilenet_v2": 1.20,
    "squeezenet1_1": 1.20,
    "vit_b_16": 1.05,
}
"""Largest median of paired ratios of the fused graph, at 224 px, batch 1, 2 threads; the others have no bar."""
CERTIFIED_BAR = 2.1
"""Of the graph with `--certify kept`, which asks the classifier twice; `both` asks it three times, and has no bar."""
KEPT, BOTH = CERTIFICATES
BAR_SIDE, BAR_THREADS = 224, 2

Record = Mapping[str, Any]


def cost_page(records: Sequence[Record]) -> str:
    """The page of some records, one a classifier."""
    parts = [
        "# What the why costs on a CPU\n",
        "Median of paired ratios to the classifier alone in ONNX Runtime, call by call in turn, in brackets the 95 % "
        "interval; batch 1, mask and saliency out, random weights. Made by `python -m whymask.benchmarks.cost run`; "
        "raw samples are in the JSON files beside this page.\n",
        bars_table(records),
        "Recipro-CAM's graph gives no mask. Ours is faster by the one's ratio over the other's.\n",
        _times(records),
        "Counted at batch 1; `run` nodes are those left by ONNX Runtime's optimisers, `reorders` those of them that "
        "only change the layout.\n",
        _counts(records),
        *_provenance(records),
    ]
    return "\n".join(parts)


def record_from(path: Path) -> dict[str, Any]:
    """Read a record of the study, also one of schema 1.

    Raises:
        ArtefactError: not JSON, no record of this study, or a newer one.
    """
    again = "measure it again: python -m whymask.benchmarks.cost run"
    record = record_of_kind(path, COST_KIND, SCHEMA_VERSION, again)
    return record if record["schema"] == SCHEMA_VERSION else _of_schema_1(record)


def _of_schema_1(record: dict[str, Any]) -> dict[str, Any]:
    renamed = {name: _renamed(record[name]) for name in ("costs", "pairs")}
    return record | renamed | {"schema": SCHEMA_VERSION}


def _renamed(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {BOTH if name == "certified" else name: part for name, part in parts.items()}


def verdict_of(record: Record, pair: str, bar: float | None) -> str:
    """`met`, `not met`, `invalid` or `–` where there is no bar for what was measured."""
    settings = record["settings"]
    if bar is None or pair not in record["pairs"]:
        return "–"
    if record["height"] != BAR_SIDE or settings["threads"] != BAR_THREADS:
        return "–"
    if not record["pairs"][pair]["verdict"]["valid"]:
        return "invalid"
    return "met" if record["pairs"][pair]["ratio"]["value"] <= bar else "not met"


def bars_table(records: Sequence[Record]) -> str:
    """The bars, and whether each is met."""
    head = (
        *("classifier", "fused", "bar", "", "--certify kept", "bar", "", "--certify both", "Recipro-CAM"),
        "ours faster by",
    )
    rows = []
    for record in records:
        bar = BARS.get(record["classifier"])
        rows.append(
            [
                record["classifier"],
                _ratio(record, "fused"),
                "–" if bar is None else f"{bar:.2f}",
                verdict_of(record, "fused", bar),
                _ratio(record, KEPT),
                f"{CERTIFIED_BAR:.2f}",
                verdict_of(record, KEPT, CERTIFIED_BAR),
                _ratio(record, BOTH),
                *_recipro(record),
            ]
        )
    return table(head, rows)


def _recipro(record: Record) -> tuple[str, str]:
    if "recipro" not in record["pairs"]:
        return "not made for it", "–"
    return _ratio(record, "recipro"), f"{recipro_factor(record):.2f} ×"


def recipro_factor(record: Record) -> float:
    """How many times longer Recipro-CAM's graph takes than the fused one, both relative to the classifier alone."""
    pairs = record["pairs"]
    factor: float = pairs["recipro"]["ratio"]["value"] / pairs["fused"]["ratio"]["value"]
    return factor


def _times(records: Sequence[Record]) -> str:
    head = ("classifier", "alone, p50 ms", "fused, p50 ms", "torch over ONNX Runtime, classifier alone")
    return table(
        head,
        [
            [
                record["classifier"],
                f"{record['pairs']['fused']['alone']['p50_ms']:.2f}",
                f"{record['pairs']['fused']['own']['p50_ms']:.2f}",
                _ratio(record, "torch"),
            ]
            for record in records
        ],
    )


def _counts(records: Sequence[Record]) -> str:
    head = ("classifier", "graph", "multiply-adds", "added", "parameters, MB", "nodes", "run", "reorders")
    rows = []
    for record in records:
        alone = record["costs"]["alone"]["multiply_adds"]
        for name, cost in record["costs"].items():
            rows.append(
                [
                    record["classifier"],
                    name,
                    f"{cost['multiply_adds'] / 1e6:.1f} M",
                    f"{100 * (cost['multiply_adds'] / alone - 1):+.1f} %",
                    f"{cost['parameter_bytes'] / 1e6:.1f}",
                    str(cost["nodes"]),
                    str(cost["run_nodes"]),
                    str(cost["reorders"]),
                ]
            )
    return table(head, rows, left=2)


def _ratio(record: Record, pair: str) -> str:
    if pair not in record["pairs"]:
        return "not measured"
    found = record["pairs"][pair]
    ratio = found["ratio"]
    mark = "" if found["verdict"]["valid"] else " invalid"
    return f"{ratio['value']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f}){mark}"


def _provenance(records: Sequence[Record]) -> list[str]:
    lines = []
    for record in records:
        settings, versions = record["settings"], record["versions"]
        counts = ", ".join(f"{name} n = {pair['own']['count']}" for name, pair in record["pairs"].items())
        lines.append(
            f"- {record['classifier']}: {record['height']} × {record['width']} px, {settings['threads']} threads, "
            f"decoder of {settings['channels']} channels, {record['machine']['cpu']}, ONNX Runtime "
            f"{versions['onnxruntime']}, torch {versions['torch']}, {record['created']}; {counts}"
        )
        for name, pair in record["pairs"].items():
            lines += [f"  - {name} is invalid: {reason}" for reason in pair["verdict"]["reasons"]]
    return [*lines, ""]
