"""A record of `whymask.benchmarks.rationales` as a Markdown page: what was found, with intervals, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from whymask.benchmarks.intervals import Interval
from whymask.benchmarks.overlap import mean_interval
from whymask.benchmarks.tables import table

HEAD = (
    "method",
    "sufficiency ↓",
    "comprehensiveness ↑",
    "sufficiency, PAD ↓",
    "comprehensiveness, PAD ↑",
    "token F1 ↑",
    "token IoU ↑",
)
FIGURES = ("sufficiency", "comprehensiveness", "sufficiency_pad", "comprehensiveness_pad", "f1", "iou")
CUT_HEAD = ("tokens kept", "spans", "sufficiency ↓", "comprehensiveness ↑", "precision", "recall", "F1", "IoU")
CUT_FIGURES = ("share", "spans", "sufficiency", "comprehensiveness", "precision", "recall", "f1", "iou")


def page_from_record(record: dict[str, Any]) -> str:
    """The whole page."""
    rows = [[name, *cells(figures, FIGURES)] for name, figures in record["methods"].items()]
    own = table(("method", *CUT_HEAD), [[name, *cells(cut, CUT_FIGURES)] for name, cut in record["cuts"].items()])
    parts = [
        "# Rationales",
        finding(record),
        table(HEAD, rows),
        "MaRC's rationales at their own cut of 0.5, tokens taken out:",
        own,
        told(record),
        "",
    ]
    return "\n\n".join(parts)


def finding(record: dict[str, Any]) -> str:
    """MaRC against each baseline on the same texts, by F1 and by comprehensiveness less sufficiency."""
    methods = record["methods"]
    first = next(iter(methods))
    lines = []
    for name in list(methods)[1:]:
        f1 = mean_interval(_array(methods[first]["f1"]) - _array(methods[name]["f1"]))
        held = mean_interval(_balance(methods[first]) - _balance(methods[name]))
        lines.append(f"- {first} less {name}: token F1 {signed(f1)}, comprehensiveness less sufficiency {signed(held)}")
    return "\n".join(["Paired differences of the means, in points, with 95 % bootstrap intervals over texts:", *lines])


def told(record: dict[str, Any]) -> str:
    """How it was measured."""
    classifier = record["classifier"]
    return (
        f"{record['texts']} held-out generated texts that the classifier gets right. Classifier: small transformer, "
        f"{classifier['parameters']:,} parameters, {classifier['steps']} steps on {classifier['training_texts']} "
        f"texts, right on {classifier['accuracy']:.1%} of {classifier['accuracy_texts']} others. "
        f"{marc_told(record['marc'])}. Figures in points of 100, means with "
        "95 % bootstrap intervals over texts. Sufficiency and comprehensiveness: ERASER's AOPC over the best 1, 5, 10, "
        "20 and 50 % of the tokens, taken out, or replaced by PAD, which is what MaRC optimises. F1 and IoU: of as "
        "many best tokens as the given reason has. All methods together took "
        f"{float(np.median(record['seconds_all_methods'])):.2g} s a text (median) on {record['cpu']}, "
        f"{record['threads']} thread(s), beside other work; torch {record['torch']}, seed {record['seed']}."
    )


def marc_told(marc: dict[str, dict[str, Any]]) -> str:
    """MaRC's settings by the name of the method."""
    return ". ".join(f"{name}: {_settings(each)}" for name, each in marc.items())


def _settings(marc: dict[str, Any]) -> str:
    return (
        f"{'at most ' if marc['settles'] else ''}{marc['steps']} steps, draws a step: {marc['draws']}, smoothness "
        f"{marc['smoothness']}, sparsity {marc['sparsity']}, flips {marc['flips']:.0%} each way, noise {marc['noise']}"
    )


def cells(figures: dict[str, list[float]], names: Sequence[str]) -> list[str]:
    """Means with intervals, shares in points."""
    return [cell(figures[each], 1.0 if each == "spans" else 100.0) for each in names]


def cell(values: Sequence[float], scale: float) -> str:
    """Mean with its interval, times `scale`: 100 makes points of shares."""
    each = mean_interval(_array(values))
    return f"{scale * each.value:.1f} [{scale * each.low:.1f}, {scale * each.high:.1f}]"


def _array(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(values, np.float64)


def _balance(figures: dict[str, list[float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return _array(figures["comprehensiveness"]) - _array(figures["sufficiency"])


def signed(each: Interval) -> str:
    """In points."""
    return f"{100 * each.value:+.1f} [{100 * each.low:+.1f}, {100 * each.high:+.1f}]"
