"""One training step: which masks are drawn, what they cost, where the gradient goes.

Two kinds of mask are drawn. A *random-area* mask cuts the ranking at the quantile of an area drawn for the image: it
teaches the map to rank well at every area. An *own-level* mask cuts at the level that the explainer predicts for the
image, and is hard, with a straight-through gradient: it teaches how much of this image has to stay.

The ranking learns from random-area masks; the level from own-level masks, by the area term and λ times the keep terms.
So the search for the least area cannot spoil the ranking, which is what collapses when both are one.

Letters: B batch, H W input size, h w the explainer's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from whymask.train.backgrounds import fill_background, masked, random_background
from whymask.train.classifier import FrozenClassifier
from whymask.train.config import TrainConfig
from whymask.train.explainers import TEMPERATURE, Explainer
from whymask.train.masks import level_of_area, resize, straight_through
from whymask.train.objective import Multiplier, binarisation, is_kept, keep_loss, necessity, total_variation

OWN_EVERY = 4
"""Every fourth image of a batch gets an own-level mask, once these have begun."""

AREA_SPREAD = 1.5
"""In mode `area`, random areas are drawn between target / 1.5 and target · 1.5."""


@dataclass(frozen=True)
class Draw:
    """What was drawn for each image: own level or random area, hard or soft, and the area. All (B,)."""

    own: Tensor
    hard: Tensor
    area: Tensor

    def to(self, device: torch.device) -> Draw:
        """The same draw on a device."""
        return Draw(self.own.to(device), self.hard.to(device), self.area.to(device))


def ramp(progress: float, start: float) -> float:
    """0 until `start`, then linearly to 1 at the end."""
    return 0.0 if progress < start or start >= 1.0 else (progress - start) / (1.0 - start)


def draw_masks(config: TrainConfig, progress: float, count: int, generator: torch.Generator) -> Draw:
    """Draw for a batch; `progress` is the share of the steps done, in [0, 1]."""
    low, high = config.min_area, config.max_area
    if config.mode == "area":
        low, high = config.target_area / AREA_SPREAD, min(config.target_area * AREA_SPREAD, 0.95)
    random = torch.rand(2, count, generator=generator)
    area = torch.exp(math.log(low) + random[0] * math.log(high / low))
    own = (torch.arange(count) % OWN_EVERY == 0) & (progress >= config.level_from)
    hard = (random[1] < config.hard_share * ramp(progress, config.hard_from)) | own
    return Draw(own, hard, area)


def scale_gradient(value: Tensor, factor: float) -> Tensor:
    """The same value; its gradient times `factor`."""
    return value.detach() + factor * (value - value.detach())


@dataclass(frozen=True)
class StepResult:
    """The loss to descend, and figures for the log."""

    loss: Tensor
    figures: dict[str, float]
    own_kept: Tensor
    """bool (own-level masks of the batch,): whether each kept its class."""


class Objective:
    """The whole objective of one step, for one classifier.

    Args:
        fill: RGB in 0–255 of dropped pixels.
    """

    def __init__(self, config: TrainConfig, classifier: FrozenClassifier, fill: tuple[float, float, float]) -> None:
        self.config, self.classifier = config, classifier
        pixels = torch.tensor(fill, device=classifier.mean.device).view(1, 3, 1, 1)
        self.fill = classifier.normalise(pixels)

    def __call__(
        self,
        explainer: Explainer,
        pixels: Tensor,
        progress: float,
        multiplier: Multiplier,
        generator: torch.Generator,
    ) -> StepResult:
        """Evaluate the objective on pixels, float (B, 3, H, W) in 0–255."""
        config = self.config
        x = self.classifier.normalise(pixels).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            logits, features = self.classifier.with_taps(x)
        target = logits.argmax(1)
        ranking, level = explainer.ranking_and_level(features, x, logits, target)
        draw = draw_masks(config, progress, len(x), generator).to(pixels.device)
        price = multiplier.value if config.mode == "constraint" else 1.0
        soft = self._probability(ranking, level, draw, price, x)
        mask = straight_through(soft, draw.hard)
        background = random_background(x, self.fill, config.robustness, generator)
        explanation = masked(x, mask, background).contiguous(memory_format=torch.channels_last)
        kept_logits, kept_features = self.classifier.with_taps(explanation)
        keep, terms = keep_loss(config, logits.float(), kept_logits.float(), target, features, kept_features)
        loss = keep.mean() + config.tv * total_variation(ranking).mean()
        if config.necessity:
            dropped = masked(x, 1.0 - mask, fill_background(x, self.fill))
            terms["necessity"] = necessity(self.classifier(dropped).float(), target)
            loss = loss + config.necessity * terms["necessity"].mean()
        loss = loss + self._area_loss(ranking, level, draw.own) + config.binarisation * binarisation(soft).mean()
        kept = is_kept(kept_logits, target)
        figures = {name: float(value.detach().mean()) for name, value in terms.items()}
        figures |= {"loss": float(loss.detach()), "tv": float(total_variation(ranking.detach()).mean())}
        figures |= {"area": float(mask.detach().mean()), "kept": float(kept.float().mean())}
        return StepResult(loss, figures, kept[draw.own])

    def _probability(self, ranking: Tensor, level: Tensor, draw: Draw, price: float, x: Tensor) -> Tensor:
        """Resized saliency at each image's drawn cut, (B, 1, H, W)."""
        own = draw.own.view(-1, 1, 1, 1)
        cut = torch.where(own, scale_gradient(level, price), level_of_area(ranking, draw.area))
        held = torch.where(own, ranking.detach(), ranking)
        saliency = torch.sigmoid((held - cut) / TEMPERATURE)
        return resize(saliency[:, 0], x.shape[-2], x.shape[-1])

    def _area_loss(self, ranking: Tensor, level: Tensor, own: Tensor) -> Tensor:
        """The price of the images' own areas; it moves the level alone, the ranking is held."""
        if not bool(own.any()):
            return 0.0 * level.sum()  # keeps the level in the graph: DDP expects a gradient for every parameter
        saliency = torch.sigmoid((ranking.detach() - level)[own] / TEMPERATURE)
        share = saliency.flatten(1).mean(1)
        if self.config.mode == "area":
            return self.config.area * (share - self.config.target_area).square().mean()
        return self.config.area * share.mean()
