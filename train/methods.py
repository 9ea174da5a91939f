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
from whymask.train.marc.pictures import BLUR, MarcConfig
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
        about: a line that says what it is.
        config: its settings, whose steps and seed are replaced by those that are asked for.
    """

    explain: ExplainImages
    about: str
    config: MatchingConfig | MarcConfig | OptimiseConfig

    @property
    def steps(self) -> int:
        """Its own number of steps, or the most of them."""
        return self.config.steps

    @property
    def settles(self) -> bool:
        """Whether it ends before its steps do once a mask has settled."""
        return isinstance(self.config, MarcConfig)


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


def _matching(about: str, config: MatchingConfig | None = None) -> Method:
    config = config or MatchingConfig()
    return Method(functools.partial(match_images, config=config), about, config)


def _marc(about: str, config: MarcConfig | None = None) -> Method:
    config = config or MarcConfig()
    return Method(functools.partial(marc_images, config=config), about, config)


METHODS: dict[str, Method] = {
    "activation-matching": _matching("a U-Net a picture (arXiv 2509.23051)"),
    "activation-matching-plain": _matching(
        "the same with the plain autoencoder of 1.1 M parameters", MatchingConfig(network=PLAIN)
    ),
    "activation-matching-least": _matching(
        "the same as the first; of all masks on the way, the smallest that kept the class", MatchingConfig(answer=LEAST)
    ),
    "activation-matching-published": _matching(
        "the same as the first; robustness without a gradient, as the published code has it",
        MatchingConfig(as_published=True),
    ),
    "activation-matching-published-plain": _matching(
        "the same with the plain autoencoder: what `benchmarks.matching --setting published --network plain` judges",
        MatchingConfig(network=PLAIN, as_published=True),
    ),
    "marc": _marc("a smooth mask a picture (arXiv 2508.11388)"),
    "marc-blur": _marc(
        "the same over the picture's own blur, whatever the classifier",
        MarcConfig(background=BLUR),
    ),
    "optimise": Method(optimise_images, "a free map a picture down the objective of training", OptimiseConfig()),
}
