"""Any number of contenders, timed in rounds: each is called once a round, in an order drawn anew, on the same pictures.

What `latency.py` does for a pair, for as many as are there: what slows the machine for a while slows all of a round, so
that the ratio of any two of them stands. A slow contender takes part in every k-th round only, and its ratio is taken
over those rounds. Needs numpy and `whymask.runtime` alone.

Letters: B batch, H W a contender's input size, N number of pictures, n rounds that a contender took part in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.latency import NS_PER_S, BenchSettings, Clock, Images, Run, collector_paused
from whymask.benchmarks.latency_stats import LEAST_PAIRS, Ratio, Times, paired_mean_ratio, paired_ratio
from whymask.runtime.errors import InputError

_GROWTH = 1.5
"""As in `latency.py`: the intervals are computed anew when the rounds have grown by this."""


@dataclass(frozen=True)
class Contender:
    """What is timed beside others.

    Attributes:
        name: unique in a measurement.
        run: one call, host memory to host memory, on uint8 (B, H, W, 3).
        images: uint8 (N, H, W, 3); the same pictures for all, each at its own input size.
        baseline: name of what its ratio is taken to; empty for a baseline.
        every: takes part in each round whose number this divides, as all baselines do in every one.
        by_mean: its ratio is that of the means, since its calls are of two kinds.
    """

    name: str
    run: Run
    images: Images
    baseline: str = ""
    every: int = 1
    by_mean: bool = False


@dataclass(frozen=True)
class Rounds:
    """What was timed, in the order of timing.

    Attributes:
        times_ms: float64 (n,) a contender, milliseconds.
        rounds: int64 (n,) a contender, numbers of the rounds that it took part in.
    """

    times_ms: Mapping[str, Times]
    rounds: Mapping[str, NDArray[np.int64]]

    def ratio(self, contender: Contender, settings: BenchSettings) -> Ratio:
        """A contender over its baseline, from the rounds that both took part in."""
        return self.between(contender.name, contender.baseline, settings, by_mean=contender.by_mean)

    def between(self, first: str, second: str, settings: BenchSettings, *, by_mean: bool = False) -> Ratio:
        """One contender over another, from the rounds that both took part in."""
        _, mine, theirs = np.intersect1d(self.rounds[first], self.rounds[second], return_indices=True)
        ratio = paired_mean_ratio if by_mean else paired_ratio
        pair = self.times_ms[first][mine], self.times_ms[second][theirs]
        return ratio(*pair, settings.confidence, settings.resamples, settings.seed)


def measure_rounds(
    contenders: Sequence[Contender],
    settings: BenchSettings,
    clock: Clock = time.perf_counter_ns,
    on_round: Callable[[float], None] = lambda share: None,
) -> Rounds:
    """Warm up, then time rounds until every ratio is narrow enough or the time is out.

    Args:
        contenders: of different names, baselines among them.
        settings: how to measure; `min_pairs` and `max_pairs` count rounds.
        clock: nanoseconds.
        on_round: called outside the timed calls with the share of the time limit that is used up.

    Raises:
        InputError: two of one name, or a baseline that is not there.
    """
    _check(contenders)
    random = np.random.default_rng(settings.seed)
    taken: dict[str, list[tuple[int, int]]] = {each.name: [] for each in contenders}
    with collector_paused():
        _warm_up(contenders, settings, clock)
        number, next_look, start, now = 0, max(settings.min_pairs, LEAST_PAIRS), clock(), 0
        while now < settings.seconds * NS_PER_S and number < settings.max_pairs:
            present = [each for each in contenders if number % each.every == 0]
            batches = [_batch(each.images, number, settings.batch) for each in present]
            for place in random.permutation(len(present)):
                begin = clock()
                present[place].run(batches[place])
                end = clock()
                taken[present[place].name].append((number, end - begin))
            number, now = number + 1, end - start
            on_round(min(1.0, now / (settings.seconds * NS_PER_S)))
            if number >= next_look:
                if _narrow(_rounds(taken), contenders, settings):
                    break
                next_look = int(number * _GROWTH)
    return _rounds(taken)


def _check(contenders: Sequence[Contender]) -> None:
    names = [each.name for each in contenders]
    double = [name for name in names if names.count(name) > 1]
    if double:
        raise InputError(f"{double[0]}: two contenders have this name, expected names that tell them apart")
    for each in contenders:
        if each.baseline and each.baseline not in names:
            raise InputError(f"{each.name}: its baseline {each.baseline} is not timed; time it as well")


def _warm_up(contenders: Sequence[Contender], settings: BenchSettings, clock: Clock) -> None:
    start, count, seconds = clock(), 0, 0.0
    while seconds < settings.seconds and (count < settings.warmup_pairs or seconds < settings.warmup_seconds):
        for each in contenders:
            # One call lets a slow contender allocate what it needs.
            if count % each.every == 0:
                each.run(_batch(each.images, count, settings.batch))
        count, seconds = count + 1, (clock() - start) / NS_PER_S


def _narrow(rounds: Rounds, contenders: Sequence[Contender], settings: BenchSettings) -> bool:
    compared = [each for each in contenders if each.baseline]
    return all(rounds.ratio(each, settings).half_width <= settings.margin for each in compared)


def _batch(images: Images, number: int, batch: int) -> Images:
    """The pictures of a round, contiguous and made before it is timed."""
    return np.ascontiguousarray(images[np.arange(number * batch, (number + 1) * batch) % len(images)])


def _rounds(taken: Mapping[str, list[tuple[int, int]]]) -> Rounds:
    return Rounds(
        {name: np.array([ns for _, ns in each], np.float64) / 1e6 for name, each in taken.items()},
        {name: np.array([number for number, _ in each], np.int64) for name, each in taken.items()},
    )
