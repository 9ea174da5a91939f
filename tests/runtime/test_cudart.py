from __future__ import annotations

import ctypes
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cuda_fakes import (
    HANDLE,
    LAST_ERROR,
    Call,
    CompiledLibrary,
    FakeBindings,
    FakeLibrary,
    compile_library,
    has_compiler,
)

from whymask.runtime import cuda_find, cudart
from whymask.runtime.cuda import CudaDriver, Device
from whymask.runtime.cuda_calls import SIGNATURES, BindingsCalls, CudaCalls, LibraryCalls
from whymask.runtime.cudart import Cuda, CudaError, open_cuda
from whymask.runtime.errors import BackendError

DRIVER = CudaDriver("13.2", (Device(0, "NVIDIA L4", "8.9"), Device(1, "Orin", "8.7", True, True)))
A, B, C = HANDLE + 16, HANDLE + 32, HANDLE + 48

# What is called, what CUDA receives, and what comes back.
METHODS: list[tuple[Callable[[Cuda], object], Call, object]] = [
    (lambda cuda: cuda.runtime_version(), ("cudaRuntimeGetVersion", ()), "12.6"),
    (lambda cuda: cuda.device(), ("cudaGetDevice", ()), DRIVER.devices[1]),
    (lambda cuda: cuda.memory_info(), ("cudaMemGetInfo", ()), (1 << 33, 1 << 34)),
    (lambda cuda: cuda.malloc(5 << 30), ("cudaMalloc", (5 << 30,)), HANDLE),
    (lambda cuda: cuda.free(A), ("cudaFree", (A,)), None),
    (lambda cuda: cuda.malloc_host(64), ("cudaHostAlloc", (64, 0)), HANDLE + 1),
    (lambda cuda: cuda.malloc_host(64, mapped=True), ("cudaHostAlloc", (64, 2)), HANDLE + 1),
    (lambda cuda: cuda.free_host(A), ("cudaFreeHost", (A,)), None),
    (lambda cuda: cuda.device_pointer(A), ("cudaHostGetDevicePointer", (A, 0)), HANDLE + 2),
    (lambda cuda: cuda.copy_to_device(A, B, 9, C), ("cudaMemcpyAsync", (A, B, 9, 1, C)), None),
    (lambda cuda: cuda.copy_to_host(A, B, 9, C), ("cudaMemcpyAsync", (A, B, 9, 2, C)), None),
    (lambda cuda: cuda.copy_on_device(A, B, 9, C), ("cudaMemcpyAsync", (A, B, 9, 3, C)), None),
    (lambda cuda: cuda.create_stream(), ("cudaStreamCreateWithFlags", (1,)), HANDLE + 3),
    (lambda cuda: cuda.destroy_stream(A), ("cudaStreamDestroy", (A,)), None),
    (lambda cuda: cuda.synchronize(A), ("cudaStreamSynchronize", (A,)), None),
    (lambda cuda: cuda.create_event(), ("cudaEventCreateWithFlags", (0,)), HANDLE + 4),
    (lambda cuda: cuda.destroy_event(A), ("cudaEventDestroy", (A,)), None),
    (lambda cuda: cuda.record(event=A, stream=B), ("cudaEventRecord", (A, B)), None),
    (lambda cuda: cuda.wait_event(stream=A, event=B), ("cudaStreamWaitEvent", (A, B, 0)), None),
    (lambda cuda: cuda.elapsed_ms(A, B), ("cudaEventElapsedTime", (A, B)), 1.5),
    (lambda cuda: cuda.begin_capture(A), ("cudaStreamBeginCapture", (A, 1)), None),
    (lambda cuda: cuda.end_capture(A), ("cudaStreamEndCapture", (A,)), HANDLE + 5),
    (lambda cuda: cuda.instantiate(A), ("cudaGraphInstantiateWithFlags", (A, 0)), HANDLE + 6),
    (lambda cuda: cuda.launch(A, B), ("cudaGraphLaunch", (A, B)), None),
    (lambda cuda: cuda.destroy_graph(A), ("cudaGraphDestroy", (A,)), None),
    (lambda cuda: cuda.destroy_executable(A), ("cudaGraphExecDestroy", (A,)), None),
]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake library in C."""
    if not has_compiler():
        pytest.skip("needs a C compiler: none of cc, gcc and clang is on this machine")
    return compile_library(tmp_path_factory.mktemp("cudart"))


@pytest.fixture(params=["cuda-bindings", "ctypes", "compiled"])
def fake(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A recording CUDA runtime, in each form."""
    if request.param == "compiled":
        return CompiledLibrary(Path(shutil.copy(request.getfixturevalue("compiled"), tmp_path)))
    return FakeBindings() if request.param == "cuda-bindings" else FakeLibrary()


@pytest.fixture
def cuda(fake: Any) -> Cuda:
    """CUDA over that runtime."""
    if isinstance(fake, FakeBindings):
        return Cuda(BindingsCalls(fake, "13.5.0"), DRIVER)
    library = fake if isinstance(fake, FakeLibrary) else fake.library
    return Cuda(LibraryCalls(library, "libcudart.so.12"), DRIVER)


def test_every_function_receives_its_arguments_and_gives_its_result(fake: Any, cuda: Cuda):
    assert [method(cuda) for method, _, _ in METHODS] == [result for _, _, result in METHODS]
    assert fake.calls == [call for _, call, _ in METHODS]


def test_the_table_has_every_method_and_every_function():
    assert {name for _, (name, _), _ in METHODS} | {"cudaGetDeviceCount"} == set(SIGNATURES)
    called = {name for method, _, _ in METHODS for name in method.__code__.co_names} - {"A", "B", "C"}
    assert {name for name in vars(Cuda) if not name.startswith("_")} == called


def test_opening_calls_nothing_that_makes_a_context(fake: Any, cuda: Cuda):
    assert fake.calls == []
    assert cuda.source in ("cuda-bindings 13.5.0", "libcudart.so.12 through ctypes")


@pytest.mark.parametrize(
    ("method", "call", "_"), METHODS, ids=[f"{row[1][0]} {index}" for index, row in enumerate(METHODS)]
)
def test_every_failing_function_is_named_and_its_error_forgotten(
    fake: Any, cuda: Cuda, method: Callable[[Cuda], object], call: Call, _: object
):
    name, arguments = call
    fake.fail(name, 2)
    with pytest.raises(
        CudaError, match=rf"^{name} failed: error 2 \(cudaErrorMemoryAllocation\): out of memory"
    ) as caught:
        method(cuda)
    assert (caught.value.call, caught.value.code, caught.value.name) == (name, 2, "cudaErrorMemoryAllocation")
    assert ("called with " + ", ".join(map(str, arguments)) in str(caught.value)) == bool(arguments)
    assert str(caught.value).endswith("run smaller batches; nvidia-smi or tegrastats shows what is free")
    assert fake.calls == [call, (LAST_ERROR, ()), (LAST_ERROR, ())]


def test_after_a_failure_later_calls_work(fake: Any, cuda: Cuda):
    fake.fail("cudaMalloc", 2)
    with pytest.raises(CudaError, match="cudaMalloc failed"):
        cuda.malloc(1)
    fake.fail("", 0)
    assert cuda.malloc(1) == HANDLE


def test_an_error_that_stays_says_that_the_process_is_lost(fake: Any, cuda: Cuda):
    fake.fail("cudaStreamSynchronize", 999, is_sticky=True)
    with pytest.raises(CudaError, match=r"error 999 \(cudaErrorOther\): other.*the process must be restarted"):
        cuda.synchronize(A)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (2, "close other programs that use the GPU"),
        (3, "multiprocessing's method `spawn`"),
        (35, r'update it, or .*pip install "cuda-bindings==12\.\*"'),
        (46, "another process holds the GPU"),
        (100, "whymask doctor .* CUDA_VISIBLE_DEVICES"),
        (209, "no kernels for this GPU"),
        (700, "the process must be restarted"),
        (719, "the process must be restarted"),
        (803, "restart the machine"),
        (901, "cuda_graph=False"),
        (1, "whymask doctor shows what this machine can run"),
    ],
)
def test_each_kind_of_error_says_what_to_do(code: int, remedy: str):
    error = CudaError("cudaMalloc", code, "name", "text", (), stays=False)
    assert isinstance(error, BackendError)
    with pytest.raises(CudaError, match=rf"cudaMalloc failed: error {code} \(name\): text; .*{remedy}"):
        raise error


def test_an_error_comes_home_from_a_worker_process():
    error = CudaError("cudaMalloc", 2, "name", "text", (8,), stays=False)
    home = pickle.loads(pickle.dumps(error))
    assert isinstance(home, BackendError)
    assert str(home) == str(error)


def test_a_cuda_that_is_too_old_is_named():
    library = FakeLibrary()
    del library.cudaGraphInstantiateWithFlags
    with pytest.raises(
        BackendError,
        match=r"libcudart\.so through ctypes lacks cudaGraphInstantiateWithFlags, expected CUDA 11\.4 or newer",
    ):
        LibraryCalls(library, "libcudart.so")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what is on this machine: cuda-bindings or not, and libraries by name."""

    def put(bindings: FakeBindings | None = None, **libraries: FakeLibrary) -> None:
        module = ModuleType("cuda.bindings")
        module.__version__ = "12.9.10"  # type: ignore[attr-defined]
        found = {"cuda": ModuleType("cuda"), "cuda.bindings": module, "cuda.bindings.runtime": bindings}
        for name, value in found.items():
            monkeypatch.setitem(sys.modules, name, value if bindings else None)

        def load(name: str) -> FakeLibrary:
            if name not in libraries:
                raise OSError(f"{name}: cannot open shared object file")
            return libraries[name]

        monkeypatch.setattr("ctypes.CDLL", load)
        monkeypatch.setattr(cuda_find, "LIBRARY_NAMES", ("newer", "older"))
        monkeypatch.setattr(cuda_find, "_wheel_libraries", lambda: iter(("wheel",)))
        monkeypatch.setattr(cudart, "cuda_driver", lambda: DRIVER)

    return put


def test_cuda_bindings_come_before_a_library(machine: Callable[..., None]):
    bindings, library = FakeBindings(), FakeLibrary()
    machine(bindings, newer=library)
    cuda = open_cuda()
    assert cuda.source == "cuda-bindings 12.9.10"
    assert (bindings.calls, library.calls) == ([("cudaGetDeviceCount", ())], [])


@pytest.mark.parametrize("name", ["newer", "older", "wheel"])
def test_without_cuda_bindings_the_first_library_that_loads(machine: Callable[..., None], name: str):
    machine(None, **{name: FakeLibrary()})
    assert open_cuda().source == f"{name} through ctypes"


def test_a_runtime_too_new_for_the_driver_is_passed_over(machine: Callable[..., None]):
    bindings, newer = FakeBindings(), FakeLibrary()
    for fake in (bindings, newer):
        fake.fail("cudaGetDeviceCount", 35)
    machine(bindings, newer=newer, older=FakeLibrary())
    assert open_cuda().source == "older through ctypes"


def test_when_no_way_works_every_reason_is_said(machine: Callable[..., None]):
    bindings, newer, older = FakeBindings(), FakeLibrary(), FakeLibrary()
    for fake in (bindings, newer):
        fake.fail("cudaGetDeviceCount", 35)
    del older.cudaMalloc
    machine(bindings, newer=newer, older=older)
    message = (
        r"does not work here: cuda-bindings 12\.9\.10 returns error 35 \(cudaErrorOther\); newer through ctypes "
        r"returns error 35 \(cudaErrorOther\); older through ctypes lacks cudaMalloc, .*; the driver is older"
    )
    with pytest.raises(BackendError, match=message):
        open_cuda()


def test_without_any_way_the_line_to_install_one(machine: Callable[..., None]):
    machine()
    with pytest.raises(
        BackendError, match=r'neither .*cuda-bindings nor a libcudart.*run: pip install "whymask\[cuda\]"'
    ):
        open_cuda()


def test_a_broken_cuda_bindings_is_not_taken_for_an_absent_one(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    machine(None)

    def broken(name: str) -> ModuleType:
        raise ImportError("libstdc++.so.6: version not found")

    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(BackendError, match=r"cuda-bindings is installed and does not import \(libstdc"):
        open_cuda()


def test_without_a_driver_nothing_is_loaded(machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch):
    bindings = FakeBindings()
    machine(bindings)
    monkeypatch.setattr(cudart, "cuda_driver", lambda: CudaDriver(problem="libcuda.so.1 does not load"))
    with pytest.raises(BackendError, match=r"no GPU can be used: libcuda\.so\.1 does not load; whymask doctor"):
        open_cuda()
    assert bindings.calls == []


def test_pips_libraries_are_found_inside_the_package_nvidia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for folder, name in (("cu13/lib", "libcudart.so.13"), ("cuda_runtime/lib", "libcudart.so.12")):
        (tmp_path / "nvidia" / folder).mkdir(parents=True)
        (tmp_path / "nvidia" / folder / name).touch()
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert [Path(name).name for name in cuda_find._wheel_libraries()] == ["libcudart.so.13", "libcudart.so.12"]


def real_bindings() -> CudaCalls:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason='needs cuda-bindings: pip install "whymask[cuda]"')
    return BindingsCalls(runtime, "of this machine")


def real_library() -> CudaCalls:
    for name in (*cuda_find.LIBRARY_NAMES, *cuda_find._wheel_libraries()):
        try:
            return LibraryCalls(ctypes.CDLL(name), Path(name).name)
        except OSError:
            continue
    pytest.skip('needs a libcudart: none is on this machine; pip install "nvidia-cuda-runtime"')


@pytest.mark.parametrize("real", [real_bindings, real_library])
def test_the_real_runtime_takes_every_call_and_says_that_there_is_no_driver(real: Callable[[], CudaCalls]):
    calls = real()
    if cudart.cuda_driver().version:
        pytest.skip("needs a machine without NVIDIA driver: on this one CUDA would follow made-up pointers")
    cuda = Cuda(calls, DRIVER)
    for method, (name, _), _ in METHODS:
        # Answers without a driver, by some libraries only.
        if name != "cudaRuntimeGetVersion":
            with pytest.raises(
                CudaError, match=rf"^{name} failed: error 35 \(cudaErrorInsufficientDriver\): CUDA driver"
            ):
                method(cuda)
