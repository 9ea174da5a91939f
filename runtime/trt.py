"""TensorRT as a backend: an engine and its sidecar behind the same `run` as an ONNX graph.

One code path serves TensorRT 8.6, 10, 11 and TensorRT-RTX. What can be refused is refused in an order that touches none
of TensorRT's own objects without a driver: the file, its sidecar, the driver, TensorRT's module, whether engine and
machine belong together.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from queue import LifoQueue
from typing import Any

from numpy.typing import NDArray

from whymask.runtime.backends import Arrays, TensorInfo
from whymask.runtime.card import Card
from whymask.runtime.closing import Closing
from whymask.runtime.cudart import Cuda, Device, open_cuda
from whymask.runtime.device_arrays import DeviceArray
from whymask.runtime.engine_card import EngineCard, check_engine, read_sidecar
from whymask.runtime.errors import ArtefactError, BackendError, InputError
from whymask.runtime.trt_engine import Engine
from whymask.runtime.trt_lane import Lane, Timings
from whymask.runtime.trt_module import import_tensorrt


class TrtBackend(Closing):
    """An engine on CUDA's device 0, which CUDA_VISIBLE_DEVICES chooses. Several threads may call `run` at once.

    Each of `contexts` lanes has an execution context, a stream and memory of its own and serves one call at a time; a
    call that finds none free waits.

    Args:
        path: the engine that `whymask build` made; its sidecar lies beside it.
        cuda_graph: capture the work of each batch size once and launch it as a whole, which saves the host's time. Each
            graph holds memory of its own. `run_on_device` and `timed_run` never use one.
        zero_copy: let the GPU work in mapped host memory in place of copying to memory of its own; None does so on
            integrated GPUs, which share their memory with the host.
        contexts: calls that may run at the same time, at least 1.
        cuda: CUDA's runtime; None opens it.

    Attributes:
        engine_card: the engine's sidecar.
        zero_copy: whether the GPU works in mapped host memory.

    Raises:
        ArtefactError: no such file, no sidecar, or an engine that does not belong to this machine.
        BackendError: no driver, no GPU, no CUDA library, or TensorRT refuses; the message has what it said.
        MissingExtra: TensorRT is not installed.
        InputError: `contexts` is less than 1.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        cuda_graph: bool = False,
        zero_copy: bool | None = None,
        contexts: int = 1,
        cuda: Cuda | None = None,
    ) -> None:
        self._path = Path(path)
        if contexts < 1:
            raise InputError(f"contexts: got {contexts}, expected a whole number of at least 1")
        if not self._path.is_file():
            raise ArtefactError(f"{self._path}: no such file, expected an engine made by whymask build")
        self.engine_card: EngineCard = read_sidecar(self._path)
        cuda = open_cuda() if cuda is None else cuda
        device = cuda.device()
        trt = import_tensorrt(self.engine_card)
        check_engine(self._path, self.engine_card, device, builder_version=trt.__version__)
        self.zero_copy = _is_mapped(zero_copy, device)
        self._idle: LifoQueue[Lane | None] = LifoQueue()
        self._contexts, self._closing, self._is_closed = contexts, threading.Lock(), False
        with ExitStack() as made:
            engine = Engine(self._path, self.engine_card, trt)
            made.callback(engine.close)
            for _ in range(contexts):
                lane = Lane(engine, cuda, mapped=self.zero_copy, cuda_graph=cuda_graph)
                made.callback(lane.close)
                self._idle.put(lane)
            self._made = made.pop_all()
        self._inputs = {name: tensor.info for name, tensor in engine.tensors.items() if tensor.is_input}
        self._outputs = {name: tensor.info for name, tensor in engine.tensors.items() if not tensor.is_input}
        self._all_outputs = tuple(self._outputs)
        self._batch_range = engine.batch_range
        self._provider = _provider(engine.library, device, self.engine_card.precision, cuda_graph, self.zero_copy)

    @property
    def provider(self) -> str:
        """Library, GPU, precision and options, such as `TensorRT 10.3.0 on Orin (8.7), fp16, CUDA graph`."""
        return self._provider

    @property
    def inputs(self) -> Mapping[str, TensorInfo]:
        """Inputs by name."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, TensorInfo]:
        """Outputs by name."""
        return self._outputs

    @property
    def batch_range(self) -> tuple[int, int]:
        """Smallest and largest batch of the engine's profile."""
        return self._batch_range

    @property
    def card(self) -> Card:
        """The graph's card, from the sidecar."""
        return self.engine_card.card

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> Arrays:
        """Run once; the returned arrays belong to the caller.

        Args:
            feeds: every input by name, of a batch that the profile allows.
            outputs: names of the outputs wanted, or None for all; only these are copied from the GPU.

        Raises:
            InputError: an input or an output that the engine has not, or an array of another type or shape.
            BackendError: CUDA or TensorRT fails, or the backend is closed.
        """
        wanted = self._wanted(outputs)
        lane = self._take()
        try:
            return lane.run(feeds, wanted)
        finally:
            self._idle.put(lane)

    def timed_run(
        self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> tuple[Arrays, Timings]:
        """Run once, step by step and never as a CUDA graph, and tell how long each step took.

        Args:
            feeds: see `run`.
            outputs: see `run`.

        Raises:
            InputError, BackendError: see `run`.
        """
        wanted = self._wanted(outputs)
        lane = self._take()
        try:
            return lane.timed_run(feeds, wanted)
        finally:
            self._idle.put(lane)

    def run_on_device(
        self, feeds: Mapping[str, object], stream: int | None = None, outputs: Sequence[str] | None = None
    ) -> dict[str, DeviceArray]:
        """Run once within the GPU's memory, without a host copy.

        Inputs of 256-byte alignment are read where they are, others after a copy within the GPU. They must stay as they
        are until the work is done.

        Args:
            feeds: every input by name: C-contiguous arrays with `__cuda_array_interface__` (torch, CuPy, Numba) of the
                contract's types. Contents that a `stream` entry announces are waited for.
            stream: handle of the CUDA stream on which the inputs become ready and the results are used, 0 for the
                default one; the host does not wait. None takes the inputs as ready, and returns when the results are.
                torch announces no stream: pass `torch.cuda.current_stream().cuda_stream`.
            outputs: names of the outputs wanted, or None for all.

        Returns:
            arrays whose memory belongs to the caller; see `DeviceArray`.

        Raises:
            InputError: an array that is not on this GPU, or of another type, shape or layout.
            BackendError: CUDA or TensorRT fails, or the backend is closed.
        """
        wanted = self._wanted(outputs)
        lane = self._take()
        try:
            return lane.run_on_device(feeds, wanted, stream)
        finally:
            self._idle.put(lane)

    def close(self) -> None:
        """Wait for runs under way, then let go of everything; closing twice does nothing."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        for _ in range(self._contexts):
            self._idle.get()
        # For the calls that still wait for a lane.
        self._idle.put(None)
        self._made.close()

    def _take(self) -> Lane:
        """A lane that is free, the one used last first: its memory is warm and its graphs are captured."""
        closed = f"{self._path}: the engine was closed; load it again"
        if self._is_closed:
            raise BackendError(closed)
        lane = self._idle.get()
        if lane is None:
            # Closed while it waited; the next one that waits must hear of it too.
            self._idle.put(None)
            raise BackendError(closed)
        return lane

    def _wanted(self, outputs: Sequence[str] | None) -> tuple[str, ...]:
        if outputs is None:
            return self._all_outputs
        unknown = [name for name in outputs if name not in self._outputs]
        if unknown or not outputs:
            got = repr(unknown[0]) if unknown else "none"
            raise InputError(f"{self._path}: outputs: got {got}, expected some of {', '.join(self._outputs)}")
        return tuple(outputs)


def _is_mapped(zero_copy: bool | None, device: Device) -> bool:
    if zero_copy and not device.can_map_host_memory:
        raise BackendError(f"zero_copy was asked for, and {device.name} cannot map host memory; load without it")
    return device.integrated and device.can_map_host_memory if zero_copy is None else zero_copy


def _provider(library: str, device: Device, precision: str, cuda_graph: bool, mapped: bool) -> str:
    options = [", CUDA graph" if cuda_graph else "", ", zero copy" if mapped else ""]
    return f"{library} on {device.name} ({device.compute_capability}), {precision}{''.join(options)}"
