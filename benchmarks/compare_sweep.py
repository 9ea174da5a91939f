"""Two records of a sweep (`whymask.bench_sweep`), judged row by row: every fused file at every point that both have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.compare_bench import machine_likeness
from whymask.benchmarks.compare_findings import RESAMPLES, Finding, judge, judge_count
from whymask.benchmarks.latency_stats import resampled_medians
from whymask.benchmarks.sweep_record import FUSED, RIVAL, TRIGGER
from whymask.runtime.errors import ArtefactError

Record = Mapping[str, Any]

FILE_FIELDS = ("classifier_id", "backend", "provider", "precision", "threads", "height", "width", "cuda_graph")
NOT_JUDGED = {
    TRIGGER: "rows on trigger, which call the two graphs that are",
    RIVAL: "other methods, whose cost is not this graph's",
}
COUNTS = {"macs": "multiply-adds", "nodes": "nodes"}


def sweep_likeness(record: Record) -> dict[str, object]:
    """What two sweeps must share, by the name that `--allow` takes."""
    files = {name: [each[name] for each in record["files"]] for name in ("name", *FILE_FIELDS)}
    points = [f"{each['scenario']}, batch {each['batch']}" for each in record["points"]]
    # Rivals share the rounds, and with them caches and clocks.
    rows = [sorted(row["name"] for row in each["rows"]) for each in record["points"]]
    return {**machine_likeness(record["machine"], record["versions"]), **files, "points": points, "rows": rows}


def compare_sweeps(before: Record, after: Record, limit: float) -> tuple[list[Finding], list[str]]:
    """Judge the ratio of every fused file to its classifier, and its counted cost.

    Args:
        before, after: valid records of like sweeps.
        limit: how much worse each figure may be, as a share.

    Returns:
        The findings, and what was not judged.

    Raises:
        ArtefactError: no fused file at no point is in both.
    """
    first, second = _rows(before), _rows(after)
    shared = [key for key in first if key in second]
    if not shared:
        raise ArtefactError("no file at the same scenario and batch in both; measure both with the same command")
    findings = [finding for key in shared for finding in _compare(key, first[key], second[key], limit)]
    return findings, [f"not judged: {NOT_JUDGED[kind]}" for kind in NOT_JUDGED if _has(before, kind)]


def _rows(record: Record) -> dict[str, tuple[Record, Record]]:
    """Each fused row and its classifier's, by point and name."""
    found = {}
    for point in record["points"]:
        by_name = {row["name"]: row for row in point["rows"]}
        for row in point["rows"]:
            if row["kind"] == FUSED:
                key = f"{point['scenario']}, batch {point['batch']}, {row['name']}"
                found[key] = (row, by_name[row["baseline"]])
    return found


def _has(record: Record, kind: str) -> bool:
    return any(row["kind"] == kind for point in record["points"] for row in point["rows"])


def _compare(key: str, before: tuple[Record, Record], after: tuple[Record, Record], limit: float) -> list[Finding]:
    changes = _ratios(*after, seed=2) / _ratios(*before, seed=1) - 1.0
    values = float(before[0]["ratio"]["value"]), float(after[0]["ratio"]["value"])
    confidence = min(before[0]["ratio"]["confidence"], after[0]["ratio"]["confidence"])
    tail = 100.0 * (1.0 - confidence) / 2.0
    low, high = (float(end) for end in np.percentile(changes, (tail, 100.0 - tail)))
    worse = (values[1] / values[0] - 1.0, low, high)
    findings = [judge(f"{key}: fused / classifier, p50", "times", values, worse, limit)]
    for name, unit in COUNTS.items():
        if before[0]["cost"].get(name) and name in after[0]["cost"]:
            counts = before[0]["cost"][name], after[0]["cost"][name]
            findings.append(judge_count(f"{key}: {unit}", unit, *counts, limit))
    return findings


def _ratios(fused: Record, classifier: Record, seed: int) -> NDArray[np.float64]:
    """Resampled ratios of the medians, float64 (resamples,), rounds kept together."""
    _, mine, theirs = np.intersect1d(fused["rounds"], classifier["rounds"], return_indices=True)
    if not mine.size:
        raise ArtefactError(f"{fused['name']} has no round in common with {classifier['name']}; measure again")
    series = [np.array(fused["samples_ms"], np.float64)[mine], np.array(classifier["samples_ms"], np.float64)[theirs]]
    medians = resampled_medians(series, RESAMPLES, seed)
    ratios: NDArray[np.float64] = medians[0] / medians[1]
    return ratios
