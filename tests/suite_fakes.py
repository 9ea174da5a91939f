"""A suite whose right answers are known: the quadrant classifier, metrics that count pixels, and planted rivals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from quadrant import SIZE, explainer, oracle, pictures

from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.masking import compose, keep_first
from whymask.benchmarks.rivals.rival import Rival
from whymask.benchmarks.suite.measured import PictureSet
from whymask.benchmarks.suite.record import record_from_measurements
from whymask.benchmarks.suite.runner import Suite
from whymask.benchmarks.suite.sample import Cell, Cells, Column, Metric, Sample

HALF = SIZE // 2
QUARTER = HALF * HALF


def quadrant(images: np.ndarray, row: int, column: int) -> np.ndarray:
    maps = np.zeros((len(images), 2, 2), np.float32)
    maps[:, row, column] = 1.0
    return maps.repeat(HALF, axis=1).repeat(HALF, axis=2)


WRONG = Rival("wrong", "the quadrant at the lower right", lambda images, target, places: quadrant(images, 1, 1), 3.0)
RIGHT = Rival("right", "the quadrant that decides", lambda images, target, places: quadrant(images, 0, 0), 2.0)


def _kept(ask, sample: Sample, seed: int) -> Cells:
    """Whether the class stays on the first quarter of the pixels."""
    cells: Cells = {}
    for name, orders in sample.orders.items():
        masks = np.stack([keep_first(order, QUARTER, SIZE, SIZE) for order in orders])
        top1 = ask(compose(sample.images, masks, sample.fill)).argmax(axis=1)
        cells[Cell(name, "kept")] = (top1 == sample.target).astype(np.float64)
    return cells


def _inside(ask, sample: Sample, seed: int) -> Cells:
    """Share of the first quarter of the pixels on the object."""
    truth = sample.truth.reshape(len(sample.images), -1)
    return {
        Cell(name, "inside"): np.array([truth[i, order[:QUARTER]].mean() for i, order in enumerate(orders)])
        for name, orders in sample.orders.items()
    }


def _first(ask, sample: Sample, seed: int) -> Cells:
    """The position of the picture, for the explainer alone: no side of it is better."""
    return {Cell("explainer", "first"): sample.places.astype(np.float64)}


KEPT = Metric("kept", (Column("kept", "higher", "class kept on a quarter of the pixels, fill"),), _kept)
INSIDE = Metric("inside", (Column("inside", "higher", "share on the object"),), _inside, needs_truth=True)
FIRST = Metric("first", (Column("first", "", "position in the set"),), _first)


def in_quadrant(position: int, rule) -> np.ndarray:
    return oracle().astype(bool)


def picture_set(count: int, truth: bool = False, name: str = "planted") -> PictureSet:
    if not truth:
        return PictureSet(name, pictures(count))
    return PictureSet(name, pictures(count), in_quadrant, "the quadrant that decides")


def suite(rivals: Sequence[Rival] = (WRONG,), metrics: Sequence[Metric] = (KEPT, INSIDE, FIRST), **options) -> Suite:
    loaded = explainer(oracle(), **options)
    return Suite(loaded, AskedGraph(loaded), rivals, metrics, seed=3)


def record(tmp_path, count: int = 20, truth: bool = True) -> dict:
    judge = suite()
    file = tmp_path / "fused.onnx"
    file.write_bytes(b"graph")
    measured = [judge.measure(picture_set(count, truth))]
    return record_from_measurements(file, judge, measured, {"cam": "needs the classifier"}, "whymask evaluate")
