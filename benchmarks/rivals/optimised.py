"""Per-image optimisation as a rival: what a map can be where each picture is given hundreds of passes of its own.

Objective, masks and weights are those of training (`whymask.train.optimise`); the class activation map is the start.
Letters: see `rival.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.masking import background_from_fill
from whymask.benchmarks.rivals.rival import Rival
from whymask.runtime.card import Card
from whymask.runtime.errors import MissingExtra

if TYPE_CHECKING:
    from whymask.train.classifier import FrozenClassifier
    from whymask.train.config import TrainConfig

NAME = "optimised"
STEPS = 100
FORWARD_AND_BACKWARD = 3.0
"""Forward passes that a gradient through the classifier costs, the pass itself counted."""


def optimised_rival(
    classifier: FrozenClassifier,
    card: Card,
    saliency_size: tuple[int, int],
    *,
    steps: int = STEPS,
    seed: int = 0,
    objective: TrainConfig | None = None,
) -> Rival:
    """The rival `optimised`.

    Args:
        classifier: asked, never changed.
        card: gives the fill.
        saliency_size: h, w of the maps.
        steps: of optimisation a picture.
        seed: of starts, areas and backgrounds; every picture meets the same ones, whatever its position.
        objective: its weights count; those of a run make the rival descend what the explainer was trained on.

    Raises:
        MissingExtra: torch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtra("torch", "train", "optimise a map for each picture") from None
    from whymask.train.data import pixels_from_pictures
    from whymask.train.optimise import OptimiseConfig, optimise

    red, green, blue = (float(value) for value in background_from_fill(card.fill))
    config = OptimiseConfig(steps, size=saliency_size, seed=seed, fill=(red, green, blue))
    if objective is not None:
        config = OptimiseConfig(steps, size=saliency_size, seed=seed, fill=config.fill, objective=objective)
    asked = 2 if config.objective.necessity else 1
    # Before the first step the whole picture is asked, and once more for its class activation map.
    passes = 1.0 + classifier.has_class_evidence + steps * config.draws * asked * FORWARD_AND_BACKWARD

    def maps(images: NDArray[np.uint8], target: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float32]:
        del places
        pixels = pixels_from_pictures(images)
        found: NDArray[np.float32] = optimise(classifier, pixels, torch.from_numpy(target), config).numpy()
        return found

    stated = (
        f"a free map of {saliency_size[0]} × {saliency_size[1]} cells a picture, {steps} steps of Adam down the "
        f"objective of training (arXiv 2509.23051 with masks at random areas), {config.draws} masks a step; "
        f"{passes:.0f} passes"
    )
    return Rival(NAME, stated, maps, passes)
