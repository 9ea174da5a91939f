"""Two records of `whymask bench` of the same kind of run, judged figure by figure.

Latency is judged from the raw samples of both records: the ratio of fused graph and classifier first, since what slows
a machine for a while slows both, then the fused graph's own median. The intervals tell of the noise within each run;
a change near the limit deserves a second pair of runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.compare_findings import CANNOT_TELL, RESAMPLES, SHARE, Finding, judge, judge_count
from whymask.benchmarks.latency_stats import resampled_medians
from whymask.runtime.errors import ArtefactError

Record = Mapping[str, Any]

RUNTIME_PACKAGES = (
    "python",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx",
    "cuda-bindings",
)
"""What runs the graphs; `whymask` itself may be what is compared, and the others only read and tell."""
FIELDS = ("classifier_id", "precision", "provider", "batch", "threads", "height", "width", "outputs", "transfers")
COUNTS = {"macs": "multiply-adds", "nodes": "nodes"}
"""Of the card's cost, and what they count."""


def bench_likeness(record: Record) -> dict[str, object]:
    """What two runs must share for their figures to be compared, by the name that `--allow` takes."""
    gpu = record.get("gpu") or {}
    alike = _machine(record["machine"])
    alike |= {"device": gpu.get("device", ""), "cuda_graph": gpu.get("cuda_graph", False)}
    # Records of schema 1 have no backend: there was but one.
    alike |= {"backend": record.get("backend", "onnxruntime"), **{name: record[name] for name in FIELDS}}
    versions = _runtime_versions(record["versions"])
    state = gpu.get("after") or {}
    versions |= {"CUDA": gpu.get("cuda"), "TensorRT": gpu.get("library"), "driver": state.get("driver")}
    return {**alike, "power_mode": state.get("power_mode", ""), "versions": _told(versions)}


def machine_likeness(machine: Record, versions: Record) -> dict[str, object]:
    """What two records of any kind must share of the machine and of what runs the graphs.

    Args:
        machine: `describe_machine` as JSON has it.
        versions: of packages.
    """
    return {**_machine(machine), "versions": _told(_runtime_versions(versions))}


def _machine(machine: Record) -> dict[str, object]:
    alike: dict[str, object] = {name: machine[name] for name in ("cpu", "cores", "architecture", "system", "governor")}
    return alike | {"board": machine["device"]}


def _runtime_versions(versions: Record) -> dict[str, str | None]:
    return {name: versions.get(name) for name in RUNTIME_PACKAGES}


def _told(versions: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def check_valid(name: str, record: Record) -> None:
    """Refuse a record whose figures may not be quoted.

    Args:
        name: of its file.
        record: as read.

    Raises:
        ArtefactError: with the reasons of its verdict.
    """
    if not record["verdict"]["valid"]:
        raise ArtefactError(f"{name}: not valid, so it proves nothing: {'; '.join(record['verdict']['reasons'])}")


def compare_benches(before: Record, after: Record, limit: float) -> tuple[list[Finding], list[str]]:
    """Judge latency, counted cost and agreement.

    Args:
        before, after: valid records of like runs.
        limit: how much worse each figure may be, as a share.

    Returns:
        The findings, and what was not judged with the reason.
    """
    findings, notes = _latency(before, after, limit), []
    for key, unit in COUNTS.items():
        if before["cost"].get(key) and key in after["cost"]:
            findings.append(judge_count(unit, unit, before["cost"][key], after["cost"][key], limit))
        else:
            notes.append(f"not judged: {unit}, which the cards of both graphs do not tell")
    if _pictures(before) == _pictures(after):
        name = "top-1 as the classifier alone"
        findings.append(judge_count(name, SHARE, before["top1_agreement"], after["top1_agreement"], limit))
    else:
        notes.append(f"not judged: top-1 agreement, of other pictures: {_pictures(before)} and {_pictures(after)}")
    return findings, notes


def _latency(before: Record, after: Record, limit: float) -> list[Finding]:
    first, second = _medians(before, seed=1), _medians(after, seed=2)
    confidence = min(before["settings"]["confidence"], after["settings"]["confidence"])
    tail = 100.0 * (1.0 - confidence) / 2.0

    def judged(figure: str, unit: str, values: tuple[float, float], changes: NDArray[np.float64]) -> Finding:
        low, high = np.percentile(changes, (tail, 100.0 - tail)) - 1.0
        worse = (values[1] / values[0] - 1.0, float(low), float(high))
        return judge(figure, unit, values, worse, limit)

    ratios = (float(before["ratio"]["value"]), float(after["ratio"]["value"]))
    ratio = judged("fused / classifier, p50", "times", ratios, (second[0] / second[1]) / (first[0] / first[1]))
    times = (float(before["fused"]["p50_ms"]), float(after["fused"]["p50_ms"]))
    fused = judged("fused graph, p50", "ms", times, second[0] / first[0])
    return [ratio, _controlled(fused, before, after, limit)]


def _controlled(fused: Finding, before: Record, after: Record, limit: float) -> Finding:
    """Withhold the verdict where the very same classifier took another time as well: then the machine changed."""
    if before["classifier_file"]["sha256"] != after["classifier_file"]["sha256"]:
        return fused
    moved = after["classifier"]["p50_ms"] / before["classifier"]["p50_ms"] - 1.0
    if abs(moved) <= limit:
        return fused
    reason = f"the very same classifier's p50 moved by {100 * moved:+.1f} %, so the machine changed between the runs"
    return dataclasses.replace(fused, verdict=CANNOT_TELL, reason=reason)


def _medians(record: Record, seed: int) -> NDArray[np.float64]:
    """Resampled medians float64 (2, resamples) of fused graph and classifier, pairs kept together."""
    samples = record["samples"]
    series = [np.array(samples[f"{name}_ms"], np.float64) for name in ("fused", "classifier")]
    if not series[0].size or series[0].shape != series[1].shape:
        raise ArtefactError(
            f"a record has {series[0].size} samples of the fused graph and {series[1].size} of the classifier, "
            "expected pairs; measure again"
        )
    return resampled_medians(series, RESAMPLES, seed)


def _pictures(record: Record) -> str:
    images, seed = record["images"], record["settings"]["seed"]
    return f"{images['count']} of {images['name']}, seed {seed}"
