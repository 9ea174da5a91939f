"""Masks made better for their own picture, where there is time: `whymask explain … --refine K --run RUN`.

The runtime knows no gradients. What refines comes by the entry-point group `whymask.refiners`: a function
(run directory, card of the graph, steps) → `Refiner`. The package `whymask.train` brings one, which needs torch.

Letters: B batch, H W the graph's input size, h w the saliency's.
"""

from __future__ import annotations

import importlib.metadata
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.card import Card
from whymask.runtime.certificate import graph_picture
from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.explanation import Explanation
from whymask.runtime.images import Map, Picture
from whymask.runtime.progress import track

GROUP = "whymask.refiners"


class Refiner(Protocol):
    """Makes maps better, a batch at a time."""

    def __call__(
        self, pictures: Picture, target: NDArray[np.int64], saliency: Map, on_step: Callable[[int], None]
    ) -> Map:
        """Refine the maps of one batch.

        Args:
            pictures: uint8, (B, H, W, 3), 0–255.
            target: int64, (B,), the classes that are explained.
            saliency: float32, (B, h, w), in [0, 1], what the graph gave.
            on_step: told after each step how many are done.

        Returns:
            float32, (B, h, w), in [0, 1]; cut at 0.5 it is the least mask found that keeps the class.
        """


def load_refiner(run: Path | None, card: Card, steps: int) -> Refiner:
    """The refiner that an installed part brings.

    Args:
        run: directory of the run that the graph was exported from.
        card: the graph's card.
        steps: of optimisation a picture, at least 1.

    Raises:
        InputError: fewer than one step, or no run directory.
        ArtefactError: the run is of another classifier than the graph.
        MissingExtra: no part that refines is installed, or torch is not.
    """
    if steps < 1:
        raise InputError(f"--refine: got {steps} steps, expected at least 1; leave it out for the single pass")
    if run is None:
        raise InputError(
            f"--refine {steps}: a graph has no gradients; give the run directory that it was exported from: --run RUN"
        )
    entry = next(iter(importlib.metadata.entry_points(group=GROUP)), None)
    if entry is None:
        raise MissingExtra("whymask.train", "train", "refine masks (--refine)")
    try:
        make = entry.load()
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "train", "refine masks (--refine)") from error
    refiner: Refiner = make(run, card, steps)
    return refiner


def refine_all(results: Iterator[Explanation], refiner: Refiner, steps: int, batch_size: int) -> Iterator[Explanation]:
    """Explanations with refined saliencies, in their order, each batch with a progress of its own.

    Args:
        results: of single passes.
        refiner: from `load_refiner`.
        steps: that it takes a batch.
        batch_size: explanations that are refined together, at least 1.
    """
    for number in itertools.count():
        batch = list(itertools.islice(results, batch_size))
        if not batch:
            return
        name = f"refining pictures {number * batch_size + 1} to {number * batch_size + len(batch)}"
        with track(steps, name, "steps") as bar:
            maps = refiner(
                np.stack([graph_picture(each) for each in batch]),
                np.array([each.index for each in batch], np.int64),
                np.stack([each.saliency for each in batch]),
                lambda done, bar=bar: bar.advance(),  # type: ignore[misc]
            )
        yield from (each.with_saliency(row, steps) for each, row in zip(batch, maps, strict=True))
