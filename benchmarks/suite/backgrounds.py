"""Five backgrounds behind the same kept pixels: an explanation should not stand on what it is shown against.

Letters: B pictures, H W the graph's input height and width.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.masking import blurred
from whymask.benchmarks.suite.asking import answers, cut, first_pixels, own_masks, ranks, share_of
from whymask.benchmarks.suite.sample import Ask, Cell, Cells, Column, Metric, Sample

KINDS = ("fill", "blur", "colour", "other", "black")
"""The card's fill; the picture blurred; a random colour under noise; another picture of another class; black."""
AREAS = (0.20, 0.50)
NOISE_DEVIATION = 64.0
"""Of the noise over a random colour, in grey levels: a quarter of the range."""
_BACKGROUND = 2
"""Last part of a picture's seed; 0 and 1 are those of random maps and ties."""

_KINDS = "card's fill, blur, random colour with noise, a picture of another class, black"
_AT = " and ".join(f"{100 * area:.0f}" for area in AREAS) + " %"
COLUMNS = (
    Column(
        "robust_retention", "higher", f"share of five backgrounds and areas {_AT} that keep the class top-1: {_KINDS}"
    ),
    Column(
        "fill_retention_same_areas", "higher", f"share of areas {_AT} that keep the class top-1 over the card's fill"
    ),
    Column(
        "robust_own",
        "higher",
        f"share of five backgrounds that keep the class at the own mask's area: {_KINDS}",
        at_own_area=True,
    ),
)


def backgrounds(
    images: NDArray[np.uint8],
    strangers: NDArray[np.uint8],
    fill: NDArray[np.uint8],
    places: NDArray[np.int64],
    seed: int,
) -> dict[str, NDArray[np.uint8]]:
    """What lies behind kept pixels, by kind: uint8 (B, H, W, 3) each, the same for every map.

    Args:
        images: uint8, (B, H, W, 3).
        strangers: uint8, (B, H, W, 3), one of another class for each; see `strange_pictures`.
        fill: uint8, (3,), the card's colour.
        places: int64, (B,), of the pictures in their set.
        seed: of the run.
    """
    return {
        "fill": np.ascontiguousarray(np.broadcast_to(fill, images.shape)),
        "blur": blurred(images),
        "colour": np.stack([_noisy_colour(images.shape[1:], [seed, place]) for place in places.tolist()]),
        "other": strangers,
        "black": np.zeros_like(images),
    }


def strangers(target: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each picture the next one, in a circle, of another class; −1 where all are of one class.

    One of the same class would keep the class by itself, and neighbours in a folder are often of one class.
    """
    count = len(target)
    circle = (np.arange(count)[:, None] + np.arange(1, count + 1)) % count
    differs = target[circle] != target[:, None]
    chosen = circle[np.arange(count), differs.argmax(axis=1)]
    return np.where(differs.any(axis=1), chosen, -1)


def strange_pictures(
    images: NDArray[np.uint8], target: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The pictures of `strangers`, uint8 (B, H, W, 3), and whether there is one, bool (B,).

    Where there is none, the picture itself stands in for it.
    """
    found = strangers(target)
    has = found >= 0
    return images[np.where(has, found, np.arange(len(images)))], has


def _noisy_colour(shape: tuple[int, ...], seed: list[int]) -> NDArray[np.uint8]:
    rng = np.random.default_rng([*seed, _BACKGROUND])
    noise = rng.standard_normal(shape, np.float32) * np.float32(NOISE_DEVIATION)
    noise += rng.uniform(0, 255, 3).astype(np.float32)
    result: NDArray[np.uint8] = np.clip(noise, 0, 255).astype(np.uint8)
    return result


def measure_robust(ask: Ask, sample: Sample, seed: int) -> Cells:
    """Fill `COLUMNS` for every map."""
    behind = backgrounds(sample.images, sample.strangers, sample.fill, sample.places, seed)
    kept = answers(ask, sample.target, _variants(sample, behind)).kept
    kept = kept.reshape(len(sample.orders), len(AREAS) + 1, len(KINDS), -1)
    # Where no picture of another class is at hand, that kind has no say.
    voices = np.ones((len(KINDS), len(sample.target)))
    voices[KINDS.index("other")] = sample.has_stranger
    cells: Cells = {}
    for name, at_areas in zip(sample.orders, kept, strict=True):
        shares = (at_areas * voices).sum(axis=1) / voices.sum(axis=0)
        cells[Cell(name, "robust_retention")] = shares[:-1].mean(axis=0)
        cells[Cell(name, "fill_retention_same_areas")] = at_areas[:-1, KINDS.index("fill")].mean(axis=0)
        cells[Cell(name, "robust_own")] = shares[-1]
    return cells


def _variants(sample: Sample, behind: dict[str, NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """By map: the masks of each area, then of the own mask's; each over all kinds."""
    for name, order in sample.orders.items():
        rank = ranks(order)
        masks = [first_pixels(rank, share_of(sample, area), sample.mask.shape) for area in AREAS]
        for mask in (*masks, own_masks(sample, name, rank)):
            yield from (cut(sample.images, mask, behind[kind]) for kind in KINDS)


ROBUST = Metric("robust", COLUMNS, measure_robust)
