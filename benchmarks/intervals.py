"""Exact intervals for shares of images, and for the difference between two shares measured on the same images.

Written out here in numpy, so that a device without scipy can judge what it measures; the tests compare with scipy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.errors import InputError

CONFIDENCE = 0.95
LEAST_PICTURES = 6
"""Fewest pictures of which a difference can be told from zero with 95 %: of five that all differ the same way, chance
alone makes one set in sixteen. A bootstrap does not know it, for of few pictures it draws the same ones again and
again: one picture has an interval without width."""
_HALVINGS = 60
"""Bisection steps: 2^-60 is below the spacing of float64 around every bound that can be reported."""
_ROUNDING = 1e-12
"""Of sums of probabilities."""


@dataclass(frozen=True)
class Interval:
    """A share or a difference of shares, with its two-sided confidence interval.

    Attributes:
        value: the point estimate.
        low, high: ends of the interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Share of the first minus share of the second, on the same images.

    Attributes:
        interval: estimate and bootstrap interval over images.
        p_value: exact two-sided McNemar test of "both keep equally often".
        first_only, second_only: images that only the first, only the second keeps.
    """

    interval: Interval
    p_value: float
    first_only: int
    second_only: int


def log_binomial_pmf(n: int, share: float) -> NDArray[np.float64]:
    """Logarithm of P(K = k) for k = 0 … n, K ~ Binomial(n, share), with 0 < share < 1."""
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(n + 1)
    log_choose = log_factorial[n] - log_factorial - log_factorial[::-1]
    result: NDArray[np.float64] = log_choose + k * math.log(share) + (n - k) * math.log1p(-share)
    return result


def clopper_pearson(kept: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Exact two-sided interval of a share.

    Args:
        kept: number of successes.
        n: number of trials, at least 1.
        confidence: coverage, in (0, 1).

    Returns:
        `kept / n` and the interval of Clopper and Pearson (1934), which covers at least as often as stated.

    Raises:
        InputError: `kept` is not in 0 … n, or `n` is 0.
    """
    if n < 1 or not 0 <= kept <= n:
        raise InputError(f"interval: {kept} of {n} is no share; give n ≥ 1 and 0 ≤ kept ≤ n")
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if kept == 0 else _bisect(lambda p: float(np.exp(log_binomial_pmf(n, p)[kept:]).sum()) < tail)
    high = 1.0 if kept == n else _bisect(lambda p: float(np.exp(log_binomial_pmf(n, p)[: kept + 1]).sum()) > tail)
    return Interval(kept / n, low, high)


def _bisect(below: Callable[[float], bool]) -> float:
    """The share at which `below` turns from true to false."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2.0


def paired_difference(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: int = 20_000,
) -> Difference:
    """Compare two maps on the same images.

    Args:
        first, second: bool, (n,), whether each image kept its class.
        seed: of the bootstrap.
        confidence: coverage of the interval, in (0, 1).
        resamples: bootstrap resamples over images.

    Raises:
        InputError: the two differ in length, or are empty.
    """
    n = len(first)
    if n == 0 or len(second) != n:
        raise InputError(f"paired difference: {n} and {len(second)} images; give the same images, at least one")
    gains, losses = int((first & ~second).sum()), int((second & ~first).sum())
    # A resample of n pairs only counts its gains, losses and ties, so it is one multinomial draw.
    counts = np.random.default_rng(seed).multinomial(n, [gains / n, losses / n, 1 - (gains + losses) / n], resamples)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile((counts[:, 0] - counts[:, 1]) / n, [tail, 1.0 - tail])
    interval = Interval((gains - losses) / n, float(low), float(high))
    return Difference(interval, mcnemar_p(gains, losses), gains, losses)


def median_interval(values: NDArray[np.float64], confidence: float = CONFIDENCE) -> Interval | None:
    """Median and its interval between two order statistics, whatever the distribution (sign test, inverted).

    Args:
        values: (n,), independent of each other.
        confidence: least coverage, in (0, 1).

    Returns:
        The narrowest such interval that is symmetric in ranks; None where even lowest and highest cover less often.
    """
    n = len(values)
    # The k-th lowest and k-th highest miss the median when fewer than k values lie on one of its sides.
    misses = 2.0 * np.cumsum(np.exp(log_binomial_pmf(n, 0.5)))
    k = int((misses[: n // 2] <= 1.0 - confidence + _ROUNDING).sum())
    if k == 0:
        return None
    ordered = np.sort(values)
    return Interval(float(np.median(values)), float(ordered[k - 1]), float(ordered[n - k]))


def mcnemar_p(first_only: int, second_only: int) -> float:
    """Exact two-sided McNemar p-value from the numbers of images that only one of the two keeps."""
    discordant = first_only + second_only
    if discordant == 0:
        return 1.0
    tail = np.exp(log_binomial_pmf(discordant, 0.5)[: min(first_only, second_only) + 1]).sum()
    return float(min(1.0, 2.0 * tail))
