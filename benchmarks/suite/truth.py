"""Does a map point at the object? Asked of pictures whose objects are known; no classifier is asked.

Sources: pointing game, Zhang et al. 2018 (Excitation Backprop, arXiv 1608.00507), without their tolerance of 15 pixels;
energy-based pointing game, Wang et al. 2020 (Score-CAM, arXiv 1910.01279).

Letters: B pictures, H W the graph's input height and width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.overlap import overlap
from whymask.benchmarks.suite.asking import first_pixels, own_masks, ranks, share_of
from whymask.benchmarks.suite.sample import Ask, Cell, Cells, Column, Metric, Sample
from whymask.runtime.errors import InputError

AREA = 0.10

COLUMNS = (
    Column("pointing", "higher", "1 if the most relevant pixel lies on the object (Zhang et al. 2018, no tolerance)"),
    Column("epg", "higher", "share of the map, less its least value, that lies on the object (Wang et al. 2020)"),
    Column("precision_10", "higher", "share of the best 10 % of the pixels that lies on the object"),
    Column("iou_10", "higher", "intersection over union of the best 10 % of the pixels with the object"),
    Column(
        "precision_own",
        "higher",
        "share of the best pixels, at the own mask's area, that lies on the object",
        at_own_area=True,
    ),
    Column(
        "iou_own",
        "higher",
        "intersection over union of the best pixels, at the own mask's area, with the object",
        at_own_area=True,
    ),
    Column(
        "truth_area", "", "share of the picture that the object covers: what a random map scores in pointing and epg"
    ),
)


def measure_truth(ask: Ask, sample: Sample, seed: int) -> Cells:
    """Fill `COLUMNS` for every map; nan in pictures without an object.

    Raises:
        InputError: the sample has no truth.
    """
    if sample.truth is None:
        raise InputError("truth: nobody knows where the objects of these pictures are; give --truth")
    area = sample.truth.mean(axis=(1, 2), dtype=np.float64)
    cells: Cells = {}
    for name, order in sample.orders.items():
        columns = {**_pointing(sample.truth, sample.maps[name], order), **_overlaps(sample, sample.truth, name)}
        for column, values in {**columns, "truth_area": area}.items():
            cells[Cell(name, column)] = np.where(area > 0, values, np.nan)
    return cells


def _pointing(
    truth: NDArray[np.bool_], relevance: NDArray[np.float32], order: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    best = np.take_along_axis(truth.reshape(len(order), -1), order[:, :1], axis=1)[:, 0]
    return {"pointing": best.astype(np.float64), "epg": energy_inside(relevance, truth)}


def energy_inside(relevance: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of a map's energy on the object: float64 (B,).

    Args:
        relevance: float32, (B, H, W), any range; the least value of a picture is taken off.
        truth: bool, (B, H, W).

    Returns:
        A flat map has its energy everywhere alike: the object's area.
    """
    energy = relevance.astype(np.float64) - relevance.min(axis=(1, 2), keepdims=True)
    energy += (energy.max(axis=(1, 2), keepdims=True) == 0).astype(np.float64)
    result: NDArray[np.float64] = (energy * truth).sum(axis=(1, 2)) / energy.sum(axis=(1, 2))
    return result


def _overlaps(sample: Sample, truth: NDArray[np.bool_], name: str) -> dict[str, NDArray[np.float64]]:
    rank = ranks(sample.orders[name])
    tenth = overlap(first_pixels(rank, share_of(sample, AREA), sample.mask.shape), truth)
    own = overlap(own_masks(sample, name, rank), truth)
    return {"precision_10": tenth.precision, "iou_10": tenth.iou, "precision_own": own.precision, "iou_own": own.iou}


TRUTH = Metric("truth", COLUMNS, measure_truth, needs_truth=True)
