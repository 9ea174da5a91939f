"""Intervals against scipy and against what they must be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from whymask.benchmarks.intervals import clopper_pearson, mcnemar_p, median_interval, paired_difference
from whymask.runtime.errors import InputError


@pytest.mark.parametrize(("kept", "n"), [(0, 10), (10, 10), (3, 10), (1, 600), (300, 600), (599, 600), (1, 1)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_interval_of_a_share_is_scipys_exact_one(kept: int, n: int, confidence: float):
    expected = stats.binomtest(kept, n).proportion_ci(confidence, "exact")
    interval = clopper_pearson(kept, n, confidence)
    assert interval.value == kept / n
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_none_of_ten_leaves_room_for_three():
    assert clopper_pearson(0, 10).high == pytest.approx(0.3085, abs=1e-4)


@pytest.mark.parametrize(("kept", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_a_share_that_is_none_is_refused(kept: int, n: int):
    with pytest.raises(InputError, match=rf"{kept} of {n} is no share; give n ≥ 1"):
        clopper_pearson(kept, n)


@pytest.mark.parametrize(("first_only", "second_only"), [(0, 0), (5, 0), (12, 30), (31, 29)])
def test_mcnemar_is_the_exact_binomial_test_of_discordant_pairs(first_only: int, second_only: int):
    pairs = first_only + second_only
    expected = stats.binomtest(first_only, pairs).pvalue if pairs else 1.0
    assert mcnemar_p(first_only, second_only) == pytest.approx(expected, abs=1e-9)


def test_a_difference_counts_only_pictures_on_which_the_two_differ():
    first = np.array([1, 1, 1, 0, 0], np.bool_)
    second = np.array([1, 0, 0, 1, 0], np.bool_)
    difference = paired_difference(first, second)
    assert (difference.first_only, difference.second_only) == (2, 1)
    assert difference.interval.value == pytest.approx(1 / 5)


def test_the_bootstrap_interval_is_as_wide_as_the_normal_one_on_many_pictures():
    rng = np.random.default_rng(0)
    first, second = rng.random(2000) < 0.6, rng.random(2000) < 0.5
    interval = paired_difference(first, second).interval
    differences = first.astype(float) - second
    half_width = 1.96 * differences.std() / np.sqrt(2000)
    assert interval.high - interval.low == pytest.approx(2 * half_width, rel=0.05)


def test_maps_that_always_agree_differ_by_exactly_nothing():
    same = np.array([1, 0, 1], np.bool_)
    difference = paired_difference(same, same)
    assert (difference.interval.low, difference.interval.high, difference.p_value) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("second", [[], [True]], ids=["empty", "shorter"])
def test_other_pictures_cannot_be_paired(second: list[bool]):
    with pytest.raises(InputError, match="give the same images"):
        paired_difference(np.ones(2, np.bool_), np.array(second, np.bool_))


@pytest.mark.parametrize(("n", "rank"), [(6, 1), (8, 1), (9, 2), (12, 3), (20, 6), (100, 40)])
def test_the_interval_of_a_median_has_the_ranks_of_the_sign_test(n: int, rank: int):
    interval = median_interval(np.random.default_rng(0).permutation(np.arange(1.0, n + 1)))
    assert interval is not None
    assert (interval.value, interval.low, interval.high) == ((n + 1) / 2, rank, n + 1 - rank)
    assert 1 - 2 * stats.binom.cdf(rank - 1, n, 0.5) >= 0.95 > 1 - 2 * stats.binom.cdf(rank, n, 0.5)


@pytest.mark.parametrize("n", [1, 5])
def test_too_few_values_have_no_interval_of_the_median(n: int):
    assert median_interval(np.arange(float(n))) is None
    assert median_interval(np.arange(5.0), confidence=0.9) is not None
