"""How many joules an image costs, with the why and without: blocks of both graphs in turn, idle power subtracted.

A round is a stretch of idleness, then a block of each graph, which of them first changing from round to round; what
drifts slowly (heat, a governor) is in all three alike. Blocks are long, for sensors are slow. Intervals come from the
rounds by order statistics alone, so that they assume nothing of the noise but that rounds do not lean on each other.
Needs numpy and `whymask.runtime` alone.

Letters: B batch, H W the graph's input size, n number of rounds.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.intervals import median_interval
from whymask.benchmarks.latency import Images, Run, collector_paused
from whymask.benchmarks.power import Sensor, Sensors
from whymask.runtime.errors import BackendError, InputError

FUSED, CLASSIFIER = "fused", "classifier"


@dataclass(frozen=True)
class EnergySettings:
    """How to measure; the defaults take about a minute and a half.

    Attributes:
        period_s: between two readings of a sensor that gives power, s; a counter of joules is read at both ends alone.
        idle_seconds, block_seconds: length of the idle stretch and of each graph's block, s, after the sensor settled.
        rounds: number of rounds, n; of nine, the second lowest and highest enclose the median with 96 %.
        confidence: of the intervals, in (0, 1).
    """

    period_s: float = 0.05
    idle_seconds: float = 2.0
    block_seconds: float = 3.0
    rounds: int = 9
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Refuse values that measure nothing."""
        for name in ("period_s", "idle_seconds", "block_seconds", "rounds"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}, expected more than 0")
        if self.period_s > min(self.idle_seconds, self.block_seconds) / 2:
            raise InputError(
                f"period_s is {self.period_s}, expected at most half of idle_seconds, {self.idle_seconds}, and of "
                f"block_seconds, {self.block_seconds}"
            )
        if not 0.0 < self.confidence < 1.0:
            raise InputError(f"confidence is {self.confidence}, expected a number between 0 and 1")


@dataclass(frozen=True)
class Joules:
    """A figure per image.

    Attributes:
        value: median over the rounds, J.
        low, high: ends of its interval, J; None where there are too few rounds for the confidence asked for.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Block:
    """One graph for a while.

    Attributes:
        watts: mean power, idleness included.
        seconds: between the sensor's first and last reading, which enclose all calls.
        images: how many.
    """

    watts: float
    seconds: float
    images: int

    def joules_per_image(self, idle_watts: float) -> float:
        """What an image costs beyond idleness."""
        return (self.watts - idle_watts) * self.seconds / self.images


@dataclass(frozen=True)
class Round:
    """Idleness, and a block of each graph.

    Attributes:
        idle_watts: mean power while the process slept, both graphs loaded.
        fused, classifier: the blocks.
        fused_first: their order.
    """

    idle_watts: float
    fused: Block
    classifier: Block
    fused_first: bool


@dataclass(frozen=True)
class SensorEnergy:
    """What one sensor told.

    Attributes:
        source, rail, scope: as of `Sensor`.
        counts_joules: the sensor counts energy; otherwise its power was read every `period_s`, and averaged over time.
        idle_watts, fused_watts, classifier_watts: medians over the rounds, W; the latter two with idleness.
        fused, classifier: joules an image, idleness subtracted.
        explanation: their difference in each round, what the explanation adds to an image.
        rounds: what all of it comes from, in order.
    """

    source: str
    rail: str
    scope: str
    counts_joules: bool
    idle_watts: float
    fused_watts: float
    classifier_watts: float
    fused: Joules
    classifier: Joules
    explanation: Joules
    rounds: tuple[Round, ...]


@dataclass(frozen=True)
class Energy:
    """All that was measured, and all that could not be.

    Attributes:
        settings: how it was measured.
        sensors: what each sensor told.
        absent: sources that this machine does not offer, each with the reason.
    """

    settings: EnergySettings
    sensors: tuple[SensorEnergy, ...]
    absent: dict[str, str]


def measure_energy(
    sensors: Sensors,
    fused: Run,
    classifier: Run,
    batches: Sequence[Images],
    settings: EnergySettings,
    on_round: Callable[[], None] = lambda: None,
) -> Energy:
    """Measure both graphs by all sensors of a machine at once.

    Args:
        sensors: of `open_sensors`, at least one of them found.
        fused: the fused graph.
        classifier: the classifier alone.
        batches: uint8 (B, H, W, 3) each, taken in turn.
        settings: how to measure.
        on_round: called after each round.

    Raises:
        BackendError: a sensor answers no more.
    """
    found = sensors.found
    runs = {FUSED: fused, CLASSIFIER: classifier}
    endless = itertools.cycle(batches)
    rounds = []
    with collector_paused():
        for i in range(settings.rounds):
            rounds.append(_round(found, runs, endless, settings, fused_first=i % 2 == 0))
            on_round()
    told = zip(found, zip(*rounds, strict=True), strict=True)
    return Energy(settings, tuple(_of_sensor(sensor, each, settings) for sensor, each in told), sensors.absent)


class PowerMeter:
    """Context manager that measures the mean power of its body by several sensors at once; read `told` after it.

    Args:
        sensors: which.
        period_s: between two readings of those that give power; a thread makes them.

    Attributes:
        told: mean power in W and the seconds that it was measured over, by sensor, in their order.
    """

    told: tuple[tuple[float, float], ...]

    def __init__(self, sensors: Sequence[Sensor], period_s: float) -> None:
        self._sensors, self._period_s = sensors, period_s
        self._readings: list[list[tuple[float, float]]] = [[] for _ in sensors]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="power", daemon=True)
        self._error: BackendError | None = None

    def __enter__(self) -> PowerMeter:
        """Read every sensor, and start to sample."""
        self._read_all()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop, read every sensor again, and set `told`."""
        self._stop.set()
        self._thread.join()
        if kind is not None:
            return
        if self._error is not None:
            raise self._error
        self._read_all()
        pairs = zip(self._sensors, self._readings, strict=True)
        self.told = tuple(_mean_power(sensor.counts_joules, readings) for sensor, readings in pairs)

    def _sample(self) -> None:
        sampled = [i for i, sensor in enumerate(self._sensors) if not sensor.counts_joules]
        while sampled and not self._stop.wait(self._period_s):
            try:
                for i in sampled:
                    self._read(i)
            except BackendError as error:
                self._error = error
                return

    def _read_all(self) -> None:
        for i in range(len(self._sensors)):
            self._read(i)

    def _read(self, i: int) -> None:
        start = time.perf_counter()
        value = self._sensors[i].read()
        self._readings[i].append(((start + time.perf_counter()) / 2, value))


def _mean_power(counts_joules: bool, readings: list[tuple[float, float]]) -> tuple[float, float]:
    """Watts, and over how many seconds: from joules at both ends, or from powers by the trapezoidal rule."""
    at, values = np.array(readings).T
    seconds = at[-1] - at[0]
    joules = values[-1] - values[0] if counts_joules else (np.diff(at) * (values[1:] + values[:-1]) / 2).sum()
    return float(joules / seconds), float(seconds)


def _round(
    sensors: Sequence[Sensor],
    runs: dict[str, Run],
    batches: Iterator[Images],
    settings: EnergySettings,
    fused_first: bool,
) -> list[Round]:
    """One round, as each sensor saw it."""
    settle_s = max(sensor.settle_s for sensor in sensors)
    time.sleep(settle_s)
    with PowerMeter(sensors, settings.period_s) as idle:
        time.sleep(settings.idle_seconds)
    blocks = {}
    for name in (FUSED, CLASSIFIER) if fused_first else (CLASSIFIER, FUSED):
        _keep_busy(runs[name], batches, settle_s)
        with PowerMeter(sensors, settings.period_s) as meter:
            images = _keep_busy(runs[name], batches, settings.block_seconds)
        blocks[name] = [Block(watts, seconds, images) for watts, seconds in meter.told]
    told = zip(idle.told, blocks[FUSED], blocks[CLASSIFIER], strict=True)
    return [Round(watts, fused, classifier, fused_first) for (watts, _), fused, classifier in told]


def _keep_busy(run: Run, batches: Iterator[Images], seconds: float) -> int:
    """Call a graph until a time is over, at least once; the number of images."""
    images, end = 0, time.perf_counter() + seconds
    while not images or time.perf_counter() < end:
        batch = next(batches)
        run(batch)
        images += len(batch)
    return images


def _of_sensor(sensor: Sensor, rounds: tuple[Round, ...], settings: EnergySettings) -> SensorEnergy:
    fused = np.array([each.fused.joules_per_image(each.idle_watts) for each in rounds])
    classifier = np.array([each.classifier.joules_per_image(each.idle_watts) for each in rounds])

    def judged(values: NDArray[np.float64]) -> Joules:
        interval = median_interval(values, settings.confidence)
        low, high = (interval.low, interval.high) if interval else (None, None)
        return Joules(float(np.median(values)), low, high)

    return SensorEnergy(
        source=sensor.source,
        rail=sensor.rail,
        scope=sensor.scope,
        counts_joules=sensor.counts_joules,
        idle_watts=float(np.median([each.idle_watts for each in rounds])),
        fused_watts=float(np.median([each.fused.watts for each in rounds])),
        classifier_watts=float(np.median([each.classifier.watts for each in rounds])),
        fused=judged(fused),
        classifier=judged(classifier),
        explanation=judged(fused - classifier),
        rounds=rounds,
    )
