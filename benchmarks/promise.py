"""Does the calibration keep its promise? Tried where the truth is known, and on many splits of one set of pictures.

The promise: with confidence 1 − δ over the drawing of the calibration pictures, the class is kept on at least 1 − α of
all pictures like them. A *round* draws calibration pictures, lets a procedure choose a threshold, and looks the true
retention up; the promise is broken where a threshold was promised and the truth there is below 1 − α. Procedures that
are wrong on purpose stand beside the real one, to show that a wrong one would be found out.

Letters: T thresholds, rising; n calibration pictures; N pictures of a finite set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.intervals import log_binomial_pmf
from whymask.runtime.errors import InputError

Kept: TypeAlias = NDArray[np.bool_]
"""bool (T, n): whether each picture keeps its class at each threshold."""

Procedure: TypeAlias = Callable[[Kept, float, float], "int | None"]
"""(kept, α, δ) → position of the chosen threshold; None where nothing is promised."""

SIGNIFICANCE = 0.01
"""Level at which "broken in at most δ of all rounds" is refused."""

TEST_LEVEL = 0.05
"""One minus the confidence of the bound on a test half's own retention."""

ROUNDING = 1e-12
"""Of shares: what is below the promise by less than this is not below it."""

THRESHOLDS = 113
"""T of the populations: as many as `whymask.train.calibrate` tries."""


def calibrated(kept: Kept, alpha: float, delta: float) -> int | None:
    """What training does: `whymask.train.calibrate.choose_threshold`."""
    from whymask.train.calibrate import Answer, choose_threshold

    def ask(position: float) -> Answer:
        row = kept[int(position)]
        return Answer(int(row.sum()), len(row), 0.0)

    found = choose_threshold(ask, alpha=alpha, delta=delta, thresholds=range(len(kept)))
    return int(found.threshold) if found.guarantee.met else None


def by_share(kept: Kept, alpha: float, delta: float) -> int | None:
    """Wrong on purpose: the highest threshold whose share on the calibration pictures is 1 − α, without a bound."""
    del delta
    passing = np.flatnonzero(kept.mean(axis=1) >= 1.0 - alpha)
    return int(passing[-1]) if len(passing) else None


def any_that_passes(kept: Kept, alpha: float, delta: float) -> int | None:
    """Wrong on purpose: the highest threshold that passes its test, though a lower one failed; T tests at one level."""
    from whymask.train.calibrate import lower_bound

    n = kept.shape[1]
    passing = [i for i, successes in enumerate(kept.sum(axis=1)) if lower_bound(int(successes), n, delta) >= 1 - alpha]
    return passing[-1] if passing else None


PROCEDURES: dict[str, Procedure] = {
    "calibrated": calibrated,
    "by share (wrong)": by_share,
    "any that passes (wrong)": any_that_passes,
}


@dataclass(frozen=True)
class Population:
    """Pictures without end, whose true retention is known.

    Attributes:
        name: of it.
        stated: what it is, in one line.
        retention: float64 (T,), the true share that keeps its class.
        independent: whether a picture's answers at two thresholds are independent; otherwise each picture has one level
            u and keeps its class where u is below the retention.
    """

    name: str
    stated: str
    retention: NDArray[np.float64]
    independent: bool = False

    def draw(self, n: int, random: np.random.Generator) -> Kept:
        """n calibration pictures."""
        rows = len(self.retention) if self.independent else 1
        return random.random((rows, n)) < self.retention[:, None]


def populations(alpha: float) -> tuple[Population, ...]:
    """The populations of the simulation for a promise of 1 − α: a usual one, and three that are hard to judge."""
    steps = np.arange(THRESHOLDS, dtype=np.float64)
    logistic = 1.0 / (1.0 + np.exp((steps - 70.0) / 8.0))
    dip = np.interp(steps, [0, 40, 50, 60, 100, 112], [0.999, 0.99, 1 - 1.5 * alpha, 0.99, 0.99, 0.2])
    below = np.full(THRESHOLDS, 1.0 - alpha - 0.002)
    return (
        Population("breaking points", "each picture breaks at a threshold of its own, drawn logistically", logistic),
        Population("dip", "retention falls below the promise, rises above it again, and falls for good", dip),
        Population("just below", "0.2 points below the promise at every threshold", below),
        Population("just below, restless", "the same, every threshold drawn anew", below, independent=True),
    )


@dataclass(frozen=True)
class Simulation:
    """What many rounds of one procedure on one population came to.

    Attributes:
        rounds: all of them.
        promised: in how many a threshold was promised.
        broken: in how many of these the truth is below the promise.
        delta: share of rounds that may be broken.
        surplus: float64 (promised,), true retention at the chosen threshold over 1 − α.
        short: int64 (promised,), thresholds between the chosen one and the best: the highest that holds the promise
            (position −1 where none does).
    """

    rounds: int
    promised: int
    broken: int
    delta: float
    surplus: NDArray[np.float64]
    short: NDArray[np.int64]

    @property
    def p_value(self) -> float:
        """Exact one-sided test of "broken in at most δ of all rounds"."""
        return binomial_tail(self.broken, self.rounds, self.delta)

    @property
    def refused(self) -> bool:
        """Whether "at most δ" cannot be held."""
        return self.p_value < SIGNIFICANCE


def binomial_tail(successes: int, n: int, share: float) -> float:
    """P(K ≥ successes), K ~ Binomial(n, share), exact."""
    return float(min(1.0, np.exp(log_binomial_pmf(n, share)[successes:]).sum()))


def simulate(
    population: Population, procedure: Procedure, n: int, alpha: float, delta: float, rounds: int, seed: int = 0
) -> Simulation:
    """Calibrate again and again on pictures of one population.

    Args:
        n: calibration pictures a round.
        alpha, delta: of the promise.
        rounds: how often.
        seed: of all draws.

    Raises:
        InputError: no picture or no round.
    """
    if n < 1 or rounds < 1:
        raise InputError(f"simulation: {n} pictures, {rounds} rounds; expected at least 1 of each")
    random = np.random.default_rng(seed)
    found = [procedure(population.draw(n, random), alpha, delta) for _ in range(rounds)]
    chosen = np.array([each for each in found if each is not None], dtype=np.int64)
    holding = np.flatnonzero(population.retention >= 1.0 - alpha - ROUNDING)
    best = int(holding[-1]) if len(holding) else -1
    surplus = population.retention[chosen] - (1.0 - alpha)
    return Simulation(rounds, len(chosen), int((surplus < -ROUNDING).sum()), delta, surplus, best - chosen)


@dataclass(frozen=True)
class Splits:
    """What many random halvings of one set of pictures came to.

    Attributes:
        rounds: all of them; they share pictures, so they are not independent of each other.
        calibration, test: pictures of each half.
        alpha, delta: of the promise.
        chosen: int64 (promised,), positions of the promised thresholds.
        whole: float64 (promised,), retention of the whole set at them.
        held: float64 (promised,), retention of the test half.
        upper: float64 (promised,), one-sided upper confidence bound of `held` at 1 − TEST_LEVEL, exact.
    """

    rounds: int
    calibration: int
    test: int
    alpha: float
    delta: float
    chosen: NDArray[np.int64]
    whole: NDArray[np.float64]
    held: NDArray[np.float64]
    upper: NDArray[np.float64]

    @property
    def _least(self) -> float:
        return 1.0 - self.alpha - ROUNDING

    @property
    def below(self) -> float:
        """Share of splits whose test half keeps less than promised, its own chance included."""
        return float((self.held < self._least).sum()) / self.rounds

    @property
    def broken(self) -> float:
        """Share of splits whose test half keeps less than promised by more than its own binomial chance."""
        return float((self.upper < self._least).sum()) / self.rounds

    @property
    def broken_on_the_whole(self) -> float:
        """Share of splits that promised more than the whole set keeps: the set taken for the population."""
        return float((self.whole < self._least).sum()) / self.rounds

    @property
    def allowed(self) -> float:
        """Bound on the expected `broken`: δ for the calibration, and the test half's own level."""
        return self.delta + TEST_LEVEL


def split_again(kept: Kept, procedure: Procedure, alpha: float, delta: float, rounds: int, seed: int = 0) -> Splits:
    """Halve a set of pictures at random, calibrate on one half, look at the other; again and again.

    Args:
        kept: bool (T, N), of the whole set.
        procedure: what calibrates.
        alpha, delta: of the promise.
        rounds: how often.
        seed: of the halvings.

    Raises:
        InputError: fewer than two pictures, or no round.
    """
    count = kept.shape[1]
    if count < 2 or rounds < 1:
        raise InputError(f"splits: {count} pictures, {rounds} rounds; expected at least 2 pictures and 1 round")
    random, half = np.random.default_rng(seed), count // 2
    chosen, held = [], []
    for _ in range(rounds):
        order = random.permutation(count)
        position = procedure(kept[:, order[:half]], alpha, delta)
        if position is not None:
            chosen.append(position)
            held.append(int(kept[position, order[half:]].sum()))
    positions, test = np.array(chosen, dtype=np.int64), count - half
    shares = np.array(held, dtype=np.float64) / test
    upper = np.array([upper_bound(successes, test) for successes in held])
    return Splits(rounds, half, test, alpha, delta, positions, kept.mean(axis=1)[positions], shares, upper)


def upper_bound(successes: int, n: int) -> float:
    """Exact one-sided upper confidence bound of a share at 1 − TEST_LEVEL (Clopper and Pearson 1934)."""
    from whymask.train.calibrate import lower_bound

    return 1.0 - lower_bound(n - successes, n, TEST_LEVEL)
