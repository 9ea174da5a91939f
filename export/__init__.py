"""From a trained run to one checked ONNX file. Needs the extra `export`; heavy imports wait for first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whymask.export.config import ExportConfig, classifier_path
    from whymask.export.onnx_from_run import classifier_onnx, export_run
    from whymask.export.rtx import build_with_rtx

__all__ = ["ExportConfig", "build_with_rtx", "classifier_onnx", "classifier_path", "export_run"]

_HOMES = {
    "ExportConfig": "config",
    "build_with_rtx": "rtx",
    "classifier_onnx": "onnx_from_run",
    "classifier_path": "config",
    "export_run": "onnx_from_run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
