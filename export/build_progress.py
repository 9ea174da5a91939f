"""How far TensorRT's builder is, and Ctrl-C while it works.

The builder calls back into Python from C++ code that no Python exception may cross: a build is stopped by what the
callback returns, and the exception is raised once the builder has come back.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from whymask.runtime.errors import WhymaskError

OnProgress: TypeAlias = Callable[[float, str], None]
"""Told of percent done since the last call, and of the phase; `advance` of `runtime.progress` fits."""
PERCENT = 100.0


class Interruption:
    """Why a build must stop.

    Attributes:
        reason: what is to be raised once the builder has come back; None while it may go on.
    """

    def __init__(self) -> None:
        self.reason: BaseException | None = None


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Note Ctrl-C during the body instead of raising it, and raise it afterwards in place of any error that it caused.

    The former handler is restored. In other threads than the main one Python delivers no signal, and nothing is noted.

    Raises:
        BaseException: the noted reason.
    """
    noted = Interruption()

    def note(number: int, frame: object) -> None:
        noted.reason = KeyboardInterrupt()

    with _handler(note):
        try:
            yield noted
        except WhymaskError:
            if noted.reason is None:
                raise
    if noted.reason is not None:
        raise noted.reason


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """Nested phases of a build, as whole percents of its first phase.

    Args:
        on_progress: told of each new percent.
    """

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._open: dict[str, _Phase] = {}
        self._told = 0.0
        # TensorRT calls from several threads.
        self._lock = threading.Lock()

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins, inside another one or, where `parent` is None, as one of its own."""
        with self._lock:
            self._open[name] = _Phase(parent, max(steps, 1))

    def step(self, name: str) -> None:
        """A step of a phase is done."""
        with self._lock:
            if name in self._open:
                self._open[name].done += 1
            self._tell(self._share(next(iter(self._open))) if self._open else 0.0, name)

    def finish(self, name: str) -> None:
        """A phase ends."""
        with self._lock:
            self._open.pop(name, None)

    def complete(self) -> None:
        """The whole build is done."""
        with self._lock:
            self._tell(1.0, "built")

    def _share(self, name: str) -> float:
        phase = self._open[name]
        inner = [self._share(other) for other, child in self._open.items() if child.parent == name]
        return min((phase.done + max(inner, default=0.0)) / phase.steps, 1.0)

    def _tell(self, share: float, note: str) -> None:
        percent = float(int(share * PERCENT))
        if percent > self._told:
            self._on_progress(percent - self._told, note)
            self._told = percent


def monitor(trt: Any, phases: Phases, interruption: Interruption) -> Any:
    """TensorRT's progress monitor, or None for a version without one.

    Args:
        trt: TensorRT's module.
        phases: told of each step.
        interruption: stops the build once it has a reason; takes note of what `phases` raises.
    """
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                phases.step(phase_name)
            except BaseException as error:
                interruption.reason = error
            return interruption.reason is None

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()


@contextmanager
def _handler(note: Callable[[int, object], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        # None where the former handler is not Python's.
        signal.signal(signal.SIGINT, signal.SIG_DFL if former is None else former)
