"""Two ways of calling CUDA's runtime API: the package `cuda-bindings`, or ctypes on a libcudart.

Both look alike from outside: a function by its C name that takes plain numbers in C's order without the results, checks
the return code and returns the results. Handles (streams, events, graphs, pointers) are plain ints.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NoReturn

from whymask.runtime.cuda_errors import CudaError
from whymask.runtime.errors import BackendError

_HANDLE, _INT, _FLAGS, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint, ctypes.c_size_t
_OUT_HANDLE, _OUT_INT, _OUT_SIZE = ctypes.POINTER(_HANDLE), ctypes.POINTER(_INT), ctypes.POINTER(_SIZE)
_OUT_FLOAT = ctypes.POINTER(ctypes.c_float)
_RESULTS: dict[Any, Any] = {_OUT_HANDLE: _HANDLE, _OUT_INT: _INT, _OUT_SIZE: _SIZE, _OUT_FLOAT: ctypes.c_float}

SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cudaRuntimeGetVersion": (_OUT_INT,),
    "cudaGetDeviceCount": (_OUT_INT,),
    "cudaGetDevice": (_OUT_INT,),
    "cudaMemGetInfo": (_OUT_SIZE, _OUT_SIZE),
    "cudaMalloc": (_OUT_HANDLE, _SIZE),
    "cudaFree": (_HANDLE,),
    "cudaHostAlloc": (_OUT_HANDLE, _SIZE, _FLAGS),
    "cudaFreeHost": (_HANDLE,),
    "cudaHostGetDevicePointer": (_OUT_HANDLE, _HANDLE, _FLAGS),
    "cudaMemcpyAsync": (_HANDLE, _HANDLE, _SIZE, _INT, _HANDLE),
    "cudaStreamCreateWithFlags": (_OUT_HANDLE, _FLAGS),
    "cudaStreamDestroy": (_HANDLE,),
    "cudaStreamSynchronize": (_HANDLE,),
    "cudaStreamWaitEvent": (_HANDLE, _HANDLE, _FLAGS),
    "cudaEventCreateWithFlags": (_OUT_HANDLE, _FLAGS),
    "cudaEventDestroy": (_HANDLE,),
    "cudaEventRecord": (_HANDLE, _HANDLE),
    "cudaEventElapsedTime": (_OUT_FLOAT, _HANDLE, _HANDLE),
    "cudaStreamBeginCapture": (_HANDLE, _INT),
    "cudaStreamEndCapture": (_HANDLE, _OUT_HANDLE),
    # Not cudaGraphInstantiate, whose arguments changed between CUDA 11 and 12.
    "cudaGraphInstantiateWithFlags": (_OUT_HANDLE, _HANDLE, ctypes.c_ulonglong),
    "cudaGraphLaunch": (_HANDLE, _HANDLE),
    "cudaGraphDestroy": (_HANDLE,),
    "cudaGraphExecDestroy": (_HANDLE,),
}
"""Arguments of every function that is used, in C's order; pointers to a type are its results."""
_ERROR_NAME, _ERROR_TEXT, _LAST_ERROR = "cudaGetErrorName", "cudaGetErrorString", "cudaGetLastError"


class CudaCalls(ABC):
    """One way of calling CUDA.

    Attributes:
        source: what is called, for people.
    """

    source: str

    @abstractmethod
    def function(self, name: str) -> Callable[..., Any]:
        """A function of `SIGNATURES`: takes its arguments without the results, returns None, a number or a tuple.

        What it returns raises CudaError when CUDA returns an error, after CUDA's memory of that error was cleared.
        """

    @abstractmethod
    def constant(self, enum: str, value: int) -> Any:
        """A member of a C enumeration, as this way passes it."""

    @abstractmethod
    def _words(self, code: Any) -> tuple[str, str]:
        """Name and explanation of a return code."""

    @abstractmethod
    def _last_error(self) -> int:
        """The error that CUDA remembers for this thread, which it forgets by this call unless it is sticky."""

    def _fail(self, call: str, code: Any, arguments: tuple[object, ...]) -> NoReturn:
        self._last_error()
        stays = self._last_error() != 0
        raise CudaError(call, int(code), *self._words(code), arguments, stays)

    def _check_complete(self, owner: object) -> None:
        missing = [name for name in (*SIGNATURES, _ERROR_NAME, _ERROR_TEXT, _LAST_ERROR) if not hasattr(owner, name)]
        if missing:
            raise BackendError(f"{self.source} lacks {missing[0]}, expected CUDA 11.4 or newer")


class BindingsCalls(CudaCalls):
    """Through NVIDIA's package `cuda-bindings`, whose functions return a tuple: the code, then the results.

    Args:
        runtime: the module `cuda.bindings.runtime`.
        version: of the package.

    Raises:
        BackendError: a function is missing.
    """

    def __init__(self, runtime: Any, version: str) -> None:
        self._runtime = runtime
        self.source = f"cuda-bindings {version}"
        self._check_complete(runtime)

    def function(self, name: str) -> Callable[..., Any]:
        """See `CudaCalls`."""
        function = getattr(self._runtime, name)

        def call(*arguments: Any) -> Any:
            answer = function(*arguments)
            if answer[0]:
                self._fail(name, answer[0], arguments)
            # Unpacking with a star would cost more than all the rest.
            return _unpacked([_plain(value) for value in answer[1:]]) if len(answer) > 1 else None

        return call

    def constant(self, enum: str, value: int) -> Any:
        """See `CudaCalls`."""
        return getattr(self._runtime, enum)(value)

    def _words(self, code: Any) -> tuple[str, str]:
        name, text = (getattr(self._runtime, ask)(code)[1] for ask in (_ERROR_NAME, _ERROR_TEXT))
        return name.decode(), text.decode()

    def _last_error(self) -> int:
        return int(self._runtime.cudaGetLastError()[0])


class LibraryCalls(CudaCalls):
    """Through ctypes on a libcudart, whose functions return the code and write results where pointers say.

    Args:
        library: the loaded library.
        name: its name, for people.

    Raises:
        BackendError: a function is missing.
    """

    def __init__(self, library: Any, name: str) -> None:
        self._library = library
        self.source = f"{name} through ctypes"
        self._check_complete(library)
        for ask in (library.cudaGetErrorName, library.cudaGetErrorString):
            ask.argtypes, ask.restype = (_INT,), ctypes.c_char_p

    def function(self, name: str) -> Callable[..., Any]:
        """See `CudaCalls`."""
        types = SIGNATURES[name]
        function = getattr(self._library, name)
        function.argtypes, function.restype = types, _INT

        def call(*arguments: Any) -> None:
            code = function(*arguments)
            if code:
                self._fail(name, code, arguments)

        def call_for_results(*arguments: Any) -> Any:
            given = iter(arguments)
            passed = [_RESULTS[kind]() if kind in _RESULTS else next(given) for kind in types]
            code = function(*passed)
            if code:
                self._fail(name, code, arguments)
            # A null handle is None to ctypes.
            return _unpacked([cell.value or 0 for cell, kind in zip(passed, types, strict=True) if kind in _RESULTS])

        return call_for_results if any(kind in _RESULTS for kind in types) else call

    def constant(self, enum: str, value: int) -> Any:
        """See `CudaCalls`."""
        return value

    def _words(self, code: Any) -> tuple[str, str]:
        name, text = self._library.cudaGetErrorName(code), self._library.cudaGetErrorString(code)
        return name.decode(), text.decode()

    def _last_error(self) -> int:
        return int(self._library.cudaGetLastError())


def _plain(value: Any) -> int | float:
    """A number as it is, and the number of a handle, which cuda-bindings gives as an object."""
    return value if isinstance(value, float) else int(value)


def _unpacked(values: list[int | float]) -> Any:
    return tuple(values) if len(values) > 1 else values[0]
