"""A stand-in for `runtime/cudart.py`'s `Cuda` whose device memory is host memory, so that results are really computed.

Work is kept until a stream is waited for, as on a GPU: what is read too early is not there yet. Addresses are checked
against what is allocated, and whatever was made and not let go of can be asked for.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections import deque
from collections.abc import Callable

from whymask.runtime.cuda import Device
from whymask.runtime.cuda_errors import CudaError

ALIGNMENT = 256
HOST, MAPPED, DEVICE = "pinned", "mapped", "device"
ERRORS = {"malloc": (2, "cudaErrorMemoryAllocation", "out of memory")}
UNKNOWN = (999, "cudaErrorUnknown", "unknown error")

Work = Callable[[], None]


class FakeCuda:
    """Records every call by name in `calls`."""

    source = "fake"

    def __init__(
        self, name: str = "Orin", compute_capability: str = "8.7", integrated: bool = False, maps: bool = True
    ):
        self._device = Device(0, name, compute_capability, integrated, maps)
        self.calls: list[tuple[object, ...]] = []
        self.memory: dict[int, tuple[str, int]] = {}
        """Kind and size of what is allocated, by address."""
        self.handles: dict[int, str] = {}
        """Kind of every stream, event, graph and executable that exists."""
        self._keep: dict[int, ctypes.Array[ctypes.c_uint8]] = {}
        self._numbers = itertools.count(1000)
        self._queues: dict[int, deque[Work]] = {0: deque(), 1: deque()}
        self._capturing: dict[int, list[Work]] = {}
        self._graphs: dict[int, list[Work]] = {}
        self._events: dict[int, tuple[int, float | None]] = {}
        self._clock = itertools.count(1)
        self._draining: set[int] = set()
        self._lock = threading.RLock()
        self._failing: dict[str, int] = {}

    def fail(self, call: str, after: int = 0) -> None:
        """Let a call fail from now on, once it has succeeded `after` times."""
        self._failing[call] = after

    def names(self) -> list[str]:
        """Names of the calls so far."""
        return [str(call[0]) for call in self.calls]

    def left(self) -> list[str]:
        """Kinds of all that was made and not let go of."""
        return sorted([kind for kind, _ in self.memory.values()] + list(self.handles.values()))

    def device(self) -> Device:
        return self._device

    def malloc(self, nbytes: int) -> int:
        return self._allocate("malloc", nbytes, DEVICE)

    def malloc_host(self, nbytes: int, mapped: bool = False) -> int:
        return self._allocate("malloc_host", nbytes, MAPPED if mapped else HOST)

    def free(self, pointer: int) -> None:
        self._note("free", pointer)
        for stream in list(self._queues):
            self._drain(stream)
        self._let_go(pointer, (DEVICE,))

    def free_host(self, pointer: int) -> None:
        self._note("free_host", pointer)
        self._let_go(pointer, (HOST, MAPPED))

    def device_pointer(self, host_pointer: int) -> int:
        self._note("device_pointer", host_pointer)
        assert self.memory[host_pointer][0] == MAPPED
        return host_pointer

    def copy_to_device(self, device: int, host: int, nbytes: int, stream: int) -> None:
        self._copy("copy_to_device", device, host, nbytes, stream, (DEVICE, HOST))

    def copy_to_host(self, host: int, device: int, nbytes: int, stream: int) -> None:
        self._copy("copy_to_host", host, device, nbytes, stream, (HOST, DEVICE))

    def copy_on_device(self, to: int, source: int, nbytes: int, stream: int) -> None:
        self._copy("copy_on_device", to, source, nbytes, stream, (DEVICE, DEVICE))

    def create_stream(self) -> int:
        stream = self._handle("create_stream", "stream")
        self._queues[stream] = deque()
        return stream

    def destroy_stream(self, stream: int) -> None:
        self._destroy("destroy_stream", stream, "stream")
        self._drain(stream)
        del self._queues[stream]

    def synchronize(self, stream: int) -> None:
        self._note("synchronize", stream)
        assert stream not in self._capturing, "a stream was waited for while it was captured"
        self._drain(stream)

    def create_event(self) -> int:
        return self._handle("create_event", "event")

    def destroy_event(self, event: int) -> None:
        self._destroy("destroy_event", event, "event")

    def record(self, event: int, stream: int) -> None:
        self._note("record", event, stream)
        self._events[event] = (stream, None)
        self.enqueue(stream, lambda: self._events.update({event: (stream, float(next(self._clock)))}))

    def wait_event(self, stream: int, event: int) -> None:
        self._note("wait_event", stream, event)
        source, done = self._events[event]
        if done is None:
            self.enqueue(stream, lambda: self._drain(source))

    def elapsed_ms(self, start: int, end: int) -> float:
        self._note("elapsed_ms", start, end)
        first, second = self._events[start][1], self._events[end][1]
        assert first is not None and second is not None, "an event was read before it came"
        return second - first

    def begin_capture(self, stream: int) -> None:
        self._note("begin_capture", stream)
        assert stream != 0 and not self._queues[stream], "captured on the default stream, or with work under way"
        self._capturing[stream] = []

    def end_capture(self, stream: int) -> int:
        work = self._capturing.pop(stream)
        graph = self._handle("end_capture", "graph")
        self._graphs[graph] = work
        return graph

    def instantiate(self, graph: int) -> int:
        executable = self._handle("instantiate", "executable")
        self._graphs[executable] = self._graphs[graph]
        return executable

    def launch(self, executable: int, stream: int) -> None:
        self._note("launch", executable, stream)
        assert self.handles[executable] == "executable"
        for work in self._graphs[executable]:
            self.enqueue(stream, work)

    def destroy_graph(self, graph: int) -> None:
        self._destroy("destroy_graph", graph, "graph")

    def destroy_executable(self, executable: int) -> None:
        self._destroy("destroy_executable", executable, "executable")

    def is_capturing(self, stream: int) -> bool:
        """Whether a stream keeps its work for a graph."""
        return stream in self._capturing

    def enqueue(self, stream: int, work: Work) -> None:
        """Put work behind what a stream has to do."""
        assert stream not in self._draining, "two threads use one stream"
        (self._capturing if stream in self._capturing else self._queues)[stream].append(work)

    def check(self, pointer: int, nbytes: int, kinds: tuple[str, ...]) -> None:
        """Refuse memory that is not allocated, or not of these kinds."""
        for start, (kind, size) in list(self.memory.items()):
            if start <= pointer and pointer + nbytes <= start + size:
                assert kind in kinds, f"{kind} memory where {' or '.join(kinds)} was expected"
                return
        raise AssertionError(f"{nbytes} bytes at {pointer} are not allocated")

    def _note(self, call: str, *arguments: object) -> None:
        self.calls.append((call, *arguments))
        if call in self._failing:
            if self._failing[call] <= 0:
                code, name, text = ERRORS.get(call, UNKNOWN)
                raise CudaError(call, code, name, text, arguments, False)
            self._failing[call] -= 1

    def _allocate(self, call: str, nbytes: int, kind: str) -> int:
        self._note(call, nbytes)
        assert nbytes > 0
        block = (ctypes.c_uint8 * (nbytes + ALIGNMENT))()
        pointer = -(-ctypes.addressof(block) // ALIGNMENT) * ALIGNMENT
        ctypes.memset(pointer, 0xEE, nbytes)
        with self._lock:
            self._keep[pointer], self.memory[pointer] = block, (kind, nbytes)
        return pointer

    def _let_go(self, pointer: int, kinds: tuple[str, ...]) -> None:
        with self._lock:
            kind, _ = self.memory.pop(pointer)
            del self._keep[pointer]
        assert kind in kinds

    def _handle(self, call: str, kind: str) -> int:
        self._note(call)
        handle = next(self._numbers)
        self.handles[handle] = kind
        return handle

    def _destroy(self, call: str, handle: int, kind: str) -> None:
        self._note(call, handle)
        assert self.handles.pop(handle) == kind

    def _copy(self, call: str, to: int, source: int, nbytes: int, stream: int, kinds: tuple[str, str]) -> None:
        self._note(call, to, source, nbytes, stream)
        for pointer, kind in ((to, kinds[0]), (source, kinds[1])):
            self.check(pointer, nbytes, (kind, MAPPED) if kind == DEVICE else (kind,))

        def work() -> None:
            self.check(to, nbytes, (DEVICE, HOST, MAPPED))
            self.check(source, nbytes, (DEVICE, HOST, MAPPED))
            ctypes.memmove(to, source, nbytes)

        self.enqueue(stream, work)

    def _drain(self, stream: int) -> None:
        if stream in self._draining:
            return
        self._draining.add(stream)
        try:
            queue = self._queues[stream]
            while queue:
                queue.popleft()()
        finally:
            self._draining.discard(stream)
