"""Samples for the evaluation suite whose right answers are known."""

from __future__ import annotations

import numpy as np
import quadrant

from whymask.benchmarks.masking import background_from_fill
from whymask.benchmarks.suite.backgrounds import strange_pictures
from whymask.benchmarks.suite.orders import orders_from_maps
from whymask.benchmarks.suite.sample import Ask, Sample

SIDE = 4


def quadrant_sample(count: int = 4) -> tuple[Ask, Sample]:
    """Pictures decided by their top left quadrant; a map that knows it, its reverse, and the first under two names."""
    backend = quadrant.QuadrantBackend(quadrant.oracle())

    def ask(images):
        return backend.run({"image": images}, ("logits",))["logits"]

    images = np.stack(quadrant.pictures(count))
    truth = np.broadcast_to(quadrant.oracle() > 0, images.shape[:3])
    perfect = truth.astype(np.float32)
    orders = orders_from_maps({"perfect": perfect}, np.arange(count), 0)
    # The exact reverse, so that what is removed first and last changes places.
    orders |= {"reversed": orders["perfect"][:, ::-1].copy(), "again": orders["perfect"]}
    logits = ask(images)
    target = logits.argmax(axis=1)
    others, has_other = strange_pictures(images, target)
    sample = Sample(
        names=tuple(f"picture {i}" for i in range(count)),
        places=np.arange(count),
        images=images,
        target=target,
        logits=logits,
        mask=truth.copy(),
        maps={"perfect": perfect, "reversed": -perfect, "again": perfect},
        orders=orders,
        fill=background_from_fill(quadrant.FILL),
        strangers=others,
        has_stranger=has_other,
        truth=truth,
    )
    return ask, sample


def counting_ask(images):
    """p(class 1) is the share of white pixels."""
    white = (images[..., 0] == 255).mean(axis=(1, 2)).clip(1e-9, 1 - 1e-9)
    return np.log(np.stack([1 - white, white], axis=1)).astype(np.float32)


def white_sample() -> Sample:
    """One white picture of 4 × 4, a map that falls from pixel to pixel, an own mask of its first row."""
    images = np.full((1, SIDE, SIDE, 3), 255, np.uint8)
    relevance = -np.arange(SIDE * SIDE, dtype=np.float32).reshape(1, SIDE, SIDE)
    mask = np.zeros((1, SIDE, SIDE), np.bool_)
    mask[:, 0] = True
    truth = np.zeros_like(mask)
    truth[:, :, 0] = True
    return Sample(
        names=("white",),
        places=np.zeros(1, np.int64),
        images=images,
        target=np.array([1]),
        logits=counting_ask(images),
        mask=mask,
        maps={"falling": relevance},
        orders={"falling": np.arange(SIDE * SIDE)[None]},
        fill=np.zeros(3, np.uint8),
        strangers=images,
        has_stranger=np.zeros(1, np.bool_),
        truth=truth,
    )
