"""Stand-ins for TensorRT's Python module: 8.6, 10, 11 and TensorRT-RTX, each with its own names only.

They know what the runtime calls and no more, and are as strict as TensorRT or stricter: what is refused there returns
False or None here, after a message to the logger. An engine's work is a function of numpy arrays, put on a stream of
`FakeCuda`.
"""

from __future__ import annotations

import ctypes
import dataclasses
import enum
import math
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from fake_cuda import DEVICE, MAPPED, FakeCuda

OLDEST, JETPACK, NEWEST, RTX = "8.6.1", "10.3.0", "11.4.0.106", "1.7.1.116"
MAGIC = b"ftrt"
"""How every engine file begins."""

Function = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


@dataclasses.dataclass
class Script:
    """What the engine is, and where TensorRT fails.

    Attributes:
        tensors: dtype and shape by name, in the order in which the engine lists them; −1 is an open batch.
        inputs: names of the inputs.
        function: outputs for inputs.
        batches: smallest and largest batch of the profile.
        failing: names of the calls that fail.
        capturable: TensorRT-RTX's answer.
        log: what was called, in order.
    """

    tensors: dict[str, tuple[str, tuple[int, ...]]]
    inputs: tuple[str, ...]
    function: Function
    batches: tuple[int, int] = (1, 8)
    failing: set[str] = dataclasses.field(default_factory=set)
    capturable: bool = True
    log: list[str] = dataclasses.field(default_factory=list)


class Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def log(self, severity: Severity, message: str) -> None:
        raise NotImplementedError


class TensorIOMode(enum.Enum):
    NONE, INPUT, OUTPUT = range(3)


class Dims:
    """A shape that is no tuple."""

    def __init__(self, shape: Sequence[int]) -> None:
        self._shape = tuple(shape)

    def __len__(self) -> int:
        return len(self._shape)

    def __getitem__(self, index: int) -> int:
        return self._shape[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self._shape)


def fake_tensorrt(script: Script, cuda: FakeCuda, version: str = JETPACK, name: str = "tensorrt") -> ModuleType:
    """A module of this version, whose one engine is that of the script."""
    trt: Any = ModuleType(name)
    major, is_rtx = int(version.split(".")[0]), version == RTX
    kinds = ["FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8", "FP8"]
    if major >= 10 or is_rtx:
        kinds += ["BF16", "INT64"]
    trt.__version__ = version
    trt.ILogger, trt.TensorIOMode, trt.Dims = ILogger, TensorIOMode, Dims
    trt.DataType = enum.Enum("DataType", kinds)
    trt.IExecutionContext = _RtxContext if is_rtx else _Context
    trt.ICudaEngine = _RtxEngine if is_rtx else _Engine
    trt.Runtime = type("Runtime", (_Runtime,), {"_parts": (trt, script, cuda)})
    if is_rtx:
        trt.DynamicShapesKernelSpecializationStrategy = enum.Enum(
            "DynamicShapesKernelSpecializationStrategy", ["LAZY", "EAGER", "NONE"]
        )
    return trt


class _Runtime:
    _parts: tuple[Any, Script, FakeCuda]
    engine_host_code_allowed = False
    DLA_core = -1

    def __init__(self, logger: ILogger) -> None:
        _, script, _ = self._parts
        script.log.append("Runtime")
        if "Runtime" in script.failing:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        trt, script, cuda = self._parts
        script.log.append(f"deserialize_cuda_engine, host code {self.engine_host_code_allowed}, DLA {self.DLA_core}")
        if "deserialize_cuda_engine" in script.failing or not serialized_engine.startswith(MAGIC):
            self._logger.log(Severity.INFO, "Loaded engine size: 0 MiB")
            self._logger.log(Severity.ERROR, "Serialization assertion failed: version tag does not match ")
            return None
        return trt.ICudaEngine(trt, script, cuda, self._logger)


class _Engine:
    def __init__(self, trt: Any, script: Script, cuda: FakeCuda, logger: ILogger) -> None:
        self._trt, self._script, self._cuda, self._logger = trt, script, cuda, logger

    @property
    def num_io_tensors(self) -> int:
        return len(self._script.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._script.tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._script.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self._trt.DataType[self._script.tensors[name][0]]

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(self._script.tensors[name][1])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        assert name in self._script.inputs and profile_index == 0
        shape = self._script.tensors[name][1]
        smallest, largest = self._script.batches
        return [Dims(_with_batch(shape, batch)) for batch in (smallest, smallest, largest)]

    def create_execution_context(self) -> Any:
        self._script.log.append("create_execution_context")
        if "create_execution_context" in self._script.failing:
            self._logger.log(Severity.ERROR, "out of memory: 1 GiB requested")
            return None
        return self._trt.IExecutionContext(self._script, self._cuda, self._logger)


class _RtxConfig:
    dynamic_shapes_kernel_specialization_strategy: Any = None


class _RtxEngine(_Engine):
    def create_runtime_config(self) -> _RtxConfig:
        return _RtxConfig()

    def create_execution_context(self, runtime_config: _RtxConfig | None = None) -> Any:
        strategy = runtime_config and runtime_config.dynamic_shapes_kernel_specialization_strategy
        if strategy:
            self._script.log.append(f"strategy {strategy.name}")
        return super().create_execution_context()


class _Context:
    def __init__(self, script: Script, cuda: FakeCuda, logger: ILogger) -> None:
        self._script, self._cuda, self._logger = script, cuda, logger
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._is_flushed = False

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._script.log.append(f"set_input_shape {name} {shape[0]}")
        _, declared = self._script.tensors[name]
        smallest, largest = self._script.batches
        fits = declared == shape or (declared == (-1, *shape[1:]) and smallest <= shape[0] <= largest)
        if "set_input_shape" in self._script.failing or not fits:
            self._logger.log(Severity.ERROR, "the shape does not satisfy any optimization profile")
            return False
        self._shapes[name], self._is_flushed = shape, False
        return True

    def get_tensor_shape(self, name: str) -> Dims:
        if name in self._script.inputs:
            return Dims(self._shapes[name])
        batch = self._shapes[self._script.inputs[0]][0]
        extra = 1 if "get_tensor_shape" in self._script.failing else 0
        return Dims(_with_batch(self._script.tensors[name][1], batch + extra))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if "set_tensor_address" in self._script.failing or name not in self._script.tensors:
            self._logger.log(Severity.ERROR, f"no tensor of this name: {name}")
            return False
        assert memory % 256 == 0, "an address that TensorRT does not promise to take"
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle != 0, "TensorRT waits for the device on the default stream"
        missing = [name for name in self._script.tensors if name not in self._addresses]
        missing += [name for name in self._script.inputs if name not in self._shapes]
        deferred = self._cuda.is_capturing(stream_handle) and not self._is_flushed
        if "execute_async_v3" in self._script.failing or missing or deferred:
            reason = f"not set: {', '.join(missing)}" if missing else "operation not permitted when stream is capturing"
            self._logger.log(Severity.ERROR, reason)
            return False
        self._is_flushed = True
        self._cuda.calls.append(("execute_async_v3", stream_handle))
        shapes, addresses = dict(self._shapes), dict(self._addresses)
        self._cuda.enqueue(stream_handle, lambda: self._work(shapes, addresses))
        return True

    def _work(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        assert shapes == self._shapes, "a graph outlived the shapes of its context"
        batch = shapes[self._script.inputs[0]][0]
        arrays = {name: self._array(name, batch, addresses[name]) for name in self._script.tensors}
        results = self._script.function({name: arrays[name].copy() for name in self._script.inputs})
        for name, array in arrays.items():
            if name not in self._script.inputs:
                np.copyto(array, results[name], casting="no")

    def _array(self, name: str, batch: int, address: int) -> np.ndarray:
        kind, shape = self._script.tensors[name]
        dtype = np.dtype({"FLOAT": "float32", "HALF": "float16"}.get(kind, kind.lower()))
        shape = _with_batch(shape, batch)
        nbytes = math.prod(shape) * dtype.itemsize
        self._cuda.check(address, nbytes, (DEVICE, MAPPED))
        return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address)).view(dtype).reshape(shape)


class _RtxContext(_Context):
    def is_stream_capturable(self, stream: int) -> bool:
        return self._script.capturable


def _with_batch(shape: Sequence[int], batch: int) -> tuple[int, ...]:
    """The shape with another batch, where the batch is open."""
    return tuple(batch if axis == 0 and size == -1 else size for axis, size in enumerate(shape))
