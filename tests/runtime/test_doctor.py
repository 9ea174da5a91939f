from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest

from whymask.runtime import doctor
from whymask.runtime.cuda import CudaDriver, Device, cuda_driver
from whymask.runtime.doctor import Finding, examine, extras

NO_GPU = CudaDriver(problem="no NVIDIA driver")
GPU = CudaDriver("13.0", (Device(0, "NVIDIA X", "9.0"),))
DECLARED = [
    "numpy>=1.24",
    'onnxruntime>=1.18; extra == "ort"',
    'no-such-package>=2; extra == "train"',
    'whymask[ort]; extra == "train"',
    'whymask[train]; extra == "all"',
]


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, Finding]]:
    """The report by name, on a machine without GPU, without importing what is slow."""
    monkeypatch.setattr(doctor, "cuda_driver", lambda: NO_GPU)
    monkeypatch.setattr(doctor, "find_calls", lambda is_tried: SimpleNamespace(source="cuda-bindings 13.5.0"))
    monkeypatch.setattr(doctor, "_tensorrt", lambda module, extra: Finding(module, "absent", "not looked for"))
    return lambda: {finding.name: finding for finding in examine()}


def test_the_cpu_provider_is_tried_not_just_listed(findings: Callable[[], dict[str, Finding]]):
    assert findings()["CPUExecutionProvider"] == Finding("CPUExecutionProvider", "ok", "loads (always there)")
    assert findings()["Python"].state == "ok"


def test_a_listed_provider_without_a_device_is_not_called_loaded(
    findings: Callable[[], dict[str, Finding]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert findings()["CUDAExecutionProvider"].detail == "listed, not loaded: no NVIDIA driver"


def test_a_provider_that_silently_becomes_another_is_a_problem(monkeypatch: pytest.MonkeyPatch):
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda model, **_: real(model, providers=["CPUExecutionProvider"])
    )
    found = doctor._provider("CUDAExecutionProvider", GPU)
    assert (found.state, found.detail) == ("problem", "listed, does not load: onnxruntime took CPUExecutionProvider")


def test_each_gpu_is_named_with_its_memory(findings: Callable[[], dict[str, Finding]], monkeypatch: pytest.MonkeyPatch):
    driver = CudaDriver("12.6", (Device(0, "Orin", "8.7", integrated=True), Device(1, "NVIDIA L4", "8.9")))
    monkeypatch.setattr(doctor, "cuda_driver", lambda: driver)
    assert findings()["CUDA"].detail == (
        "driver for CUDA 12.6: Orin (8.7), memory shared with the CPU; NVIDIA L4 (8.9), memory of its own"
    )
    assert findings()["CUDA calls"] == Finding("CUDA calls", "ok", "through cuda-bindings 13.5.0")


def test_without_a_device_the_way_of_calling_cuda_is_named_and_not_tried(findings: Callable[[], dict[str, Finding]]):
    assert findings()["CUDA calls"].detail == "through cuda-bindings 13.5.0, not tried without a device"
    assert findings()["CUDA"] == Finding("CUDA", "absent", "no NVIDIA driver")


@pytest.mark.parametrize(("driver", "state"), [(GPU, "problem"), (NO_GPU, "absent")], ids=["with a GPU", "without"])
def test_without_a_way_of_calling_cuda_the_line_to_install_one(
    monkeypatch: pytest.MonkeyPatch, driver: CudaDriver, state: str
):
    monkeypatch.setattr("whymask.runtime.cuda_find._openers", lambda: iter(()))
    found = doctor._cuda_calls(driver)
    assert (found.state, found.remedy) == (state, 'pip install "whymask[cuda]"')
    assert found.detail.endswith("neither the package cuda-bindings nor a libcudart is on this machine")


def test_two_onnxruntimes_are_a_problem(findings: Callable[[], dict[str, Finding]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0")
    found = findings()["onnxruntime"]
    assert found.state == "problem"
    assert "onnxruntime and onnxruntime-gpu are both installed" in found.detail
    assert found.remedy.startswith("pip uninstall onnxruntime onnxruntime-gpu")


def test_without_onnxruntime_the_line_to_install_it(
    findings: Callable[[], dict[str, Finding]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert findings()["onnxruntime"] == Finding("onnxruntime", "absent", "not installed", 'pip install "whymask[ort]"')


def test_a_missing_extra_names_its_packages_and_its_line(
    findings: Callable[[], dict[str, Finding]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: DECLARED)
    assert extras() == {"ort": ["onnxruntime"], "train": ["no-such-package", "onnxruntime"]}
    found = findings()
    assert found["extra ort"].state == "ok"
    assert found["extra train"] == Finding(
        "extra train", "absent", "lacks no-such-package", 'pip install "whymask[train]"'
    )


def test_the_real_extras_are_read():
    assert extras()["cli"] == ["rich", "typer"]
    assert extras()["image"] == ["pillow"]
    assert "all" not in extras()


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic", "JetPack 6 (Linux for Tegra 36.4.3)"),
        ("# R99 (release), REVISION: 1.0", "a JetPack that this version does not know (Linux for Tegra 99.1.0)"),
        ("something else", "says 'something else'"),
    ],
)
def test_jetpack_is_read_from_its_release_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, detail: str):
    (tmp_path / "release").write_text(text)
    monkeypatch.setattr(doctor, "TEGRA_RELEASE", tmp_path / "release")
    assert doctor._jetpack().detail.endswith(detail)
    assert "--system-site-packages" in doctor._pip_line("tensorrt")


def test_a_package_is_imported_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "trt_good.py").write_text("__version__ = '10.3'")
    (tmp_path / "trt_bad.py").write_text("raise OSError('libnvinfer.so.10 is missing')")
    (tmp_path / "trt_crash.py").write_text("import os; os._exit(139)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor._tensorrt("trt_good", "tensorrt") == Finding("trt_good", "ok", "10.3 imports")
    assert "OSError: libnvinfer.so.10 is missing" in doctor._tensorrt("trt_bad", "tensorrt").detail
    assert doctor._tensorrt("trt_crash", "tensorrt").detail == "installed, does not import: exit code 139"
    assert doctor._tensorrt("trt_none", "tensorrt").remedy == 'pip install "whymask[tensorrt]"'
    assert not {"trt_good", "trt_bad", "trt_crash"} & set(sys.modules)


def test_asking_for_a_driver_never_raises(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("whymask.runtime.cuda.LIBRARY", "libabsent-cuda.so")
    assert cuda_driver() == CudaDriver(problem="libabsent-cuda.so does not load: no NVIDIA driver on this machine")


class FakeDriver:
    """The driver's functions, as ctypes sees them."""

    def __init__(self, status: int) -> None:
        self.status = status

    def cuInit(self, flags: int) -> int:
        return self.status

    def __getattr__(self, name: str) -> Callable[..., int]:
        values = {"cuDriverGetVersion": 12060, "cuDeviceGetCount": 1, "cuDeviceGet": 0, "cuDeviceGetAttribute": 8}

        def function(*arguments: object) -> int:
            if name == "cuDeviceGetName":
                arguments[0].value = b"Orin"
            elif name == "cuGetErrorName":
                return 1
            else:
                arguments[0]._obj.value = values[name]
            return 0

        return function


@pytest.mark.parametrize(
    ("status", "driver"),
    [
        (0, CudaDriver("12.6", (Device(0, "Orin", "8.8", True, True),))),
        (100, CudaDriver("12.6", problem="the driver does not start: cuInit returned error 100")),
    ],
)
def test_the_driver_is_asked_without_a_context(monkeypatch: pytest.MonkeyPatch, status: int, driver: CudaDriver):
    monkeypatch.setattr("ctypes.CDLL", lambda name: FakeDriver(status))
    assert cuda_driver() == driver


def test_a_driver_that_refuses_a_question_is_no_device_of_zeros(monkeypatch: pytest.MonkeyPatch):
    library = FakeDriver(0)
    library.cuDeviceGetAttribute = lambda *arguments: 999  # type: ignore[attr-defined]
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    problem = "the driver does not start: cuDeviceGetAttribute returned error 999"
    assert cuda_driver() == CudaDriver("12.6", problem=problem)


def test_a_driver_without_devices_says_so(monkeypatch: pytest.MonkeyPatch):
    library = FakeDriver(0)
    library.cuDeviceGetCount = lambda *arguments: 0  # type: ignore[attr-defined]
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    assert cuda_driver() == CudaDriver("12.6", problem="the driver works and lists no device")
