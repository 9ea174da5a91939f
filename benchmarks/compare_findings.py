"""The judgement of one figure that was measured twice: it regressed, it held, or the intervals cannot tell.

Every change is turned so that more than zero is worse. A regression is called only where the whole interval of the
change lies beyond the limit, and a figure is said to hold only where none of it does.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.intervals import LEAST_PICTURES
from whymask.runtime.errors import ArtefactError, InputError

REGRESSED, HELD, CANNOT_TELL = "regressed", "held", "cannot tell"
SHARE = "share"
"""Unit of figures between 0 and 1, whose change is a difference in points; the change of all others is relative."""
PARITY = "parity"
"""Unit of figures that are held to a bound of their own."""
RESAMPLES = 2000
_AT_ONCE = 100
_ROUNDING = 1e-9
"""So that 105 after 100 is 5 % worse and not a little more."""


@dataclass(frozen=True)
class Finding:
    """One figure before and after.

    Attributes:
        figure: what it is.
        unit: `share`, `parity`, or what the two values count.
        before, after: the values.
        worse: how much worse the second is: a difference of shares, or a share of the first; below zero is better.
        low, high: ends of its interval; both are `worse` for what is counted and not measured.
        verdict: `regressed`, `held` or `cannot tell`.
        reason: why the verdict is not what the interval says; mostly empty.
    """

    figure: str
    unit: str
    before: float
    after: float
    worse: float
    low: float
    high: float
    verdict: str
    reason: str = ""


def judge(
    figure: str, unit: str, values: tuple[float, float], worse: tuple[float, float, float], limit: float
) -> Finding:
    """A finding from a change and its interval.

    Args:
        figure: what it is.
        unit: `share`, or what is counted.
        values: before and after.
        worse: how much worse, and the ends of its interval.
        limit: how much worse it may be, as a share.
    """
    value, low, high = worse
    allowed = limit + _ROUNDING
    verdict = REGRESSED if low > allowed else HELD if high <= allowed else CANNOT_TELL
    return Finding(figure, unit, *values, value, low, high, verdict)


def judge_count(figure: str, unit: str, before: float, after: float, limit: float) -> Finding:
    """A finding from two figures that hold no noise: counts, or a share of the very same pictures.

    Args:
        figure: what it is.
        unit: `share`, of which more is better, or what is counted, of which less is.
        before, after: the values.
        limit: how much worse it may be, as a share.
    """
    worse = before - after if unit == SHARE else after / before - 1.0
    return judge(figure, unit, (before, after), (worse, worse, worse), limit)


def judge_pictures(
    figure: str, before: NDArray[np.float64], after: NDArray[np.float64], limit: float, *, more_is_better: bool
) -> Finding:
    """A finding from a share of each of the same pictures, with a bootstrap interval over the pictures.

    Of fewer than LEAST_PICTURES that did change, it cannot be told.

    Args:
        figure: what it is.
        before, after: float64 (n,), entry i of both of the same picture.
        limit: how many points the mean may be worse, as a share.
        more_is_better: whether a higher share is better.
    """
    worse = before - after if more_is_better else after - before
    random = np.random.default_rng(0)
    means = [
        worse[random.integers(0, worse.size, (_AT_ONCE, worse.size))].mean(1) for _ in range(RESAMPLES // _AT_ONCE)
    ]
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    values = (float(before.mean()), float(after.mean()))
    found = judge(figure, SHARE, values, (float(worse.mean()), float(low), float(high)), limit)
    if worse.size >= LEAST_PICTURES or not worse.any():
        return found
    reason = f"of {worse.size} pictures no change can be told, at least {LEAST_PICTURES} are needed"
    return dataclasses.replace(found, verdict=CANNOT_TELL, reason=reason)


def lost(figure: str, unit: str, before: float) -> Finding:
    """A figure that the record from before has and the one from after has not: nothing says that it held.

    Args:
        figure: what it is.
        unit: as of `judge`.
        before: its value.
    """
    nan = float("nan")
    return Finding(figure, unit, before, nan, nan, nan, nan, CANNOT_TELL, "the second record does not tell it")


def share_from_text(text: str) -> float:
    """A share from `5%`, `5 %` or `0.05`.

    Raises:
        InputError: it is none, or it is 1 or more without a percent sign, which may have been meant as per cent.
    """
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(%?)", text.strip())
    if found is None:
        raise InputError(f"{text!r} is no share, expected a percentage such as 5%, or a number such as 0.05")
    value = float(found[1]) / (100.0 if found[2] else 1.0)
    if value >= 1.0 and not found[2]:
        raise InputError(f"{text!r} may mean {text}% or {100 * value:g}%; write the percent sign, or a number below 1")
    return value


def check_alike(
    names: tuple[str, str], before: Mapping[str, object], after: Mapping[str, object], allow: Iterable[str]
) -> tuple[str, ...]:
    """Refuse two records of unlike runs.

    Args:
        names: of the two files.
        before, after: what must be the same, by the name that `--allow` takes.
        allow: names that may differ.

    Returns:
        What differs and was allowed, as sentences.

    Raises:
        ArtefactError: with every field that differs, and both values.
    """
    unlike = {name: f"{name} {before[name]} and {after[name]}" for name in before if before[name] != after[name]}
    refused = [name for name in unlike if name not in set(allow)]
    if refused:
        options = " ".join(f"--allow {name}" for name in refused)
        raise ArtefactError(
            f"{names[0]} and {names[1]} are of unlike runs: {'; '.join(unlike[name] for name in refused)}. "
            f"Measure both alike, or compare all the same with {options}"
        )
    return tuple(f"unlike, as allowed: {sentence}" for sentence in unlike.values())
