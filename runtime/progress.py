"""How far a long task is: a bar on a terminal, plain lines elsewhere, always with rate and time left.

Everything goes to standard error, so that standard output stays free for results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

LINE_SECONDS = 10.0
LINE_SHARE = 0.1
"""A plain line is written when this share of the work or this time has passed since the last one …"""
QUIET_SECONDS = 0.5
"""… and never sooner than this, so that a quick task does not flood a log."""

_open_bars: list[Any] = []


class Progress(Protocol):
    """Takes note of work done."""

    def advance(self, n: float = 1, note: str = "") -> None:
        """Count work.

        Args:
            n: units of work done since the last call.
            note: a few words shown beside the figures until the next note.
        """


@contextmanager
def track(total: float | None, description: str, unit: str = "") -> Iterator[Progress]:
    """Show the progress of the body.

    A bar opened inside another is shown below it.

    Args:
        total: units of work, or None where nobody knows.
        description: what is being done.
        unit: what is counted, such as `images`; shown in the rate.
    """
    if sys.stderr.isatty() and _has_rich():
        with _bar(total, description, unit) as bar:
            yield bar
        return
    lines = PlainLines(total, description, unit, sys.stderr)
    yield lines
    lines.finish()


class PlainLines:
    """Progress as lines of text for logs and pipes.

    Args:
        total: units of work, or None.
        description: what is being done.
        unit: what is counted.
        stream: where the lines go.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        total: float | None,
        description: str,
        unit: str,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._description, self._unit = total, description, unit
        self._stream, self._clock = stream, clock
        self._start = self._last_time = clock()
        self._done = self._last_done = 0.0
        self._note = ""

    def advance(self, n: float = 1, note: str = "") -> None:
        """Count work and write a line when one is due; see `Progress.advance`."""
        self._done += n
        self._note = note or self._note
        since = self._clock() - self._last_time
        share = (self._done - self._last_done) / self._total if self._total else 0.0
        if since >= LINE_SECONDS or (since >= QUIET_SECONDS and share >= LINE_SHARE):
            self._last_time, self._last_done = self._clock(), self._done
            self._write(figures(self._done, self._total, self._clock() - self._start, self._unit))

    def finish(self) -> None:
        """Write the last line."""
        self._write(f"{_amount(self._done, self._total)} in {duration(self._clock() - self._start)}")

    def _write(self, text: str) -> None:
        note = f", {self._note}" if self._note else ""
        self._stream.write(f"{self._description}: {text}{note}\n")
        self._stream.flush()


def figures(done: float, total: float | None, seconds: float, unit: str = "") -> str:
    """Amount, rate and time left, such as `40/400 (10 %), 12.3 images/s, 29 s left`.

    Args:
        done: units of work done.
        total: units in all, or None.
        seconds: time since the start.
        unit: what is counted.
    """
    percent = f" ({done / total:.0%})".replace("%", " %") if total else ""
    parts = [f"{_amount(done, total)}{percent}", rate(done, seconds, unit)]
    if total and done:
        parts.append(f"{duration(seconds / done * max(total - done, 0))} left")
    return ", ".join(part for part in parts if part)


def rate(done: float, seconds: float, unit: str = "") -> str:
    """Work per second, such as `12.3 images/s`; nothing before the first unit is done."""
    if not done or seconds <= 0:
        return ""
    return f"{done / seconds:.3g} {unit}/s" if unit else f"{done / seconds:.3g}/s"


def duration(seconds: float) -> str:
    """Time for people, such as `8 s`, `2 min 5 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class _Bar:
    """One task of a rich bar."""

    def __init__(self, bars: Any, total: float | None, description: str, unit: str) -> None:
        self._bars, self._unit, self._start = bars, unit, time.monotonic()
        self._task = bars.add_task(description, total=total, rate="", note="")
        self._done = 0.0

    def advance(self, n: float = 1, note: str = "") -> None:
        self._done += n
        fields = {"rate": rate(self._done, time.monotonic() - self._start, self._unit)}
        if note:
            fields["note"] = note
        self._bars.update(self._task, advance=n, **fields)


@contextmanager
def _bar(total: float | None, description: str, unit: str) -> Iterator[_Bar]:
    if _open_bars:
        yield _Bar(_open_bars[-1], total, description, unit)
        return
    with _bars() as bars:
        _open_bars.append(bars)
        try:
            yield _Bar(bars, total, description, unit)
        finally:
            _open_bars.pop()


def _bars() -> Any:
    from rich import progress as rich_progress
    from rich.console import Console

    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(bar_width=24),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[rate]}", markup=False),
        rich_progress.TimeRemainingColumn(compact=True),
        rich_progress.TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
    )


def _has_rich() -> bool:
    try:
        import rich.progress  # noqa: F401
    except ImportError:
        return False
    return True


def _amount(done: float, total: float | None) -> str:
    return f"{done:g}/{total:g}" if total is not None else f"{done:g}"
