"""Joules an image, from sensors whose truth is known."""

from __future__ import annotations

import time

import numpy as np
import pytest

from whymask.benchmarks.energy import Energy, EnergySettings, PowerMeter, measure_energy
from whymask.benchmarks.power import Sensor, Sensors
from whymask.runtime.errors import BackendError, InputError

QUICK = EnergySettings(period_s=0.005, idle_seconds=0.02, block_seconds=0.02, rounds=6)
BATCHES = [np.zeros((2, 4, 4, 3), np.uint8)] * 3
IDLE_WATTS, FUSED_JOULES, CLASSIFIER_JOULES = 4.0, 0.010, 0.006


class World:
    """A machine that draws 4 W, and some joules for each image that a graph is given."""

    def __init__(self) -> None:
        self.joules, self.order = 0.0, []

    def graph(self, name: str, joules_per_image: float):
        def run(images) -> None:
            self.order.append(name)
            self.joules += joules_per_image * len(images)
            time.sleep(0.001)

        return run

    def counter(self) -> float:
        return IDLE_WATTS * time.perf_counter() + self.joules

    def measure(
        self, *sensors: Sensor, settings: EnergySettings = QUICK, absent: dict | None = None, **hooks
    ) -> Energy:
        fused, classifier = self.graph("fused", FUSED_JOULES), self.graph("classifier", CLASSIFIER_JOULES)
        return measure_energy(Sensors(sensors, absent or {}), fused, classifier, BATCHES, settings, **hooks)


def sensor(read, counts_joules: bool = False, settle_s: float = 0.0) -> Sensor:
    return Sensor("test", "RAIL", "everything", counts_joules, settle_s, read)


def test_a_counter_gives_the_joules_of_an_image_and_what_the_explanation_adds():
    world = World()
    (told,) = world.measure(sensor(world.counter, counts_joules=True)).sensors
    assert told.idle_watts == pytest.approx(IDLE_WATTS, rel=0.01)
    assert told.fused.value == pytest.approx(FUSED_JOULES, rel=0.02)
    assert told.classifier.value == pytest.approx(CLASSIFIER_JOULES, rel=0.02)
    assert told.explanation.value == pytest.approx(FUSED_JOULES - CLASSIFIER_JOULES, rel=0.05)
    assert told.explanation.low <= told.explanation.value <= told.explanation.high
    assert told.fused_watts > told.classifier_watts > told.idle_watts
    assert (told.source, told.rail, told.counts_joules) == ("test", "RAIL", True)


def test_power_is_sampled_during_the_blocks_and_idleness_is_subtracted():
    world = World()
    watts = {"fused": 14.0, "classifier": 9.0}
    idle = []

    def read() -> float:
        moved = bool(world.order) and time.perf_counter() - idle[-1] < 0.01 if idle else False
        return watts[world.order[-1]] if moved else IDLE_WATTS

    def graph(name: str):
        def run(images) -> None:
            world.order.append(name)
            idle.append(time.perf_counter())
            time.sleep(0.001)

        return run

    found = Sensors((sensor(read, settle_s=0.03),), {})
    energy = measure_energy(found, graph("fused"), graph("classifier"), BATCHES, QUICK)
    (told,) = energy.sensors
    assert (told.idle_watts, told.fused_watts, told.classifier_watts) == pytest.approx((4.0, 14.0, 9.0), abs=0.5)
    one = told.rounds[0].fused
    assert one.joules_per_image(4.0) == pytest.approx((one.watts - 4.0) * one.seconds / one.images)


def test_the_blocks_alternate_and_every_round_is_kept():
    world, rounds = World(), []
    (told,) = world.measure(sensor(world.counter, True), on_round=lambda: rounds.append(len(world.order))).sensors
    starts = [world.order[at] for at in (0, *rounds[:-1])]
    assert starts == ["fused", "classifier"] * 3
    assert [each.fused_first for each in told.rounds] == [True, False] * 3
    assert all(each.fused.images >= 2 and each.fused.seconds >= QUICK.block_seconds for each in told.rounds)


def test_too_few_rounds_give_no_interval_instead_of_a_narrow_one():
    world = World()
    settings = EnergySettings(period_s=0.001, idle_seconds=0.005, block_seconds=0.005, rounds=5)
    (told,) = world.measure(sensor(world.counter, True), settings=settings).sensors
    assert (told.explanation.low, told.explanation.high) == (None, None)


def test_several_sensors_see_the_same_blocks():
    world = World()
    energy = world.measure(sensor(world.counter, True), sensor(lambda: 7.0), absent={"RAPL": "for root alone"})
    assert energy.absent == {"RAPL": "for root alone"}
    first, second = energy.sensors
    assert [each.fused.images for each in first.rounds] == [each.fused.images for each in second.rounds]
    assert second.explanation.value == pytest.approx(0.0, abs=1e-9)
    assert second.fused_watts == pytest.approx(7.0)


def test_the_mean_power_is_weighted_by_time():
    start = time.perf_counter()
    with PowerMeter([sensor(lambda: 100.0 * (time.perf_counter() - start))], period_s=0.03) as meter:
        time.sleep(0.04)
    watts, seconds = meter.told[0]
    # Power rises evenly from 0, so that the true mean is that of the middle; the three readings' own mean is higher.
    assert watts == pytest.approx(100.0 * seconds / 2, rel=0.05)


def test_a_sensor_that_stops_answering_is_an_error_also_in_the_thread():
    readings = iter([5.0])

    def read() -> float:
        try:
            return next(readings)
        except StopIteration:
            raise BackendError("in1_input: cannot be read") from None

    with pytest.raises(BackendError, match="in1_input: cannot be read"), PowerMeter([sensor(read)], 0.005):
        time.sleep(0.02)


def test_an_error_of_the_body_is_the_one_that_is_seen():
    with pytest.raises(ValueError, match="body"), PowerMeter([sensor(lambda: 1.0)], 0.005):
        raise ValueError("body")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds is 0, expected more than 0"),
        (
            {"period_s": 1.5},
            r"period_s is 1\.5, expected at most half of idle_seconds, 2\.0, and of block_seconds, 3\.0",
        ),
        ({"confidence": 1.0}, r"confidence is 1\.0, expected a number between 0 and 1"),
    ],
)
def test_settings_that_measure_nothing_are_refused(changes: dict, message: str):
    with pytest.raises(InputError, match=message):
        EnergySettings(**changes)
