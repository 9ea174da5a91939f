"""Which way of calling CUDA is on this machine: `cuda-bindings` first, then every libcudart that the loader finds."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from whymask.runtime.cuda_calls import BindingsCalls, CudaCalls, LibraryCalls
from whymask.runtime.cuda_errors import CudaError
from whymask.runtime.errors import BackendError

BINDINGS = "cuda.bindings.runtime"
LIBRARY_NAMES = (
    ("cudart64_13.dll", "cudart64_12.dll", "cudart64_110.dll")
    if sys.platform == "win32"
    else (
        "libcudart.so.13",
        "libcudart.so.12",
        "libcudart.so.11.0",
        "libcudart.so",
        "/usr/local/cuda/lib64/libcudart.so",
    )
)
"""What the loader is asked for, newest first; the last is where NVIDIA's own packages put it."""
WHEEL_FOLDERS = ("cu13/lib", "cuda_runtime/lib")
"""Where pip's wheels put libcudart, inside the package `nvidia`."""
INSTALL = 'pip install "whymask[cuda]"'


class _Absent(Exception):
    """This way of calling CUDA is not on this machine."""


def find_calls(is_tried: bool = True) -> CudaCalls:
    """The first way of calling CUDA that is on this machine.

    Args:
        is_tried: whether a way must also find a device; one that is too new for the driver is passed over then.

    Raises:
        BackendError: there is none, or none that finds a device; every reason is named.
    """
    refused: list[str] = []
    remedies: list[str] = []
    for opener in _openers():
        try:
            calls = opener()
            if is_tried:
                calls.function("cudaGetDeviceCount")()
        except _Absent:
            continue
        except CudaError as error:
            refused.append(f"{calls.source} returns error {error.code} ({error.name})")
            remedies.append(error.remedy)
        except BackendError as error:
            refused.append(str(error))
        else:
            return calls
    if refused:
        # One library is often found under several names.
        reasons = "; ".join(dict.fromkeys([*refused, *remedies]))
        raise BackendError(f"CUDA's runtime API does not work here: {reasons}")
    raise BackendError(
        "CUDA's runtime API cannot be called: neither the package cuda-bindings nor a libcudart is on this machine; "
        f"run: {INSTALL}"
    )


def _openers() -> Iterator[Callable[[], CudaCalls]]:
    yield _bindings
    for name in (*LIBRARY_NAMES, *_wheel_libraries()):
        yield functools.partial(_library, name)


def _bindings() -> CudaCalls:
    try:
        runtime = importlib.import_module(BINDINGS)
    except ModuleNotFoundError:
        raise _Absent from None
    except ImportError as error:
        raise BackendError(f"cuda-bindings is installed and does not import ({error})") from None
    return BindingsCalls(runtime, importlib.import_module("cuda.bindings").__version__)


def _library(name: str) -> CudaCalls:
    try:
        library = ctypes.CDLL(name)
    except OSError:
        raise _Absent from None
    return LibraryCalls(library, Path(name).name)


def _wheel_libraries() -> Iterator[str]:
    package = importlib.util.find_spec("nvidia")
    for root in (package.submodule_search_locations if package else None) or ():
        for folder in WHEEL_FOLDERS:
            for file in sorted(Path(root, folder).glob("libcudart.so.*")):
                yield str(file)
