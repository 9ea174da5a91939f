"""What cannot run is refused step by step, each with one message, and before TensorRT makes anything."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from colour_engine import ColourEngine
from engine_files import written_engine
from fake_cuda import FakeCuda
from fake_tensorrt import NEWEST, OLDEST, RTX

from whymask.runtime import cudart, trt, trt_module
from whymask.runtime.cuda import CudaDriver, cuda_driver
from whymask.runtime.engine_card import sidecar_path
from whymask.runtime.errors import ArtefactError, BackendError, InputError, MissingExtra
from whymask.runtime.explainer import load
from whymask.runtime.trt import TrtBackend

Engines = Callable[..., ColourEngine]


def refused(made: ColourEngine, kind: type[Exception], message: str, **options: object) -> None:
    """Opening fails in these words, and TensorRT has been asked for nothing."""
    with pytest.raises(kind, match=message):
        made.open(**options)
    assert made.script.log == []
    assert made.cuda.left() == []


def test_the_file_comes_first(engine: Engines):
    made = engine()
    made.path.unlink()
    sidecar_path(made.path).unlink()
    refused(made, ArtefactError, r"fused\.plan: no such file, expected an engine made by whymask build")


def test_then_its_sidecar(engine: Engines, monkeypatch: pytest.MonkeyPatch):
    made = engine()
    sidecar_path(made.path).unlink()
    monkeypatch.setattr(trt, "open_cuda", lambda: pytest.fail("CUDA was opened"))
    refused(made, ArtefactError, r"its sidecar fused\.plan\.json cannot be read", cuda=None)


def test_then_the_driver(engine: Engines, monkeypatch: pytest.MonkeyPatch):
    made = engine()
    monkeypatch.setattr(cudart, "cuda_driver", lambda: CudaDriver(problem="no NVIDIA driver on this machine"))
    monkeypatch.setattr(trt, "import_tensorrt", lambda card: pytest.fail("TensorRT was imported"))
    refused(made, BackendError, "no GPU can be used: no NVIDIA driver on this machine", cuda=None)


def test_then_the_module(engine: Engines, monkeypatch: pytest.MonkeyPatch):
    made = engine()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    refused(made, MissingExtra, r'tensorrt is needed to run an engine.*"whymask\[tensorrt\]"')


def test_on_a_jetson_pip_is_not_advised(engine: Engines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    made = engine()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(trt_module, "TEGRA_RELEASE", tmp_path)
    refused(
        made, BackendError, "JetPack brings it for the system's Python; run: python3 -m venv --system-site-packages"
    )


def test_then_whether_engine_and_machine_belong_together(engine: Engines):
    refused(
        engine(card={"builder_version": "10.7.0"}), ArtefactError, "built for TensorRT 10.7.0 .* has TensorRT 10.3.0"
    )
    refused(engine(cuda=FakeCuda("Orin NX")), ArtefactError, "the model of GPU that it was built on")
    made = engine()
    made.path.write_bytes(made.path.read_bytes()[:-1])
    refused(made, ArtefactError, "truncated")


def test_contexts_must_be_positive(engine: Engines):
    refused(engine(), InputError, "contexts: got 0, expected a whole number of at least 1", contexts=0)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ModuleNotFoundError("no", name="tensorrt_libs"),
            "tensorrt is installed and lacks tensorrt_libs; install it again",
        ),
        (ImportError("libnvinfer.so.8: cannot open"), "tensorrt is installed and does not load: libnvinfer.so.8"),
        (OSError("libcudart.so.12: cannot open"), "does not load: libcudart.so.12: cannot open; run whymask doctor"),
    ],
)
def test_a_broken_tensorrt_is_named(engine: Engines, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str):
    made = engine()

    def broken(name: str) -> object:
        raise error

    monkeypatch.setattr(trt_module.importlib, "import_module", broken)
    refused(made, BackendError, message)


def test_the_lean_runtime_runs_version_compatible_engines_alone(engine: Engines, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    options = {"version": NEWEST, "module": "tensorrt_lean"}
    with engine(**options, card={"builder_version": "10.3.0", "version_compatible": True}).open() as backend:
        assert backend.provider == "TensorRT lean 11.4.0.106 on Orin (8.7), fp16"
    refused(engine(**options), MissingExtra, "tensorrt is needed")


def test_the_builder_decides_the_module(engine: Engines):
    with engine(version=RTX, card={"compute_capability": "8.7"}).open() as backend:
        assert backend.provider == "TensorRT-RTX 1.7.1.116 on Orin (8.7), fp16"


@pytest.mark.parametrize("is_compatible", [False, True])
def test_only_a_version_compatible_engine_may_bring_code(engine: Engines, is_compatible: bool):
    made = engine(card={"version_compatible": is_compatible})
    made.open().close()
    assert made.script.log[1] == f"deserialize_cuda_engine, host code {is_compatible}, DLA -1"


@pytest.mark.parametrize("core", [0, 1])
def test_an_engine_of_a_dla_core_is_loaded_for_that_core(engine: Engines, core: int):
    made = engine(card={"flags": {"dla_core": core}})
    made.open().close()
    assert made.script.log[1] == f"deserialize_cuda_engine, host code False, DLA {core}"


def test_a_runtime_that_does_not_start_is_named(engine: Engines):
    made = engine()
    made.script.failing.add("Runtime")
    with pytest.raises(BackendError, match=r"TensorRT 10\.3\.0 does not start: it gave no reason .*returned nullptr"):
        made.open()


def test_an_engine_that_does_not_deserialise_is_told_in_tensorrts_words(engine: Engines):
    made = engine()
    made.script.failing.add("deserialize_cuda_engine")
    words = "Serialization assertion failed: version tag does not match. Build it here: whymask build fused.onnx"
    with pytest.raises(
        BackendError, match=rf"fused\.plan: TensorRT 10\.3\.0 does not deserialise this engine: {words}"
    ):
        made.open()


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("mask", ("FP8", (-1, 32, 32)), "mask is FP8, expected one of BOOL, UINT8"),
        ("saliency", ("FLOAT", (-1, -1, 4)), r"saliency has shape \(-1, -1, 4\), expected an open batch alone"),
        ("target", ("INT64", (9,)), "no batch suits its inputs image, target"),
    ],
)
def test_tensors_that_no_graph_of_ours_has_are_refused(engine: Engines, name: str, tensor: tuple, message: str):
    made = engine()
    made.script.tensors[name] = tensor
    with pytest.raises(ArtefactError, match=rf"fused\.plan: {message}"):
        made.open()
    assert made.cuda.left() == []


def test_an_engine_of_a_fixed_batch_is_no_exception(engine: Engines):
    made = engine(batch=3, batches=(3, 3))
    with made.open() as backend:
        assert backend.batch_range == (3, 3)
        assert str(backend.inputs["image"]) == "image: uint8 (3, 32, 32, 3)"
        assert backend.run(made.feeds(3))["logits"].shape == (3, 3)
        with pytest.raises(InputError, match=r"image: got shape \(2, 32, 32, 3\), expected uint8 \(3, 32, 32, 3\)"):
            backend.run(made.feeds(2))


@pytest.mark.parametrize(
    ("zero_copy", "call"),
    [
        *((False, call) for call in ("create_stream", "create_event", "malloc_host", "malloc")),
        *((True, call) for call in ("malloc_host", "device_pointer")),
    ],
)
@pytest.mark.parametrize("after", [0, 1])
def test_a_construction_that_fails_half_way_frees_what_it_made(engine: Engines, zero_copy: bool, call: str, after: int):
    made = engine()
    made.cuda.fail(call, after)
    with pytest.raises(BackendError, match=f"{call} failed"):
        made.open(contexts=2, zero_copy=zero_copy)
    assert made.cuda.left() == []


def test_no_memory_for_a_context_is_told(engine: Engines):
    made = engine()
    made.script.failing.add("create_execution_context")
    with pytest.raises(
        BackendError, match=r"makes no execution context: out of memory: 1 GiB .*load with fewer contexts"
    ):
        made.open()
    assert made.cuda.left() == []


def test_closing_frees_everything_even_when_cuda_fails(engine: Engines):
    made = engine()
    backend = made.open(contexts=2, cuda_graph=True)
    backend.run(made.feeds(1))
    made.cuda.fail("synchronize")
    with pytest.raises(BackendError, match="synchronize failed: error 999"):
        backend.close()
    assert made.cuda.left() == []


def test_the_classifier_alone_is_no_explainer(engine: Engines, monkeypatch: pytest.MonkeyPatch):
    made = engine(card={"role": "classifier"})
    monkeypatch.setattr(trt, "open_cuda", lambda: made.cuda)
    with pytest.raises(ArtefactError, match=r"fused\.plan: the engine of the classifier alone; load that of the fused"):
        load(made.path)
    assert made.cuda.left() == []


def test_an_engine_that_breaks_the_contract_is_closed(engine: Engines, monkeypatch: pytest.MonkeyPatch):
    made = engine(version=OLDEST, without=("mask",))
    monkeypatch.setattr(trt, "open_cuda", lambda: made.cuda)
    with pytest.raises(ArtefactError, match=r"fused\.plan: lacks the output mask"):
        load(made.path)
    assert made.cuda.left() == []


def test_load_passes_its_options_on(engine: Engines, monkeypatch: pytest.MonkeyPatch):
    made = engine()
    monkeypatch.setattr(trt, "open_cuda", lambda: made.cuda)
    with load(made.path, cuda_graph=True, zero_copy=True, contexts=3) as explainer:
        assert explainer.provider == "TensorRT 10.3.0 on Orin (8.7), fp16, CUDA graph, zero copy"
        assert made.cuda.left().count("stream") == 3
    assert made.cuda.left() == []


def test_the_real_tensorrt_rtx_tells_why_it_refuses_bytes_that_are_no_engine(tmp_path: Path):
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    if cuda_driver().devices:
        pytest.skip("needs a machine without a GPU: the stand-in for CUDA says that there is one")
    card = {"builder": "tensorrt_rtx", "builder_version": rtx.__version__, "compute_capability": "8.6"}
    path = written_engine(tmp_path / "fused.plan", **card)
    with pytest.raises(BackendError, match=r"does not deserialise this engine: .*Serialization assertion"):
        TrtBackend(path, cuda=FakeCuda("RTX 3060", "8.6"))
