"""`whymask bench` on a pair of engines: what it pairs, what it refuses, and what its record says of the GPU."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
typer = pytest.importorskip("typer")
from fake_engines import TIMINGS, FakeTrt, write_engine_pair  # noqa: E402
from onnx_models import write_classifier, write_fused  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from whymask.benchmarks.bench import run_bench  # noqa: E402
from whymask.benchmarks.cli import bench  # noqa: E402
from whymask.benchmarks.gpu_state import GpuState  # noqa: E402
from whymask.benchmarks.latency import BenchSettings  # noqa: E402
from whymask.benchmarks.latency_table import notes, where  # noqa: E402
from whymask.export.config import classifier_path  # noqa: E402
from whymask.runtime.cuda import CudaDriver  # noqa: E402
from whymask.runtime.errors import ArtefactError, BackendError, InputError  # noqa: E402

QUICK = BenchSettings(
    seconds=0.2, pictures=4, warmup_seconds=0.0, warmup_pairs=2, min_pairs=10, resamples=50, phase_calls=5
)


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[GpuState]:
    """A GPU of which the states of this list are read in turn, the last one again and again."""
    states = [GpuState(source="NVML", clock_mhz=300.0, max_clock_mhz=1300.0), GpuState(source="NVML", clock_mhz=1290.0)]
    monkeypatch.setattr("whymask.runtime.trt.TrtBackend", FakeTrt)
    monkeypatch.setattr("whymask.benchmarks.bench.cuda_driver", lambda: CudaDriver("12.6", ("Orin (8.7)",)))
    monkeypatch.setattr(
        "whymask.benchmarks.bench.read_gpu_state", lambda: states.pop(0) if len(states) > 1 else states[0]
    )
    FakeTrt.opened.clear()
    return states


def test_an_engine_is_paired_with_its_classifier_beside_it_in_the_same_runtime(tmp_path: Path):
    record = run_bench(write_engine_pair(tmp_path), settings=QUICK)
    assert FakeTrt.opened == [("tiny.plan", False), ("tiny.classifier.plan", False)]
    assert (record.fused_file.file, record.classifier_file.file) == ("tiny.plan", "tiny.classifier.plan")
    assert (record.backend, record.precision, record.threads) == ("tensorrt", "fp16", 1)
    assert record.top1_agreement == 1.0
    assert record.fused.count == record.classifier.count >= QUICK.min_pairs


def test_the_record_says_how_the_gpu_ran_and_what_its_clocks_did(tmp_path: Path):
    record = run_bench(write_engine_pair(tmp_path), settings=QUICK, cuda_graph=True)
    assert all(cuda_graph for _, cuda_graph in FakeTrt.opened)
    gpu = json.loads(record.to_json())["gpu"]
    assert (gpu["device"], gpu["cuda"], gpu["library"]) == ("Orin (8.7)", "12.6", "TensorRT 10.3.0")
    assert (gpu["cuda_graph"], gpu["zero_copy"], gpu["profile"]) == (True, False, [1, 1, 8])
    assert gpu["layers"] == {"fp16": 41, "fp32": 9, "int8": 0, "other": 3}
    assert (gpu["before"]["clock_mhz"], gpu["after"]["clock_mhz"]) == (300.0, 1290.0)
    assert record.transfers == "H2D and D2H are inside every call: inputs and outputs are in host memory"
    assert "TensorRT 10.3.0, with CUDA graph" in notes(record)
    assert "clock of the GPU: 300 MHz before, 1290 MHz after, of ? at most" in notes(record)
    assert "batch 1, TensorRT 10.3.0 on Orin (8.7), fp16, CUDA graph, 1 thread" in where(record)


def test_the_parts_of_a_call_come_from_the_device(tmp_path: Path):
    record = run_bench(write_engine_pair(tmp_path), settings=QUICK)
    parts = ["h2d", "compute", "d2h", "enqueue", "enqueue_to_sync", "total"]
    for graph in ("fused", "classifier"):
        assert list(record.device_phases[graph]) == parts
        assert record.device_phases[graph]["compute"].p50_ms == TIMINGS.compute_ms
        assert set(record.samples[f"{graph}_d2h_ms"]) == {TIMINGS.d2h_ms}


def test_clocks_that_nobody_tells_are_said_to_be_unknown(tmp_path: Path, gpu: list[GpuState]):
    gpu[:] = [GpuState(absent="NVML was not asked: no module pynvml; pip install nvidia-ml-py")]
    record = run_bench(write_engine_pair(tmp_path), settings=QUICK)
    assert "clocks of the GPU are unknown: NVML was not asked: no module pynvml; pip install nvidia-ml-py" in notes(
        record
    )


def test_the_record_says_what_the_gpu_held_or_why_it_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    free = iter([900, 800, 700, 650])
    cuda = SimpleNamespace(memory_info=lambda: (next(free) << 20, 1000 << 20))
    monkeypatch.setattr("whymask.benchmarks.memory.open_cuda", lambda: cuda)
    record = run_bench(write_engine_pair(tmp_path), settings=QUICK)
    assert [mark.device_used_bytes >> 20 for mark in record.memory.marks] == [100, 200, 300, 350]
    assert record.memory.device_total_bytes == 1000 << 20
    assert "memory of the GPU in use by all processes: before loading 100 MiB, fused graph loaded 200 MiB" in "\n".join(
        notes(record)
    )


def test_a_gpu_that_does_not_tell_its_memory_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse():
        raise BackendError("no GPU can be used: no driver")

    monkeypatch.setattr("whymask.benchmarks.memory.open_cuda", refuse)
    record = run_bench(write_engine_pair(tmp_path), settings=QUICK)
    assert "memory of the GPU is unknown: no GPU can be used: no driver" in notes(record)


def test_a_throttled_gpu_makes_the_figures_invalid(tmp_path: Path, gpu: list[GpuState]):
    gpu[:] = [GpuState(source="NVML"), GpuState(source="NVML", throttle=("hardware thermal slowdown",))]
    verdict = run_bench(write_engine_pair(tmp_path), settings=QUICK).verdict
    assert not verdict.valid
    assert verdict.reasons[0].startswith("the GPU's clocks were held back: hardware thermal slowdown")


def test_without_its_classifier_the_error_names_the_build_that_makes_it(tmp_path: Path):
    engine = write_engine_pair(tmp_path)
    classifier_path(engine).unlink()
    with pytest.raises(ArtefactError, match=r"whymask build FUSED\.onnx -o tiny\.plan --classifier` writes it beside"):
        run_bench(engine, settings=QUICK)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"precision": "fp32"},
            r"built with precision fp32, and the fused engine with fp16.*build both again: whym",
        ),
        ({"builder_version": "11.4.1"}, r"built with builder_version 11\.4\.1, and the fused engine with 10\.3\.0"),
        ({"flags": {"optimization_level": 5}}, r"built with optimization_level 5, and the fused engine with None"),
    ],
)
def test_engines_that_were_not_built_alike_are_refused(tmp_path: Path, changes: dict, message: str):
    with pytest.raises(ArtefactError, match=message):
        run_bench(write_engine_pair(tmp_path, alone=changes), settings=QUICK)


def test_what_was_read_back_of_each_engine_may_differ(tmp_path: Path):
    counts = [{"flags": {"products": {"fp16": number}, "dla_core": None}} for number in (24, 21)]
    assert run_bench(write_engine_pair(tmp_path, *counts), settings=QUICK).gpu is not None


def test_an_engine_and_an_onnx_file_are_no_pair(tmp_path: Path):
    engine, classifier = write_engine_pair(tmp_path), write_classifier(tmp_path / "tiny.classifier.onnx")
    with pytest.raises(InputError, match=r"run in different runtimes.*give two ONNX files or two engines"):
        run_bench(engine, classifier, settings=QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"provider": "cuda"}, r"tiny\.plan is an engine, and --provider is for ONNX files alone; leave it out"),
        ({"threads": 2}, r"tiny\.plan is an engine, and --threads is for ONNX files alone; leave it out"),
    ],
)
def test_options_of_onnx_files_are_refused_for_engines(tmp_path: Path, options: dict, message: str):
    with pytest.raises(InputError, match=message):
        run_bench(write_engine_pair(tmp_path), settings=QUICK, **options)


def test_a_cuda_graph_is_refused_for_onnx_files(tmp_path: Path):
    write_classifier(tmp_path / "tiny.classifier.onnx")
    with pytest.raises(InputError, match=r"tiny\.onnx is an ONNX file, and --cuda-graph is for engines alone"):
        run_bench(write_fused(tmp_path / "tiny.onnx"), settings=QUICK, cuda_graph=True)


def test_a_batch_outside_the_profile_names_the_option_that_widens_it(tmp_path: Path):
    engine = write_engine_pair(tmp_path)
    with pytest.raises(
        InputError, match=r"batch is 9, but tiny\.plan takes batches of 1 to 8; build it with --max-batch"
    ):
        run_bench(engine, settings=BenchSettings(batch=9))


def test_the_command_times_engines_with_a_cuda_graph_when_asked(tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "photographs").mkdir()
    image.fromarray(np.full((12, 10, 3), 90, np.uint8)).save(tmp_path / "photographs" / "0.png")
    app = typer.Typer()
    app.command()(bench)
    arguments = [write_engine_pair(tmp_path), "--data", tmp_path / "photographs", "--seconds", 0.2, "--cuda-graph"]
    done = CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    assert "fused: compute" in done.stdout
    assert "with CUDA graph" in done.stdout
