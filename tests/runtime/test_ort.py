from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from whymask.runtime import ort
from whymask.runtime.cuda import CudaDriver, Device
from whymask.runtime.errors import ArtefactError, BackendError, InputError, MissingExtra

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
GPU = CudaDriver("13.0", (Device(0, "NVIDIA X", "9.0"),))


@pytest.fixture
def lists_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """An onnxruntime-gpu on a machine with a device, where CUDA is listed and silently does not load."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ort, "cuda_driver", lambda: GPU)
    real = onnxruntime.InferenceSession

    def session(path: str, options: object, providers: list[str], enable_fallback: int, **others: object) -> object:
        assert enable_fallback == 0
        return real(path, options, providers=[CPU], enable_fallback=0)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)


def test_the_provider_is_stated(fused: Path):
    with ort.OrtBackend(fused) as backend:
        assert backend.provider == CPU
        assert str(backend.inputs["image"]) == "image: uint8 (B, 32, 32, 3)"
        assert backend.outputs["saliency"].dtype == "float32"


@pytest.mark.parametrize(("batch", "expected"), [("B", (1, None)), (4, (4, 4))], ids=["open", "fixed"])
def test_the_batches_that_a_graph_takes_are_stated(
    graph: Callable[..., Path], batch: int | str, expected: tuple[int, int | None]
):
    with ort.OrtBackend(graph(batch=batch)) as backend:
        assert backend.batch_range == expected


@pytest.mark.parametrize("name", ["cpu", "CPU", CPU])
def test_a_provider_is_asked_for_by_either_name(fused: Path, name: str):
    assert ort.OrtBackend(fused, name).provider == CPU


def test_a_provider_that_is_not_there_is_refused(fused: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(BackendError, match=r"'cuda' was asked for.* has CPUExecutionProvider; uninstall onnxruntime"):
        ort.OrtBackend(fused, "cuda")
    with pytest.raises(BackendError, match="'tpu' was asked for"):
        ort.OrtBackend(fused, "tpu")


@pytest.mark.usefixtures("lists_cuda")
def test_another_provider_in_place_of_the_asked_one_is_refused(fused: Path):
    with pytest.raises(BackendError, match="CUDAExecutionProvider does not load: onnxruntime took another"):
        ort.OrtBackend(fused, "cuda")


@pytest.mark.usefixtures("lists_cuda")
def test_by_default_the_next_provider_is_taken_and_stated(fused: Path):
    assert ort.OrtBackend(fused).provider == CPU


def test_cuda_is_not_tried_without_a_device(fused: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ort, "cuda_driver", lambda: CudaDriver(problem="no driver"))
    monkeypatch.setattr(ort, "_verified_session", lambda *_: pytest.fail("CUDA was tried"))
    assert ort.OrtBackend(fused).provider == CPU


def test_without_onnxruntime_the_extra_is_named(fused: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r'onnxruntime is needed to run an ONNX graph.*"whymask\[ort\]"'):
        ort.OrtBackend(fused)


def test_a_gutted_onnxruntime_is_named(fused: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(onnxruntime, "InferenceSession")
    with pytest.raises(BackendError, match=r"no InferenceSession.*uninstall both, then install one"):
        ort.OrtBackend(fused)


def test_files_that_are_no_graph_are_refused(tmp_path: Path):
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ArtefactError, match=r"text\.onnx: onnxruntime .* cannot load this graph"):
        ort.OrtBackend(tmp_path / "text.onnx")
    with pytest.raises(ArtefactError, match=r"absent\.onnx: no such file"):
        ort.OrtBackend(tmp_path / "absent.onnx")


def test_threads_are_a_number_that_a_machine_can_start(fused: Path):
    with pytest.raises(InputError, match="threads: got 100000, expected at most 1024; give as many as there are cores"):
        ort.OrtBackend(fused, threads=100_000)
    with pytest.raises(InputError, match="threads: got 0, expected a whole number of at least 1"):
        ort.OrtBackend(fused, threads=0)


def test_a_failing_run_names_file_and_provider(graph: Callable[..., Path]):
    backend = ort.OrtBackend(graph(target=False, batch=1))
    with pytest.raises(BackendError, match=r"fused\.onnx: CPUExecutionProvider failed: "):
        backend.run({"image": np.zeros((2, 32, 32, 3), np.uint8)})


def test_only_the_outputs_wanted_come_back(fused: Path):
    feeds = {"image": np.zeros((2, 32, 32, 3), np.uint8), "target": np.array([-1, 2])}
    assert list(ort.OrtBackend(fused).run(feeds, ["mask"])) == ["mask"]


def test_a_closed_graph_says_so(fused: Path):
    backend = ort.OrtBackend(fused)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="was closed; load it again"):
        backend.run({})
