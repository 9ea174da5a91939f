"""`whymask bench` of several files, batches, scenarios and other methods: its record, its files, its refusals."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
typer = pytest.importorskip("typer")
from onnx_models import SIZE, write_classifier, write_fused  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from whymask.benchmarks.bench import run_bench  # noqa: E402
from whymask.benchmarks.bench_pair import RunOptions  # noqa: E402
from whymask.benchmarks.bench_scenarios import Point  # noqa: E402
from whymask.benchmarks.bench_sweep import SweepOptions, run_sweep  # noqa: E402
from whymask.benchmarks.cli import bench  # noqa: E402
from whymask.benchmarks.energy import EnergySettings  # noqa: E402
from whymask.benchmarks.latency import BenchSettings  # noqa: E402
from whymask.benchmarks.latency_stats import Ratio  # noqa: E402
from whymask.benchmarks.loadgen import figure_from_log  # noqa: E402
from whymask.benchmarks.power import Sensor, Sensors  # noqa: E402
from whymask.benchmarks.sweep_record import Faster, SweepRecord  # noqa: E402
from whymask.benchmarks.sweep_report import write_bench  # noqa: E402
from whymask.benchmarks.sweep_words import CSV_HEAD, sentence, where  # noqa: E402
from whymask.runtime.errors import BackendError, InputError, MissingExtra  # noqa: E402

QUICK = BenchSettings(seconds=0.2, pictures=4, warmup_seconds=0.0, warmup_pairs=2, min_pairs=10, resamples=50)
GOLDEN_KEYS = (
    "schema kind created files settings images machine versions points verdict notes memory preprocess".split()
)
GOLDEN_POINT = "scenario batch figure rows comparisons load gpu_before gpu_after loadgen".split()
GOLDEN_ROW = """
name kind baseline stated extrapolated summary headline images_per_second ratio cost verdict samples_ms rounds
phases device_phases phase_samples_ms loaded energy
""".split()


def write_pair(folder: Path, name: str, **options) -> Path:
    write_classifier(folder / f"{name}.classifier.onnx", **options)
    return write_fused(folder / f"{name}.onnx", **options)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    return [write_pair(folder, "a"), write_pair(folder, "b")]


@pytest.fixture(scope="module")
def record(files: list[Path]) -> SweepRecord:
    options = SweepOptions(run_options=RunOptions(threads=1), against=("rise",), trigger_rates=(0.5,))
    return run_sweep(files, [Point("single-stream", 1), Point("offline", 4)], options, QUICK)


def run(*arguments: object):
    app = typer.Typer()
    app.command()(bench)
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])


def test_the_record_has_the_golden_keys(record: SweepRecord):
    read = json.loads(record.to_json())
    assert list(read) == GOLDEN_KEYS
    assert (read["schema"], read["kind"]) == (2, "whymask.bench_sweep")
    assert [list(point) for point in read["points"]] == [GOLDEN_POINT] * 2
    assert {tuple(row) for point in read["points"] for row in point["rows"]} == {tuple(GOLDEN_ROW)}


def test_files_of_one_classifier_share_its_row_and_every_row_is_held_against_it(record: SweepRecord):
    for point in record.points:
        kinds = [(row.name, row.kind) for row in point.rows]
        assert kinds == [
            ("classifier alone", "classifier"),
            ("a.onnx", "fused"),
            ("b.onnx", "fused"),
            ("a.onnx on trigger, 0.5", "trigger"),
            ("b.onnx on trigger, 0.5", "trigger"),
            ("rise-1000", "rival"),
        ]
        assert [row.baseline for row in point.rows] == ["", *["classifier alone"] * 5]
        assert [row.ratio is None for row in point.rows] == [True, *[False] * 5]


def test_files_of_two_classifiers_have_a_row_for_each(tmp_path: Path):
    one, other = write_pair(tmp_path, "a"), write_pair(tmp_path, "b")
    write_classifier(tmp_path / "b.classifier.onnx", batch="N")  # the same answers in another file
    found = run_sweep([one, other], [Point("calls", 1)], settings=QUICK)
    names = [row.name for row in found.points[0].rows if row.kind == "classifier"]
    assert names == ["classifier alone of a.onnx", "classifier alone of b.onnx"]
    assert [each.baseline for each in found.files] == names


def test_each_scenario_is_told_by_its_own_figure(record: SweepRecord):
    single, offline = record.points
    row = single.rows[1]
    assert (single.figure, row.headline) == ("p90_ms", row.summary.p90_ms)
    row = offline.rows[1]
    assert (offline.figure, offline.batch) == ("images_per_second", 4)
    assert row.headline == pytest.approx(4e3 / row.summary.mean_ms)


def test_what_is_extrapolated_is_so_by_its_factor_and_marked_in_every_output(record: SweepRecord, tmp_path: Path):
    for point in record.points:
        rise = point.rows[-1]
        assert rise.extrapolated == 62.5
        assert rise.summary.min_ms == pytest.approx(62.5 * min(rise.samples_ms))
        assert [each.extrapolated for each in point.comparisons if "rise-1000" in (each.faster, each.slower)] == [
            True,
            True,
        ]
        assert not any(each.extrapolated for each in point.comparisons if "rise-1000" not in (each.faster, each.slower))
    written = {path.suffix: path.read_text() for path in write_bench(record, tmp_path / "out")}
    assert list(written) == [".json", ".csv", ".md", ".html"]
    for ending in (".md", ".html"):
        assert "rise-1000 (extrapolated)" in written[ending]
        assert "times faster than rise-1000 (extrapolated)" in written[ending]
    rows = list(csv.DictReader(io.StringIO(written[".csv"])))
    assert [row["extrapolated"] for row in rows if row["row"] == "rise-1000"] == ["62.5"] * 2


def test_counted_cost_stands_beside_every_latency(record: SweepRecord, files: list[Path]):
    alone, fused = record.points[0].rows[:2]
    assert fused.cost["bytes"] == files[0].stat().st_size > alone.cost["bytes"] > 0
    trigger = record.points[0].rows[3]
    assert trigger.cost["bytes"] == alone.cost["bytes"] + fused.cost["bytes"]


def test_the_page_is_whole_and_draws_calls_and_paired_differences(record: SweepRecord, tmp_path: Path):
    (path,) = write_bench(record, tmp_path / "bench.html")
    page = path.read_text()
    assert "<script" not in page and "http://" not in page and "https://" not in page
    assert page.count('aria-label="histogram of a.onnx, ms a call') == 2
    assert page.count('aria-label="histogram of a.onnx less classifier alone, ms') == 2


@pytest.mark.parametrize("calls", [1, 2, 300])
def test_few_calls_are_drawn_whole_and_many_without_their_outermost(record: SweepRecord, tmp_path: Path, calls: int):
    point = record.points[0]
    times = [1.0 + i for i in range(calls)]
    rows = [dataclasses.replace(row, samples_ms=times, rounds=list(range(calls))) for row in point.rows]
    changed = dataclasses.replace(record, points=(dataclasses.replace(point, rows=tuple(rows)),))
    (path,) = write_bench(changed, tmp_path / "bench.html")
    page = path.read_text()
    assert ("are not drawn" in page) == (calls == 300)
    left_out = "; the highest and the lowest 5 % are not drawn" if calls == 300 else ""
    assert f"Difference within each of {calls} pairs of calls{left_out}." in page
    assert f"median {(1 + calls) / 2:.3g}" in page
    assert "nan" not in page


def test_files_of_other_sizes_are_told_with_all_of_them(record: SweepRecord):
    larger = dataclasses.replace(record.files[1], height=96, width=128)
    assert f", {SIZE} × {SIZE} px, " in where(record)
    assert f", {SIZE} × {SIZE} and 96 × 128 px, " in where(dataclasses.replace(record, files=(record.files[0], larger)))


def test_the_table_has_a_line_a_row_and_point(record: SweepRecord, tmp_path: Path):
    (path,) = write_bench(record, tmp_path / "bench.csv")
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert list(rows[0]) == list(CSV_HEAD)
    assert len(rows) == 12
    assert float(rows[1]["p90_ms"]) == record.points[0].rows[1].summary.p90_ms


def test_a_file_tells_the_parts_of_a_call_and_what_loading_took(record: SweepRecord):
    for point in record.points:
        alone, first, second, *others = point.rows
        for row in (first, second):
            assert list(row.phases) == ["preprocess", "run", "postprocess", "total"]
            assert row.phases["run"].count == len(row.phase_samples_ms["run_ms"])
        assert alone.phases == {} and alone.loaded is not None
        assert {row.loaded for row in others} == {None}
    names = [mark.name for mark in record.memory.marks]
    steps = ("before loading", "fused graph loaded", "classifier loaded too")
    assert names == [f"{file}: {step}" for file in ("a.onnx", "b.onnx") for step in steps] + [
        "after single-stream, batch 1",
        "after offline, batch 4",
    ]
    assert first.loaded.device_used_bytes is None and first.loaded.absent["device_used_bytes"].startswith("no GPU")


def test_parts_memory_and_what_comes_before_are_in_every_form(record: SweepRecord, tmp_path: Path):
    written = {path.suffix: path.read_text() for path in write_bench(record, tmp_path / "out")}
    for ending in (".md", ".html"):
        for part in (
            "Before the graph",
            "postprocess, ms",
            "process, +MiB",
            "resize, Pillow",
            "memory of the process: ",
        ):
            assert part in written[ending]
    rows = list(csv.DictReader(io.StringIO(written[".csv"])))
    offline = next(row for row in rows if row["row"] == "b.onnx" and row["scenario"] == "offline")
    mark = record.memory.marks[-1]
    assert offline["process_rss_bytes"] == ("" if mark.rss_bytes is None else str(mark.rss_bytes))
    assert float(offline["preprocess_p50_ms"]) == record.points[1].rows[2].phases["preprocess"].p50_ms
    assert float(offline["resize_pillow_p50_ms"]) == record.preprocess[0].ways["resize, Pillow"].p50_ms
    assert (offline["joules_per_image"], offline["rail"], offline["device_used_bytes"]) == ("", "", "")


def test_joules_of_a_sweep_are_each_files_own_and_named_by_their_rail(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    counter = Sensor("RAPL", "package-0", "processor packages", True, 0.0, time.process_time)
    told = Sensors((counter,), {"NVML": "no GPU ran the graphs"})
    monkeypatch.setattr("whymask.benchmarks.bench.open_sensors", lambda on_gpu: nullcontext(told))
    quick = EnergySettings(period_s=0.01, idle_seconds=0.02, block_seconds=0.02, rounds=2)
    found = run_sweep(files, [Point("calls", 1)], SweepOptions(energy=quick), QUICK)
    alone, first, second = found.points[0].rows
    assert alone.energy is None and first.energy.sensors[0].rounds != second.energy.sensors[0].rounds
    written = {path.suffix: path.read_text() for path in write_bench(found, tmp_path / "out")}
    rows = {row["row"]: row for row in csv.DictReader(io.StringIO(written[".csv"]))}
    assert float(rows["classifier alone"]["joules_per_image"]) == first.energy.sensors[0].classifier.value
    assert float(rows["b.onnx"]["joules_per_image"]) == second.energy.sensors[0].fused.value
    assert rows["b.onnx"]["rail"] == "RAPL, package-0"
    assert "calls, batch 1, a.onnx: no joules of NVML: no GPU ran the graphs" in written[".md"]


def test_joules_that_no_sensor_tells_are_absent_from_a_sweep_with_the_reason(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    none = Sensors((), {"RAPL": "no such counters"})
    monkeypatch.setattr("whymask.benchmarks.bench.open_sensors", lambda on_gpu: nullcontext(none))
    done = run(*files, "--energy", "--seconds", 0.2, "--threads", 1, "-o", tmp_path / "bench.csv")
    assert done.exit_code == 0, done.output
    assert "a.onnx: no joules of RAPL: no such counters" in done.stdout
    rows = list(csv.DictReader(io.StringIO((tmp_path / "bench.csv").read_text())))
    assert {(row["joules_per_image"], row["rail"]) for row in rows} == {("", "none (RAPL: no such counters)")}


def test_a_single_pair_is_written_in_every_form_too(files: list[Path], tmp_path: Path):
    pair = run_bench(files[0], threads=1, settings=QUICK)
    written = {path.suffix: path.read_text() for path in write_bench(pair, tmp_path / "out")}
    assert json.loads(written[".json"])["kind"] == "whymask.bench"
    assert "The explanation adds" in written[".md"]
    assert "call, p50: preprocess" in written[".html"]
    assert len(written[".csv"].splitlines()) == 3
    row = list(csv.DictReader(io.StringIO(written[".csv"])))[1]
    assert float(row["run_p50_ms"]) == pair.phases["run"].p50_ms
    assert float(row["resize_pillow_p50_ms"]) == pair.preprocess.ways["resize, Pillow"].p50_ms
    once = (
        "memory of the process: ",
        "application's call, p50",
        "pictures are synthetic",
        "before the graph, resize, P",
    )
    assert [written[".md"].count(each) for each in once] == [1] * 4


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        ((12.34, 11.9, 12.9), "a ran 12.3 ± 0.5 times faster than b"),
        ((5123.0, 5000.0, 5300.0), "a ran 5,123 ± 1.5e+02 times faster than b"),
        ((1.02, 0.98, 1.05), "a and b cannot be told apart: 1.02 (0.980 to 1.05) times"),
    ],
)
def test_the_sentence_says_how_many_times_faster_with_its_interval(ratio: tuple, expected: str):
    assert sentence(Faster("a", "b", Ratio(*ratio, 0.95, 50, 3), False)) == expected
    assert sentence(Faster("a", "b", Ratio(*ratio, 0.95, 50, 3), True)) == f"{expected} (extrapolated)"


def test_few_rounds_make_a_row_and_the_record_invalid(files: list[Path]):
    few = BenchSettings(seconds=5.0, pictures=4, warmup_pairs=1, warmup_seconds=0.0, min_pairs=4, max_pairs=4)
    found = run_sweep(files[:1], [Point("calls", 1)], SweepOptions(trigger_rates=(0.1,)), few)
    assert not found.verdict.valid
    text = "\n".join(found.verdict.reasons)
    assert "on trigger, 0.1: 4 calls were timed, ten explained pictures need 100: raise --pairs and --seconds" in text


def test_a_batch_that_the_graph_does_not_take_is_one_clear_error(tmp_path: Path):
    file = write_pair(tmp_path, "fixed", batch=2)
    with pytest.raises(InputError, match=r"batch is 8, but fixed\.onnx takes batches of 2 only; bench with --batch 2"):
        run_sweep([file], [Point("multi-stream", 8)], settings=QUICK)
    with pytest.raises(InputError, match=r"fixed\.onnx takes batches of 2 or more, and on trigger some pictures of"):
        run_sweep([file], [Point("calls", 2)], SweepOptions(trigger_rates=(0.5,)), QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SweepOptions(against=("lime",)), r"--against lime: no such method, expected some of recipro-cam, cam, grad-"),
        (SweepOptions(against=("cam",)), r"--against cam: needs the classifier in torch.*give --run its run directory"),
        (SweepOptions(trigger_rates=(1.5,)), r"--trigger-rate 1\.5: expected a share above 0 and at most 1"),
    ],
    ids=["method", "run", "rate"],
)
def test_options_that_cannot_be_used_are_refused(files: list[Path], options: SweepOptions, message: str):
    with pytest.raises(InputError, match=message):
        run_sweep(files[:1], [Point("calls", 1)], options, QUICK)


def test_a_file_that_stands_twice_is_refused(files: list[Path]):
    with pytest.raises(InputError, match="a file stands twice, expected each once"):
        run_sweep([files[0], files[0]], [Point("calls", 1)], settings=QUICK)


def test_the_command_sweeps_batches_and_prints_a_table_a_point(files: list[Path], tmp_path: Path):
    done = run(*files, "--batches", "1,2", "--seconds", 0.2, "--threads", 1, "-o", tmp_path / "bench.md")
    assert done.exit_code == 0, done.output
    for part in ("calls, batch 1", "calls, batch 2", "a.onnx", "b.onnx", "classifier alone", "× classifier alone"):
        assert part in done.stdout
    assert (tmp_path / "bench.md").read_text().startswith("# Latency\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batches", "1,2", "--batch", 2), "--batch with --batches or --scenario: both say how many pictures"),
        (("--run", "runs"), "--run is for --against, which was not given"),
        (("-o", "bench.pdf"), r"bench\.pdf: ending '\.pdf', expected one of \.json, \.csv, \.md, \.html"),
        (("--batches", "1,2", "--loadgen"), "mlcommons-loadgen is needed to cross-check"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    files: list[Path], arguments: tuple, message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    done = run(files[0], *arguments)
    assert isinstance(done.exception, InputError | MissingExtra)
    assert re.search(message, str(done.exception))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--run", "runs"), "--run is for --against, which was not given"),
        (("--batches", ""), "--batches '': expected whole numbers of at least 1"),
        (("--against", ""), "--against : no such method"),
    ],
)
def test_no_option_of_a_sweep_is_passed_over_in_silence(files: list[Path], arguments: tuple, message: str):
    done = run(*files, *arguments)
    assert isinstance(done.exception, InputError)
    assert re.search(message, str(done.exception))


def test_calls_that_loadgen_has_no_scenario_for_are_refused_before_they_are_timed(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", FakeLoadGen({}))
    monkeypatch.setattr("whymask.benchmarks.bench_sweep.measure_rounds", lambda *given, **more: pytest.fail("timed"))
    with pytest.raises(InputError, match="--loadgen has no scenario for calls of 1; add --scenario single-stream"):
        run_sweep(files[:1], [Point("calls", 1)], SweepOptions(loadgen=True), QUICK)


def test_a_share_of_pictures_that_is_next_to_none_wants_more_calls_than_there_are(files: list[Path]):
    found = run_sweep(files[:1], [Point("calls", 1)], SweepOptions(trigger_rates=(1e-320,)), QUICK)
    assert "ten explained pictures need 10000000000" in "\n".join(found.verdict.reasons)


def test_a_fused_file_in_the_classifiers_place_makes_a_sweep_invalid(files: list[Path]):
    found = run_sweep(files[:1], [Point("calls", 1)], SweepOptions(classifier=files[0]), QUICK)
    assert any("a.onnx gives saliency and mask itself" in reason for reason in found.verdict.reasons)


class FakeLoadGen(SimpleNamespace):
    """The names of mlperf_loadgen 5 that are used, as its bindings have them; issues queries and writes a log."""

    def __init__(self, results: dict[str, float]) -> None:
        names = ("SingleStream", "MultiStream", "Offline")
        super().__init__(
            TestScenario=SimpleNamespace(**{name: name for name in names}),
            TestMode=SimpleNamespace(PerformanceOnly="PerformanceOnly"),
            TestSettings=SimpleNamespace,
            LogSettings=SimpleNamespace,
            LogOutputSettings=SimpleNamespace,
            QuerySampleResponse=lambda *args: args,
            results=results,
            completed=[],
            destroyed=[],
        )

    def ConstructSUT(self, issue, flush):
        self.issue = issue
        return 1

    def ConstructQSL(self, total, performance, load, unload):
        self.total = total
        return 2

    def DestroySUT(self, sut):
        self.destroyed.append(sut)

    def DestroyQSL(self, qsl):
        self.destroyed.append(qsl)

    def QuerySamplesComplete(self, responses):
        self.completed += [response[0] for response in responses]

    def StartTestWithLogSettings(self, sut, qsl, settings, log):
        self.settings = settings
        count = {"SingleStream": 1, "MultiStream": 8, "Offline": settings.min_query_count + 1}[settings.scenario]
        queries = 1 if settings.scenario == "Offline" else settings.min_query_count
        for query in range(queries):
            self.issue([SimpleNamespace(id=query * count + i, index=i % self.total) for i in range(count)])
        lines = [f":::MLLOG {json.dumps({'key': key, 'value': value})}" for key, value in self.results.items()]
        (Path(log.log_output.outdir) / "mlperf_log_detail.txt").write_text("\n".join(lines))


def test_loadgen_times_the_files_at_the_same_scenarios(files: list[Path], monkeypatch: pytest.MonkeyPatch):
    results = {
        "result_90.00_percentile_latency_ns": 2_000_000,
        "result_99.00_percentile_per_query_latency_ns": 9_000_000,
        "result_samples_per_second": 321.5,
    }
    fake = FakeLoadGen(results)
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", fake)
    where = [Point("single-stream", 1), Point("multi-stream", 8), Point("offline", 4)]
    found = run_sweep(files[:1], where, SweepOptions(loadgen=True, run_options=RunOptions(threads=1)), QUICK)
    told = [(check.row, check.figure, check.loadgen, check.queries) for p in found.points for check in p.loadgen]
    assert told == [
        ("classifier alone", "p90_ms", 2.0, 10),
        ("a.onnx", "p90_ms", 2.0, 10),
        ("classifier alone", "p99_ms", 9.0, 10),
        ("a.onnx", "p99_ms", 9.0, 10),
        ("classifier alone", "images_per_second", 321.5, 1),
        ("a.onnx", "images_per_second", 321.5, 1),
    ]
    # Every sample is answered once, that of the last, incomplete call too.
    assert fake.completed[-41:] == list(range(41))
    assert fake.destroyed == [2, 1] * 6
    assert fake.settings.offline_expected_qps > 0


def test_a_log_of_loadgen_without_a_result_is_an_error():
    with pytest.raises(BackendError, match=r"LoadGen's log has no result_samples_per_second"):
        figure_from_log(':::MLLOG {"key": "result_validity", "value": "INVALID"}', "offline")
