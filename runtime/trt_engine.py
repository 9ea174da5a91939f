"""A deserialised engine: its tensors as caller and engine see them, and new execution contexts.

Only TensorRT's named-tensor interface is used, which 8.6, 10, 11 and TensorRT-RTX share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from whymask.runtime.backends import INPUTS, OUTPUTS, TensorInfo
from whymask.runtime.engine_card import BUILDERS, EngineCard
from whymask.runtime.errors import ArtefactError, BackendError
from whymask.runtime.trt_module import LEAN, kept_logger

DTYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "HALF": "float16",
    "FLOAT": "float32",
}
"""numpy's names of TensorRT's types. `tensorrt.nptype` fails with new numpy in old versions."""
OPEN = -1
"""Size of a dimension that the optimisation profile leaves open."""
BATCH = "B"
PROFILE = 0


@dataclass(frozen=True)
class EngineTensor:
    """One input or output.

    Attributes:
        name: its fixed name.
        is_input: or an output.
        dtype: what the engine reads or writes.
        caller_dtype: what the contract says. TensorRT 8 has no int64 and makes an int32 of each.
        shape: sizes; the first is −1 where the batch is open.
    """

    name: str
    is_input: bool
    dtype: np.dtype[Any]
    caller_dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def info(self) -> TensorInfo:
        """The tensor as a caller sees it."""
        shape: tuple[int | str, ...] = tuple(BATCH if size == OPEN else size for size in self.shape)
        return TensorInfo(self.name, self.caller_dtype.name, shape)

    def shape_at(self, batch: int) -> tuple[int, ...]:
        """Its shape for a batch of this size."""
        return tuple(batch if size == OPEN else size for size in self.shape)

    def nbytes_at(self, batch: int) -> int:
        """Bytes that the engine reads or writes for a batch of this size."""
        return math.prod(self.shape_at(batch)) * self.dtype.itemsize


class Engine:
    """An engine in the GPU's memory.

    Args:
        path: its file, already checked against its sidecar.
        card: its sidecar.
        trt: TensorRT's module. A driver must be there: the lean runtime crashes without one.

    Attributes:
        path: its file, for messages.
        library: what runs it, such as `TensorRT 10.3.0`.
        tensors: inputs and outputs by name, inputs first.
        batch_range: smallest and largest batch, in images.

    Raises:
        BackendError: TensorRT does not start or refuses the engine; the message has what TensorRT said.
        ArtefactError: a tensor has a type or a shape that no graph of ours has.
    """

    def __init__(self, path: Path, card: EngineCard, trt: Any) -> None:
        self.path = path
        lean = " lean" if trt.__name__ == LEAN else ""
        self.library = f"{BUILDERS[card.builder]}{lean} {trt.__version__}"
        self._trt = trt
        self._logger = kept_logger(trt)
        self._runtime = self._new_runtime()
        if card.version_compatible and hasattr(self._runtime, "engine_host_code_allowed"):
            # Such an engine carries its own runtime; its digest is that of its sidecar.
            self._runtime.engine_host_code_allowed = True
        core = card.flags.get("dla_core")
        if core is not None:
            # Not told by the engine: without this it would be loaded for another core, or for none.
            self._runtime.DLA_core = core
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise BackendError(
                f"{path}: {self.library} does not deserialise this engine: {self.said()}. Build it here: "
                f"{card.build_command}"
            )
        tensors = [self._tensor(self._engine.get_tensor_name(i)) for i in range(self._engine.num_io_tensors)]
        self.tensors = {tensor.name: tensor for tensor in sorted(tensors, key=lambda tensor: not tensor.is_input)}
        self.batch_range = self._batch_range()

    def new_context(self, for_capture: bool = False) -> Context:
        """A new execution context with memory of its own.

        Args:
            for_capture: a CUDA graph will be captured from it. TensorRT-RTX then compiles a shape's kernels before it
                runs them; else it starts with general ones, and the graph would keep those.

        Raises:
            BackendError: TensorRT makes none, for want of memory as a rule.
        """
        made = self._engine.create_execution_context(*self._context_options(for_capture))
        if made is None:
            raise BackendError(
                f"{self.path}: {self.library} makes no execution context: {self.said()}; free memory of the GPU, or "
                "load with fewer contexts"
            )
        return Context(self, made)

    def said(self) -> str:
        """What TensorRT last complained of."""
        text: str = self._logger.said()
        return text

    def close(self) -> None:
        """Let go of engine and runtime, in this order; every context must be gone."""
        self._engine = None
        self._runtime = None

    def _new_runtime(self) -> Any:
        try:
            runtime = self._trt.Runtime(self._logger)
        # pybind11's answer to a constructor that returns nothing.
        except TypeError as error:
            raise BackendError(f"{self.library} does not start: {self.said()} ({error})") from error
        return runtime

    def _context_options(self, for_capture: bool) -> list[Any]:
        if not for_capture or not hasattr(self._trt, "DynamicShapesKernelSpecializationStrategy"):
            return []
        config = self._engine.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = self._trt.DynamicShapesKernelSpecializationStrategy.EAGER
        return [config]

    def _tensor(self, name: str) -> EngineTensor:
        kind = self._engine.get_tensor_dtype(name).name
        if kind not in DTYPES:
            raise ArtefactError(f"{self.path}: {name} is {kind}, expected one of {', '.join(DTYPES)}; export it again")
        shape = tuple(self._engine.get_tensor_shape(name))
        if OPEN in shape[1:]:
            raise ArtefactError(f"{self.path}: {name} has shape {shape}, expected an open batch alone; build it again")
        is_input = self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT
        dtype = np.dtype(DTYPES[kind])
        return EngineTensor(name, is_input, dtype, _caller_dtype(name, dtype), shape)

    def _batch_range(self) -> tuple[int, int]:
        """What the profile of every input allows."""
        smallest, largest = [], []
        for tensor in (tensor for tensor in self.tensors.values() if tensor.is_input):
            low = high = tensor.shape[0]
            if low == OPEN:
                shapes = self._engine.get_tensor_profile_shape(tensor.name, PROFILE)
                low, high = shapes[0][0], shapes[2][0]
            smallest.append(low)
            largest.append(high)
        if not smallest or max(smallest) > min(largest):
            raise ArtefactError(f"{self.path}: no batch suits its inputs {', '.join(self.tensors)}; build it again")
        return max(smallest), min(largest)


class Context:
    """One execution context, with shapes and addresses set only when they change. For one thread at a time.

    Args:
        engine: that made it.
        context: TensorRT's own object.
    """

    def __init__(self, engine: Engine, context: Any) -> None:
        self._engine, self._context = engine, context
        self._batch: int | None = None
        self._addresses: Mapping[str, int] | None = None

    def bind(self, batch: int, addresses: Mapping[str, int]) -> None:
        """Make ready for a batch of this size, in this memory.

        Args:
            batch: in images.
            addresses: of every tensor, in device memory; the same object again means the same addresses.

        Raises:
            BackendError: TensorRT refuses one of them.
        """
        if batch != self._batch:
            self._set_shapes(batch)
        if addresses is not self._addresses:
            self._addresses = None
            for name, address in addresses.items():
                if not self._context.set_tensor_address(name, address):
                    raise self._refused(f"set_tensor_address({name!r})")
            self._addresses = addresses

    def enqueue(self, stream: int) -> None:
        """Queue the engine's work.

        Args:
            stream: not the default one.

        Raises:
            BackendError: TensorRT refuses.
        """
        if not self._context.execute_async_v3(stream):
            raise self._refused("execute_async_v3")

    def is_capturable(self, stream: int) -> bool:
        """Whether TensorRT says that its work on this stream can be captured; only TensorRT-RTX says."""
        return not hasattr(self._context, "is_stream_capturable") or bool(self._context.is_stream_capturable(stream))

    def close(self) -> None:
        """Let go of its memory; no work of it may be under way."""
        self._context = None

    def _set_shapes(self, batch: int) -> None:
        self._batch = None
        for tensor in self._engine.tensors.values():
            shape = tensor.shape_at(batch)
            if tensor.is_input and not self._context.set_input_shape(tensor.name, shape):
                raise self._refused(f"set_input_shape({tensor.name!r}, {shape})")
        for tensor in self._engine.tensors.values():
            shape, expected = tuple(self._context.get_tensor_shape(tensor.name)), tensor.shape_at(batch)
            if shape != expected:
                raise BackendError(
                    f"{self._engine.path}: {tensor.name} becomes {shape} for a batch of {batch}, expected {expected}"
                )
        self._batch = batch

    def _refused(self, call: str) -> BackendError:
        return BackendError(f"{self._engine.path}: {self._engine.library} refuses {call}: {self._engine.said()}")


def _caller_dtype(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    contract = (INPUTS | OUTPUTS).get(name, (dtype.name, ""))[0]
    return np.dtype(contract) if (dtype.name, contract) == ("int32", "int64") else dtype
