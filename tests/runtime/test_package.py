from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import whymask.runtime as runtime
from whymask.runtime import errors

BLOCKED = ("torch", "onnx", "onnxruntime", "PIL", "typer", "rich")
LIMIT_SECONDS = 0.15


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_public_list_is_true():
    assert runtime.__all__ == sorted(runtime.__all__)
    assert dir(runtime) == runtime.__all__
    for name in runtime.__all__:
        value = getattr(runtime, name)
        assert value.__name__ == name
        assert value.__module__.startswith("whymask.runtime.")
        assert inspect.getdoc(value)


def test_every_error_is_public():
    tree = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert tree <= set(runtime.__all__)


def test_another_name_is_an_ordinary_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'whymask\.runtime' has no attribute 'lode'"):
        runtime.lode  # noqa: B018


def test_everything_public_imports_where_only_numpy_is():
    code = f"import sys\nfor n in {BLOCKED!r}: sys.modules[n] = None\n"
    code += "import whymask.runtime as r\nprint([getattr(r, n).__name__ for n in r.__all__])"
    assert python(code).strip() == str(runtime.__all__)


def test_importing_takes_less_than_150_ms():
    code = "import time; t = time.perf_counter(); import whymask.runtime; print(time.perf_counter() - t)"
    assert min(float(python(code)) for _ in range(5)) < LIMIT_SECONDS


def test_all_of_the_runtime_takes_less_than_150_ms_of_processor_time_beyond_numpy():
    code = "import time, numpy; t = time.process_time(); from whymask.runtime import load, Explanation; "
    code += "print(time.process_time() - t)"
    assert min(float(python(code)) for _ in range(3)) < LIMIT_SECONDS
