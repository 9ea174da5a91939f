"""How long a fused graph takes beside its classifier alone: paired, interleaved, in one process.

Both graphs get the same pictures. In every pair one is timed straight after the other, in an order drawn at random, so
that what slows the machine for a while slows both and leaves their ratio. Pairs are added until the ratio's interval is
narrow enough or the time is out. Needs numpy and `whymask.runtime` alone, so that it runs on the device.

Letters: B batch, H W the graph's input size, N number of pictures, n number of samples.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.latency_stats import LEAST_PAIRS, Ratio, Times, paired_ratio
from whymask.runtime.errors import InputError

Images = NDArray[np.uint8]
"""uint8 (B, H, W, 3), RGB."""
Run = Callable[[Images], Any]
"""One call of a graph, from host memory to host memory."""
TimedRun = Callable[[Images], Mapping[str, float]]
"""One call of a graph, and the milliseconds of each of its parts, by name."""
Clock = Callable[[], int]
"""Nanoseconds that only grow."""

NS_PER_S = 1_000_000_000
_GROWTH = 1.5
"""The interval is computed anew when the pairs have grown by this: few looks, so that stopping early biases little."""


@dataclass(frozen=True)
class BenchSettings:
    """How to measure.

    Attributes:
        seconds: time limit for the pairs, s; 20 gives a ratio within a few per cent for most graphs on a quiet machine.
        batch: pictures a call, B; 1 is the single stream of a camera.
        pictures: number of distinct pictures, N; more than a cache remembers.
        seed: of the pictures, the order within a pair, and the bootstrap.
        warmup_seconds, warmup_pairs: both must be reached before the first sample, so that allocations and clocks
            settle; a graph so slow that this takes the whole time limit is warm sooner.
        min_pairs: fewest pairs that a p90 may rest on.
        max_pairs: most pairs that are kept.
        margin: half-width of the ratio's interval, as a share, at which no more pairs are needed.
        confidence: of the interval.
        resamples: of the bootstrap.
        phase_calls: most calls whose preprocessing and postprocessing are timed too.
        phase_share: share of the time limit that those calls may take.
    """

    seconds: float = 20.0
    batch: int = 1
    pictures: int = 32
    seed: int = 0
    warmup_seconds: float = 1.0
    warmup_pairs: int = 10
    min_pairs: int = 100
    max_pairs: int = 20_000
    margin: float = 0.05
    confidence: float = 0.95
    resamples: int = 1000
    phase_calls: int = 50
    phase_share: float = 0.2

    def __post_init__(self) -> None:
        """Refuse values that measure nothing."""
        for name in ("seconds", "batch", "pictures", "min_pairs", "resamples", "phase_calls", "margin"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}, expected more than 0")
        if not math.isfinite(self.seconds):
            raise InputError(f"seconds is {self.seconds}, expected a finite number")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}, expected 0 or more")
        if not 0.0 < self.confidence < 1.0:
            raise InputError(f"confidence is {self.confidence}, expected a number between 0 and 1")
        if self.max_pairs < self.min_pairs:
            raise InputError(
                f"max_pairs is {self.max_pairs}, expected at least min_pairs, {self.min_pairs}; ask for fewer"
            )


@dataclass(frozen=True)
class Pairs:
    """What was timed, pair by pair, in the order of timing.

    Attributes:
        fused_ms, classifier_ms: float64 (n,), milliseconds.
        fused_first: bool (n,), the order within each pair.
    """

    fused_ms: Times
    classifier_ms: Times
    fused_first: NDArray[np.bool_]

    def ratio(self, settings: BenchSettings) -> Ratio:
        """Ratio of the medians, with its interval."""
        return paired_ratio(self.fused_ms, self.classifier_ms, settings.confidence, settings.resamples, settings.seed)


@dataclass(frozen=True)
class Phases:
    """What one call of an application is made of; float64 (n,) each, milliseconds.

    Attributes:
        preprocess_ms: from B decoded pictures of any size to the graph's uint8 input.
        run_ms: the session's call, host memory to host memory.
        postprocess_ms: from the graph's outputs to labels, confidences and areas.
    """

    preprocess_ms: Times
    run_ms: Times
    postprocess_ms: Times

    @property
    def total_ms(self) -> Times:
        """The three together."""
        return self.preprocess_ms + self.run_ms + self.postprocess_ms


def measure_pairs(
    fused: Run,
    classifier: Run,
    images: Images,
    settings: BenchSettings,
    clock: Clock = time.perf_counter_ns,
    on_pair: Callable[[float], None] | None = None,
) -> Pairs:
    """Warm up, then time pairs until the ratio is narrow enough or the time is out.

    Args:
        fused: the fused graph.
        classifier: the classifier alone.
        images: uint8 (N, H, W, 3), the pictures; batch i takes the next B of them, from the first again after the last.
        settings: how to measure.
        clock: nanoseconds.
        on_pair: called outside the timed calls with the share of the time limit that is used up.
    """
    random = np.random.default_rng(settings.seed)
    batches = _batches(images, settings.batch)
    with collector_paused():
        _warm_up(fused, classifier, batches, settings, clock)
        samples: list[tuple[int, int, bool]] = []
        next_look, start, now = max(settings.min_pairs, LEAST_PAIRS), clock(), 0
        while now < settings.seconds * NS_PER_S and len(samples) < settings.max_pairs:
            fused_first = bool(random.integers(2))
            fused_ns, classifier_ns, end = _time_pair(fused, classifier, next(batches), fused_first, clock)
            samples.append((fused_ns, classifier_ns, fused_first))
            now = end - start
            if on_pair is not None:
                on_pair(min(1.0, now / (settings.seconds * NS_PER_S)))
            if len(samples) >= next_look:
                if _pairs(samples).ratio(settings).half_width <= settings.margin:
                    break
                next_look = int(len(samples) * _GROWTH)
    return _pairs(samples)


def measure_phases(
    preprocess: Callable[[list[Images]], Images],
    run: Run,
    postprocess: Callable[[Any], object],
    pictures: list[Images],
    settings: BenchSettings,
    clock: Clock = time.perf_counter_ns,
) -> Phases:
    """Time preprocessing, the call and postprocessing apart, one after the other as an application does.

    Args:
        preprocess: from B pictures, uint8 (any height, any width, 3), to the graph's input.
        run: the fused graph.
        postprocess: what is done with its outputs.
        pictures: decoded, at their own sizes.
        settings: how to measure.
        clock: nanoseconds.
    """
    stamps: list[tuple[int, int, int, int]] = []
    limit_ns = settings.seconds * settings.phase_share * NS_PER_S
    with collector_paused():
        while len(stamps) < settings.phase_calls and (not stamps or stamps[-1][3] - stamps[0][0] < limit_ns):
            first = len(stamps) * settings.batch
            some = [pictures[(first + k) % len(pictures)] for k in range(settings.batch)]
            start = clock()
            batch = preprocess(some)
            prepared = clock()
            outputs = run(batch)
            answered = clock()
            postprocess(outputs)
            stamps.append((start, prepared, answered, clock()))
    spans = np.diff(np.array(stamps), axis=1) / 1e6
    return Phases(spans[:, 0], spans[:, 1], spans[:, 2])


def measure_device_phases(
    timed: TimedRun, images: Images, settings: BenchSettings, clock: Clock = time.perf_counter_ns
) -> dict[str, Times]:
    """What the device itself says a call is made of, each float64 (n,), milliseconds, by name.

    Args:
        timed: one call of a graph, and how long each part of it took.
        images: uint8 (N, H, W, 3), taken as by `measure_pairs`.
        settings: how to measure; as many calls as `measure_phases` makes.
        clock: nanoseconds.
    """
    batches = _batches(images, settings.batch)
    spans: list[Mapping[str, float]] = []
    start, limit_ns = clock(), settings.seconds * settings.phase_share * NS_PER_S
    with collector_paused():
        while len(spans) < settings.phase_calls and (not spans or clock() - start < limit_ns):
            spans.append(timed(next(batches)))
    return {name: np.array([each[name] for each in spans]) for name in spans[0]}


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep Python's garbage collector from running inside a timed call; its former state comes back."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _warm_up(fused: Run, classifier: Run, batches: Iterator[Images], settings: BenchSettings, clock: Clock) -> None:
    start, count, seconds = clock(), 0, 0.0
    while seconds < settings.seconds and (count < settings.warmup_pairs or seconds < settings.warmup_seconds):
        batch = next(batches)
        fused(batch)
        classifier(batch)
        count, seconds = count + 1, (clock() - start) / NS_PER_S


def _time_pair(fused: Run, classifier: Run, batch: Images, fused_first: bool, clock: Clock) -> tuple[int, int, int]:
    """Nanoseconds of the fused graph and of the classifier, and the clock's last reading."""
    first, second = (fused, classifier) if fused_first else (classifier, fused)
    first_ns, _ = _time(first, batch, clock)
    second_ns, end = _time(second, batch, clock)
    return (first_ns, second_ns, end) if fused_first else (second_ns, first_ns, end)


def _time(run: Run, batch: Images, clock: Clock) -> tuple[int, int]:
    start = clock()
    run(batch)
    end = clock()
    return end - start, end


def _batches(images: Images, batch: int) -> Iterator[Images]:
    """Endless batches, each contiguous and made before it is timed."""
    at = 0
    while True:
        yield np.ascontiguousarray(images[np.arange(at, at + batch) % len(images)])
        at = (at + batch) % len(images)


def _pairs(samples: list[tuple[int, int, bool]]) -> Pairs:
    fused_ns, classifier_ns, fused_first = zip(*samples, strict=True)
    return Pairs(np.array(fused_ns) / 1e6, np.array(classifier_ns) / 1e6, np.array(fused_first))
