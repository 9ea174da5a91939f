"""CUDA's runtime API, as far as an engine needs it: memory, streams, events and graphs.

Every handle is a plain int, every call is checked, and nothing is freed by itself: what a method makes, its counterpart
(`free`, `destroy_stream`, …) lets go of.
"""

from __future__ import annotations

from whymask.runtime.cuda import CudaDriver, Device, cuda_driver, dotted
from whymask.runtime.cuda_calls import SIGNATURES, CudaCalls
from whymask.runtime.cuda_errors import CudaError
from whymask.runtime.cuda_find import find_calls
from whymask.runtime.errors import BackendError

__all__ = ["Cuda", "CudaError", "Device", "open_cuda"]

_PINNED, _MAPPED = 0, 2
"""cudaHostAllocDefault and cudaHostAllocMapped."""
_NON_BLOCKING = 1
"""cudaStreamNonBlocking: no implicit wait for the default stream, which would also break a capture."""
_HOST_TO_DEVICE, _DEVICE_TO_HOST, _DEVICE_TO_DEVICE = 1, 2, 3
_THREAD_LOCAL = 1
"""cudaStreamCaptureModeThreadLocal: what other threads do meanwhile does not spoil a capture."""


class Cuda:
    """The calls, by what they do. Any thread may call; every thread starts on device 0.

    Args:
        calls: the way of calling.
        driver: what the driver said of its devices.

    Attributes:
        source: the way of calling, such as `cuda-bindings 13.5.0` or `libcudart.so.12 through ctypes`.
    """

    def __init__(self, calls: CudaCalls, driver: CudaDriver) -> None:
        self.source = calls.source
        self._devices = driver.devices
        self._call = {name: calls.function(name) for name in SIGNATURES}
        self._to_device, self._to_host, self._on_device = (
            calls.constant("cudaMemcpyKind", kind) for kind in (_HOST_TO_DEVICE, _DEVICE_TO_HOST, _DEVICE_TO_DEVICE)
        )
        self._thread_local = calls.constant("cudaStreamCaptureMode", _THREAD_LOCAL)

    def runtime_version(self) -> str:
        """CUDA version of the library that is called, such as `12.6`."""
        return dotted(self._call["cudaRuntimeGetVersion"]())

    def device(self) -> Device:
        """The current device of this thread."""
        return self._devices[int(self._call["cudaGetDevice"]())]

    def memory_info(self) -> tuple[int, int]:
        """Free and total bytes of the device's memory."""
        free, total = self._call["cudaMemGetInfo"]()
        return free, total

    def malloc(self, nbytes: int) -> int:
        """Allocate device memory; `free` lets go of it."""
        return int(self._call["cudaMalloc"](nbytes))

    def free(self, pointer: int) -> None:
        """Let go of device memory; waits for the device."""
        self._call["cudaFree"](pointer)

    def malloc_host(self, nbytes: int, mapped: bool = False) -> int:
        """Allocate pinned host memory, from which copies are asynchronous; `free_host` lets go of it.

        Args:
            nbytes: how much.
            mapped: whether the device may use it in place, by the address that `device_pointer` gives.
        """
        return int(self._call["cudaHostAlloc"](nbytes, _MAPPED if mapped else _PINNED))

    def free_host(self, pointer: int) -> None:
        """Let go of pinned host memory."""
        self._call["cudaFreeHost"](pointer)

    def device_pointer(self, host_pointer: int) -> int:
        """The device's address of mapped host memory."""
        return int(self._call["cudaHostGetDevicePointer"](host_pointer, 0))

    def copy_to_device(self, device: int, host: int, nbytes: int, stream: int) -> None:
        """Copy from the host, behind what the stream has to do; returns before it is done."""
        self._call["cudaMemcpyAsync"](device, host, nbytes, self._to_device, stream)

    def copy_to_host(self, host: int, device: int, nbytes: int, stream: int) -> None:
        """Copy to the host, behind what the stream has to do; returns before it is done."""
        self._call["cudaMemcpyAsync"](host, device, nbytes, self._to_host, stream)

    def copy_on_device(self, to: int, source: int, nbytes: int, stream: int) -> None:
        """Copy inside the device's memory, behind what the stream has to do; returns before it is done."""
        self._call["cudaMemcpyAsync"](to, source, nbytes, self._on_device, stream)

    def create_stream(self) -> int:
        """Make a stream that does not wait for the default stream."""
        return int(self._call["cudaStreamCreateWithFlags"](_NON_BLOCKING))

    def destroy_stream(self, stream: int) -> None:
        """Let go of a stream; what it still has to do is done first."""
        self._call["cudaStreamDestroy"](stream)

    def synchronize(self, stream: int) -> None:
        """Wait until a stream has done everything; errors of its work show here."""
        self._call["cudaStreamSynchronize"](stream)

    def create_event(self) -> int:
        """Make an event that takes the time."""
        return int(self._call["cudaEventCreateWithFlags"](0))

    def destroy_event(self, event: int) -> None:
        """Let go of an event."""
        self._call["cudaEventDestroy"](event)

    def record(self, event: int, stream: int) -> None:
        """Put an event behind what a stream has to do."""
        self._call["cudaEventRecord"](event, stream)

    def wait_event(self, stream: int, event: int) -> None:
        """Let a stream, not the host, wait for an event."""
        self._call["cudaStreamWaitEvent"](stream, event, 0)

    def elapsed_ms(self, start: int, end: int) -> float:
        """Milliseconds between two events that have come."""
        return float(self._call["cudaEventElapsedTime"](start, end))

    def begin_capture(self, stream: int) -> None:
        """Keep what this thread gives a stream from here on, instead of doing it."""
        self._call["cudaStreamBeginCapture"](stream, self._thread_local)

    def end_capture(self, stream: int) -> int:
        """End a capture and return its graph; `destroy_graph` lets go of it."""
        return int(self._call["cudaStreamEndCapture"](stream))

    def instantiate(self, graph: int) -> int:
        """Make a graph executable, which is independent of it; `destroy_executable` lets go of that."""
        return int(self._call["cudaGraphInstantiateWithFlags"](graph, 0))

    def launch(self, executable: int, stream: int) -> None:
        """Give a stream all of a graph's work at once."""
        self._call["cudaGraphLaunch"](executable, stream)

    def destroy_graph(self, graph: int) -> None:
        """Let go of a graph."""
        self._call["cudaGraphDestroy"](graph)

    def destroy_executable(self, executable: int) -> None:
        """Let go of an executable graph."""
        self._call["cudaGraphExecDestroy"](executable)


def open_cuda() -> Cuda:
    """CUDA on this machine.

    Raises:
        BackendError: no driver, no device, no way of calling CUDA, or none that works with this driver.
    """
    driver = cuda_driver()
    if not driver.devices:
        raise BackendError(f"no GPU can be used: {driver.problem}; whymask doctor shows what this machine can run")
    return Cuda(find_calls(), driver)
