"""MLPerf's own load generator as a cross-check of the scenarios: the same graph and pictures, timed by its clock.

The package `mlcommons-loadgen` (module `mlperf_loadgen`) issues the queries and writes a detail log, from which the
scenario's figure is read. It cannot interleave two graphs: its figures stand beside ours, and no ratio is made of them.

Letters: B batch, N number of pictures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from whymask.benchmarks.bench_scenarios import CALLS, MULTI, OFFLINE, SINGLE, STREAMS, Point
from whymask.benchmarks.latency import BenchSettings
from whymask.benchmarks.latency_rounds import Contender
from whymask.benchmarks.sweep_record import CrossCheck, SweepPoint
from whymask.runtime.errors import BackendError, InputError, MissingExtra

SCENARIOS = {SINGLE: "SingleStream", MULTI: "MultiStream", OFFLINE: "Offline"}
RESULTS = {
    SINGLE: "result_90.00_percentile_latency_ns",
    MULTI: "result_99.00_percentile_per_query_latency_ns",
    OFFLINE: "result_samples_per_second",
}
"""Keys of LoadGen's detail log."""
DETAIL = "mlperf_log_detail.txt"
MARK = ":::MLLOG"


def import_loadgen() -> Any:
    """The module `mlperf_loadgen`.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import mlperf_loadgen
    except ImportError:
        raise MissingExtra("mlcommons-loadgen", "loadgen", "cross-check the scenarios with --loadgen") from None
    return mlperf_loadgen


def check_scenarios(points: Sequence[Point | SweepPoint]) -> None:
    """Refuse points that LoadGen has no scenario for, before anything is measured.

    Raises:
        InputError: calls of a batch, which are no scenario of MLPerf.
    """
    for point in points:
        if point.scenario == CALLS:
            raise InputError(f"--loadgen has no scenario for calls of {point.batch}; add --scenario single-stream")


def cross_checks(contenders: Sequence[Contender], point: SweepPoint, settings: BenchSettings) -> tuple[CrossCheck, ...]:
    """Time graphs by LoadGen, one after the other.

    Args:
        contenders: graphs that have rows at the point.
        point: the scenario, and what was measured here.
        settings: fewest queries, time limit and seed.

    Raises:
        InputError: calls of a batch, which are no scenario of MLPerf.
        MissingExtra: LoadGen is not installed.
        BackendError: LoadGen writes no result.
    """
    check_scenarios([point])
    loadgen = import_loadgen()
    rows = {row.name: row for row in point.rows}
    checks = []
    for contender in contenders:
        row = rows[contender.name]
        value, queries = _timed(loadgen, contender, point, settings, row.summary.p50_ms)
        checks.append(CrossCheck(row.name, point.figure, row.headline, value, queries))
    return tuple(checks)


def figure_from_log(text: str, scenario: str) -> float:
    """The scenario's figure from LoadGen's detail log: milliseconds, or samples a second.

    Args:
        text: of the log; each line of results is `:::MLLOG {"key": …, "value": …}`.
        scenario: see `RESULTS`.

    Raises:
        BackendError: the log does not tell it.
    """
    lines = [line.partition(MARK)[2] for line in text.splitlines() if MARK in line]
    told = [json.loads(line) for line in lines if f'"{RESULTS[scenario]}"' in line]
    if not told:
        raise BackendError(
            f"LoadGen's log has no {RESULTS[scenario]}, so its run came to no end; install mlcommons-loadgen 5 or newer"
        )
    value = float(told[-1]["value"])
    return value if scenario == OFFLINE else value / 1e6


def _timed(
    loadgen: Any, contender: Contender, point: SweepPoint, settings: BenchSettings, call_ms: float
) -> tuple[float, int]:
    """The figure, and the number of queries."""
    queries = 0

    def issue(samples: Sequence[Any]) -> None:
        nonlocal queries
        queries += 1
        for first in range(0, len(samples), point.batch):
            some = samples[first : first + point.batch]
            # The last call of an offline query is filled up, for a graph may take full batches only.
            places = [sample.index for sample in some] + [0] * (point.batch - len(some))
            contender.run(np.ascontiguousarray(contender.images[places]))
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample.id, 0, 0) for sample in some])

    count = len(contender.images)
    sut = loadgen.ConstructSUT(issue, _nothing)
    qsl = loadgen.ConstructQSL(count, count, _nothing, _nothing)
    try:
        with TemporaryDirectory() as folder:
            test = _test_settings(loadgen, point, settings, call_ms)
            loadgen.StartTestWithLogSettings(sut, qsl, test, _log_settings(loadgen, folder))
            text = (Path(folder) / DETAIL).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BackendError(f"LoadGen wrote no {DETAIL}: {error}; measure without --loadgen") from None
    finally:
        loadgen.DestroyQSL(qsl)
        loadgen.DestroySUT(sut)
    return figure_from_log(text, point.scenario), queries


def _nothing(*unused: object) -> None:
    """The pictures are in memory already, and every query is answered where it is issued."""


def _test_settings(loadgen: Any, point: SweepPoint, settings: BenchSettings, call_ms: float) -> Any:
    """As many queries as rounds were asked for; offline is one query of that many calls."""
    test = loadgen.TestSettings()
    test.scenario = getattr(loadgen.TestScenario, SCENARIOS[point.scenario])
    test.mode = loadgen.TestMode.PerformanceOnly
    test.qsl_rng_seed = test.sample_index_rng_seed = test.schedule_rng_seed = settings.seed
    test.min_query_count, test.min_duration_ms = settings.min_pairs, 0
    # Guides how many queries are made beforehand.
    test.single_stream_expected_latency_ns = max(1, round(1e6 * call_ms))
    if point.scenario == MULTI:
        test.multi_stream_expected_latency_ns = max(1, round(1e6 * call_ms))
        test.multi_stream_samples_per_query = STREAMS
    if point.scenario == OFFLINE:
        samples = settings.min_pairs * point.batch
        test.min_query_count, test.min_duration_ms = samples, math.ceil(settings.min_pairs * call_ms)
        test.offline_expected_qps = 1e3 * point.batch / call_ms
    return test


def _log_settings(loadgen: Any, folder: str) -> Any:
    output = loadgen.LogOutputSettings()
    output.outdir, output.copy_summary_to_stdout = folder, False
    log = loadgen.LogSettings()
    log.log_output, log.enable_trace = output, False
    return log
