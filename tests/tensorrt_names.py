"""The public names of real TensorRT versions, which every fake of this repository is held to.

`tensorrt_names.json` beside this file holds them. It is made from bindings that can be imported, one version a call:

    python tests/tensorrt_names.py MODULE "how it was imported"

Bindings without their libraries import once empty stand-ins with the libraries' names are on LD_LIBRARY_PATH, one of
which defines the symbols that the bindings leave undefined (`nm -D --undefined-only`): no function in them is called.
"""

from __future__ import annotations

import enum
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

NAMES = Path(__file__).with_name("tensorrt_names.json")

CLASSES = (
    "Builder",
    "BuilderFlag",
    "ComputeCapability",
    "DataType",
    "DeviceType",
    "EngineInspector",
    "ExecutionContextAllocationStrategy",
    "HardwareCompatibilityLevel",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILayer",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IProgressMonitor",
    "ITensor",
    "ITimingCache",
    "LayerInformationFormat",
    "LayerType",
    "Logger",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "ParserError",
    "ProfilingVerbosity",
    "Runtime",
    "TacticSource",
    "TensorIOMode",
    "TensorLocation",
)


def versions() -> list[str]:
    """The versions whose names are known, such as `tensorrt 10.3.0`."""
    return list(_record())


def names_beyond(fake: Any, version: str) -> list[str]:
    """Public names of a fake module, and of its classes that the real one has too, that the real version lacks.

    Args:
        fake: a module, or any object with a module's attributes.
        version: one of `versions()`.
    """
    real = _record()[version]
    beyond = [name for name in _public(fake) if name not in real["module"].split()]
    for name in sorted(set(_public(fake)) & set(real["classes"])):
        known = real["classes"][name].split()
        beyond += [f"{name}.{member}" for member in _public(getattr(fake, name)) if member not in known]
    return beyond


def _record() -> dict[str, Any]:
    record: dict[str, Any] = json.loads(NAMES.read_text(encoding="utf-8"))
    return record


def _public(thing: Any) -> list[str]:
    # Python's own enumerations, which stand-ins use, bring int's methods along.
    names = thing.__members__ if isinstance(thing, enum.EnumMeta) else dir(thing)
    return sorted(name for name in names if not name.startswith("_"))


def _introspected(module: str, how: str) -> tuple[str, dict[str, Any]]:
    sys.setdlopenflags(os.RTLD_LAZY)
    trt = importlib.import_module(module)
    classes = {name: " ".join(_public(getattr(trt, name))) for name in CLASSES if hasattr(trt, name)}
    key = f"{module.removesuffix('_bindings')} {trt.__version__}"
    return key, {"obtained": how, "module": " ".join(_public(trt)), "classes": classes}


def main() -> None:
    """Add or replace the entry of the module named on the command line."""
    module, how = sys.argv[1:]
    key, entry = _introspected(module, how)
    record = _record() if NAMES.exists() else {}
    ordered = dict(sorted((record | {key: entry}).items()))
    NAMES.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
