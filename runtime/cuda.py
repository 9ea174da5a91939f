"""What NVIDIA's driver says, asked through ctypes: no CUDA package is needed and no context is made."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Any

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
COMPUTE_CAPABILITY = (75, 76)
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


@dataclass(frozen=True)
class CudaDriver:
    """The driver and its devices.

    Attributes:
        version: newest CUDA version that the driver serves, such as `13.0`; empty where there is no driver.
        devices: one entry a device, name and compute capability, such as `NVIDIA H200 (9.0)`.
        problem: why there is no device; empty where there is one.
    """

    version: str = ""
    devices: tuple[str, ...] = ()
    problem: str = ""


def cuda_driver() -> CudaDriver:
    """Ask the driver for its version and its devices; never raises where there is none."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return CudaDriver(problem=f"{LIBRARY} does not load: no NVIDIA driver on this machine")
    version = _number(library.cuDriverGetVersion)
    dotted = f"{version // 1000}.{version % 1000 // 10}" if version else ""
    status = library.cuInit(0)
    if status:
        return CudaDriver(dotted, problem=f"the driver does not start: cuInit returned {_error_name(library, status)}")
    count = _number(library.cuDeviceGetCount)
    if not count:
        return CudaDriver(dotted, problem="the driver works and lists no device")
    return CudaDriver(dotted, tuple(_device(library, index) for index in range(count)))


def _number(function: Any, *arguments: int) -> int:
    value = ctypes.c_int(0)
    return value.value if function(ctypes.byref(value), *arguments) == 0 else 0


def _device(library: Any, index: int) -> str:
    handle = _number(library.cuDeviceGet, index)
    name = ctypes.create_string_buffer(128)
    library.cuDeviceGetName(name, len(name), handle)
    major, minor = (_number(library.cuDeviceGetAttribute, attribute, handle) for attribute in COMPUTE_CAPABILITY)
    return f"{name.value.decode(errors='replace')} ({major}.{minor})"


def _error_name(library: Any, status: int) -> str:
    text = ctypes.c_char_p()
    known = library.cuGetErrorName(status, ctypes.byref(text)) == 0 and text.value
    return text.value.decode() if known and text.value else f"error {status}"
