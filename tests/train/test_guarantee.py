"""The calibration's promise, where the truth is known: it holds, it is not vacuous, and wrong procedures are caught."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from whymask.benchmarks.promise import (
    PROCEDURES,
    Population,
    any_that_passes,
    binomial_tail,
    by_share,
    calibrated,
    populations,
    simulate,
    split_again,
    upper_bound,
)
from whymask.runtime.errors import InputError
from whymask.train.calibrate import Answer, choose_threshold

ALPHA, DELTA, PICTURES, ROUNDS = 0.1, 0.05, 300, 1500
POPULATIONS = {each.name: each for each in populations(ALPHA)}


def test_asking_stops_at_the_first_threshold_that_fails():
    asked: list[float] = []

    def ask(threshold: float) -> Answer:
        asked.append(threshold)
        return Answer(100 if threshold < 0.3 else 80, 100, 1.0 - threshold)

    found = choose_threshold(ask, alpha=ALPHA, delta=DELTA, thresholds=(0.1, 0.2, 0.3, 0.4))
    assert asked == [0.1, 0.2, 0.3]
    assert (found.threshold, found.guarantee.met, found.guarantee.mean_area) == (0.2, True, 0.8)


@pytest.mark.parametrize("population", POPULATIONS.values(), ids=lambda each: each.name)
def test_the_promise_is_broken_in_at_most_delta_of_the_rounds(population: Population):
    found = simulate(population, calibrated, PICTURES, ALPHA, DELTA, ROUNDS)
    assert not found.refused, f"{found.broken} of {found.rounds} broken"


def test_the_bound_is_used_up_where_every_threshold_lies_just_below_the_promise():
    found = simulate(POPULATIONS["just below"], calibrated, PICTURES, ALPHA, DELTA, ROUNDS)
    assert found.broken == found.promised
    assert binomial_tail(found.broken, ROUNDS, DELTA / 4) < 0.01  # not so careful that nothing is ever promised


def test_the_chosen_threshold_is_near_the_best_one():
    found = simulate(POPULATIONS["breaking points"], calibrated, PICTURES, ALPHA, DELTA, ROUNDS)
    deviation = np.sqrt(ALPHA * (1 - ALPHA) / PICTURES)
    assert found.promised == ROUNDS
    assert 0.0 < found.surplus.mean() < 2.5 * deviation
    assert np.median(found.short) <= 5


def test_the_best_threshold_by_its_share_is_refused():
    found = simulate(POPULATIONS["breaking points"], by_share, PICTURES, ALPHA, DELTA, ROUNDS)
    assert found.refused
    assert found.broken > 0.25 * ROUNDS


def test_testing_on_after_a_failure_is_refused():
    restless = POPULATIONS["just below, restless"]
    assert simulate(restless, any_that_passes, PICTURES, ALPHA, DELTA, 300).refused
    assert not simulate(restless, calibrated, PICTURES, ALPHA, DELTA, 300).refused


def test_over_splits_of_a_finite_pool_the_promise_holds_for_the_pool():
    steps = np.arange(113)
    slow = Population("slow", "loses half a point a step", 1.0 / (1.0 + np.exp((steps - 100.0) / 20.0)))
    pool = slow.draw(2 * PICTURES, np.random.default_rng(3))
    right, wrong = (split_again(pool, each, ALPHA, DELTA, 600, seed=1) for each in (calibrated, by_share))
    assert right.calibration == right.test == PICTURES
    assert len(right.chosen) == 600
    assert right.broken_on_the_whole <= DELTA
    assert right.broken <= right.allowed
    assert wrong.broken_on_the_whole > 2 * DELTA
    assert wrong.below > right.below


def test_a_split_looks_at_the_pictures_that_were_not_calibrated_on():
    kept = np.ones((2, 40), np.bool_)
    seen: list[int] = []

    def procedure(part, alpha, delta):
        seen.append(part.shape[1])
        return 0

    kept[0, :10] = False
    found = split_again(kept, procedure, ALPHA, DELTA, 50)
    assert set(seen) == {20}
    assert found.whole.tolist() == [0.75] * 50
    assert found.held.mean() == pytest.approx(0.75, abs=0.03)
    assert found.below == 1.0 - float((found.held >= 0.9).mean())


def test_nothing_is_broken_where_nothing_is_promised():
    kept = np.zeros((3, 40), np.bool_)
    found = split_again(kept, calibrated, ALPHA, DELTA, 5)
    assert (len(found.chosen), found.below, found.broken) == (0, 0.0, 0.0)
    assert all(procedure(kept, ALPHA, DELTA) is None for procedure in PROCEDURES.values())


@pytest.mark.parametrize(("successes", "n"), [(0, 30), (22, 30), (30, 30)])
def test_the_upper_bound_is_the_exact_one(successes: int, n: int):
    exact = binomtest(successes, n).proportion_ci(confidence_level=0.90, method="exact").high
    assert upper_bound(successes, n) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(("successes", "n"), [(0, 50), (9, 50), (50, 50)])
def test_the_tail_is_that_of_the_binomial_test(successes: int, n: int):
    assert binomial_tail(successes, n, 0.05) == pytest.approx(
        binomtest(successes, n, 0.05, alternative="greater").pvalue, rel=1e-9, abs=1e-300
    )


def test_too_few_pictures_are_refused():
    with pytest.raises(InputError, match="0 pictures, 10 rounds; expected at least 1 of each"):
        simulate(POPULATIONS["dip"], calibrated, 0, ALPHA, DELTA, 10)
    with pytest.raises(InputError, match="1 pictures, 10 rounds; expected at least 2 pictures"):
        split_again(np.ones((2, 1), np.bool_), calibrated, ALPHA, DELTA, 10)
