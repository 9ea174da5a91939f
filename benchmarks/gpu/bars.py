"""The bars of the study on a GPU, judged on its outcomes: what was asked for, what came, and whether it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from whymask.benchmarks.gpu.plan import CLASSIFIERS
from whymask.benchmarks.gpu.steps import Outcome

LEAST_AGREEMENT = 0.995
"""Share of pictures with the same top-1, the FP16 engine against torch, near ties aside."""
LEAST_IOU = 0.98
"""Of the masks, the FP16 engine against the FP32 graph in ONNX Runtime."""
MOST_RATIO = 1.15
"""p50 of the fused FP16 engine over the classifier alone, at batch 1 with CUDA graph."""
MOST_OVERHEAD_MS = 0.030
"""What Python adds to the time from the first call that queues work to its end, at batch 1, median."""


@dataclass(frozen=True)
class Bar:
    """One bar of one classifier.

    Attributes:
        name: what is judged.
        classifier: of which.
        asked: the limit, in words.
        got: the measured value, or why there is none.
        met: whether it holds.
    """

    name: str
    classifier: str
    asked: str
    got: str
    met: bool


def judge(outcomes: Mapping[str, Outcome]) -> list[Bar]:
    """Every bar of every classifier; one whose step is not done is not met.

    Args:
        outcomes: of all steps, by name.
    """
    return [bar for classifier in CLASSIFIERS for bar in _bars(classifier.name, outcomes)]


def overhead_ms(record: Mapping[str, Any]) -> float:
    """Median of what Python adds to a call of the fused engine, from the samples of a record of `whymask bench`."""
    total, queued = (np.array(record["samples"][f"fused_{name}_ms"]) for name in ("total", "enqueue_to_sync"))
    return float(np.median(total - queued))


def figure(verified: Mapping[str, Any], name: str) -> float:
    """One figure of a record of `whymask verify`; NaN where it is not finite, which meets no bar."""
    measured = next(each["measured"] for each in verified["figures"] if each["name"] == name)
    return float("nan") if measured is None else float(measured)


def _bars(name: str, outcomes: Mapping[str, Outcome]) -> Iterator[Bar]:
    timing = f"{name}.bench-fp16-b1-graph"
    checks = (
        ("top-1 agreement, FP16 engine and torch", f"≥ {LEAST_AGREEMENT:.1%}", f"{name}.verify-fp16-torch", _agreement),
        ("mask IoU, FP32 graph and FP16 engine", f"≥ {LEAST_IOU}", f"{name}.verify-fp16-onnx", _iou),
        ("fused p50 over classifier alone, batch 1, CUDA graph", f"≤ {MOST_RATIO}", timing, _ratio),
        ("Python's overhead, batch 1", f"≤ {1e3 * MOST_OVERHEAD_MS:.0f} µs", timing, _overhead),
    )
    for bar, asked, step, check in checks:
        outcome = outcomes[step]
        got, met = (f"{step} is {outcome.state}", False) if outcome.result is None else check(outcome.result)
        yield Bar(bar, name, asked, got, met)


def _agreement(verified: Mapping[str, Any]) -> tuple[str, bool]:
    value = figure(verified, "top1_agreement_min")
    return f"{value:.2%}", value >= LEAST_AGREEMENT


def _iou(verified: Mapping[str, Any]) -> tuple[str, bool]:
    value = figure(verified, "mask_iou_min")
    return f"{value:.4f}", value >= LEAST_IOU


def _ratio(record: Mapping[str, Any]) -> tuple[str, bool]:
    ratio, verdict = record["ratio"], record["verdict"]
    got = f"{ratio['value']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})"
    if not verdict["valid"]:
        return f"{got}, not valid: {'; '.join(verdict['reasons'])}", False
    return got, ratio["value"] <= MOST_RATIO


def _overhead(record: Mapping[str, Any]) -> tuple[str, bool]:
    value = overhead_ms(record)
    return f"{1e3 * value:.1f} µs", value <= MOST_OVERHEAD_MS
