"""A chunk of pictures, from its maps to its numbers: what one thread does at a time.

Costly maps are made for some of its pictures only and judged on these, in a second round through the same metrics; what
that round shows again (a fill, a blurred picture) is not asked again.

Letters: B pictures of the chunk, H W the graph's input height and width.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.baselines import EXPLAINER
from whymask.benchmarks.masking import compose
from whymask.benchmarks.rivals.rival import Rival
from whymask.benchmarks.suite.asked_once import AskedOnce
from whymask.benchmarks.suite.backgrounds import strange_pictures
from whymask.benchmarks.suite.measured import Cost, OwnMask
from whymask.benchmarks.suite.orders import orders_from_maps
from whymask.benchmarks.suite.sample import Cells, Metric, Sample, probability
from whymask.runtime.card import LOGITS, MASK, SALIENCY
from whymask.runtime.images import resize_map

Stage = Callable[[str], AbstractContextManager[None]]
"""Told what begins, and by its end that it is done."""


@dataclass(frozen=True)
class Chunk:
    """Pictures that are judged together.

    Attributes:
        names: of the pictures.
        places: int64, (B,), among those of the set that could be read.
        images: uint8, (B, H, W, 3), as the graph sees them.
        costly: int64, rows of this chunk for which costly maps are made.
        truth: bool, (B, H, W), the objects; None where unknown.
    """

    names: tuple[str, ...]
    places: NDArray[np.int64]
    images: NDArray[np.uint8]
    costly: NDArray[np.int64]
    truth: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Judged:
    """What was found for a chunk: as `Measured` has it for a set."""

    own: OwnMask
    cells: Cells
    map_costs: dict[str, Cost] = field(default_factory=dict)
    metric_costs: dict[str, Cost] = field(default_factory=dict)


@dataclass(frozen=True)
class Judge:
    """What judges chunks. Several threads may use one.

    Attributes:
        graph: asked.
        rivals: maps beside the explainer's.
        metrics: all of them run.
        fill: uint8, (3,), the card's colour.
        seed: of ties and metrics.
        torch_lock: held where maps are made that are not `Rival.shareable`.
    """

    graph: AskedGraph
    rivals: Sequence[Rival]
    metrics: Sequence[Metric]
    fill: NDArray[np.uint8]
    seed: int
    torch_lock: threading.Lock = field(default_factory=threading.Lock)

    def judged(self, chunk: Chunk, stage: Stage = lambda name: nullcontext()) -> Judged:
        """Make all maps and run all metrics.

        Args:
            chunk: B at least 1.
            stage: entered for each map and each metric.
        """
        map_costs = {EXPLAINER: Cost()}
        metric_costs: dict[str, Cost] = {}
        sample = self._sample(chunk, map_costs, stage)
        few = self._costly(sample, chunk.costly, map_costs, stage)
        ask = AskedOnce(self.graph.logits)
        ask.know(sample.images, sample.logits)
        own = self._own(ask, sample)
        cells: Cells = {}
        for metric in self.metrics:
            cost = metric_costs[metric.name] = Cost()
            with stage(metric.name), self._timed(cost, len(sample.images)):
                cells |= metric.measure(ask, sample, self.seed)
                cells |= self._of_few(metric, ask, few, chunk.costly, len(sample.images))
        return Judged(own, cells, map_costs, metric_costs)

    def _sample(self, chunk: Chunk, costs: dict[str, Cost], stage: Stage) -> Sample:
        """All that is known of the pictures before a metric asks, with the maps that are made for all of them."""
        images, size = chunk.images, chunk.images.shape[1:3]
        with stage(EXPLAINER), self._timed(costs[EXPLAINER], len(images)):
            outputs = self.graph.run(images, (LOGITS, SALIENCY, MASK))
            maps = {EXPLAINER: resize_map(outputs[SALIENCY].astype(np.float32), *size)}
        target = outputs[LOGITS].argmax(axis=1).astype(np.int64)
        maps |= self._maps(False, images, target, chunk.places, costs, stage)
        strangers, has_stranger = strange_pictures(images, target)
        return Sample(
            names=chunk.names,
            places=chunk.places,
            images=images,
            target=target,
            logits=outputs[LOGITS],
            mask=outputs[MASK].astype(np.bool_),
            maps=maps,
            orders=orders_from_maps(maps, chunk.places, self.seed),
            fill=self.fill,
            strangers=strangers,
            has_stranger=has_stranger,
            truth=chunk.truth,
        )

    def _costly(self, sample: Sample, rows: NDArray[np.int64], costs: dict[str, Cost], stage: Stage) -> Sample | None:
        """Some of the pictures with the costly maps alone; None where there are none."""
        if not len(rows) or not any(rival.is_costly for rival in self.rivals):
            return None
        few = sample.of_pictures(rows)
        maps = self._maps(True, few.images, few.target, few.places, costs, stage)
        return replace(few, maps=maps, orders=orders_from_maps(maps, few.places, self.seed))

    def _maps(
        self,
        costly: bool,
        images: NDArray[np.uint8],
        target: NDArray[np.int64],
        places: NDArray[np.int64],
        costs: dict[str, Cost],
        stage: Stage,
    ) -> dict[str, NDArray[np.float32]]:
        """The maps of all rivals that are costly, or of all that are not: float32 (B, H, W), by name."""
        made: dict[str, NDArray[np.float32]] = {}
        for rival in self.rivals:
            if rival.is_costly != costly:
                continue
            cost = costs[rival.name] = Cost()
            with stage(rival.name), nullcontext() if rival.shareable else self.torch_lock:
                with self._timed(cost, len(images), rival.passes * len(images)):
                    made[rival.name] = _at_size(rival.maps(images, target, places), *images.shape[1:3])
        return made

    def _of_few(self, metric: Metric, ask: AskedOnce, few: Sample | None, rows: NDArray[np.int64], count: int) -> Cells:
        """A metric's cells of the costly maps, float64 (B,), nan but in these rows.

        What it says of no map, such as every pixel kept, it said of all pictures already.
        """
        if few is None:
            return {}
        found: Cells = {}
        for cell, values in metric.measure(ask, few, self.seed).items():
            if cell.map in few.maps:
                found[cell] = np.full(count, np.nan)
                found[cell][rows] = values
        return found

    def _own(self, ask: AskedOnce, sample: Sample) -> OwnMask:
        logits = ask(compose(sample.images, sample.mask, self.fill))
        return OwnMask(
            top1=sample.target,
            whole=probability(sample.logits, sample.target),
            kept=probability(logits, sample.target),
            area=sample.mask.mean(axis=(1, 2), dtype=np.float64),
            stays=logits.argmax(axis=1) == sample.target,
        )

    @contextmanager
    def _timed(self, cost: Cost, pictures: int, passes: float | None = None) -> Iterator[None]:
        """Set a cost to what the body takes; its passes are those of the graph where none are told."""
        start, before = time.perf_counter(), self.graph.passes_here
        yield
        cost.seconds, cost.pictures = time.perf_counter() - start, pictures
        cost.passes = float(self.graph.passes_here - before) if passes is None else passes


def _at_size(maps: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Maps at the graph's input size, float32 (B, H, W)."""
    return maps if maps.shape[1:] == (height, width) else resize_map(maps, height, width)
