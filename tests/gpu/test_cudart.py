"""CUDA's runtime API on a real device, in both ways of calling it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from whymask.runtime import cuda_find
from whymask.runtime.cuda import CudaDriver
from whymask.runtime.cudart import Cuda, CudaError, open_cuda
from whymask.runtime.errors import BackendError

pytestmark = pytest.mark.gpu

NBYTES = 1 << 20


@pytest.fixture(params=["cuda-bindings", "libcudart"])
def cuda(request: pytest.FixtureRequest, cuda_device: CudaDriver, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """CUDA, called in one way."""
    with_bindings = request.param == "cuda-bindings"
    ways = [way for way in cuda_find._openers() if (way is cuda_find._bindings) == with_bindings]
    monkeypatch.setattr(cuda_find, "_openers", lambda: iter(ways))
    try:
        return open_cuda()
    except BackendError as error:
        pytest.skip(f"needs {request.param}: {error}")


@pytest.fixture
def stream(cuda: Cuda) -> Iterator[int]:
    """A stream of our own."""
    made = cuda.create_stream()
    yield made
    cuda.destroy_stream(made)


@pytest.fixture
def buffer(cuda: Cuda) -> Iterator[Callable[[], int]]:
    """Allocates device memory of NBYTES."""
    made: list[int] = []

    def allocate() -> int:
        made.append(cuda.malloc(NBYTES))
        return made[-1]

    yield allocate
    for pointer in made:
        cuda.free(pointer)


def test_the_device_is_the_drivers(cuda: Cuda, cuda_device: CudaDriver):
    assert cuda.device() == cuda_device.devices[0]
    assert float(cuda.runtime_version().split(".")[0]) >= 11
    free, total = cuda.memory_info()
    assert 0 < free <= total


def test_bytes_go_to_the_device_and_come_back(cuda: Cuda, stream: int, buffer: Callable[[], int]):
    sent = np.random.default_rng(0).integers(0, 256, NBYTES, np.uint8)
    received = np.zeros_like(sent)
    first, second = buffer(), buffer()
    cuda.copy_to_device(first, sent.ctypes.data, NBYTES, stream)
    cuda.copy_on_device(second, first, NBYTES, stream)
    cuda.copy_to_host(received.ctypes.data, second, NBYTES, stream)
    cuda.synchronize(stream)
    assert np.array_equal(received, sent)


def test_mapped_host_memory_is_one_memory_for_both(cuda: Cuda, stream: int, buffer: Callable[[], int]):
    if not cuda.device().can_map_host_memory:
        pytest.skip(f"needs a device that maps host memory; {cuda.device()} does not")
    host, device = cuda.malloc_host(NBYTES, mapped=True), buffer()
    try:
        seen = np.frombuffer((ctypes.c_uint8 * NBYTES).from_address(host), np.uint8)
        sent = np.random.default_rng(1).integers(0, 256, NBYTES, np.uint8)
        cuda.copy_to_device(device, sent.ctypes.data, NBYTES, stream)
        cuda.copy_on_device(cuda.device_pointer(host), device, NBYTES, stream)
        cuda.synchronize(stream)
        assert np.array_equal(seen, sent)
    finally:
        cuda.free_host(host)


def test_events_take_the_time_and_order_streams(cuda: Cuda, stream: int, buffer: Callable[[], int]):
    start, end, other = cuda.create_event(), cuda.create_event(), cuda.create_stream()
    first, second = buffer(), buffer()
    cuda.record(start, stream)
    for _ in range(20):
        cuda.copy_on_device(second, first, NBYTES, stream)
    cuda.record(end, stream)
    cuda.wait_event(other, end)
    cuda.synchronize(other)
    assert 0 < cuda.elapsed_ms(start, end) < 1000
    cuda.destroy_stream(other)
    for event in (start, end):
        cuda.destroy_event(event)


def test_a_captured_graph_repeats_its_copies(cuda: Cuda, stream: int, buffer: Callable[[], int]):
    host = cuda.malloc_host(NBYTES)
    values = np.frombuffer((ctypes.c_uint8 * NBYTES).from_address(host), np.uint8)
    first, second = buffer(), buffer()
    cuda.begin_capture(stream)
    cuda.copy_to_device(first, host, NBYTES, stream)
    cuda.copy_on_device(second, first, NBYTES, stream)
    graph = cuda.end_capture(stream)
    executable = cuda.instantiate(graph)
    cuda.destroy_graph(graph)
    received = np.zeros(NBYTES, np.uint8)
    for fill in (7, 9):
        values[:] = fill
        cuda.launch(executable, stream)
        cuda.copy_to_host(received.ctypes.data, second, NBYTES, stream)
        cuda.synchronize(stream)
        assert (received == fill).all()
    cuda.destroy_executable(executable)
    cuda.free_host(host)


def test_a_failed_call_poisons_no_later_one(cuda: Cuda, stream: int, buffer: Callable[[], int]):
    _, total = cuda.memory_info()
    with pytest.raises(CudaError, match=r"cudaMalloc failed: error 2 \(cudaErrorMemoryAllocation\): out of memory"):
        cuda.malloc(total * 4)
    cuda.copy_on_device(buffer(), buffer(), NBYTES, stream)
    cuda.synchronize(stream)
