"""TensorRT's Python module for an engine, and a logger that keeps what it says for our own messages."""

from __future__ import annotations

import importlib
from collections import deque
from typing import Any

from whymask.runtime.doctor import TEGRA_RELEASE
from whymask.runtime.engine_card import TENSORRT, EngineCard
from whymask.runtime.errors import BackendError, MissingExtra, WhymaskError

LEAN = "tensorrt_lean"
"""A runtime without builder, which runs version-compatible engines alone."""
EXTRAS = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
KEPT_MESSAGES = 3


def import_tensorrt(card: EngineCard) -> Any:
    """The module that can run an engine: its builder's, or the lean runtime where only that is installed.

    Args:
        card: the engine's sidecar.

    Raises:
        MissingExtra: none is installed.
        BackendError: one is installed and does not load.
    """
    lean = [LEAN] if card.builder == TENSORRT and card.version_compatible else []
    return import_first(card.builder, *lean, purpose="run an engine")


def import_first(builder: str, *others: str, purpose: str) -> Any:
    """The first module that is installed.

    Args:
        builder: `tensorrt` or `tensorrt_rtx`, which an error says how to install.
        others: modules that serve as well.
        purpose: what it is needed for, as the end of "… is needed to".

    Raises:
        MissingExtra: none is installed.
        BackendError: one is installed and does not load.
    """
    for name in (builder, *others):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise BackendError(f"{name} is installed and lacks {error.name}; install it again") from error
        # Its libraries are loaded by ctypes or by the linker, which raise either.
        except (ImportError, OSError) as error:
            raise BackendError(
                f"{name} is installed and does not load: {error}; run whymask doctor to see what does"
            ) from error
    raise _missing(builder, purpose)


def kept_logger(trt: Any) -> Any:
    """A logger whose `said()` is what TensorRT last complained of; nothing is printed.

    Args:
        trt: TensorRT's module.
    """

    class Kept(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: deque[str] = deque(maxlen=KEPT_MESSAGES)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.messages.append(message.strip())

        def said(self) -> str:
            return "; ".join(self.messages) or "it gave no reason"

    return Kept()


def _missing(builder: str, purpose: str) -> WhymaskError:
    if builder == TENSORRT and TEGRA_RELEASE.exists():
        return BackendError(
            f"tensorrt is needed to {purpose}, and this Python does not find it; JetPack brings it for the system's "
            "Python; run: python3 -m venv --system-site-packages .venv"
        )
    return MissingExtra(builder, EXTRAS[builder], purpose)
