"""One picture's own optimum: the objective of amortized training, descended on a free map instead of on a network.

A map θ an image is standardised, cut at random areas, soft first and then hard with a straight-through gradient, and
moved by Adam (Kingma and Ba 2015, arXiv 1412.6980) so that what is kept holds the decision of the frozen classifier:
the per-image setting of *Activation Matching for Explanation Generation* (arXiv 2509.23051), with the masks and weights
of `step.py`. It says what a single pass leaves on the table, and refines a single pass where there is time.

The pictures of a batch share every random draw and nothing else, so that none depends on its neighbours.

Letters: B batch, H W input size, h w the map's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from whymask.runtime.errors import InputError
from whymask.train.backgrounds import blur, fill_background, masked, random_background
from whymask.train.cam import class_activation_map
from whymask.train.classifier import FrozenClassifier
from whymask.train.config import TrainConfig
from whymask.train.explainers import CENTRE_GAIN, centre_prior
from whymask.train.masks import resize, standardise, straight_through
from whymask.train.objective import binarisation, keep_loss, necessity, total_variation
from whymask.train.step import Draw, draw_masks, probability

START_NOISE = 0.05
"""Deviation of the noise that a map without a given start gets, beside a class evidence of deviation 1."""

FILL = (124.0, 116.0, 104.0)
"""RGB in 0–255 of dropped pixels where no card says another: the card's own default."""

START, AREA, BACKGROUND = range(3)
STREAMS = 3
"""What is drawn at random: the start's noise, areas, backgrounds."""

OnStep = Callable[[int], None]
"""Told the number of steps done."""


@dataclass(frozen=True)
class OptimiseConfig:
    """How a map is optimised.

    Attributes:
        steps: of Adam; 0 gives the start.
        learning_rate: peak, in deviations of the map a step; a cosine takes it to a hundredth.
        draws: masks a step and image, each at an area of its own, at least 1.
        size: h, w of the map; None takes the finest tap's.
        seed: of the start's noise, the areas and the backgrounds.
        fill: RGB in 0–255 of dropped pixels.
        objective: its weights, areas, hardness and robustness count; a run's own makes the objective the one it was
            trained on.
    """

    steps: int = 300
    learning_rate: float = 0.1
    draws: int = 1
    size: tuple[int, int] | None = None
    seed: int = 0
    fill: tuple[float, float, float] = FILL
    objective: TrainConfig = field(default_factory=lambda: TrainConfig("", ()))

    def __post_init__(self) -> None:
        """Refuse settings that move nothing."""
        if self.steps < 0 or self.draws < 1 or not 0.0 < self.learning_rate < math.inf:
            raise InputError(
                f"optimise: {self.steps} steps, {self.draws} draws, learning rate {self.learning_rate}; expected no "
                "negative number of steps, at least one draw and a learning rate above 0"
            )
        if self.size is not None and min(self.size) < 2:
            raise InputError(f"optimise: size is {self.size}, expected a height and a width of at least 2 cells")


class Asked(NamedTuple):
    """What stays the same over the steps, for a batch of pictures.

    Attributes:
        x: normalised pictures, float32 (B, 3, H, W).
        target: int64 (B,), the classes that are to be kept.
        logits: of the whole pictures, float32 (B, C).
        features: taps of the whole pictures, (B, channels, ·, ·) each.
        fill: normalised, float32 (1, 3, 1, 1).
    """

    x: Tensor
    target: Tensor
    logits: Tensor
    features: list[Tensor]
    fill: Tensor


def optimise(
    classifier: FrozenClassifier,
    pixels: Tensor,
    target: Tensor,
    config: OptimiseConfig | None = None,
    start: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """The best map that can be found for each picture.

    Args:
        classifier: asked, never changed.
        pixels: float (B, 3, H, W) in 0–255.
        target: int64 (B,), the classes to keep.
        config: how.
        start: maps to start from, float (B, ·, ·), larger is more relevant, any range; None starts from the class
            activation map, where the classifier has one, nearness to the centre and a little noise.
        on_step: told after each step how many are done.

    Returns:
        float32 (B, h, w), standardised, larger is more relevant.
    """
    config = config or OptimiseConfig()
    asked = ask_once(classifier, pixels, target, config.fill)
    theta = _start(classifier, asked, config, start).requires_grad_(True)
    optimiser = torch.optim.Adam([theta], lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, config.steps), config.learning_rate / 100.0)
    for step in range(config.steps):
        optimiser.zero_grad(set_to_none=True)
        for number, draw in enumerate(_draws(config, step)):
            background = own_backgrounds(asked, config, step * config.draws + number)
            terms = weighted_terms(classifier, asked, theta, draw, background, config.objective)
            # Summed over pictures, not averaged: each one's gradient is that of its own loss.
            (torch.stack(list(terms.values())).sum() / config.draws).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if on_step:
            on_step(step + 1)
    return standardise(theta.detach())[:, 0]


@torch.no_grad()
def ask_once(classifier: FrozenClassifier, pixels: Tensor, target: Tensor, fill: tuple[float, float, float]) -> Asked:
    """Pictures and what the classifier says of them whole.

    Args:
        pixels: float (B, 3, H, W) in 0–255.
        target: int64 (B,).
        fill: RGB in 0–255.
    """
    x = classifier.normalise(pixels.float()).contiguous(memory_format=torch.channels_last)
    logits, features = classifier.with_taps(x)
    colour = torch.tensor(fill, device=x.device).view(1, 3, 1, 1)
    return Asked(x, target, logits.float(), features, classifier.normalise(colour))


def weighted_terms(
    classifier: FrozenClassifier, asked: Asked, theta: Tensor, draw: Draw, background: Tensor, objective: TrainConfig
) -> dict[str, Tensor]:
    """The terms of the objective at one drawn mask an image, each float (B,), already weighted.

    Args:
        theta: free maps, float32 (B, 1, h, w).
        draw: of one mask, (1,): the same area for every picture.
        background: what dropped pixels become, normalised (B, 3, H, W).
        objective: its weights count.
    """
    count, x = len(asked.x), asked.x
    draw = Draw(*(value.expand(count) for value in (draw.own, draw.hard, draw.area))).to(x.device)
    ranking = standardise(theta)
    soft = probability(ranking, torch.zeros(count, 1, 1, 1, device=x.device), draw, x)
    mask = straight_through(soft, draw.hard)
    kept = masked(x, mask, background).contiguous(memory_format=torch.channels_last)
    logits, features = classifier.with_taps(kept)
    _, terms = keep_loss(objective, asked.logits, logits.float(), asked.target, asked.features, features)
    weighted = _held(objective, terms, asked)
    weighted["tv"] = objective.tv * total_variation(ranking)
    weighted["binarisation"] = objective.binarisation * binarisation(soft)
    if objective.necessity:
        dropped = masked(x, 1.0 - mask, fill_background(x, asked.fill))
        weighted["necessity"] = objective.necessity * necessity(classifier(dropped).float(), asked.target)
    return weighted


def _held(objective: TrainConfig, terms: dict[str, Tensor], asked: Asked) -> dict[str, Tensor]:
    """The weighted terms of the decision. Where another class than the predicted one is asked, it alone is held."""
    own = asked.logits.argmax(1) == asked.target
    return {
        "kl": objective.kl * own * terms["kl"],
        "ce": torch.where(own, objective.ce, objective.kl + objective.ce) * terms["ce"],
        "activation": objective.activation * own * terms["activation"],
    }


def own_backgrounds(asked: Asked, config: OptimiseConfig, number: int) -> Tensor:
    """Random backgrounds, (B, 3, H, W), the same draw for every picture and from no other picture.

    Where training would take another picture of the batch, a picture's own blur stands in.

    Args:
        number: of the draw, which seeds it.
    """
    backgrounds = []
    for image, smooth in zip(asked.x, blur(asked.x), strict=True):
        generator = torch.Generator().manual_seed(_seed(config, BACKGROUND, number))
        pair = torch.stack([image, smooth])
        backgrounds.append(random_background(pair, asked.fill, config.objective.robustness, generator)[0])
    return torch.stack(backgrounds)


def _draws(config: OptimiseConfig, step: int) -> list[Draw]:
    """The masks of a step, one area each; in mode `constraint`, whose maps are never cut at a level of their own."""
    generator = torch.Generator().manual_seed(_seed(config, AREA, step))
    drawn = draw_masks(replace(config.objective, mode="constraint"), step / config.steps, config.draws, generator)
    return [Draw(drawn.own[i : i + 1], drawn.hard[i : i + 1], drawn.area[i : i + 1]) for i in range(config.draws)]


def _seed(config: OptimiseConfig, stream: int, number: int = 0) -> int:
    """Of a draw. Streams share no seed, else an image's area would foretell its background."""
    return (config.seed * 1_000_003 + number) * STREAMS + stream


def _start(classifier: FrozenClassifier, asked: Asked, config: OptimiseConfig, start: Tensor | None) -> Tensor:
    """float32 (B, 1, h, w), standardised."""
    finest = classifier.tap_specs[0]
    size = config.size or (finest.height, finest.width)
    if start is not None:
        return standardise(resize(start.detach().float(), *size))
    generator = torch.Generator().manual_seed(_seed(config, START))
    noise = START_NOISE * torch.randn(1, 1, *size, generator=generator)
    theta = noise.to(asked.x.device).expand(len(asked.x), -1, -1, -1)
    theta = theta + CENTRE_GAIN * centre_prior(theta)
    if classifier.has_class_evidence:
        theta = theta + standardise(resize(class_activation_map(classifier, asked.x, asked.target), *size))
    return standardise(theta)
