"""CUDA runtimes that record what they are asked, in three forms: cuda-bindings' module, ctypes' library, compiled C."""

from __future__ import annotations

import ctypes
import enum
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from whymask.runtime.cuda_calls import SIGNATURES

HANDLE = 0x7F0012345678
"""More than 32 bits: a call without argument types would cut it off."""
RESULTS: dict[str, tuple[int | float, ...]] = {
    "cudaRuntimeGetVersion": (12060,),
    "cudaGetDeviceCount": (2,),
    "cudaGetDevice": (1,),
    "cudaMemGetInfo": (1 << 33, 1 << 34),
    "cudaMalloc": (HANDLE,),
    "cudaHostAlloc": (HANDLE + 1,),
    "cudaHostGetDevicePointer": (HANDLE + 2,),
    "cudaStreamCreateWithFlags": (HANDLE + 3,),
    "cudaEventCreateWithFlags": (HANDLE + 4,),
    "cudaEventElapsedTime": (1.5,),
    "cudaStreamEndCapture": (HANDLE + 5,),
    "cudaGraphInstantiateWithFlags": (HANDLE + 6,),
}
ERRORS = {2: ("cudaErrorMemoryAllocation", "out of memory")}
LAST_ERROR = "cudaGetLastError"

Call = tuple[str, tuple[int, ...]]


class Recorder:
    """What every fake knows: the calls so far, which function fails, and the error that CUDA remembers."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.failing: dict[str, int] = {}
        self.remembered = 0
        self.is_sticky = False

    def fail(self, name: str, code: int, is_sticky: bool = False) -> None:
        """Let one function return an error from now on, and CUDA never forget it when it is sticky."""
        self.failing, self.is_sticky = {name: code}, is_sticky

    def _answer(self, name: str, arguments: tuple[Any, ...]) -> int:
        self.calls.append((name, tuple(int(argument) for argument in arguments)))
        code = self.failing.get(name, 0)
        self.remembered = code or self.remembered
        return code

    def _last_error(self) -> int:
        self.calls.append((LAST_ERROR, ()))
        code = self.remembered
        self.remembered = code if self.is_sticky else 0
        return code


class Handle:
    """As cuda-bindings gives a stream: an object that knows its number."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __int__(self) -> int:
        return self.value


class FakeBindings(Recorder):
    """The module `cuda.bindings.runtime`."""

    class cudaMemcpyKind(enum.IntEnum):
        cudaMemcpyHostToDevice = 1
        cudaMemcpyDeviceToHost = 2
        cudaMemcpyDeviceToDevice = 3

    class cudaStreamCaptureMode(enum.IntEnum):
        cudaStreamCaptureModeGlobal = 0
        cudaStreamCaptureModeThreadLocal = 1

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        if name not in SIGNATURES:
            raise AttributeError(name)
        return lambda *arguments: self._run(name, arguments)

    def cudaGetLastError(self) -> tuple[int]:
        return (self._last_error(),)

    def cudaGetErrorName(self, code: int) -> tuple[int, bytes]:
        return 0, ERRORS.get(code, ("cudaErrorOther", ""))[0].encode()

    def cudaGetErrorString(self, code: int) -> tuple[int, bytes]:
        return 0, ERRORS.get(code, ("", "other"))[1].encode()

    def _run(self, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        kinds = {"cudaMemcpyAsync": self.cudaMemcpyKind, "cudaStreamBeginCapture": self.cudaStreamCaptureMode}
        if name in kinds:
            assert sum(isinstance(argument, kinds[name]) for argument in arguments) == 1
        code, results = self._answer(name, arguments), RESULTS.get(name, ())
        if code:
            return code, *(None for _ in results)
        return code, *(Handle(value) if isinstance(value, int) and value >= HANDLE else value for value in results)


class FakeFunction:
    """A function of a library as ctypes sees it: types can be set on it."""

    argtypes: tuple[Any, ...] = ()
    restype: Any = ctypes.c_int

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class FakeLibrary(Recorder):
    """A loaded libcudart."""

    def __init__(self) -> None:
        super().__init__()
        for name in SIGNATURES:
            setattr(self, name, FakeFunction(lambda *arguments, name=name: self._run(name, arguments)))
        self.cudaGetLastError = FakeFunction(self._last_error)
        self.cudaGetErrorName = FakeFunction(lambda code: ERRORS.get(code, ("cudaErrorOther", ""))[0].encode())
        self.cudaGetErrorString = FakeFunction(lambda code: ERRORS.get(code, ("", "other"))[1].encode())

    def _run(self, name: str, arguments: tuple[Any, ...]) -> int:
        cells = [argument for argument in arguments if not isinstance(argument, int)]
        code = self._answer(name, tuple(argument for argument in arguments if isinstance(argument, int)))
        if not code:
            for cell, value in zip(cells, RESULTS.get(name, ()), strict=True):
                cell.value = value
        return code


SOURCE = """
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
typedef void* H; typedef unsigned U; typedef unsigned long long L; typedef size_t S;
char record[1 << 16]; char failing[64]; int code, sticky, remembered;
static int answer(const char* name, int count, ...) {
    va_list list; va_start(list, count); char* end = record + strlen(record);
    end += sprintf(end, "%s", name);
    for (int i = 0; i < count; ++i) end += sprintf(end, " %llu", va_arg(list, L));
    sprintf(end, "\\n"); va_end(list);
    if (strcmp(name, failing)) return 0;
    return remembered = code;
}
int cudaGetLastError(void) {
    int was = remembered;
    answer("cudaGetLastError", 0);
    if (!sticky) remembered = 0;
    return was;
}
const char* cudaGetErrorName(int e) { return e == 2 ? "cudaErrorMemoryAllocation" : "cudaErrorOther"; }
const char* cudaGetErrorString(int e) { return e == 2 ? "out of memory" : "other"; }
#define OUT(type, out, value) (*(type*)(out) = (type)(value))
#define A(x) ((L)(x))
"""


def compile_library(folder: Path) -> Path:
    """Compile the fake from C, each function with the types of CUDA's own headers."""
    source = folder / "cudart.c"
    source.write_text(SOURCE + "\n".join(_c_function(*row) for row in _C_FUNCTIONS), encoding="utf-8")
    library = folder / "libcudart.so"
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler
    done = subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library


def has_compiler() -> bool:
    """Whether C can be compiled here."""
    return any(shutil.which(name) for name in ("cc", "gcc", "clang"))


class CompiledLibrary:
    """The compiled fake, asked and told through its own variables; a copy of the file has a state of its own.

    Args:
        path: of such a copy.
    """

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))

    @property
    def calls(self) -> list[Call]:
        """The calls so far, as C received them."""
        text = (ctypes.c_char * (1 << 16)).in_dll(self.library, "record").value.decode()
        lines = [line.split() for line in text.splitlines()]
        return [(name, tuple(map(int, values))) for name, *values in lines]

    def fail(self, name: str, code: int, is_sticky: bool = False) -> None:
        """See `Recorder.fail`."""
        (ctypes.c_char * 64).in_dll(self.library, "failing").value = name.encode()
        ctypes.c_int.in_dll(self.library, "code").value = code
        ctypes.c_int.in_dll(self.library, "sticky").value = is_sticky


# Name, C's parameters, what the results are called, what is recorded: as CUDA's headers have them, not as whymask does.
_C_FUNCTIONS = [
    ("cudaRuntimeGetVersion", "int* a", "int a", ""),
    ("cudaGetDeviceCount", "int* a", "int a", ""),
    ("cudaGetDevice", "int* a", "int a", ""),
    ("cudaMemGetInfo", "S* a, S* b", "S a, S b", ""),
    ("cudaMalloc", "H* a, S n", "H a", "n"),
    ("cudaFree", "H p", "", "p"),
    ("cudaHostAlloc", "H* a, S n, U f", "H a", "n f"),
    ("cudaFreeHost", "H p", "", "p"),
    ("cudaHostGetDevicePointer", "H* a, H p, U f", "H a", "p f"),
    ("cudaMemcpyAsync", "H d, const void* s, S n, int k, H t", "", "d s n k t"),
    ("cudaStreamCreateWithFlags", "H* a, U f", "H a", "f"),
    ("cudaStreamDestroy", "H s", "", "s"),
    ("cudaStreamSynchronize", "H s", "", "s"),
    ("cudaStreamWaitEvent", "H s, H e, U f", "", "s e f"),
    ("cudaEventCreateWithFlags", "H* a, U f", "H a", "f"),
    ("cudaEventDestroy", "H e", "", "e"),
    ("cudaEventRecord", "H e, H s", "", "e s"),
    ("cudaEventElapsedTime", "float* a, H s, H e", "float a", "s e"),
    ("cudaStreamBeginCapture", "H s, int m", "", "s m"),
    ("cudaStreamEndCapture", "H s, H* a", "H a", "s"),
    ("cudaGraphInstantiateWithFlags", "H* a, H g, L f", "H a", "g f"),
    ("cudaGraphLaunch", "H x, H s", "", "x s"),
    ("cudaGraphDestroy", "H g", "", "g"),
    ("cudaGraphExecDestroy", "H x", "", "x"),
]


def _c_function(name: str, parameters: str, results: str, recorded: str) -> str:
    arguments = "".join(f", A({argument})" for argument in recorded.split())
    call = f'answer("{name}", {len(recorded.split())}{arguments})'
    pairs = zip(filter(None, results.split(", ")), RESULTS.get(name, ()), strict=True)
    writes = "".join(f" OUT({', '.join(result.split())}, {value});" for result, value in pairs)
    return f"int {name}({parameters}) {{ int status = {call}; if (status) return status;{writes} return 0; }}"
