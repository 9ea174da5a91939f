"""`whymask bench` on real engines: what only a GPU can tell is in the record."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("torch", reason="needs torch and onnx, to make a graph to build from")
from tiny_run import make_run

from whymask.benchmarks.bench import run_bench
from whymask.benchmarks.gpu_state import read_gpu_state
from whymask.benchmarks.latency import BenchSettings
from whymask.runtime.cuda import CudaDriver

pytestmark = pytest.mark.gpu

QUICK = BenchSettings(seconds=2.0, pictures=4, warmup_seconds=0.1, min_pairs=30, resamples=50)


@pytest.fixture(scope="module")
def engine(tensorrt: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fused FP32 engine with the classifier alone beside it; FP32, for random weights are full of near ties."""
    from whymask.export.build_config import BuildConfig
    from whymask.export.config import classifier_path
    from whymask.export.engine_from_onnx import engine_from_onnx
    from whymask.export.onnx_from_run import export_run
    from whymask.runtime.engine_card import CLASSIFIER

    folder = tmp_path_factory.mktemp("bench")
    graph, plan, config = folder / "fused.onnx", folder / "fused.plan", BuildConfig("fp32", max_batch=4)
    export_run(make_run(folder, "tapped"), graph, max_batch=4)
    card = engine_from_onnx(graph, plan, config).card
    engine_from_onnx(classifier_path(graph), classifier_path(plan), config, role=CLASSIFIER, card=card)
    return plan


@pytest.mark.parametrize("cuda_graph", [False, True], ids=["plain", "graph"])
def test_the_record_of_an_engine_names_gpu_library_and_the_parts_of_a_call(
    engine: Path, cuda_device: CudaDriver, cuda_graph: bool
):
    record = run_bench(engine, settings=QUICK, cuda_graph=cuda_graph)
    assert record.gpu is not None
    assert (record.gpu.device, record.gpu.cuda_graph) == (cuda_device.devices[0], cuda_graph)
    assert record.gpu.library.startswith("TensorRT ")
    assert record.top1_agreement == 1.0
    for parts in record.device_phases.values():
        assert 0 < parts["compute"].p50_ms < parts["enqueue_to_sync"].p50_ms < parts["total"].p50_ms


def test_the_clocks_are_read_or_it_is_said_why_not():
    state = read_gpu_state()
    assert bool(state.absent) != bool(state.source)
    assert state.absent or (state.clock_mhz or 0) > 0
