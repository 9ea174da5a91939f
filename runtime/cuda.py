"""What NVIDIA's driver says, asked through ctypes: no CUDA package is needed and no context is made."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Any

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
INTEGRATED, CAN_MAP_HOST_MEMORY = 18, 19
"""CU_DEVICE_ATTRIBUTE_INTEGRATED and _CAN_MAP_HOST_MEMORY."""
COMPUTE_CAPABILITY = (75, 76)
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


@dataclass(frozen=True)
class Device:
    """One GPU.

    Attributes:
        index: its number, as CUDA counts.
        name: its model, such as `Orin`.
        compute_capability: such as `8.7`.
        integrated: whether it shares the CPU's memory, as on a Jetson.
        can_map_host_memory: whether it can read and write pinned host memory in place.
    """

    index: int
    name: str
    compute_capability: str
    integrated: bool = False
    can_map_host_memory: bool = False

    def __str__(self) -> str:
        """Such as `NVIDIA H200 (9.0)`."""
        return f"{self.name} ({self.compute_capability})"


@dataclass(frozen=True)
class CudaDriver:
    """The driver and its devices.

    Attributes:
        version: newest CUDA version that the driver serves, such as `13.0`; empty where there is no driver.
        devices: in CUDA's order.
        problem: why there is no device; empty where there is one.
    """

    version: str = ""
    devices: tuple[Device, ...] = ()
    problem: str = ""


class _Refused(Exception):
    """A function of the driver returned an error; the message names both."""


def cuda_driver() -> CudaDriver:
    """Ask the driver for its version and its devices; never raises where there is none."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return CudaDriver(problem=f"{LIBRARY} does not load: no NVIDIA driver on this machine")
    version = ""
    try:
        version = dotted(_number(library, "cuDriverGetVersion"))
        _call(library, "cuInit", 0)
        devices = tuple(_device(library, index) for index in range(_number(library, "cuDeviceGetCount")))
    except _Refused as error:
        return CudaDriver(version, problem=f"the driver does not start: {error}")
    return CudaDriver(version, devices, "" if devices else "the driver works and lists no device")


def dotted(version: int) -> str:
    """CUDA's version number as people write it: 12060 is `12.6`; 0, for none, is empty."""
    return f"{version // 1000}.{version % 1000 // 10}" if version else ""


def _device(library: Any, index: int) -> Device:
    handle = _number(library, "cuDeviceGet", index)
    name = ctypes.create_string_buffer(128)
    _call(library, "cuDeviceGetName", name, len(name), handle)
    major, minor, integrated, can_map = (
        _number(library, "cuDeviceGetAttribute", attribute, handle)
        for attribute in (*COMPUTE_CAPABILITY, INTEGRATED, CAN_MAP_HOST_MEMORY)
    )
    return Device(index, name.value.decode(errors="replace"), f"{major}.{minor}", bool(integrated), bool(can_map))


def _number(library: Any, function: str, *arguments: int) -> int:
    value = ctypes.c_int(0)
    _call(library, function, ctypes.byref(value), *arguments)
    return value.value


def _call(library: Any, function: str, *arguments: Any) -> None:
    status = getattr(library, function)(*arguments)
    if status:
        raise _Refused(f"{function} returned {_error_name(library, status)}")


def _error_name(library: Any, status: int) -> str:
    text = ctypes.c_char_p()
    known = library.cuGetErrorName(status, ctypes.byref(text)) == 0 and text.value
    return text.value.decode() if known and text.value else f"error {status}"
