"""Cut pictures by rank and ask the classifier about all of them in large calls: what the metrics share.

Letters: B pictures, H W the graph's input height and width, V variants of each picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.baselines import EXPLAINER
from whymask.benchmarks.masking import pixel_count
from whymask.benchmarks.suite.sample import Ask, Sample, probability

PICTURES_A_CALL = 256
"""Pictures in one call at most: 40 MB at 224 × 224 pixels, whatever the number of areas and maps."""


class Answers(NamedTuple):
    """What the classifier says to variants of the same pictures.

    Attributes:
        kept: bool, (V, B), whether the explained class is top-1.
        p: float64, (V, B), its softmax probability.
    """

    kept: NDArray[np.bool_]
    p: NDArray[np.float64]


def answers(ask: Ask, target: NDArray[np.int64], variants: Iterable[NDArray[np.uint8]]) -> Answers:
    """Ask about variants of the same pictures.

    Args:
        ask: the classifier.
        target: int64, (B,), the explained classes.
        variants: each uint8, (B, H, W, 3); taken one by one, so a generator need not hold them all.
    """
    results: list[Answers] = []
    waiting: list[NDArray[np.uint8]] = []
    for variant in variants:
        waiting.append(variant)
        if (len(waiting) + 1) * len(target) > PICTURES_A_CALL:
            results.append(_answered(ask, target, waiting))
            waiting = []
    if waiting:
        results.append(_answered(ask, target, waiting))
    return Answers(*(np.concatenate(parts) for parts in zip(*results, strict=True)))


def _answered(ask: Ask, target: NDArray[np.int64], variants: Sequence[NDArray[np.uint8]]) -> Answers:
    pictures, targets = np.concatenate(variants), np.tile(target, len(variants))
    starts = range(0, len(pictures), PICTURES_A_CALL)
    parts = [_one_call(ask, pictures[i : i + PICTURES_A_CALL], targets[i : i + PICTURES_A_CALL]) for i in starts]
    kept, p = (np.concatenate(each).reshape(len(variants), -1) for each in zip(*parts, strict=True))
    return Answers(kept, p)


def _one_call(ask: Ask, pictures: NDArray[np.uint8], target: NDArray[np.int64]) -> Answers:
    logits = ask(pictures)
    return Answers(logits.argmax(axis=1) == target, probability(logits, target))


def whole(sample: Sample) -> NDArray[np.float64]:
    """Probability of the explained class on the whole pictures, float64 (B,)."""
    return probability(sample.logits, sample.target)


def ranks(order: NDArray[np.int64]) -> NDArray[np.int32]:
    """Place of each pixel in its picture's order, 0 the most relevant: int32 (B, H·W), from int64 (B, H·W)."""
    result = np.empty(order.shape, np.int32)
    np.put_along_axis(result, order, np.arange(order.shape[1], dtype=np.int32)[None], axis=1)
    return result


def first_pixels(rank: NDArray[np.int32], counts: NDArray[np.int64] | int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Masks of the most relevant pixels.

    Args:
        rank: int32, (B, H·W), from `ranks`.
        counts: pixels of every picture, or int64 (B,), of each.
        shape: of the sample's masks, (B, H, W).
    """
    return (rank < np.reshape(counts, (-1, 1))).reshape(shape)


def share_of(sample: Sample, area: float) -> int:
    """Pixels that an area is in the sample's pictures."""
    return pixel_count(area, *sample.mask.shape[1:])


def own_masks(sample: Sample, name: str, rank: NDArray[np.int32]) -> NDArray[np.bool_]:
    """A map's most relevant pixels, as many as the graph's own mask keeps in the same picture: bool (B, H, W).

    For the explainer it is the mask itself, whatever its ties at the threshold.
    """
    counts = sample.mask.sum(axis=(1, 2), dtype=np.int64)
    return sample.mask if name == EXPLAINER else first_pixels(rank, counts, sample.mask.shape)


def cut(images: NDArray[np.uint8], masks: NDArray[np.bool_], background: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`masking.compose` in a third of its time: pixels are chosen whole and not colour by colour.

    Args:
        images, background: uint8, (B, H, W, 3), contiguous.
        masks: bool, (B, H, W): image where true, background elsewhere.
    """
    chosen = np.where(masks, _pixels(images), _pixels(background))
    return chosen.view(np.uint8).reshape(images.shape)


def _pixels(images: NDArray[np.uint8]) -> NDArray[np.void]:
    return np.ascontiguousarray(images).view("V3")[..., 0]


def filled(sample: Sample) -> NDArray[np.uint8]:
    """Pictures of the card's fill alone: uint8, (B, H, W, 3)."""
    return np.ascontiguousarray(np.broadcast_to(sample.fill, sample.images.shape))
