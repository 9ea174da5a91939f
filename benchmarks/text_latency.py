"""How long a fused graph of texts takes beside its classifier alone: pairs as in `latency.py`, one text a call."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.latency import BenchSettings, measure_pairs
from whymask.benchmarks.latency_stats import judge, summarise
from whymask.benchmarks.machine import LoadMeter
from whymask.runtime.alone import classifier_path
from whymask.runtime.backends import Arrays
from whymask.runtime.card import LOGITS
from whymask.runtime.ort import OrtBackend
from whymask.runtime.text_card import ATTENTION_MASK, INPUT_IDS, OUTPUTS

MOST_TEXTS = 256
"""Texts are known to the pairs by a number in one byte."""


def text_latency(file: Path, texts: Sequence[Sequence[int]], seconds: float) -> dict[str, Any]:
    """Time both graphs on texts of their own length, on one thread.

    Args:
        file: the fused graph; the classifier alone lies beside it.
        texts: numbers of tokens of each text, at least one; the first 256 are used.
        seconds: time limit of the pairs.

    Returns:
        `fused` and `classifier` (percentiles, ms), `ratio` with its interval, `valid` and `reasons`, what the machine
        did, and the raw samples in the order of timing.
    """
    settings = BenchSettings(seconds=seconds, pictures=min(len(texts), MOST_TEXTS))
    fused, alone = (OrtBackend(each, "cpu", threads=1, spin=False) for each in (file, classifier_path(file)))
    feeds = [_feed(each) for each in texts[:MOST_TEXTS]]
    numbers: NDArray[np.uint8] = np.arange(len(feeds)).astype(np.uint8)
    with fused, alone, LoadMeter() as meter:
        pairs = measure_pairs(
            lambda batch: fused.run(feeds[batch[0]], OUTPUTS),
            lambda batch: alone.run(feeds[batch[0]], (LOGITS,)),
            numbers,
            settings,
        )
    ratio = pairs.ratio(settings)
    verdict = judge(
        ratio,
        len(pairs.fused_ms),
        margin=settings.margin,
        min_pairs=settings.min_pairs,
        load=meter.load,
        threads=1,
    )
    return {
        "fused": dataclasses.asdict(summarise(pairs.fused_ms)),
        "classifier": dataclasses.asdict(summarise(pairs.classifier_ms)),
        "ratio": dataclasses.asdict(ratio),
        "valid": verdict.valid,
        "reasons": list(verdict.reasons),
        "load": dataclasses.asdict(meter.load),
        "fused_ms": pairs.fused_ms.round(5).tolist(),
        "classifier_ms": pairs.classifier_ms.round(5).tolist(),
    }


def _feed(ids: Sequence[int]) -> Arrays:
    """One text a call, without filling up: int64 (1, N) both."""
    row = np.array([ids], np.int64)
    return {INPUT_IDS: row, ATTENTION_MASK: np.ones_like(row)}
