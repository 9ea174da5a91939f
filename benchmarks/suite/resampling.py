"""Bootstrap over pictures for many rows of numbers at once, and exact intervals of shares.

Letters: n pictures, K rows of numbers, R resamples.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.intervals import CONFIDENCE, Interval, clopper_pearson
from whymask.benchmarks.overlap import RESAMPLES

ROUND = 500
"""Resamples drawn at a time: a few thousand pictures then take some tens of megabytes."""

Key = TypeVar("Key")


def resampled_means(rows: Mapping[Key, NDArray[np.float64]], n: int, seed: int) -> dict[Key, NDArray[np.float64]]:
    """Means of all rows over the same resampled pictures, float64 (R,) a row: `overlap.mean_interval`, many at once.

    A picture without a value counts in no mean. Where a resample holds no picture with a value, its mean is nan.

    Args:
        rows: float64 (n,) each, nan where a picture has no value.
        n: at least 1.
        seed: the same one draws the same pictures, so that differences of means of two calls are paired.
    """
    if not rows:
        return {}
    values = np.stack(list(rows.values()), axis=1)
    known = ~np.isnan(values)
    filled, rng, parts = np.where(known, values, 0.0), np.random.default_rng(seed), []
    for _ in range(0, RESAMPLES, ROUND):
        drawn = rng.integers(n, size=(ROUND, n)) + n * np.arange(ROUND)[:, None]
        counts = np.bincount(drawn.reshape(-1), minlength=ROUND * n).reshape(ROUND, n).astype(np.float64)
        # One matrix product gives the sums of every row; most have a value in every picture.
        weights = np.float64(n) if known.all() else counts @ known
        with np.errstate(invalid="ignore"):
            parts.append(counts @ filled / weights)
    means = np.concatenate(parts)
    return {key: means[:, place] for place, key in enumerate(rows)}


def percentiles(value: float, resampled: NDArray[np.float64]) -> Interval:
    """A value between the percentiles of its resamples, float64 (R,); those that are nan have no say."""
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.nanquantile(resampled, [tail, 1.0 - tail])
    return Interval(value, float(low), float(high))


def mean_of(values: NDArray[np.float64], resampled: NDArray[np.float64], is_share: bool) -> Interval:
    """The mean of the pictures that have a value, with its interval.

    Args:
        values: float64 (n,), nan where a picture has none.
        resampled: float64 (R,), from `resampled_means`.
        is_share: whether the values count pictures, 0 or 1 each: a bootstrap of pictures that all agree has no width,
            however few they are, and the exact interval is taken.
    """
    given = known(values)
    return _exact(int(given.sum()), len(given)) if is_share else percentiles(float(given.mean()), resampled)


def known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values that are there."""
    given: NDArray[np.float64] = values[~np.isnan(values)]
    return given


@functools.lru_cache(maxsize=4096)
def _exact(kept: int, n: int) -> Interval:
    return clopper_pearson(kept, n)
