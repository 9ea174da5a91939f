"""What is timed, in which order; what is concluded from it; and the record that keeps it."""

from __future__ import annotations

import gc
import re

import numpy as np
import pytest

from whymask.benchmarks.latency import BenchSettings, collector_paused, measure_pairs, measure_phases
from whymask.benchmarks.latency_stats import Ratio, judge, median_of_ratios, paired_ratio, summarise
from whymask.benchmarks.machine import Load, LoadMeter, busy_seconds, describe_machine
from whymask.runtime.errors import InputError

MS = 1_000_000
QUIET = Load(load_average_before=0.1, load_average_after=0.2, others_cores=0.05, cores=2)


class Stage:
    """A clock and two graphs that write down who was called, and that move the clock by what a call takes."""

    def __init__(self, fused_ms: float = 3.0, classifier_ms: float = 2.0) -> None:
        self.now, self.events = 0, []
        self._took = {"fused": fused_ms, "classifier": classifier_ms, "prepare": 0.5, "finish": 0.25}

    def clock(self) -> int:
        self.events.append("clock")
        return self.now

    def play(self, name: str, given: object) -> object:
        self.events.append(name)
        self.now += int(self._took[name] * MS)
        return given

    def fused(self, batch: np.ndarray) -> object:
        return self.play("fused", batch)

    def classifier(self, batch: np.ndarray) -> object:
        return self.play("classifier", batch)


def images(count: int = 4) -> np.ndarray:
    return np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(3, 3)


def settings(**changes) -> BenchSettings:
    defaults = {"seconds": 1.0, "warmup_seconds": 0.0, "warmup_pairs": 0, "min_pairs": 20, "resamples": 100}
    return BenchSettings(**{**defaults, **changes})


def test_each_call_lies_alone_between_two_readings_of_the_clock():
    stage = Stage()
    pairs = measure_pairs(stage.fused, stage.classifier, images(), settings(min_pairs=8), stage.clock)
    timed = stage.events[stage.events.index("fused" if pairs.fused_first[0] else "classifier") - 1 :]
    for i, fused_first in enumerate(pairs.fused_first):
        first, second = ("fused", "classifier") if fused_first else ("classifier", "fused")
        assert timed[6 * i : 6 * i + 6] == ["clock", first, "clock", "clock", second, "clock"]
    assert len(timed) == 6 * len(pairs.fused_ms)


def test_times_belong_to_the_graph_whatever_came_first():
    stage = Stage(fused_ms=3.0, classifier_ms=2.0)
    pairs = measure_pairs(stage.fused, stage.classifier, images(), settings(), stage.clock)
    assert set(pairs.fused_ms) == {3.0}
    assert set(pairs.classifier_ms) == {2.0}
    assert 0 < pairs.fused_first.sum() < len(pairs.fused_first)


def test_the_warm_up_lasts_until_both_its_time_and_its_count_are_reached():
    by_count, by_time = Stage(), Stage()
    config = settings(warmup_pairs=7, warmup_seconds=0.001, min_pairs=1, max_pairs=1)
    measure_pairs(by_count.fused, by_count.classifier, images(), config, by_count.clock)
    config = settings(warmup_pairs=1, warmup_seconds=0.051, min_pairs=1, max_pairs=1)
    measure_pairs(by_time.fused, by_time.classifier, images(), config, by_time.clock)
    assert by_count.events.count("fused") == 7 + 1
    assert by_time.events.count("fused") == 11 + 1


def test_graphs_too_slow_for_the_limit_are_warmed_up_no_longer_than_it_lasts():
    stage = Stage(fused_ms=400.0, classifier_ms=300.0)
    pairs = measure_pairs(stage.fused, stage.classifier, images(), settings(warmup_pairs=50), stage.clock)
    assert len(pairs.fused_ms) == 2
    assert stage.events.count("fused") == 2 + 2


def test_both_graphs_get_the_same_batches_and_every_picture_in_turn():
    seen = {"fused": [], "classifier": []}
    stage = Stage()

    def watch(name: str):
        return lambda batch: (seen[name].append(batch[:, 0, 0, 0].tolist()), stage.play(name, batch))

    config = settings(batch=3, min_pairs=4, max_pairs=4)
    measure_pairs(watch("fused"), watch("classifier"), images(4), config, stage.clock)
    assert seen["fused"] == seen["classifier"] == [[0, 1, 2], [3, 0, 1], [2, 3, 0], [1, 2, 3]]


def test_steady_pairs_stop_at_the_first_look():
    stage = Stage()
    pairs = measure_pairs(stage.fused, stage.classifier, images(), settings(min_pairs=20), stage.clock)
    assert len(pairs.fused_ms) == 20


def test_noisy_pairs_go_on_until_the_time_is_out():
    stage, random = Stage(), np.random.default_rng(0)

    def noisy(batch: np.ndarray) -> object:
        stage._took["fused"] = float(random.uniform(1.0, 9.0))
        return stage.fused(batch)

    shares = []
    pairs = measure_pairs(
        noisy, stage.classifier, images(), settings(margin=0.001), stage.clock, lambda share: shares.append(share)
    )
    assert 100 < len(pairs.fused_ms) < 200
    assert sum(pairs.fused_ms) + sum(pairs.classifier_ms) == pytest.approx(1000.0, abs=12.0)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_same_seed_draws_the_same_order():
    orders = []
    for seed in (5, 5, 6):
        stage = Stage()
        orders.append(
            measure_pairs(stage.fused, stage.classifier, images(), settings(seed=seed), stage.clock).fused_first
        )
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).any()


def test_phases_are_timed_apart():
    stage = Stage()
    phases = measure_phases(
        lambda some: stage.play("prepare", np.stack(some)),
        stage.fused,
        lambda outputs: stage.play("finish", outputs),
        list(images()),
        settings(phase_calls=3, batch=2),
        stage.clock,
    )
    assert stage.events == ["clock", "prepare", "clock", "fused", "clock", "finish", "clock"] * 3
    assert phases.preprocess_ms.tolist() == [0.5] * 3
    assert phases.run_ms.tolist() == [3.0] * 3
    assert phases.postprocess_ms.tolist() == [0.25] * 3
    assert phases.total_ms.tolist() == [3.75] * 3


def test_phases_of_a_slow_graph_end_with_their_share_of_the_time_limit():
    stage = Stage(fused_ms=90.0)
    phases = measure_phases(
        lambda some: some[0], stage.fused, lambda outputs: None, list(images()), settings(phase_calls=50), stage.clock
    )
    assert phases.run_ms.tolist() == [90.0] * 3


def test_the_collector_comes_back_as_it_was_also_after_an_error():
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), collector_paused():
        assert not gc.isenabled()
        raise ZeroDivisionError
    assert gc.isenabled()
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_percentiles_are_numpys(count: int):
    times = np.random.default_rng(count).gamma(3.0, 2.0, count)
    summary = summarise(times)
    for name in ("p50", "p90", "p95", "p99"):
        assert getattr(summary, f"{name}_ms") == pytest.approx(np.percentile(times, float(name[1:])))
    assert (summary.min_ms, summary.max_ms, summary.count) == (times.min(), times.max(), count)
    assert summary.iqr_ms == pytest.approx(np.percentile(times, 75) - np.percentile(times, 25))


def test_no_sample_is_an_error():
    with pytest.raises(InputError, match="no sample was taken"):
        summarise(np.array([]))


def test_drift_that_slows_both_graphs_leaves_their_ratio_narrow():
    random = np.random.default_rng(1)
    drift = np.repeat(random.uniform(1.0, 2.0, 20), 20)
    classifier = drift * 2.0 * random.normal(1.0, 0.01, 400)
    fused = drift * 2.4 * random.normal(1.0, 0.01, 400)
    ratio = paired_ratio(fused, classifier, 0.95, 400, seed=0)
    assert ratio.low < 1.2 < ratio.high
    assert ratio.half_width < 0.03
    unpaired = paired_ratio(random.permutation(fused), classifier, 0.95, 400, seed=0)
    assert unpaired.half_width > 2 * ratio.half_width


def test_drift_between_rounds_leaves_the_median_of_their_ratios_alone():
    random = np.random.default_rng(0)
    drift = np.linspace(1.0, 3.0, 40)
    below = 10.0 * drift * random.normal(1.0, 0.01, 40)
    above = 12.0 * drift * random.normal(1.0, 0.01, 40)
    ratio = median_of_ratios(above, below, 0.95, 400, seed=0)
    assert ratio.value == pytest.approx(np.median(above / below))
    assert ratio.low < 1.2 < ratio.high and ratio.half_width < 0.01
    shuffled = median_of_ratios(random.permutation(above), below, 0.95, 400, seed=0)
    assert shuffled.half_width > 0.1
    with pytest.raises(InputError, match="3 samples of the fused graph and 2 of the classifier"):
        median_of_ratios(np.ones(3), np.ones(2), 0.95, 10, 0)


def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says():
    covered = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        fused, classifier = random.normal(1.3, 0.2, 120), random.normal(1.0, 0.2, 120)
        ratio = paired_ratio(fused, classifier, 0.95, 200, seed)
        covered += ratio.low <= 1.3 <= ratio.high
    assert 85 <= covered <= 100


def test_series_of_different_length_are_not_pairs():
    with pytest.raises(InputError, match="3 samples of the fused graph and 2 of the classifier; expected pairs"):
        paired_ratio(np.ones(3), np.ones(2), 0.95, 10, 0)


def ratio_of(low: float, high: float) -> Ratio:
    return Ratio(value=1.2, low=low, high=high, confidence=0.95, resamples=100, block=5)


@pytest.mark.parametrize(
    ("ratio", "pairs", "load", "threads", "reason"),
    [
        (ratio_of(1.19, 1.21), 200, QUIET, 1, None),
        (ratio_of(1.19, 1.21), 200, QUIET, 2, None),
        (ratio_of(1.0, 1.4), 200, QUIET, 1, r"interval of the ratio is ±16\.7 %, wider than ±5\.0 %"),
        (ratio_of(1.19, 1.21), 12, QUIET, 1, "12 pairs were timed, at least 100 are needed: raise --seconds"),
        (ratio_of(1.19, 1.21), 200, Load(2.0, 2.0, 1.0, 2), 1, None),
        (
            ratio_of(1.19, 1.21),
            200,
            Load(2.0, 2.0, 1.0, 2),
            2,
            "other processes used 1.0 of 2 cores while 2 threads were",
        ),
        (ratio_of(1.19, 1.21), 200, Load(9.0, 9.0, None, 2), 2, None),
        (ratio_of(float("nan"), 1.21), 200, QUIET, 1, "wider than"),
    ],
    ids=["quiet", "all-cores", "wide", "few", "busy-elsewhere", "busy", "load-unknown", "nan"],
)
def test_the_verdict_names_what_speaks_against_it(
    ratio: Ratio, pairs: int, load: Load, threads: int, reason: str | None
):
    verdict = judge(ratio, pairs, margin=0.05, min_pairs=100, load=load, threads=threads)
    assert verdict.valid == (reason is None)
    if reason is not None:
        assert len(verdict.reasons) == 1
        assert re.search(reason, verdict.reasons[0])


@pytest.mark.parametrize(("count", "valid"), [(1, False), (2, False), (9, False), (10, True)])
def test_so_few_pairs_that_their_interval_has_no_width_are_not_valid_whatever_was_asked_for(count: int, valid: bool):
    ratio = paired_ratio(np.full(count, 3.0), np.full(count, 2.0), 0.95, 100, 0)
    assert ratio.half_width == 0.0
    verdict = judge(ratio, count, margin=0.05, min_pairs=1, load=QUIET, threads=1)
    few = f"{count} pairs were timed, at least 10 are needed: raise --pairs and --seconds"
    assert (verdict.valid, verdict.reasons) == (valid, () if valid else (few,))


def test_one_pair_is_not_taken_for_a_narrow_interval():
    stage = Stage()
    pairs = measure_pairs(stage.fused, stage.classifier, images(), settings(min_pairs=1), stage.clock)
    assert len(pairs.fused_ms) == 10


def test_all_reasons_are_named():
    verdict = judge(ratio_of(1.0, 1.4), 3, margin=0.05, min_pairs=100, load=Load(2, 2, 1.5, 2), threads=1)
    assert len(verdict.reasons) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": 0}, "seconds is 0, expected more than 0"),
        ({"batch": -1}, "batch is -1, expected more than 0"),
        ({"confidence": 1.0}, "confidence is 1.0, expected a number between 0 and 1"),
        ({"max_pairs": 5}, "max_pairs is 5, expected at least min_pairs, 20"),
        ({"margin": float("nan")}, "margin is nan, expected more than 0"),
    ],
)
def test_settings_that_measure_nothing_are_refused(change: dict, message: str):
    with pytest.raises(InputError, match=message):
        settings(**change)


def test_busy_time_counts_the_asked_processors_and_neither_idle_nor_waiting_nor_guests(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    stat = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 100 20 30 9999 9999 1 2 47 800 900\ncpu1 7 0 0 5 0 0 0 0 0 0\nintr 5 6\n"
    assert busy_seconds(stat, [0]) == pytest.approx(2.0)
    assert busy_seconds(stat, [0, 1]) == pytest.approx(2.07)
    assert busy_seconds("", [0]) is None


def test_the_load_meter_does_not_count_its_own_process(monkeypatch: pytest.MonkeyPatch):
    busy = iter([100.0, 103.5])
    own, wall = iter([10.0, 12.0]), iter([50.0, 52.0])
    monkeypatch.setattr("whymask.benchmarks.machine.busy_seconds", lambda stat, cpus: next(busy))
    monkeypatch.setattr("time.process_time", lambda: next(own))
    monkeypatch.setattr("time.perf_counter", lambda: next(wall))
    with LoadMeter() as meter:
        pass
    assert meter.load.others_cores == pytest.approx((3.5 - 2.0) / 2.0)


def test_the_machine_has_a_name_and_cores():
    machine = describe_machine()
    assert machine.cpu
    assert machine.cores >= 1
