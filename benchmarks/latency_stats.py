"""Judging what was timed: percentiles, the ratio of paired medians with its interval, and whether the result stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.machine import Load
from whymask.runtime.errors import InputError

Times = NDArray[np.float64]
"""float64 (n,), milliseconds."""
Statistic: TypeAlias = Callable[..., Any]
"""`np.median` or `np.mean`."""

BUSY_TOLERANCE_CORES = 0.25
"""What a quiet system's own services may use of the cores that the measurement needs."""
LEAST_PAIRS = 10
"""Fewest pairs that any figure may rest on: of ten, one lies above p90. One pair alone has a bootstrap interval without
width, and two or three have one that is far too narrow, so that the interval itself cannot tell of too few."""
_RESAMPLES_AT_ONCE = 64


@dataclass(frozen=True)
class Summary:
    """Percentiles and dispersion of one series.

    Attributes:
        count: number of samples.
        min_ms, p50_ms, p90_ms, p95_ms, p99_ms, max_ms: percentiles, linear between samples.
        mean_ms, std_ms: mean and standard deviation (n − 1).
        iqr_ms: distance between the quartiles, which outliers do not move.
    """

    count: int
    min_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    mean_ms: float
    std_ms: float
    iqr_ms: float


@dataclass(frozen=True)
class Ratio:
    """Median of the fused graph over median of the classifier alone, from the same pairs.

    Attributes:
        value: the ratio; 1.12 means that the explanation adds 12 %.
        low, high: ends of its bootstrap interval.
        confidence: of the interval, in (0, 1).
        resamples: number of bootstrap resamples.
        block: neighbouring pairs drawn together, since noise comes in stretches.
    """

    value: float
    low: float
    high: float
    confidence: float
    resamples: int
    block: int

    @property
    def half_width(self) -> float:
        """Half the interval's width as a share of the ratio."""
        return (self.high - self.low) / 2.0 / self.value


@dataclass(frozen=True)
class Verdict:
    """Whether the figures may be quoted.

    Attributes:
        valid: no reason was found against it.
        reasons: each says what was seen, what was expected and what to do.
    """

    valid: bool
    reasons: tuple[str, ...] = ()


def summarise(times_ms: Times) -> Summary:
    """Percentiles and dispersion of a series of at least one sample."""
    if times_ms.size == 0:
        raise InputError("no sample was taken, expected at least one; raise the time limit")
    p50, p90, p95, p99 = np.percentile(times_ms, (50, 90, 95, 99))
    low, high = np.percentile(times_ms, (25, 75))
    return Summary(
        count=int(times_ms.size),
        min_ms=float(times_ms.min()),
        p50_ms=float(p50),
        p90_ms=float(p90),
        p95_ms=float(p95),
        p99_ms=float(p99),
        max_ms=float(times_ms.max()),
        mean_ms=float(times_ms.mean()),
        std_ms=float(times_ms.std(ddof=1)) if times_ms.size > 1 else 0.0,
        iqr_ms=float(high - low),
    )


def paired_ratio(fused_ms: Times, classifier_ms: Times, confidence: float, resamples: int, seed: int) -> Ratio:
    """Ratio of the medians with a percentile interval from a circular block bootstrap over pairs.

    Both series are resampled at the same places, so that what slows both (a lower clock, a busy neighbour) cancels.
    Blocks of n^(1/3) neighbours keep noise that lasts for several pairs from being counted as independent evidence.

    Args:
        fused_ms, classifier_ms: float64 (n,), milliseconds; entry i of both was timed in pair i.
        confidence: of the interval, in (0, 1).
        resamples: number of bootstrap resamples.
        seed: of the resampling.

    Raises:
        InputError: the series differ in length, or are empty.
    """
    return _ratio(fused_ms, classifier_ms, confidence, resamples, seed, np.median)


def paired_mean_ratio(fused_ms: Times, classifier_ms: Times, confidence: float, resamples: int, seed: int) -> Ratio:
    """As `paired_ratio`, of the means: for calls of two kinds, of which a median sees only the commoner.

    Args:
        fused_ms, classifier_ms, confidence, resamples, seed: as there.

    Raises:
        InputError: the series differ in length, or are empty.
    """
    return _ratio(fused_ms, classifier_ms, confidence, resamples, seed, np.mean)


def median_of_ratios(above_ms: Times, below_ms: Times, confidence: float, resamples: int, seed: int) -> Ratio:
    """As `paired_ratio`, but the median of the rounds' own ratios: for rounds so long that the machine drifts between.

    Args:
        above_ms, below_ms, confidence, resamples, seed: as there.

    Raises:
        InputError: the series differ in length, or are empty.
    """
    _check_pairs(above_ms, below_ms)
    return _ratio(above_ms / below_ms, np.ones_like(below_ms), confidence, resamples, seed, np.median)


def _ratio(above: Times, below: Times, confidence: float, resamples: int, seed: int, statistic: Statistic) -> Ratio:
    _check_pairs(above, below)
    resampled = _resampled((above, below), resamples, seed, statistic)
    tail = 100.0 * (1.0 - confidence) / 2.0
    low, high = np.percentile(resampled[0] / resampled[1], (tail, 100.0 - tail))
    value = float(statistic(above) / statistic(below))
    return Ratio(value, float(low), float(high), confidence, resamples, _block(above.size))


def _check_pairs(above: Times, below: Times) -> None:
    if above.size == 0 or above.size != below.size:
        raise InputError(f"{above.size} samples of the fused graph and {below.size} of the classifier; expected pairs")


def resampled_medians(series: Sequence[Times], resamples: int, seed: int) -> NDArray[np.float64]:
    """Medians of series that were timed side by side, resampled in blocks at the same places.

    Args:
        series: float64 (n,) each, of equal length.
        resamples: number of bootstrap resamples.
        seed: of the resampling.

    Returns:
        float64 (series, resamples).
    """
    return _resampled(series, resamples, seed, np.median)


def _resampled(series: Sequence[Times], resamples: int, seed: int, statistic: Statistic) -> NDArray[np.float64]:
    count = series[0].size
    random = np.random.default_rng(seed)
    found = np.empty((len(series), resamples))
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        some = min(_RESAMPLES_AT_ONCE, resamples - start)
        chosen = _blocks(random, count, _block(count), some)
        found[:, start : start + some] = [statistic(each[chosen], axis=-1) for each in series]
    return found


def _block(count: int) -> int:
    """Neighbours that are drawn together."""
    neighbours: int = round(count ** (1 / 3))
    return max(1, neighbours)


def _blocks(random: np.random.Generator, count: int, block: int, resamples: int) -> NDArray[np.int64]:
    """Indices int64 (resamples, count): runs of `block` neighbours from random places, wrapping at the end."""
    starts = random.integers(0, count, (resamples, -(-count // block), 1))
    indices = (starts + np.arange(block)).reshape(resamples, -1)[:, :count]
    wrapped: NDArray[np.int64] = indices % count
    return wrapped


def judge(
    ratio: Ratio,
    pairs: int,
    *,
    margin: float,
    min_pairs: int,
    load: Load,
    threads: int,
    against: tuple[str, ...] = (),
) -> Verdict:
    """Say whether the ratio stands, and what speaks against it.

    Args:
        ratio: with its interval.
        pairs: number of pairs that were timed.
        margin: largest half-width of the interval, as a share of the ratio.
        min_pairs: fewest pairs that percentiles may rest on; never fewer than LEAST_PAIRS.
        load: what the machine did meanwhile.
        threads: that one run used.
        against: what else speaks against it, such as a GPU's clocks that were held back; each a reason of its own.
    """
    reasons, needed = list(against), max(min_pairs, LEAST_PAIRS)
    if pairs < needed:
        what = "--seconds" if needed == min_pairs else "--pairs and --seconds"
        reasons.append(f"{pairs} pairs were timed, at least {needed} are needed: raise {what}")
    if not ratio.half_width <= margin:
        reasons.append(
            f"the interval of the ratio is ±{100 * ratio.half_width:.1f} %, wider than ±{100 * margin:.1f} %: "
            "raise --seconds, or stop what else runs on this machine"
        )
    if load.others_cores is not None and load.others_cores + threads > load.cores + BUSY_TOLERANCE_CORES:
        reasons.append(
            f"other processes used {load.others_cores:.1f} of {load.cores} cores while {threads} "
            f"{'thread was' if threads == 1 else 'threads were'} timed: stop them, or lower --threads"
        )
    return Verdict(not reasons, tuple(reasons))
