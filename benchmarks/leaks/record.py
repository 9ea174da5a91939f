"""What a check says: how it was done, what was measured, and bars that were set before anything was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.intervals import Interval
from whymask.benchmarks.overlap import mean_interval

DIGITS = 4


def mean_figure(values: NDArray[Any], seed: int = 0) -> dict[str, Any]:
    """Mean of one number a picture with its 95 % bootstrap interval over pictures.

    Args:
        values: (n,), numbers or truth values; nan where a picture has none.
        seed: of the bootstrap.
    """
    known = values.astype(np.float64)
    known = known[~np.isnan(known)]
    return interval_figure(mean_interval(known, seed), len(known))


def interval_figure(interval: Interval, n: int) -> dict[str, Any]:
    """An interval over n pictures as JSON can hold it."""
    return {
        "value": round(interval.value, DIGITS),
        "low": round(interval.low, DIGITS),
        "high": round(interval.high, DIGITS),
        "n": n,
    }


def bar(stated: str, met: bool) -> dict[str, Any]:
    """One bar: what was asked, and whether it is met."""
    return {"stated": stated, "met": bool(met)}


def check_record(
    name: str,
    stated: str,
    n: int,
    figures: Mapping[str, Mapping[str, Any]],
    bars: Sequence[Mapping[str, Any]],
    **more: Any,
) -> dict[str, Any]:
    """The record of a check that ran; it is passed where every bar is met.

    Args:
        name: of the check.
        stated: the method in a few sentences, with its source.
        n: number of pictures.
        figures: by name, each with value, low, high and n.
        bars: from `bar`.
        more: whatever else a reader may want to look at.
    """
    return {
        "check": name,
        "stated": stated,
        "n": n,
        "figures": {key: dict(value) for key, value in figures.items()},
        "bars": [dict(each) for each in bars],
        "passed": all(each["met"] for each in bars),
        **more,
    }


def left_out(name: str, reason: str) -> dict[str, Any]:
    """The record of a check that could not be done, with the reason; neither passed nor failed."""
    return {"check": name, "stated": "", "n": 0, "figures": {}, "bars": [], "passed": None, "reason": reason}
