"""How long judging a set takes: progress while it runs, and an estimate as soon as the first chunk is done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from whymask.benchmarks.suite.chunk import Chunk, Judged
from whymask.runtime.progress import Progress, duration


class Steps:
    """Progress in whole pictures over the stages of a chunk, so that a slow stage does not look like a halt.

    Several chunks may advance one bar from threads of their own.

    Args:
        bar: advanced.
        lock: held while it is.
        pictures: of the chunk.
        stages: maps and metrics.
    """

    def __init__(self, bar: Progress, lock: threading.Lock, pictures: int, stages: int) -> None:
        self._bar, self._lock, self._pictures, self._stages = bar, lock, pictures, stages
        self._done = self._shown = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One stage, named beside the figures while it runs."""
        with self._lock:
            self._bar.advance(0, note=name)
        yield
        self._done += 1
        self._show(self._pictures * self._done // self._stages)

    def finish(self) -> None:
        """The chunk is done, whether or not all stages ran."""
        self._show(self._pictures)

    def _show(self, pictures: int) -> None:
        with self._lock:
            self._bar.advance(pictures - self._shown)
        self._shown = pictures


def estimated_seconds(judged: Judged, chunk: Chunk, count: int, costly: int, threads: int) -> float:
    """How long a whole set takes, told by one of its chunks.

    Args:
        judged, chunk: the chunk.
        count: pictures of the set.
        costly: those of them for which costly maps are made.
        threads: that judge chunks side by side.

    Returns:
        Seconds. Maps are counted by the pictures that they are made for; where the chunk had no costly map, none is.
    """
    b, few = len(chunk.images), len(chunk.costly)
    share = {True: costly / few if few else 0.0, False: count / b}
    maps = sum(cost.seconds * share[cost.pictures < b] for cost in judged.map_costs.values())
    return (maps + sum(cost.seconds for cost in judged.metric_costs.values()) * count / b) / threads


def estimate_in_words(name: str, seconds: float, count: int) -> str:
    """Such as `photos: about 12 min for 500 pictures`."""
    about = duration(seconds) if seconds < 60 else f"{seconds / 60:.0f} min" if seconds < 5400 else duration(seconds)
    return f"{name}: about {about} for {count:,} pictures"
