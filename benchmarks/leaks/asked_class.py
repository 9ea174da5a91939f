"""Does the map follow the class that is asked for?

Needs a graph that was exported with `--target`. A map that ignores the question scores exactly a quarter on mosaics,
since its shares in the four tiles sum to one.

Letters: n pictures, K classes that are looked at, H W the input size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.leaks.likeness import likeness
from whymask.benchmarks.leaks.record import DIGITS, bar, check_record, left_out, mean_figure
from whymask.benchmarks.leaks.retention import best_pixels
from whymask.benchmarks.truth_sets import Mosaics, mosaics
from whymask.runtime.card import LOGITS, MASK, SALIENCY, Card

NAME = "asked_class"
MOST_CLASSES = 10
TILE_AREA = 0.25
LEAST_INSIDE = 0.30
"""Share of the mask inside the asked tile. Chance is exactly a quarter; five points more is the least that a user who
asks for another class could notice."""
MOST_RANK = 0.9
"""Rank correlation of the maps for two classes of one picture: a fifth of the variance at least has to differ."""
MOST_ABSENT_AREA = 0.1
"""Mean area of the graph's own mask for a class that is not there, where nothing is the right answer."""

STATED = (
    "Class specificity: of each picture the map for its predicted class and for another of the sample's most frequent "
    "classes (rank correlation, IoU of the best fifth); on 2 × 2 mosaics of pictures of four classes the share of the "
    "best quarter of the pixels inside the tile that is asked for (chance: exactly 0.25); the area of the graph's own "
    "mask for a class of the lower half of the picture's logits, which is not there."
)


def asked_class(graph: AskedGraph, card: Card, images: NDArray[np.uint8], seed: int = 0) -> dict[str, Any]:
    """Run the check.

    Args:
        graph: takes a target.
        card: of the same graph.
        images: uint8, (n, H, W, 3), as the graph sees them.
        seed: of the draws of classes and mosaics.
    """
    if not graph.takes_target:
        return left_out(NAME, "the graph explains the predicted class only; export one with --target")
    whole = graph.run(images, (LOGITS, SALIENCY, MASK))
    predicted: NDArray[np.int64] = whole[LOGITS].argmax(axis=1)
    classes = frequent_classes(predicted)
    if len(classes) < 4:
        return left_out(NAME, f"the classifier sees {len(classes)} classes in these pictures; at least 4 are needed")
    chosen = np.flatnonzero(np.isin(predicted, classes))
    rng = np.random.default_rng(seed)
    others = np.array([rng.choice(classes[classes != predicted[i]]) for i in chosen])
    like = likeness(whole[SALIENCY][chosen], graph.run(images[chosen], (SALIENCY,), others)[SALIENCY], seed)
    grids = mosaics(images[chosen], predicted[chosen], card.input, len(images), seed)
    inside = tile_shares(graph, grids, seed)
    absent = graph.run(images, (MASK,), absent_classes(whole[LOGITS], rng))[MASK]
    figures = {
        "another class: rank": mean_figure(like.rank, seed),
        "another class: rank without centre": mean_figure(like.partial, seed),
        "another class: IoU": mean_figure(like.iou, seed),
        "mosaics: inside the asked tile": mean_figure(inside[:, np.arange(4), np.arange(4)].mean(axis=1), seed),
        "own area, predicted class": mean_figure(whole[MASK].mean(axis=(1, 2)), seed),
        "own area, absent class": mean_figure(absent.mean(axis=(1, 2)), seed),
    }
    matrix = {"classes": classes.tolist(), "share": class_matrix(grids, inside, classes)}
    return check_record(NAME, STATED, len(images), figures, _bars(figures), matrix=matrix)


def _bars(figures: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    rank, tile = figures["another class: rank"], figures["mosaics: inside the asked tile"]
    absent = figures["own area, absent class"]
    return [
        bar(f"another class: rank correlation surely below {MOST_RANK}", rank["high"] < MOST_RANK),
        bar(f"mosaics: surely more than {LEAST_INSIDE:.0%} inside the asked tile", tile["low"] > LEAST_INSIDE),
        bar(
            f"absent class: own mask surely below {MOST_ABSENT_AREA:.0%} of the pixels",
            absent["high"] < MOST_ABSENT_AREA,
        ),
    ]


def frequent_classes(predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most `MOST_CLASSES` classes, the most frequent first: int64, (K,)."""
    classes, counts = np.unique(predicted, return_counts=True)
    return classes[np.argsort(-counts, kind="stable")][:MOST_CLASSES]


def absent_classes(logits: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int64]:
    """A class of the lower half of each picture's logits: int64, (n,)."""
    order = np.argsort(logits, axis=1)
    drawn = rng.integers(max(1, logits.shape[1] // 2), size=len(logits))
    absent: NDArray[np.int64] = order[np.arange(len(logits)), drawn]
    return absent


def tile_shares(graph: AskedGraph, grids: Mosaics, seed: int) -> NDArray[np.float64]:
    """Share of the best quarter inside each tile, float64 (n, 4, 4): by mosaic, tile that is asked for, tile."""
    tiles = np.stack([grids.tile(number) for number in range(4)]).reshape(4, -1).astype(np.float32)
    shares = np.empty((len(grids.images), 4, 4))
    for asked in range(4):
        maps = graph.run(grids.images, (SALIENCY,), np.ascontiguousarray(grids.classes[:, asked]))[SALIENCY]
        masks = best_pixels(maps, (TILE_AREA,), grids.images.shape[1:3], seed)[0].reshape(len(maps), -1)
        shares[:, asked] = masks @ tiles.T / masks.sum(axis=1, keepdims=True)
    return shares


def class_matrix(grids: Mosaics, inside: NDArray[np.float64], classes: NDArray[np.int64]) -> list[list[float | None]]:
    """Mean share in a tile of the column's class when the row's is asked for; None where they never met."""
    rows = np.searchsorted(np.sort(classes), grids.classes)
    places = np.argsort(classes, kind="stable")[rows]
    sums, counts = np.zeros((2, len(classes), len(classes)))
    pairs = np.broadcast_arrays(places[:, :, None], places[:, None, :])
    np.add.at(sums, tuple(pairs), inside)
    np.add.at(counts, tuple(pairs), 1)
    return [
        [round(float(s / c), DIGITS) if c else None for s, c in zip(*row, strict=True)]
        for row in zip(sums, counts, strict=True)
    ]
