"""`whymask bench` on a tiny pair of graphs: its record, its words, and its refusals."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
typer = pytest.importorskip("typer")
from onnx_models import SIZE, write_classifier, write_fused  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from whymask.benchmarks.bench import run_bench  # noqa: E402
from whymask.benchmarks.bench_record import SCHEMA_VERSION, BenchRecord  # noqa: E402
from whymask.benchmarks.cli import bench  # noqa: E402
from whymask.benchmarks.energy import EnergySettings  # noqa: E402
from whymask.benchmarks.latency import BenchSettings  # noqa: E402
from whymask.benchmarks.latency_pictures import load_pictures, synthetic_pictures  # noqa: E402
from whymask.benchmarks.latency_stats import Ratio, Verdict  # noqa: E402
from whymask.benchmarks.latency_table import headline, notes  # noqa: E402
from whymask.benchmarks.power import Sensor, Sensors  # noqa: E402
from whymask.runtime.errors import ArtefactError, InputError  # noqa: E402

QUICK = BenchSettings(
    seconds=0.2, pictures=4, warmup_seconds=0.0, warmup_pairs=2, min_pairs=10, resamples=50, phase_calls=5
)
GOLDEN_KEYS = """
schema kind created fused_file classifier_file classifier_id explainer_kind precision cost outputs backend provider
transfers waiting batch threads height width settings images machine load versions gpu top1_agreement fused classifier
ratio images_per_second phases device_phases memory energy preprocess verdict samples
""".split()
GOLDEN_SUMMARY = ["count", "min_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms", "mean_ms", "std_ms", "iqr_ms"]


@pytest.fixture
def fused(tmp_path: Path) -> Path:
    write_classifier(tmp_path / "tiny.classifier.onnx")
    return write_fused(tmp_path / "tiny.onnx")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> BenchRecord:
    folder = tmp_path_factory.mktemp("record")
    write_classifier(folder / "tiny.classifier.onnx")
    return run_bench(write_fused(folder / "tiny.onnx"), threads=1, settings=QUICK)


def photographs(folder: Path, count: int) -> Path:
    image = pytest.importorskip("PIL.Image")
    folder.mkdir()
    for i in range(count):
        image.fromarray(np.full((12, 10 + i, 3), 20 * i, np.uint8)).save(folder / f"{i}.png")
    return folder


def run(*arguments: object):
    app = typer.Typer()
    app.command()(bench)
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(argument) for argument in arguments])


def test_the_record_has_the_golden_keys(record: BenchRecord):
    read = json.loads(record.to_json())
    assert list(read) == GOLDEN_KEYS
    assert (read["schema"], read["kind"]) == (SCHEMA_VERSION, "whymask.bench") == (4, "whymask.bench")
    assert list(read["fused"]) == list(read["classifier"]) == GOLDEN_SUMMARY
    assert list(read["phases"]) == ["preprocess", "run", "postprocess", "total"]
    assert list(read["ratio"]) == ["value", "low", "high", "confidence", "resamples", "block"]
    assert list(read["verdict"]) == ["valid", "reasons"]
    assert list(read["memory"]) == ["marks", "peak_rss_bytes", "device_total_bytes", "absent"]
    assert read["energy"] is None
    assert {"whymask", "numpy", "onnxruntime", "python"} <= set(read["versions"])


def test_the_summaries_follow_from_the_samples_that_are_kept(record: BenchRecord):
    read = json.loads(record.to_json())
    for name in ("fused", "classifier"):
        samples = read["samples"][f"{name}_ms"]
        assert len(samples) == read[name]["count"] >= QUICK.min_pairs
        assert read[name]["p90_ms"] == pytest.approx(np.percentile(samples, 90))
    medians = [np.median(read["samples"][f"{name}_ms"]) for name in ("fused", "classifier")]
    assert read["ratio"]["value"] == pytest.approx(medians[0] / medians[1])
    assert 1 <= len(read["samples"]["preprocess_ms"]) == read["phases"]["preprocess"]["count"] <= QUICK.phase_calls


def test_the_record_says_on_what_it_was_measured(record: BenchRecord):
    assert (record.provider, record.precision, record.batch, record.threads) == ("CPUExecutionProvider", "fp32", 1, 1)
    assert (record.backend, record.gpu, record.device_phases) == ("onnxruntime", None, {})
    assert record.transfers == "H2D and D2H do not apply: the graph runs in host memory"
    assert record.fused_file.file == "tiny.onnx"
    assert record.classifier_file.file == "tiny.classifier.onnx"
    assert record.fused_file.size_bytes > record.classifier_file.size_bytes > 0
    assert len(record.fused_file.sha256) == 64
    assert record.top1_agreement == 1.0
    assert (record.images.kind, record.images.count) == ("synthetic", 4)
    assert any(note.startswith("pictures are synthetic") for note in notes(record))


def test_the_record_says_what_memory_was_held_at_each_step(record: BenchRecord):
    names = ["before loading", "fused graph loaded", "classifier loaded too", "after the measurement"]
    assert [mark.name for mark in record.memory.marks] == names
    held = [mark.rss_bytes for mark in record.memory.marks]
    if held[0] is not None:
        assert max(held) <= record.memory.peak_rss_bytes
    assert record.memory.absent["device_total_bytes"] == "no GPU holds a graph at this moment"
    assert any(note.startswith("memory of the process: before loading ") for note in notes(record))
    assert not any("memory of the GPU" in note for note in notes(record))


def test_the_record_tells_what_a_cameras_picture_takes_before_the_graph(record: BenchRecord):
    before = record.preprocess
    assert (before.frame_height, before.frame_width, before.height, before.width) == (720, 1280, SIZE, SIZE)
    assert before.ways["resize, Pillow"].count == len(before.samples_ms["resize, Pillow"]) <= QUICK.phase_calls
    assert any(note.startswith("before the graph, resize, Pillow: p50 ") for note in notes(record))


def sensors_of(*found: Sensor, **absent: str):
    return lambda on_gpu: nullcontext(Sensors(found, absent))


def test_joules_are_measured_when_asked_for_and_said_with_their_rail(fused: Path, monkeypatch: pytest.MonkeyPatch):
    counter = Sensor("RAPL", "package-0", "processor packages", True, 0.0, time.process_time)
    monkeypatch.setattr("whymask.benchmarks.bench.open_sensors", sensors_of(counter, NVML="no GPU ran the graphs"))
    quick = EnergySettings(period_s=0.01, idle_seconds=0.02, block_seconds=0.02, rounds=6)
    record = run_bench(fused, threads=1, settings=QUICK, energy=quick)
    read = json.loads(record.to_json())["energy"]
    assert list(read) == ["settings", "sensors", "absent"]
    (told,) = read["sensors"]
    assert (told["rail"], len(told["rounds"])) == ("package-0", 6)
    assert told["fused"]["value"] > 0.0  # The stand-in counts a joule a second of work, and none of sleep.
    assert told["fused_watts"] > 10 * abs(told["idle_watts"])
    text = "\n".join(notes(record))
    assert re.search(
        r"the explanation costs \S+ J \(95 % CI .* J\) an image: .*; RAPL, package-0 \(processor pack", text
    )
    assert "no joules of NVML: no GPU ran the graphs" in text


def test_joules_that_no_sensor_tells_are_absent_with_the_reason(fused: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("whymask.benchmarks.bench.open_sensors", sensors_of(RAPL="no such counters"))
    done = run(fused, "--seconds", 0.2, "--threads", 1, "--energy", "--json")
    assert done.exit_code == 0, done.output
    energy = json.loads(done.stdout)["energy"]
    assert (energy["sensors"], energy["absent"]) == ([], {"RAPL": "no such counters"})


def test_without_a_classifier_beside_it_the_error_says_how_to_make_one(tmp_path: Path):
    fused = write_fused(tmp_path / "tiny.onnx")
    with pytest.raises(ArtefactError, match=r"tiny\.classifier\.onnx: no such file.*whymask export RUN -o FILE\.onnx"):
        run_bench(fused, settings=QUICK)


def test_a_classifier_that_predicts_otherwise_is_refused(fused: Path, tmp_path: Path):
    other = write_classifier(tmp_path / "other.onnx", flipped=True)
    with pytest.raises(ArtefactError, match=r"predicts the same class as the fused graph on \d+ % of 4 pictures"):
        run_bench(fused, other, settings=QUICK)


def test_a_fused_graph_in_the_classifiers_place_is_compared_as_one(fused: Path):
    assert run_bench(fused, fused, settings=QUICK).ratio.value == pytest.approx(1.0, abs=0.5)


def test_a_fused_graph_in_the_classifiers_place_tells_nothing_of_what_the_explanation_costs(fused: Path):
    verdict = run_bench(fused, fused, settings=QUICK).verdict
    assert not verdict.valid
    assert verdict.reasons[0].startswith("tiny.onnx gives saliency and mask itself, so the ratio is not what the expl")


@pytest.mark.parametrize(
    ("name", "message"),
    [("absent.onnx", r"absent\.onnx: no such file, expected an ONNX file"), ("", "a folder, expected an ONNX file of")],
)
def test_a_fused_file_that_is_not_there_is_named_and_not_its_classifier(tmp_path: Path, name: str, message: str):
    with pytest.raises(ArtefactError, match=message):
        run_bench(tmp_path / name, settings=QUICK)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--seconds", "inf"), "seconds is inf, expected a finite number"),
        (("-o", "tiny.onnx/bench.json"), r"tiny\.onnx/bench\.json: cannot be written \(.*tiny\.onnx is a file\)"),
        (("-o", "LICENCE"), r"LICENCE/bench\.json: cannot be written \(.*LICENCE is a file\)"),
    ],
)
def test_what_would_be_lost_after_the_measurement_is_refused_before_it(
    fused: Path, option: tuple, message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(fused.parent)
    monkeypatch.setattr("whymask.benchmarks.bench.run_bench", lambda *given: pytest.fail("measured"))
    (fused.parent / "LICENCE").write_text("a file without an ending")
    done = run(fused, *option)
    assert isinstance(done.exception, ArtefactError | InputError)
    assert re.search(message, str(done.exception))


def test_a_seed_that_numpy_does_not_take_is_a_usage_error(fused: Path):
    done = run(fused, "--seed", -1)
    assert (done.exit_code, type(done.exception)) == (2, SystemExit)
    with pytest.raises(InputError, match="seed is -1, expected 0 or more"):
        BenchSettings(seed=-1)


def test_a_graph_of_another_kind_is_refused_as_the_classifier(fused: Path, tmp_path: Path):
    import onnx

    other = onnx.load(tmp_path / "tiny.classifier.onnx")
    other.graph.output[0].name = "scores"
    other.graph.node[-1].output[0] = "scores"
    onnx.save(other, tmp_path / "other.onnx")
    with pytest.raises(ArtefactError, match=r"inputs image and outputs scores, expected image and logits"):
        run_bench(fused, tmp_path / "other.onnx", settings=QUICK)


def test_a_graph_of_a_fixed_batch_names_the_batch_it_takes(tmp_path: Path):
    write_classifier(tmp_path / "tiny.classifier.onnx", batch=2)
    fused = write_fused(tmp_path / "tiny.onnx", batch=2)
    with pytest.raises(InputError, match=r"batch is 1, but tiny\.onnx takes batches of 2 only; bench with --batch 2"):
        run_bench(fused, settings=QUICK)
    assert run_bench(fused, settings=dataclasses.replace(QUICK, batch=2)).batch == 2


def test_real_pictures_are_a_seeded_choice_and_broken_files_are_named(fused: Path, tmp_path: Path):
    folder = photographs(tmp_path / "photographs", 9)
    (folder / "broken.png").write_bytes(b"no picture")
    pictures, source = load_pictures(folder, 30, seed=3)
    assert (source.kind, source.name, source.count, source.skipped) == ("folder", "photographs", 9, ("broken.png",))
    some, _ = load_pictures(folder, 4, seed=3)
    assert all((a == b).all() for a, b in zip(some, pictures, strict=False))
    record = run_bench(fused, data=folder, settings=dataclasses.replace(QUICK, pictures=30))
    assert record.images == dataclasses.replace(source, skipped=record.images.skipped)
    assert record.phases["preprocess"].p50_ms > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no such folder; give --data a folder of pictures"),
        (lambda folder: folder.mkdir(), "none of its 0 picture files can be decoded"),
    ],
    ids=["absent", "empty"],
)
def test_a_folder_without_pictures_is_an_error(make, message: str, tmp_path: Path):
    make(tmp_path / "pictures")
    with pytest.raises(InputError, match=message):
        load_pictures(tmp_path / "pictures", 4, 0)


def test_synthetic_pictures_are_seeded_distinct_and_smooth_like_photographs():
    pictures, _ = synthetic_pictures(3, 7, 60, 80)
    again, _ = synthetic_pictures(3, 7, 60, 80)
    assert all((a == b).all() for a, b in zip(pictures, again, strict=True))
    assert all(picture.dtype == np.uint8 and picture.shape == (60, 80, 3) for picture in pictures)
    assert (pictures[0] != pictures[1]).any()
    values = pictures[0].astype(float)
    assert np.abs(np.diff(values, axis=0)).mean() < 0.8 * values.std()  # white noise has 1.13


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        ((1.1234, 1.1, 1.1456), "The explanation adds 12.3 % (95 % CI 10.0 to 14.6 %)"),
        ((0.98, 0.95, 1.01), "The explanation adds -2.0 % (95 % CI -5.0 to 1.0 %)"),
    ],
)
def test_the_sentence_gives_the_cost_with_its_interval(record: BenchRecord, ratio: tuple, expected: str):
    changed = dataclasses.replace(record, ratio=Ratio(*ratio, confidence=0.95, resamples=50, block=3))
    assert headline(changed).startswith(expected)
    assert re.search(r"p90 [\d.]+ ms instead of [\d.]+ ms$", headline(changed))


def test_the_reasons_of_the_verdict_come_first_in_the_notes(record: BenchRecord):
    changed = dataclasses.replace(record, verdict=Verdict(False, ("too noisy: stop the rest",)))
    assert notes(changed)[0] == "not valid: too noisy: stop the rest"


def test_the_notes_say_what_else_is_in_the_time(record: BenchRecord):
    costs = {"classifier_macs": 1e9, "explainer_macs": 5e7}
    changed = dataclasses.replace(record, cost=costs, outputs=("logits", "kept_logits", "dropped_logits"))
    text = "\n".join(notes(changed))
    assert "in the time: kept_logits and dropped_logits, for which the graph runs the classifier 2 more times" in text
    kept = dataclasses.replace(record, outputs=("logits", "kept_logits"))
    assert "in the time: kept_logits, for which the graph runs the classifier once more (--certify kept)" in notes(kept)
    assert "the explainer has 5.0 % of the classifier's multiply-adds" in text
    assert "more times" not in "\n".join(notes(record))


def test_the_command_prints_a_table_and_writes_the_record(fused: Path, tmp_path: Path):
    data = photographs(tmp_path / "photographs", 4)
    done = run(fused, "--data", data, "--seconds", 0.2, "--threads", 1, "-o", tmp_path / "out" / "bench.json")
    assert done.exit_code == 0, done.output
    for part in (
        "fused graph",
        "classifier alone",
        "preprocess",
        "resize, Pillow, 720 × 1280",
        "The explanation adds",
        "H2D and D2H do not apply",
    ):
        assert part in done.stdout
    assert json.loads((tmp_path / "out" / "bench.json").read_text())["height"] == SIZE


def test_with_json_standard_output_holds_the_record_alone(fused: Path, tmp_path: Path):
    done = run(fused, "--data", photographs(tmp_path / "photographs", 4), "--seconds", 0.2, "--threads", 1, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["kind"] == "whymask.bench"


def test_the_help_shows_defaults_units_and_an_example():
    shown = " ".join(run("--help").stdout.split())
    assert "Time limit in seconds" in shown
    assert "whymask bench fused.onnx" in shown
