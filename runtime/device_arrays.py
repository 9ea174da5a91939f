"""Arrays in device memory, in and out, by the protocol `__cuda_array_interface__` that torch, CuPy and others share.

The protocol is version 3: https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html
"""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from whymask.runtime.cudart import Cuda
from whymask.runtime.errors import InputError
from whymask.runtime.trt_engine import EngineTensor

INTERFACE = "__cuda_array_interface__"
VERSION = 3
OLDEST_VERSION = 2
"""torch's. Older ones do not say what a missing `strides` means."""
LEGACY_STREAM = 1
"""How the protocol names CUDA's default stream, whose handle is 0."""
ALIGNMENT = 256
"""Of every tensor that TensorRT reads or writes, in bytes, as cudaMalloc gives it."""
CUDA_DEVICES = (2, 13)
"""DLPack's numbers for device memory and for managed memory."""


@dataclass(frozen=True)
class DeviceInput:
    """An array that a caller gives.

    Attributes:
        pointer: address in device memory.
        stream: on which its contents become ready; None where they are ready.
    """

    pointer: int
    stream: int | None


class DeviceArray:
    """An array in device memory that belongs to whoever holds it.

    The memory is freed when this array, every array made from it, and the other arrays of the same run are gone: it
    outlives the backend and the next run. `torch.as_tensor(array, device="cuda")` and `cupy.asarray(array)` share it
    and keep it.

    Args:
        block: the memory, shared by the arrays of one run.
        pointer: address within it.
        shape: sizes, in C order.
        dtype: of the elements.
        stream: on which the contents become ready; None where they are ready.

    Attributes:
        pointer, shape, dtype: as above.
    """

    def __init__(
        self, block: DeviceBlock, pointer: int, shape: tuple[int, ...], dtype: np.dtype[Any], stream: int | None
    ) -> None:
        self._block: DeviceBlock | None = block
        self.pointer, self.shape, self.dtype, self._stream = pointer, shape, dtype, stream

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Where the array is, by the protocol's version 3."""
        if self._block is None:
            raise InputError("this device array was closed; its memory is no longer its own")
        stream = LEGACY_STREAM if self._stream == 0 else self._stream
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "stream": stream,
            "version": VERSION,
        }

    def __repr__(self) -> str:
        """Its type and shape."""
        return f"DeviceArray({self.dtype.name}, {self.shape})"

    def close(self) -> None:
        """Let go of the memory, freed once the run's other arrays have gone too; closing twice does nothing."""
        self._block = None


class DeviceBlock:
    """Device memory that is freed when nothing refers to it any more.

    cudaFree waits for the work under way, so that memory whose arrays are dropped early is not taken from it.

    Args:
        cuda: allocates and frees.
        nbytes: at least 1.
    """

    def __init__(self, cuda: Cuda, nbytes: int) -> None:
        self.pointer = cuda.malloc(nbytes)
        weakref.finalize(self, cuda.free, self.pointer)


def new_device_arrays(
    cuda: Cuda, tensors: Iterable[EngineTensor], batch: int, stream: int | None
) -> dict[str, DeviceArray]:
    """Uninitialised arrays for outputs, in one block of memory.

    Args:
        cuda: allocates it.
        tensors: the outputs, one at least.
        batch: in images.
        stream: see `DeviceArray`.

    Raises:
        CudaError: not enough memory.
    """
    tensors = list(tensors)
    ends = list(itertools.accumulate(-(-tensor.nbytes_at(batch) // ALIGNMENT) * ALIGNMENT for tensor in tensors))
    block = DeviceBlock(cuda, ends[-1])
    return {
        tensor.name: DeviceArray(block, block.pointer + start, tensor.shape_at(batch), tensor.dtype, stream)
        for tensor, start in zip(tensors, [0, *ends], strict=False)
    }


def device_shape(value: object, name: str) -> tuple[int, ...]:
    """Shape of an array that a caller gives.

    Args:
        value: anything with `__cuda_array_interface__`.
        name: of the tensor, for messages.

    Raises:
        InputError: it is not in device memory.
    """
    return tuple(_interface(value, name)["shape"])


def device_input(value: object, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], device: int) -> DeviceInput:
    """Check an array that a caller gives.

    Args:
        value: anything with `__cuda_array_interface__`.
        name: of the tensor, for messages.
        shape, dtype: what it must be.
        device: index of the GPU that it must lie on, which is checked where the array tells it (`__dlpack_device__`).

    Raises:
        InputError: no such array, or of another type, shape, layout or device.
    """
    interface = _interface(value, name)
    found_shape, found_dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    if (found_shape, found_dtype) != (shape, dtype):
        raise InputError(f"{name}: got {found_dtype} {found_shape} on the device, expected {dtype} {shape}")
    if not _is_contiguous(interface.get("strides"), shape, dtype.itemsize):
        strides = tuple(interface["strides"])
        raise InputError(f"{name}: got strides {strides}, expected a C-contiguous array; make it contiguous first")
    _check_device(value, name, device)
    pointer, _read_only = interface["data"]
    return DeviceInput(int(pointer), interface.get("stream"))


def _interface(value: object, name: str) -> dict[str, Any]:
    interface = getattr(value, INTERFACE, None)
    if interface is None:
        kind = type(value).__name__
        raise InputError(f"{name}: got {kind} without {INTERFACE}, expected an array on the GPU; run takes host arrays")
    found: dict[str, Any] = interface
    if found["version"] < OLDEST_VERSION:
        raise InputError(f"{name}: {INTERFACE} has version {found['version']}, expected {VERSION} or {OLDEST_VERSION}")
    if found.get("mask") is not None:
        raise InputError(f"{name}: got a masked array, expected one without a mask")
    if found.get("stream") == 0:
        raise InputError(f"{name}: {INTERFACE} names stream 0, which the protocol forbids; expected 1 for the default")
    return found


def _is_contiguous(strides: Iterable[int] | None, shape: tuple[int, ...], itemsize: int) -> bool:
    if strides is None:
        return True
    expected = (math.prod(shape[axis + 1 :]) * itemsize for axis in range(len(shape)))
    return all(size == 1 or a == b for size, a, b in zip(shape, strides, expected, strict=True))


def _check_device(value: object, name: str, device: int) -> None:
    asked = getattr(value, "__dlpack_device__", None)
    if asked is None:
        return
    kind, index = (int(number) for number in asked())
    if kind not in CUDA_DEVICES or index != device:
        raise InputError(f"{name}: got DLPack device ({kind}, {index}), expected CUDA device {device}; move it there")
