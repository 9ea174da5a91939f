"""Per-image methods: each spends its steps on one batch of pictures, and none needs a trained explainer.

    from whymask.train.methods import METHODS

    masks = METHODS["optimise"].explain(classifier, pixels, target, steps=None, seed=0, on_step=None)

A new method is one line of `METHODS`. `whymask explain --method NAME` finds it here by the entry-point group
`whymask.methods`.

Letters: B batch, H W input size.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from whymask.train.classifier import FrozenClassifier
from whymask.train.marc.pictures import MarcConfig
from whymask.train.marc.pictures import explain_images as marc_images
from whymask.train.masks import resize
from whymask.train.matching.config import LEAST, PLAIN, MatchingConfig
from whymask.train.matching.loop import explain_images as match_images
from whymask.train.optimise import OptimiseConfig, optimise
from whymask.train.refine import least_area, saliency_at_area


class ExplainImages(Protocol):
    """The signature that all methods share."""

    def __call__(
        self,
        classifier: FrozenClassifier,
        pixels: Tensor,
        target: Tensor,
        *,
        steps: int | None,
        seed: int,
        on_step: Callable[[int], None] | None,
    ) -> Tensor:
        """Explain one batch; a picture's mask does not depend on its neighbours.

        Args:
            classifier: asked, never changed.
            pixels: float32 (B, 3, H, W) in 0–255, at the classifier's input size.
            target: int64 (B,), the classes to explain.
            steps: that the method spends; None takes its own number.
            seed: of all its randomness.
            on_step: told after each step how many are done.

        Returns:
            float32 (B, H, W) in [0, 1]; the mask is where it is at least 0.5.
        """


@dataclass(frozen=True)
class Method:
    """A registered method.

    Attributes:
        explain: does it.
        steps: its own number of steps.
        about: a line that says what it is.
    """

    explain: ExplainImages
    steps: int
    about: str


def optimise_images(
    classifier: FrozenClassifier,
    pixels: Tensor,
    target: Tensor,
    *,
    steps: int | None,
    seed: int,
    on_step: Callable[[int], None] | None,
) -> Tensor:
    """`whymask.train.optimise` as a method: a free map a picture, cut at the least area that keeps the class."""
    config = OptimiseConfig(OptimiseConfig.steps if steps is None else steps, seed=seed)
    ranking = optimise(classifier, pixels, target, config, on_step=on_step)
    least = least_area(classifier, pixels, target, ranking, config.fill)
    with torch.no_grad():
        return resize(saliency_at_area(ranking, least), *pixels.shape[-2:])[:, 0]


METHODS: dict[str, Method] = {
    "activation-matching": Method(match_images, MatchingConfig.steps, "a U-Net a picture (arXiv 2509.23051)"),
    "activation-matching-plain": Method(
        functools.partial(match_images, config=MatchingConfig(network=PLAIN)),
        MatchingConfig.steps,
        "the same with the plain autoencoder of 1.1 M parameters",
    ),
    "activation-matching-least": Method(
        functools.partial(match_images, config=MatchingConfig(answer=LEAST)),
        MatchingConfig.steps,
        "the same as the first; of all masks on the way, the smallest that kept the class",
    ),
    "activation-matching-published": Method(
        functools.partial(match_images, config=MatchingConfig(as_published=True)),
        MatchingConfig.steps,
        "the same as the first; robustness without a gradient, as the published code has it",
    ),
    "marc": Method(marc_images, MarcConfig.steps, "a smooth mask a picture (arXiv 2508.11388)"),
    "optimise": Method(optimise_images, OptimiseConfig.steps, "a free map a picture down the objective of training"),
}
