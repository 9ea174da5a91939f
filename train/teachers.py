"""Teachers: per-image methods with everything that decides their maps, for `whymask train --teacher NAME`.

A teacher explains with the run's own seed and fill, and `optimise` descends the run's own objective. Where a mask is
cut counts for nothing here, so `optimise` gives its map as it is.

Letters: B batch, H W input size, s t a map's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from whymask.train.classifier import FrozenClassifier
from whymask.train.config import TrainConfig
from whymask.train.marc.pictures import MarcConfig, marc_masks
from whymask.train.matching.config import MatchingConfig
from whymask.train.matching.loop import match
from whymask.train.methods import METHODS
from whymask.train.optimise import STREAMS, OptimiseConfig, optimise

OPTIMISE = "optimise"
TERMS = ("kl", "ce", "activation", "binarisation", "tv", "necessity", "robustness")
OBJECTIVE = (*TERMS, "min_area", "max_area", "hard_from", "hard_share")
"""Settings of the run that `optimise` reads."""


class Explain(Protocol):
    """How a teacher is asked."""

    def __call__(
        self, classifier: FrozenClassifier, pixels: Tensor, target: Tensor, *, on_step: Callable[[int], None]
    ) -> Tensor:
        """Explain one batch.

        Args:
            classifier: asked, never changed.
            pixels: float32 (B, 3, H, W) in 0–255.
            target: int64 (B,), the classes to explain.
            on_step: told after each step how many are done.

        Returns:
            float32 (B, s, t), larger is more relevant.
        """


@dataclass(frozen=True)
class Teacher:
    """A method as it teaches.

    Attributes:
        name: of METHODS.
        steps: that it spends on a picture, at most.
        settings: everything that decides its maps beside classifier and pictures, as JSON can hold it.
        explain: does it.
    """

    name: str
    steps: int
    settings: dict[str, Any]
    explain: Explain


def teacher_from_config(config: TrainConfig, fill: tuple[float, float, float]) -> Teacher:
    """The teacher that a configuration names.

    Args:
        config: of the run; its `teacher` is set.
        fill: RGB in 0–255 of dropped pixels, the run's.
    """
    name = str(config.teacher)
    own, steps = METHODS[name].config, config.teacher_steps or METHODS[name].steps
    if isinstance(own, OptimiseConfig):
        return _optimise(replace(own, steps=steps, seed=config.seed, fill=fill, objective=config))
    if isinstance(own, MarcConfig):
        return _marc(name, replace(own, steps=steps))
    return _matching(name, replace(own, steps=steps, seed=config.seed, fill=fill))


def _optimise(config: OptimiseConfig) -> Teacher:
    def explain(
        classifier: FrozenClassifier, pixels: Tensor, target: Tensor, *, on_step: Callable[[int], None]
    ) -> Tensor:
        return optimise(classifier, pixels, target, config, on_step=on_step)

    settings = {name: getattr(config.objective, name) for name in OBJECTIVE}
    settings |= {"learning_rate": config.learning_rate, "draws": config.draws, "streams": STREAMS}
    return Teacher(OPTIMISE, config.steps, {**settings, "seed": config.seed, "fill": list(config.fill)}, explain)


def _marc(name: str, config: MarcConfig) -> Teacher:
    def explain(
        classifier: FrozenClassifier, pixels: Tensor, target: Tensor, *, on_step: Callable[[int], None]
    ) -> Tensor:
        return marc_masks(classifier, pixels, target, config, on_step)

    return Teacher(name, config.steps, asdict(config), explain)


def _matching(name: str, config: MatchingConfig) -> Teacher:
    def explain(
        classifier: FrozenClassifier, pixels: Tensor, target: Tensor, *, on_step: Callable[[int], None]
    ) -> Tensor:
        return match(classifier, pixels, target, config, on_step).masks

    return Teacher(name, config.steps, {**asdict(config), "fill": list(config.fill)}, explain)


@torch.no_grad()
def predicted(classifier: FrozenClassifier, pixels: Tensor) -> Tensor:
    """The classifier's own classes, int64 (B,), of pixels float32 (B, 3, H, W) in 0–255."""
    logits: Tensor = classifier(classifier.normalise(pixels))
    return logits.argmax(1)
