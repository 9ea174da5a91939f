"""Ctrl-C that waits: from half a step nothing can go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Held:
    """Whether Ctrl-C was pressed."""

    asked: bool = False


@contextmanager
def hold_interrupts() -> Iterator[Held]:
    """Take note of the first Ctrl-C instead of raising KeyboardInterrupt; a second one raises it at once.

    Outside the main thread, and where the program answers to Ctrl-C in a way of its own, nothing is held.
    """
    held = Held()

    def take_note(number: int, frame: FrameType | None) -> None:
        if held.asked:
            signal.default_int_handler(number, frame)
        held.asked = True

    own = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    if own or threading.current_thread() is not threading.main_thread():
        yield held
        return
    signal.signal(signal.SIGINT, take_note)
    try:
        yield held
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
