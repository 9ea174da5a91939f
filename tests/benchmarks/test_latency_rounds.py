"""Rounds of several contenders: what is called when, what is paired with what, and when it ends."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from whymask.benchmarks.bench_contenders import OnTrigger
from whymask.benchmarks.bench_scenarios import Point, batches_from_text, points
from whymask.benchmarks.latency import BenchSettings
from whymask.benchmarks.latency_rounds import Contender, measure_rounds
from whymask.benchmarks.latency_stats import paired_mean_ratio
from whymask.runtime.errors import InputError

MS = 1_000_000
IMAGES = np.arange(4, dtype=np.uint8)[:, None, None, None].repeat(3, 3)


class Stage:
    """A clock and contenders that write down who was called with which pictures, and move the clock."""

    def __init__(self) -> None:
        self.now, self.events, self.seen = 0, [], []

    def clock(self) -> int:
        self.events.append("clock")
        return self.now

    def contender(self, name: str, took_ms: float, baseline: str = "", every: int = 1) -> Contender:
        def run(batch: np.ndarray) -> None:
            self.events.append(name)
            self.seen.append((name, batch[:, 0, 0, 0].tolist()))
            self.now += int(took_ms * MS)

        return Contender(name, run, IMAGES, baseline, every)


def settings(**changes) -> BenchSettings:
    defaults = {"seconds": 1.0, "warmup_seconds": 0.0, "warmup_pairs": 0, "min_pairs": 20, "resamples": 50}
    return BenchSettings(**{**defaults, **changes})


def three(stage: Stage) -> list[Contender]:
    return [stage.contender("alone", 2.0), stage.contender("a", 3.0, "alone"), stage.contender("b", 5.0, "alone", 4)]


def test_each_call_lies_alone_between_two_readings_of_the_clock_and_every_contender_is_called_once_a_round():
    stage = Stage()
    measure_rounds(three(stage), settings(min_pairs=8), stage.clock)
    calls = [i for i, event in enumerate(stage.events) if event != "clock"]
    assert all(stage.events[i - 1] == stage.events[i + 1] == "clock" for i in calls)
    assert all(second - first == 3 for first, second in pairwise(calls))
    names = [stage.events[i] for i in calls]
    assert sorted(names[:3]) == ["a", "alone", "b"]
    assert [sorted(names[at : at + 2]) for at in (3, 5, 7)] == [["a", "alone"]] * 3
    assert sorted(names[9:12]) == ["a", "alone", "b"]


def test_the_order_within_a_round_changes():
    stage = Stage()
    measure_rounds(three(stage)[:2], settings(), stage.clock)
    firsts = {stage.seen[i][0] for i in range(0, len(stage.seen), 2)}
    assert firsts == {"a", "alone"}


def test_all_contenders_of_a_round_see_the_same_pictures():
    stage = Stage()
    measure_rounds(three(stage), settings(batch=3, min_pairs=8, max_pairs=8), stage.clock)
    by_name = {name: [batch for who, batch in stage.seen if who == name] for name in ("alone", "a", "b")}
    assert by_name["alone"] == by_name["a"]
    assert by_name["alone"][:3] == [[0, 1, 2], [3, 0, 1], [2, 3, 0]]
    assert by_name["b"] == by_name["alone"][::4]


def test_a_ratio_is_of_the_rounds_that_both_took_part_in():
    stage = Stage()
    contenders = three(stage)
    rounds = measure_rounds(contenders, settings(), stage.clock)
    assert (len(rounds.times_ms["alone"]), len(rounds.times_ms["b"])) == (20, 5)
    assert rounds.rounds["b"].tolist() == [0, 4, 8, 12, 16]
    assert rounds.ratio(contenders[1], settings()).value == 1.5
    assert rounds.ratio(contenders[2], settings()).value == 2.5
    assert rounds.between("b", "a", settings()).value == pytest.approx(5 / 3)


def test_one_round_is_not_taken_for_a_narrow_interval():
    stage = Stage()
    rounds = measure_rounds(three(stage)[:2], settings(min_pairs=1), stage.clock)
    assert len(rounds.times_ms["a"]) == 10


def test_rounds_go_on_while_one_ratio_is_wide_and_end_with_the_time():
    stage, random = Stage(), np.random.default_rng(0)

    def noisy(batch: np.ndarray) -> None:
        stage.now += int(random.uniform(1, 9) * MS)

    contenders = [*three(stage)[:2], Contender("noisy", noisy, IMAGES, "alone")]
    shares: list[float] = []
    rounds = measure_rounds(contenders, settings(), stage.clock, shares.append)
    assert len(rounds.times_ms["a"]) > 60
    assert shares[-1] == 1.0
    again = Stage()
    steady = measure_rounds(three(again), settings(), again.clock)
    assert len(steady.times_ms["a"]) == 20


def test_names_tell_contenders_apart_and_a_baseline_is_timed():
    stage = Stage()
    with pytest.raises(InputError, match="a: two contenders have this name"):
        measure_rounds([stage.contender("a", 1.0)] * 2, settings())
    with pytest.raises(InputError, match="a: its baseline alone is not timed"):
        measure_rounds([stage.contender("a", 1.0, "alone")], settings())


@pytest.mark.parametrize(("rate", "batch"), [(0.1, 1), (0.25, 3), (1.0, 2), (0.03, 16)])
def test_on_trigger_explains_the_asked_share_and_decides_on_every_picture(rate: float, batch: int):
    seen = {"alone": 0, "fused": 0}

    def count(name: str):
        return lambda images: seen.__setitem__(name, seen[name] + len(images))

    run = OnTrigger(count("alone"), count("fused"), rate)
    for _ in range(200):
        run(np.zeros((batch, 2, 2, 3), np.uint8))
    assert seen["alone"] == 200 * batch
    assert abs(seen["fused"] - rate * seen["alone"]) <= 0.5


def test_the_ratio_of_means_sees_the_rarer_kind_of_call():
    triggered = np.where(np.arange(400) % 10 == 0, 3.0, 1.0)
    ratio = paired_mean_ratio(triggered, np.ones(400), 0.95, 200, 0)
    assert ratio.value == pytest.approx(1.2)
    assert 1.1 < ratio.low < 1.2 < ratio.high < 1.3


def test_scenarios_have_the_batches_of_mlperf():
    assert points(["single-stream", "multi-stream", "offline"], [4, 16, 4]) == (
        Point("single-stream", 1),
        Point("multi-stream", 8),
        Point("offline", 4),
        Point("offline", 16),
    )
    assert points([], [1, 4]) == (Point("calls", 1), Point("calls", 4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: points(["server"], []), r"--scenario server: no such scenario, expected single-stream, multi-stream"),
        (lambda: points(["single-stream"], [4]), r"single-stream has 1 picture a query and multi-stream 8; leave --ba"),
        (lambda: batches_from_text("1,0"), r"--batches '1,0': expected whole numbers of at least 1 with commas"),
        (lambda: batches_from_text("1,x"), r"--batches '1,x': expected whole numbers"),
    ],
    ids=["unknown", "batches-of-a-stream", "zero", "no-number"],
)
def test_what_no_sweep_can_time_is_refused(make, message: str):
    with pytest.raises(InputError, match=message):
        make()
