"""What a metric is given: a chunk of pictures, and every map that is judged on them.

Letters: B pictures, H W the graph's input height and width, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ask: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""The shipped graph's classifier: pictures uint8 (N, H, W, 3), any N ≥ 1 → logits float32 (N, C)."""


@dataclass(frozen=True)
class Sample:
    """A chunk of pictures with all that is known of them before a metric asks.

    Attributes:
        names: of the pictures, (B).
        places: int64, (B,), of the pictures in their set: one is seeded by `[seed, its place, …]`.
        images: uint8, (B, H, W, 3), RGB, 0–255, as the graph sees them.
        target: int64, (B,), the class that every map explains: the predicted one.
        logits: float32, (B, C), of the whole pictures.
        mask: bool, (B, H, W), the graph's own mask at the card's threshold.
        maps: by name, float32 (B, H, W), larger is more relevant, any range.
        orders: by name, int64 (B, H·W): flat pixel positions from the most relevant to the least, ties in seeded random
            order (`whymask.benchmarks.masking.pixel_order`).
        fill: uint8, (3,), the card's colour for dropped pixels.
        strangers: uint8, (B, H, W, 3), for each picture one of another class, to show its pixels against.
        has_stranger: bool, (B,), false where none was at hand; the picture itself stands in for it.
        truth: bool, (B, H, W), the object's pixels, or those inside its boxes; None where nobody knows.
    """

    names: tuple[str, ...]
    places: NDArray[np.int64]
    images: NDArray[np.uint8]
    target: NDArray[np.int64]
    logits: NDArray[np.float32]
    mask: NDArray[np.bool_]
    maps: Mapping[str, NDArray[np.float32]]
    orders: Mapping[str, NDArray[np.int64]]
    fill: NDArray[np.uint8]
    strangers: NDArray[np.uint8]
    has_stranger: NDArray[np.bool_]
    truth: NDArray[np.bool_] | None = None

    def of_pictures(self, rows: NDArray[np.int64]) -> Sample:
        """Some of the pictures, by their rows in this sample, with all maps."""
        return replace(
            self,
            names=tuple(self.names[row] for row in rows),
            places=self.places[rows],
            images=self.images[rows],
            target=self.target[rows],
            logits=self.logits[rows],
            mask=self.mask[rows],
            maps={name: values[rows] for name, values in self.maps.items()},
            orders={name: values[rows] for name, values in self.orders.items()},
            strangers=self.strangers[rows],
            has_stranger=self.has_stranger[rows],
            truth=None if self.truth is None else self.truth[rows],
        )


class Cell(NamedTuple):
    """One column of one map."""

    map: str
    column: str


Cells: TypeAlias = dict[Cell, NDArray[np.float64]]
"""One number a picture, float64 (B,), by map and column; nan where a picture has no value."""


@dataclass(frozen=True)
class Column:
    """What a column says.

    Attributes:
        name: unique over the whole suite, such as `insertion`.
        better: `higher`, `lower`, or empty where neither is.
        stated: the definition in one line, with its source and the fill it uses.
        at_own_area: whether every map is cut at the area of the graph's own mask, so that another graph changes the
            figures of all maps.
    """

    name: str
    better: str
    stated: str
    at_own_area: bool = False


@dataclass(frozen=True)
class Metric:
    """A measurement that fills some columns.

    Attributes:
        name: of the metric, for `--metrics` and the table of speeds.
        columns: what it fills, in the order of the tables.
        measure: (ask, sample, seed) → the cells of all maps of the sample.
        needs_truth: whether it is left out where `Sample.truth` is None.
    """

    name: str
    columns: tuple[Column, ...]
    measure: Callable[[Ask, Sample, int], Cells]
    needs_truth: bool = False


def probability(logits: NDArray[np.float32], target: NDArray[np.int64]) -> NDArray[np.float64]:
    """Softmax probability of one class a picture: float64 (B,), from logits (B, C) and int64 (B,)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponents = np.exp(shifted)
    chosen: NDArray[np.float64] = exponents[np.arange(len(target)), target] / exponents.sum(axis=1)
    return chosen
