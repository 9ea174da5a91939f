"""Figures of a map, one a picture: what its masks keep and lose, how ragged they are, whether their rims lie on edges.

All masks but the graph's own are cut at given areas, so that maps of different thresholds can be compared.

Letters: B pictures, H W the graph's input height and width, h w the map's own resolution, n pictures of the whole set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.masking import background_from_fill, compose, keep_first, pixel_count
from whymask.benchmarks.pictures import read_pictures
from whymask.benchmarks.suite.backgrounds import backgrounds, strange_pictures
from whymask.benchmarks.suite.orders import orders_from_maps
from whymask.benchmarks.variants import Figures
from whymask.runtime.card import LOGITS, MASK, SALIENCY
from whymask.runtime.errors import InputError
from whymask.runtime.explainer import Explainer
from whymask.runtime.images import resize_map
from whymask.runtime.regions import label_regions

Masks = NDArray[np.bool_]
Images = NDArray[np.uint8]

AREAS = (0.05, 0.10, 0.20, 0.30, 0.50)
SHAPE_AREA = 0.2
"""Share of the pixels at which the form of a mask is judged: about what an object of the demo covers."""
MIDDLE = (0.1, 0.9)
BATCH = 32
SEED = 0
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Shown:
    """A chunk of pictures and what the graph says of them.

    Attributes:
        images: uint8 (B, H, W, 3).
        first: position of the first in the set.
        logits: float32 (B, C); top1: int64 (B,).
        saliency: float32 (B, h, w), as the graph gives it.
        mask: bool (B, H, W), the graph's own.
        order: int64 (B, H·W), pixels from the most relevant to the least.
        fill: uint8 (3,), the card's.
    """

    images: Images
    first: int
    logits: NDArray[np.float32]
    top1: NDArray[np.int64]
    saliency: NDArray[np.float32]
    mask: Masks
    order: NDArray[np.int64]
    fill: Images

    def best(self, area: float) -> Masks:
        """The most relevant share of the pixels: bool (B, H, W)."""
        height, width = self.images.shape[1:3]
        count = pixel_count(area, height, width)
        return np.stack([keep_first(each, count, height, width) for each in self.order])


def figures_of_set(
    explainer: Explainer, paths: Sequence[Path], measure: Callable[[AskedGraph, Shown], Figures]
) -> Figures:
    """Measure a set of pictures, chunk by chunk.

    Args:
        explainer: the loaded graph.
        paths: all of them must be readable, so that the numbers of two graphs belong to the same pictures.
        measure: figures of a chunk.

    Raises:
        InputError: a picture cannot be read, or there are fewer than two.
    """
    _, pictures, failed = read_pictures(paths, 0, explainer.card.input)
    if failed or len(pictures) < 2:
        raise InputError(f"{len(pictures)} of {len(paths)} pictures can be read, expected all, and two ({failed[:1]})")
    images, graph = np.stack(pictures), AskedGraph(explainer, BATCH)
    starts = range(0, len(images), BATCH)
    parts = [measure(graph, shown(graph, explainer, images[i : i + BATCH], i)) for i in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def shown(graph: AskedGraph, explainer: Explainer, images: Images, first: int) -> Shown:
    """Ask the graph about a chunk."""
    outputs = graph.run(images, (LOGITS, SALIENCY, MASK))
    saliency = outputs[SALIENCY].astype(np.float32)
    resized = resize_map(saliency, *images.shape[1:3])
    order = orders_from_maps({"": resized}, first + np.arange(len(images)), SEED)[""]
    fill = background_from_fill(explainer.card.fill)
    logits, mask = outputs[LOGITS], outputs[MASK].astype(np.bool_)
    return Shown(images, first, logits, logits.argmax(axis=1), saliency, mask, order, fill)


def keeping_figures(graph: AskedGraph, chunk: Shown) -> Figures:
    """What is kept when only the best pixels stay, means over AREAS.

    Returns:
        `retention`: share of areas with the class kept, rest filled; `retention_at_…`: each of them; `robust`: the mean
        over areas and the suite's five backgrounds, four where no picture of another class is at hand; `kl`: mean
        KL(f(x) ‖ f(e)) in nats, rest filled.
    """
    others, has_other = strange_pictures(chunk.images, chunk.top1)
    behind = backgrounds(chunk.images, others, chunk.fill, chunk.first + np.arange(len(chunk.images)), SEED)
    figures: Figures = {}
    kept, divergences, robust = [], [], []
    for area in AREAS:
        masks = chunk.best(area)
        for kind, background in behind.items():
            logits = graph.logits(compose(chunk.images, masks, background))
            stays = (logits.argmax(axis=1) == chunk.top1).astype(np.float64)
            robust.append(np.where(has_other, stays, np.nan) if kind == "other" else stays)
            if kind == "fill":
                kept.append(stays)
                figures[f"retention_at_{round(100 * area)}"] = stays
                divergences.append(kl_divergence(chunk.logits, logits))
    figures["robust"] = np.nanmean(robust, axis=0)
    return figures | {"retention": np.mean(kept, axis=0), "kl": np.mean(divergences, axis=0)}


def losing_figures(graph: AskedGraph, chunk: Shown) -> Figures:
    """What is lost when the best pixels go.

    Returns:
        `flip`: share of AREAS without which the class changes, the dropped pixels filled; `p_without`: mean probability
        of the class there; `own_flip`, `own_kept`, `own_area`: the same at the graph's own mask.
    """
    flips, chances = [], []
    for area in AREAS:
        logits = graph.logits(compose(chunk.images, ~chunk.best(area), chunk.fill))
        flips.append((logits.argmax(axis=1) != chunk.top1).astype(np.float64))
        chances.append(np.exp(log_softmax(logits))[np.arange(len(logits)), chunk.top1])
    without, alone = (graph.top1(compose(chunk.images, mask, chunk.fill)) for mask in (~chunk.mask, chunk.mask))
    return {
        "flip": np.mean(flips, axis=0),
        "p_without": np.mean(chances, axis=0),
        "own_flip": (without != chunk.top1).astype(np.float64),
        "own_kept": (alone == chunk.top1).astype(np.float64),
        "own_area": chunk.mask.mean(axis=(1, 2), dtype=np.float64),
    }


def shape_figures(chunk: Shown) -> Figures:
    """The form of the mask of SHAPE_AREA: `edge_length`, `components`, `edge_agreement`; and `middle` of the map."""
    masks = chunk.best(SHAPE_AREA)
    return {
        "edge_length": edge_length(masks),
        "components": np.array([label_regions(mask.astype(np.uint8))[1] for mask in masks], np.float64),
        "edge_agreement": edge_agreement(chunk.images, masks),
        "middle": middle_share(chunk.saliency),
    }


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64 (B, C) of logits (B, C)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def kl_divergence(whole: NDArray[np.float32], kept: NDArray[np.float32]) -> NDArray[np.float64]:
    """KL(f(x) ‖ f(e)) in nats, float64 (B,), of logits (B, C)."""
    log_whole, log_kept = log_softmax(whole), log_softmax(kept)
    result: NDArray[np.float64] = (np.exp(log_whole) * (log_whole - log_kept)).sum(axis=1)
    return result


def middle_share(saliency: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of a map's values between 0.1 and 0.9, float64 (B,)."""
    low, high = MIDDLE
    result: NDArray[np.float64] = ((saliency > low) & (saliency < high)).mean(axis=(1, 2), dtype=np.float64)
    return result


def rim(masks: Masks) -> Masks:
    """Pixels of a mask with a neighbour (of four) outside it; the picture's border is no rim. bool (B, H, W)."""
    found = np.zeros_like(masks)
    for axis in (1, 2):
        ahead = [slice(None)] * 3
        behind = [slice(None)] * 3
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        differ = masks[tuple(ahead)] != masks[tuple(behind)]
        found[tuple(ahead)] |= differ
        found[tuple(behind)] |= differ
    return found & masks


def edge_length(masks: Masks) -> NDArray[np.float64]:
    """Rim pixels per pixel of the mask, float64 (B,); nan for an empty mask."""
    sizes = masks.sum(axis=(1, 2)).astype(np.float64)
    result = np.full(len(masks), np.nan)
    np.divide(rim(masks).sum(axis=(1, 2)), sizes, out=result, where=sizes > 0)
    return result


def edge_agreement(images: Images, masks: Masks) -> NDArray[np.float64]:
    """Mean gradient of the picture on both sides of the mask's rim, over its mean gradient everywhere.

    1 is what a rim laid anywhere reaches on average. Gradient: length of the central differences of the grey picture.

    Returns:
        float64 (B,); nan where there is no rim, or the picture is flat.
    """
    rows, columns = np.gradient(images.astype(np.float32) @ LUMA, axis=(1, 2))
    gradient = np.hypot(rows, columns).astype(np.float64)
    both = rim(masks) | rim(~masks)
    counts, everywhere = both.sum(axis=(1, 2)).astype(np.float64), gradient.mean(axis=(1, 2))
    sums = np.where(both, gradient, 0.0).sum(axis=(1, 2))
    known = (counts > 0) & (everywhere > 0)
    result = np.full(len(masks), np.nan)
    np.divide(sums, counts * everywhere, out=result, where=known)
    return result
