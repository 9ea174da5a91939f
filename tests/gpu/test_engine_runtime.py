"""A real engine on a real GPU, through the runtime that ships: every way of running it gives the same answers.

The graph is that of a tiny classifier with random weights, so what is compared is the path, not the pictures.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_run import CLASSES, make_run

from whymask.runtime.backends import Arrays
from whymask.runtime.cudart import open_cuda
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.explainer import load
from whymask.runtime.ort import OrtBackend
from whymask.runtime.trt import TrtBackend

pytestmark = pytest.mark.gpu

MAX_BATCH = 8
LOGITS_ERROR, SALIENCY_ERROR = 0.05, 0.02
"""Largest differences between FP16 on the GPU and on the CPU: relative to the largest logit, and absolute."""
LIMIT_MS = 0.03
FLIPPED_PIXELS = 0.02
"""Share of the mask's pixels that may lie so near the threshold that rounding decides."""


@pytest.fixture(scope="module")
def engine_file(tensorrt: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An FP16 engine, beside the ONNX file it was built from."""
    from whymask.export.build_config import BuildConfig
    from whymask.export.engine_from_onnx import engine_from_onnx
    from whymask.export.onnx_from_run import export_run

    folder = tmp_path_factory.mktemp("engine")
    run = make_run(folder, "tapped")
    export_run(run, folder / "fused.onnx", precision="fp16", max_batch=MAX_BATCH, with_explanation=True, target=True)
    config = BuildConfig(precision="fp16", min_batch=1, opt_batch=1, max_batch=MAX_BATCH)
    engine_from_onnx(folder / "fused.onnx", folder / "fused.plan", config)
    return folder / "fused.plan"


@pytest.fixture(scope="module")
def plain(engine_file: Path) -> Iterator[TrtBackend]:
    """The engine with no option."""
    with TrtBackend(engine_file) as backend:
        yield backend


@pytest.fixture(scope="module")
def feeds() -> Callable[[int, int], Arrays]:
    """Batch and seed → inputs: smooth pictures, and a class for each or the predicted one."""

    def make(batch: int, seed: int = 0) -> Arrays:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (batch, 4, 4, 3), np.uint8)
        return {"image": coarse.repeat(8, axis=1).repeat(8, axis=2), "target": rng.integers(-1, CLASSES, batch)}

    return make


def same(a: Arrays, b: Arrays) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def flipped(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.mean(a != b))


def test_an_engine_agrees_with_onnx_runtime(plain: TrtBackend, engine_file: Path, feeds: Callable[..., Arrays]):
    with OrtBackend(engine_file.with_name("fused.onnx"), "cpu") as reference:
        for batch in (1, 3, MAX_BATCH):
            given = feeds(batch, batch)
            actual, expected = plain.run(given), reference.run(given)
            scale = np.abs(expected["logits"]).max()
            assert np.abs(actual["logits"] - expected["logits"]).max() <= LOGITS_ERROR * scale
            assert np.abs(actual["saliency"] - expected["saliency"]).max() <= SALIENCY_ERROR
            assert flipped(actual["mask"], expected["mask"]) <= FLIPPED_PIXELS
            kept = actual["mask"].astype(bool)
            assert np.array_equal(actual["explanation"][kept], given["image"][kept])


def test_the_contract_and_the_provider_are_stated(plain: TrtBackend, tensorrt: ModuleType):
    assert str(plain.inputs["image"]) == "image: uint8 (B, 32, 32, 3)"
    assert str(plain.inputs["target"]) == "target: int64 (B)"
    assert plain.batch_range == (1, MAX_BATCH)
    assert plain.provider.startswith(f"TensorRT {tensorrt.__version__} on ")
    assert ", fp16" in plain.provider


@pytest.mark.parametrize(
    "options", [{"cuda_graph": True}, {"zero_copy": True}, {"cuda_graph": True, "zero_copy": True}]
)
def test_options_change_nothing_but_the_time(
    plain: TrtBackend, engine_file: Path, feeds: Callable[..., Arrays], options: dict
):
    with TrtBackend(engine_file, **options) as backend:
        for batch in (1, 4, 1, MAX_BATCH, 4):
            assert same(backend.run(feeds(batch, batch)), plain.run(feeds(batch, batch)))


def test_a_timed_run_has_parts_that_fit_into_the_whole(plain: TrtBackend, feeds: Callable[..., Arrays]):
    plain.run(feeds(1))
    results, timings = plain.timed_run(feeds(1))
    assert same(results, plain.run(feeds(1)))
    assert min(timings.h2d_ms, timings.compute_ms, timings.d2h_ms) >= 0
    assert 0 < timings.compute_ms < timings.enqueue_to_sync_ms < timings.total_ms


def test_python_adds_less_than_thirty_microseconds(plain: TrtBackend, feeds: Callable[..., Arrays]):
    given = feeds(1)
    timings = [plain.timed_run(given)[1] for _ in range(300)][100:]
    added_ms = statistics.median(each.total_ms - each.enqueue_to_sync_ms for each in timings)
    assert added_ms <= LIMIT_MS, f"{added_ms * 1e3:.1f} µs before the first and after the last call of CUDA"


@pytest.mark.parametrize("options", [{}, {"cuda_graph": True}], ids=["plain", "graph"])
def test_threads_share_an_engine(plain: TrtBackend, engine_file: Path, feeds: Callable[..., Arrays], options: dict):
    given = [feeds(1 + seed % 3, seed) for seed in range(48)]
    expected = [plain.run(each) for each in given]
    with TrtBackend(engine_file, contexts=2, **options) as backend, ThreadPoolExecutor(8) as pool:
        for actual, wanted in zip(pool.map(backend.run, given), expected, strict=True):
            assert same(actual, wanted)


@pytest.mark.parametrize("on_stream", [False, True])
def test_torch_tensors_stay_on_the_gpu(plain: TrtBackend, feeds: Callable[..., Arrays], on_stream: bool):
    torch = _torch_with_cuda()
    stream = torch.cuda.Stream() if on_stream else torch.cuda.current_stream()
    for batch in (1, 5):
        given = feeds(batch, batch)
        with torch.cuda.stream(stream):
            tensors = {name: torch.from_numpy(values).cuda() for name, values in given.items()}
            results = plain.run_on_device(tensors, stream.cuda_stream)
            shared = {name: torch.as_tensor(array, device="cuda") for name, array in results.items()}
            on_host = {name: tensor.cpu().numpy() for name, tensor in shared.items()}
        assert same(on_host, plain.run(given))
        del results
        assert torch.equal(shared["mask"].cpu(), torch.from_numpy(on_host["mask"])), "the memory outlives the arrays"


def test_a_slice_off_alignment_is_copied_on_the_gpu(plain: TrtBackend, feeds: Callable[..., Arrays]):
    torch = _torch_with_cuda()
    given = feeds(1)
    flat = torch.empty(given["image"].size + 16, dtype=torch.uint8, device="cuda")
    image = flat[16:].view(given["image"].shape)
    image.copy_(torch.from_numpy(given["image"]))
    torch.cuda.synchronize()
    results = plain.run_on_device({"image": image, "target": torch.from_numpy(given["target"]).cuda()})
    on_host = {name: torch.as_tensor(array, device="cuda").cpu().numpy() for name, array in results.items()}
    assert same(on_host, plain.run(given))


def test_a_tensor_on_the_host_is_refused(plain: TrtBackend, feeds: Callable[..., Arrays]):
    torch = _torch_with_cuda()
    tensors = {name: torch.from_numpy(values) for name, values in feeds(1).items()}
    with pytest.raises(InputError, match="image: got Tensor without __cuda_array_interface__"):
        plain.run_on_device(tensors)


def test_closing_gives_the_memory_back(engine_file: Path, feeds: Callable[..., Arrays]):
    cuda = open_cuda()

    def used_after_a_cycle() -> int:
        with TrtBackend(engine_file, contexts=2, cuda_graph=True) as backend:
            for batch in (1, 2, 3):
                backend.run(feeds(batch))
        free, total = cuda.memory_info()
        return total - free

    # The first cycles load kernels, which CUDA keeps for the process.
    baseline = [used_after_a_cycle() for _ in range(3)][-1]
    assert [used_after_a_cycle() for _ in range(5)][-1] <= baseline + (4 << 20)


def test_an_explainer_on_the_engine_names_what_the_graph_names(engine_file: Path, feeds: Callable[..., Arrays]):
    pictures = list(feeds(11, 3)["image"])
    with load(engine_file, cuda_graph=True) as engine, load(engine_file.with_name("fused.onnx"), "cpu") as graph:
        pairs = list(zip(engine.explain_batch(pictures, 16), graph.explain_batch(pictures, 16), strict=True))
    assert len(pairs) == 11
    # A tie between two classes may fall either way in FP16; that is rare, and more than one is no rounding.
    assert sum(a.index == b.index for a, b in pairs) >= 10
    assert all(abs(a.area - b.area) <= FLIPPED_PIXELS for a, b in pairs if a.index == b.index)


def test_a_truncated_engine_is_refused_before_tensorrt_reads_it(engine_file: Path, tmp_path: Path):
    for name in ("fused.plan", "fused.plan.json"):
        (tmp_path / name).write_bytes(engine_file.with_name(name).read_bytes())
    engine = tmp_path / "fused.plan"
    engine.write_bytes(engine.read_bytes()[:-64])
    with pytest.raises(ArtefactError, match="truncated"):
        TrtBackend(engine)


def _torch_with_cuda() -> ModuleType:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    return torch
