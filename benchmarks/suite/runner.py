"""Judge every map by every metric on sets of pictures, and time each of them.

A set is read in chunks, and one thread judges a chunk from its maps to its numbers: the classifier's passes, numpy's
sorting and imputing and torch's maps of different chunks then keep every core busy, where an operator shared by all
cores leaves them idle between its calls. Which pictures share a chunk does not depend on the threads, and so no number
does.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.baselines import EXPLAINER
from whymask.benchmarks.evaluation import spread
from whymask.benchmarks.masking import background_from_fill
from whymask.benchmarks.pictures import read_pictures
from whymask.benchmarks.rivals.rival import Rival
from whymask.benchmarks.suite.chunk import Chunk, Judge, Judged
from whymask.benchmarks.suite.measured import Measured, PictureSet, joined_cells, joined_owns, summed_costs
from whymask.benchmarks.suite.pace import Steps, estimate_in_words, estimated_seconds
from whymask.benchmarks.suite.sample import Metric
from whymask.runtime.errors import InputError
from whymask.runtime.explainer import Explainer
from whymask.runtime.progress import Progress, track

CHUNK = 16
"""Pictures judged at a time: a dozen maps of them with their orders take about 100 MB at 224 × 224."""


@dataclass(frozen=True)
class Suite:
    """What judges a graph.

    Attributes:
        explainer: the loaded graph; it stays the caller's.
        graph: the same, counted; the maps ask it too.
        rivals: maps to judge beside the explainer's.
        metrics: what judges them; those that need truth run where a set has it.
        seed: of ties and metrics.
        costly: pictures a set, evenly spread, for which maps of many passes are made (`Rival.is_costly`); None for all.
        threads: chunks judged at once.
        say: told once a set how long it will take, after its first chunk.
    """

    explainer: Explainer
    graph: AskedGraph
    rivals: Sequence[Rival]
    metrics: Sequence[Metric]
    seed: int = 0
    costly: int | None = None
    threads: int = 1
    say: Callable[[str], None] = field(default=lambda words: None, repr=False)

    def measure(self, pictures: PictureSet) -> Measured:
        """Judge one set of pictures.

        Raises:
            InputError: no picture could be read, or a map cannot be ranked.
        """
        return _Run(self, pictures).measured()


class _Run:
    """One set on its way through the suite."""

    def __init__(self, suite: Suite, pictures: PictureSet) -> None:
        self._suite, self._pictures = suite, pictures
        self._rule = suite.explainer.card.input
        metrics = [metric for metric in suite.metrics if pictures.truth is not None or not metric.needs_truth]
        fill = background_from_fill(suite.explainer.card.fill)
        self._judge = Judge(suite.graph, suite.rivals, metrics, fill, suite.seed)
        self._costly = set(spread(range(len(pictures.images)), suite.costly))
        self._maps = (EXPLAINER, *(rival.name for rival in suite.rivals))
        self._files: list[str] = []
        self._positions: list[int] = []
        self._unreadable: list[str] = []

    def measured(self) -> Measured:
        """Read, ask, judge; chunk by chunk."""
        graph, start = self._suite.graph, time.perf_counter()
        before, inside = graph.passes, graph.seconds
        parts = self._parts()
        if not parts:
            listed = "; ".join(self._unreadable[:3]) or "the list is empty"
            count = len(self._pictures.images)
            raise InputError(f"evaluate {self._pictures.name}: none of {count} pictures could be read ({listed})")
        return Measured(
            pictures=self._pictures,
            files=tuple(self._files),
            positions=tuple(self._positions),
            unreadable=tuple(self._unreadable),
            own=joined_owns([part.own for part in parts]),
            cells=joined_cells([part.cells for part in parts], [len(part.own.top1) for part in parts]),
            map_costs=summed_costs(self._maps, [part.map_costs for part in parts]),
            metric_costs=summed_costs(
                [metric.name for metric in self._judge.metrics], [part.metric_costs for part in parts]
            ),
            passes=graph.passes - before,
            seconds=time.perf_counter() - start,
            graph_seconds=graph.seconds - inside,
            threads=self._suite.threads,
        )

    def _parts(self) -> list[Judged]:
        """All chunks, judged; no more of them are held than are being judged, and one that waits."""
        parts: list[Judged] = []
        count, lock = len(self._pictures.images), Lock()
        waiting: deque[tuple[Chunk, Future[Judged]]] = deque()
        with (
            track(count, f"evaluate {self._pictures.name}", "pictures") as bar,
            _one_torch_thread(self._suite.threads),
            _pool(self._suite.threads) as pool,
        ):
            for positions in _even_chunks(count):
                chunk = self._read(positions)
                if chunk is None:
                    bar.advance(len(positions))
                    continue
                waiting.append((chunk, pool.submit(self._judged, chunk, len(positions), bar, lock)))
                if len(waiting) > self._suite.threads:
                    parts.append(self._taken(*waiting.popleft(), is_first=not parts))
            while waiting:
                parts.append(self._taken(*waiting.popleft(), is_first=not parts))
        return parts

    def _judged(self, chunk: Chunk, pictures: int, bar: Progress, lock: Lock) -> Judged:
        steps = Steps(bar, lock, pictures, len(self._maps) + len(self._judge.metrics))
        found = self._judge.judged(chunk, steps.stage)
        steps.finish()
        return found

    def _taken(self, chunk: Chunk, future: Future[Judged], is_first: bool) -> Judged:
        """A chunk's numbers, as soon as they are there; the first one tells how long the set will take."""
        found, count = future.result(), len(self._pictures.images)
        if is_first and count > len(chunk.images):
            seconds = estimated_seconds(found, chunk, count, len(self._costly), self._suite.threads)
            self._suite.say(estimate_in_words(self._pictures.name, seconds, count))
        return found

    def _read(self, positions: Sequence[int]) -> Chunk | None:
        """The pictures that can be read, None where there are none; notes their names and places."""
        pictures: list[NDArray[np.uint8]] = []
        first = len(self._files)
        for position in positions:
            names, images, failed = read_pictures([self._pictures.images[position]], position, self._rule)
            self._unreadable += failed
            self._files += names
            self._positions += [position] * len(names)
            pictures += images
        if not pictures:
            return None
        read = self._positions[first:]
        return Chunk(
            names=tuple(self._files[first:]),
            places=np.arange(first, len(self._files)),
            images=np.stack(pictures),
            costly=np.flatnonzero([position in self._costly for position in read]),
            truth=self._truth(read),
        )

    def _truth(self, positions: Sequence[int]) -> NDArray[np.bool_] | None:
        truth = self._pictures.truth
        return None if truth is None else np.stack([truth(position, self._rule) for position in positions])


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that judge; where the body fails, what has not begun is dropped."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="judge")
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


@contextmanager
def _one_torch_thread(threads: int) -> Iterator[None]:
    """Where chunks share the cores, torch has one of them: two pools of threads would take each other's."""
    if threads < 2 or "torch" not in sys.modules:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # read by each new thread as it first computes
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _even_chunks(count: int) -> list[list[int]]:
    """Positions in chunks of like size: a metric that shows one picture behind another needs two of them."""
    chunks = chunk_count(count)
    return [part.tolist() for part in np.array_split(np.arange(count), chunks) if len(part)]


def chunk_count(count: int) -> int:
    """Chunks that so many pictures are judged in."""
    return max(1, -(-count // CHUNK))
