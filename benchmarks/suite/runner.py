"""Judge every map by every metric on sets of pictures, and time each of them.

Letters: B pictures of a chunk, n of a set, H W the graph's input height and width, h w a map's own resolution.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.baselines import EXPLAINER
from whymask.benchmarks.masking import background_from_fill, compose
from whymask.benchmarks.pictures import Image, read_pictures
from whymask.benchmarks.rivals.rival import Rival
from whymask.benchmarks.suite.orders import orders_from_maps
from whymask.benchmarks.suite.sample import Cell, Cells, Metric, Sample, probability
from whymask.runtime.card import LOGITS, MASK, SALIENCY, InputCard
from whymask.runtime.errors import InputError
from whymask.runtime.explainer import Explainer
from whymask.runtime.images import resize_map
from whymask.runtime.progress import Progress, track

CHUNK = 16
"""Pictures judged at a time: a dozen maps of them with their orders take about 100 MB at 224 × 224."""


@dataclass(frozen=True)
class PictureSet:
    """What is judged.

    Attributes:
        name: of the set.
        images: files, or uint8 arrays (height, width, 3) of any size.
        truth: (position in `images`, the graph's input rule) → the object's pixels, bool (H, W); None where unknown.
        stated: what the truth is, in one line.
    """

    name: str
    images: Sequence[Image]
    truth: Callable[[int, InputCard], NDArray[np.bool_]] | None = None
    stated: str = ""


@dataclass
class Cost:
    """What one metric or map has taken so far.

    Attributes:
        seconds: wall clock.
        passes: pictures through the classifier.
    """

    seconds: float = 0.0
    passes: float = 0.0


@dataclass(frozen=True)
class OwnMask:
    """The graph's own mask at the card's threshold, one entry a picture.

    Attributes:
        top1: int64 (n,), the class of the whole picture.
        whole, kept: float64 (n,), probability of that class on the whole picture, and where only the mask is kept.
        area: float64 (n,), share of the pixels that the mask keeps.
        stays: bool (n,), whether the class is still the first where only the mask is kept.
    """

    top1: NDArray[np.int64]
    whole: NDArray[np.float64]
    kept: NDArray[np.float64]
    area: NDArray[np.float64]
    stays: NDArray[np.bool_]


@dataclass(frozen=True)
class Measured:
    """Everything that was measured on one set.

    Attributes:
        pictures: the set.
        files: names of those that could be read, in the order of all figures.
        positions: of these in `pictures.images`.
        unreadable: files that could not be read, with the reason.
        own: of the graph's own mask.
        cells: one number a picture by map and column, float64 (n,), nan where there is none.
        map_costs, metric_costs: by name.
        passes: pictures through the shipped graph.
        seconds: wall clock, with reading and ranking.
        graph_seconds: the part of it inside the graph.
    """

    pictures: PictureSet
    files: tuple[str, ...]
    positions: tuple[int, ...]
    unreadable: tuple[str, ...]
    own: OwnMask
    cells: Cells = field(repr=False)
    map_costs: dict[str, Cost]
    metric_costs: dict[str, Cost]
    passes: int
    seconds: float
    graph_seconds: float


@dataclass(frozen=True)
class Suite:
    """What judges a graph.

    Attributes:
        explainer: the loaded graph; it stays the caller's.
        graph: the same, counted; the maps ask it too.
        rivals: maps to judge beside the explainer's.
        metrics: what judges them; those that need truth run where a set has it.
        seed: of ties and metrics.
    """

    explainer: Explainer
    graph: AskedGraph
    rivals: Sequence[Rival]
    metrics: Sequence[Metric]
    seed: int = 0

    def measure(self, pictures: PictureSet) -> Measured:
        """Judge one set of pictures.

        Raises:
            InputError: no picture could be read, or a map cannot be ranked.
        """
        return _Run(self, pictures).measured()


class _Run:
    """One set on its way through the suite."""

    def __init__(self, suite: Suite, pictures: PictureSet) -> None:
        self._suite, self._pictures, self._graph = suite, pictures, suite.graph
        self._rule, self._fill = suite.explainer.card.input, background_from_fill(suite.explainer.card.fill)
        self._metrics = [metric for metric in suite.metrics if pictures.truth is not None or not metric.needs_truth]
        self._map_costs = {name: Cost() for name in (EXPLAINER, *(rival.name for rival in suite.rivals))}
        self._metric_costs = {metric.name: Cost() for metric in self._metrics}
        self._files: list[str] = []
        self._positions: list[int] = []
        self._unreadable: list[str] = []

    def measured(self) -> Measured:
        """Read, ask, judge; chunk by chunk."""
        start, before, inside = time.perf_counter(), self._graph.passes, self._graph.seconds
        owns, cells = [], []
        count = len(self._pictures.images)
        with track(count, f"evaluate {self._pictures.name}", "pictures") as bar:
            for positions in _even_chunks(count):
                steps = _Steps(bar, len(positions), len(self._map_costs) + len(self._metric_costs))
                images = self._read(positions)
                if len(images):
                    sample, own = self._sample(images, steps)
                    owns.append(own)
                    cells.append(self._judge(sample, steps))
                steps.finish()
        if not owns:
            listed = "; ".join(self._unreadable[:3]) or "the list is empty"
            raise InputError(f"evaluate {self._pictures.name}: none of {count} pictures could be read ({listed})")
        return Measured(
            pictures=self._pictures,
            files=tuple(self._files),
            positions=tuple(self._positions),
            unreadable=tuple(self._unreadable),
            own=_joined_owns(owns),
            cells=_joined_cells(cells, [len(own.top1) for own in owns]),
            map_costs=self._map_costs,
            metric_costs=self._metric_costs,
            passes=self._graph.passes - before,
            seconds=time.perf_counter() - start,
            graph_seconds=self._graph.seconds - inside,
        )

    def _read(self, positions: Sequence[int]) -> NDArray[np.uint8]:
        """The pictures that can be read, uint8 (B, H, W, 3); notes their names and places."""
        pictures: list[NDArray[np.uint8]] = []
        for position in positions:
            names, images, failed = read_pictures([self._pictures.images[position]], position, self._rule)
            self._unreadable += failed
            self._files += names
            self._positions += [position] * len(names)
            pictures += images
        return np.stack(pictures) if pictures else np.empty((0, self._rule.height, self._rule.width, 3), np.uint8)

    def _sample(self, images: NDArray[np.uint8], steps: _Steps) -> tuple[Sample, OwnMask]:
        """All that is known of a chunk before a metric asks."""
        first, height, width = len(self._files) - len(images), self._rule.height, self._rule.width
        with self._timed(self._map_costs[EXPLAINER]), steps.stage(EXPLAINER):
            outputs = self._graph.run(images, (LOGITS, SALIENCY, MASK))
            maps = {EXPLAINER: resize_map(outputs[SALIENCY].astype(np.float32), height, width)}
        logits, mask = outputs[LOGITS], outputs[MASK].astype(np.bool_)
        target = logits.argmax(axis=1).astype(np.int64)
        for rival in self._suite.rivals:
            cost = self._map_costs[rival.name]
            with self._timed(cost, rival.passes * len(images)), steps.stage(rival.name):
                maps[rival.name] = _at_size(rival.maps(images, target, first), height, width)
        sample = Sample(
            names=tuple(self._files[first:]),
            first=first,
            images=images,
            target=target,
            logits=logits,
            mask=mask,
            maps=maps,
            orders=orders_from_maps(maps, first, self._suite.seed),
            fill=self._fill,
            truth=self._truth(self._positions[first:]),
        )
        return sample, self._own(sample)

    def _truth(self, positions: Sequence[int]) -> NDArray[np.bool_] | None:
        truth = self._pictures.truth
        return None if truth is None else np.stack([truth(position, self._rule) for position in positions])

    def _own(self, sample: Sample) -> OwnMask:
        logits = self._graph.logits(compose(sample.images, sample.mask, self._fill))
        return OwnMask(
            top1=sample.target,
            whole=probability(sample.logits, sample.target),
            kept=probability(logits, sample.target),
            area=sample.mask.mean(axis=(1, 2), dtype=np.float64),
            stays=logits.argmax(axis=1) == sample.target,
        )

    def _judge(self, sample: Sample, steps: _Steps) -> Cells:
        cells: Cells = {}
        for metric in self._metrics:
            with self._timed(self._metric_costs[metric.name]), steps.stage(metric.name):
                cells |= metric.measure(self._graph.logits, sample, self._suite.seed)
        return cells

    @contextmanager
    def _timed(self, cost: Cost, passes: float | None = None) -> Iterator[None]:
        """Add the body's seconds to a cost, and its passes: those of the graph where none are told."""
        start, before = time.perf_counter(), self._graph.passes
        yield
        cost.seconds += time.perf_counter() - start
        cost.passes += self._graph.passes - before if passes is None else passes


class _Steps:
    """Progress in whole pictures over the stages of a chunk, so that a slow stage does not look like a halt."""

    def __init__(self, bar: Progress, pictures: int, stages: int) -> None:
        self._bar, self._pictures, self._stages = bar, pictures, stages
        self._done = self._shown = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One stage, named beside the figures while it runs."""
        self._bar.advance(0, note=name)
        yield
        self._done += 1
        self._show(self._pictures * self._done // self._stages)

    def finish(self) -> None:
        """The chunk is done, whether or not all stages ran."""
        self._show(self._pictures)

    def _show(self, pictures: int) -> None:
        self._bar.advance(pictures - self._shown)
        self._shown = pictures


def _even_chunks(count: int) -> list[list[int]]:
    """Positions in chunks of like size: a metric that shows one picture behind another needs two of them."""
    chunks = max(1, -(-count // CHUNK))
    return [part.tolist() for part in np.array_split(np.arange(count), chunks) if len(part)]


def _at_size(maps: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Maps at the graph's input size, float32 (B, H, W)."""
    return maps if maps.shape[1:] == (height, width) else resize_map(maps, height, width)


def _joined_owns(parts: Sequence[OwnMask]) -> OwnMask:
    return OwnMask(*(np.concatenate(values) for values in zip(*(vars(part).values() for part in parts), strict=True)))


def _joined_cells(parts: Sequence[Cells], sizes: Sequence[int]) -> Cells:
    """The cells of all chunks in one; nan where a chunk has none."""
    names: dict[Cell, None] = dict.fromkeys(cell for part in parts for cell in part)
    gaps = [np.full(size, np.nan) for size in sizes]
    return {
        cell: np.concatenate([part.get(cell, gap) for part, gap in zip(parts, gaps, strict=True)]) for cell in names
    }
