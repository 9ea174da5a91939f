"""One training step: which masks are drawn, what they cost, where the gradient goes.

The *ranking* learns from masks cut at the quantile of an area drawn for the image: it has to rank well at every area.
They are soft at first and later more and more hard, with a straight-through gradient.

The *level* learns, in mode `constraint`, from hard masks at another drawn area: each only asks the classifier whether
it keeps the class, and the answer moves the predicted breaking level. No gradient passes through these masks, so the
search for the least area can neither spoil the ranking nor collapse: gradients of hard masks with respect to one
level are wrong more often than right, and drove it to empty masks here. In mode `weighted` it does learn through
straight-through masks, in mode `area` it is the target's quantile of the map.

With a *lesson* the ranking of an image's own class learns from a teacher's map alone (`distil.py`), and no gradient
passes through the classifier. Everything else stays: the level, presence, the priors, and other classes that are asked
about, which no teacher was.

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
from whymask.train.distil import Lesson, distil_loss
from whymask.train.explainers import TEMPERATURE, Explainer
from whymask.train.levels import Breaking
from whymask.train.masks import bilinear_by_product, level_of_area, mask_from_saliency, straight_through
from whymask.train.objective import (
    asked_loss,
    binarisation,
    breaking_loss,
    is_kept,
    is_upheld,
    keep_loss,
    necessity,
    presence_loss,
    quantile_loss,
    total_variation,
)
from whymask.train.queries import Queries, draw_queries

OWN_EVERY = 4
"""In mode `weighted`, every fourth image of a batch is cut at its own level, once this has begun."""

LEAST_ASKED, MOST_ASKED = 0.02, 0.995
"""Areas at which an image is asked whether it keeps its class, evenly drawn."""

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
    own = (torch.arange(count) % OWN_EVERY == 0) & (config.mode == "weighted" and progress >= config.level_from)
    hard = (random[1] < config.hard_share * ramp(progress, config.hard_from)) | own
    return Draw(own, hard, area)


@dataclass(frozen=True)
class StepResult:
    """The loss to descend, and figures for the log."""

    loss: Tensor
    figures: dict[str, float]


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
        generator: torch.Generator,
        lesson: Lesson | None = None,
    ) -> StepResult:
        """Evaluate the objective on pixels, float (B, 3, H, W) in 0–255, and on what a teacher says of them, if any."""
        config = self.config
        pictures = self.classifier.normalise(pixels).contiguous(memory_format=torch.channels_last)
        asked = draw_queries(self.classifier, pictures, config.others, generator)
        if lesson is not None:
            asked = asked.about(lesson.target)
        x = asked.x
        absent = asked.absent if config.presence else None
        ranking, breaking = explainer.ranking_and_breaking(
            asked.features, x, asked.logits, asked.target, asked.against, absent
        )
        draw = draw_masks(config, progress, len(x), generator).to(pixels.device)
        soft = probability(ranking, breaking.centre, draw, x)
        mask = straight_through(soft, draw.hard)
        if lesson is None:
            loss, terms, kept = self._held(asked, mask, generator)
            terms["kept"] = kept.float()
        else:
            loss, terms = self._taught(asked, ranking, mask, draw, lesson, generator)
        rough = ranking if breaking.unfiltered is None else breaking.unfiltered
        terms["tv"] = config.tv * total_variation(rough)
        terms["binarisation"] = config.binarisation * binarisation(soft)
        if config.necessity and lesson is None:
            dropped = masked(x, 1.0 - mask, fill_background(x, self.fill))
            terms["necessity"] = config.necessity * necessity(self.classifier(dropped).float(), asked.target)
        if breaking.presence is not None and breaking.absent is not None:
            told = presence_loss(breaking.presence, asked.seen, breaking.absent, asked.is_absent)
            terms["presence"] = config.presence * told
        terms["level"] = self._level_loss(ranking, breaking, draw, asked, progress, generator)
        for name in ("tv", "binarisation", "necessity", "presence", "level"):
            loss = loss + terms.get(name, 0.0)
        total = loss.mean()
        means = {name: value.detach().float().mean() for name, value in terms.items()}
        means |= {"loss": total.detach(), "area": mask.detach().mean()}
        figures = torch.stack(list(means.values())).tolist()  # at once: each transfer waits for a GPU
        return StepResult(total, dict(zip(means, figures, strict=True)))

    def _taught(
        self,
        asked: Queries,
        ranking: Tensor,
        mask: Tensor,
        draw: Draw,
        lesson: Lesson,
        generator: torch.Generator,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What departing from the teacher costs, float (B,), and its terms for the log.

        A crop in which the classifier does not see the class that was explained teaches no ranking.
        """
        knows = asked.own & (lesson.target == asked.target)
        loss = torch.where(knows, self.config.distil * distil_loss(ranking, lesson, draw.area), 0.0)
        terms = {"distil": loss, "taught": knows.float()}
        others = int((~asked.own).sum())
        if others:
            terms["asked"], _, _ = self._held(asked.first(others), mask[:others], generator)
            loss = torch.cat([terms["asked"], loss[others:]])
        return loss, terms

    def _held(
        self, asked: Queries, mask: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """What holding the answers costs, float (B,), its terms for the log, and the share of classes kept, ()."""
        config = self.config
        background = random_background(asked.x, self.fill, config.robustness, generator)
        explanation = masked(asked.x, mask, background).contiguous(memory_format=torch.channels_last)
        logits, features = self.classifier.with_taps(explanation)
        loss, terms = keep_loss(config, asked.logits.float(), logits.float(), asked.target, asked.features, features)
        if asked.against is not None:  # where another class is asked, the image's own decision is not to be held
            terms["asked"] = asked_loss(logits, asked.target, asked.against)
            loss = torch.where(asked.own, loss, (config.kl + config.ce) * terms["asked"])
        own = asked.own.float()
        return loss, terms, (own * is_kept(logits, asked.target)).sum() / own.sum()

    def _level_loss(
        self,
        ranking: Tensor,
        breaking: Breaking,
        draw: Draw,
        asked: Queries,
        progress: float,
        generator: torch.Generator,
    ) -> Tensor:
        """What the level learns from, float (B,) or (1,)."""
        config = self.config
        if progress < config.level_from:
            return 0.0 * (breaking.centre + breaking.scale).sum()[None]  # DDP expects a gradient for every parameter
        if config.mode == "constraint":
            return config.level * self._breaking_loss(ranking.detach(), breaking, asked, generator)
        unused = 0.0 * breaking.scale.flatten()  # DDP expects a gradient for every parameter
        if config.mode == "area":
            shown = bilinear_by_product(ranking.detach(), *asked.x.shape[-2:])
            return config.area * quantile_loss(shown, breaking.centre, config.target_area) + unused
        share = torch.sigmoid((ranking.detach() - breaking.centre) / TEMPERATURE).flatten(1).mean(1)
        return config.area * torch.where(draw.own, share, 0.0 * share) + unused

    def _breaking_loss(self, ranking: Tensor, breaking: Breaking, asked: Queries, generator: torch.Generator) -> Tensor:
        """Ask hard masks at drawn areas, exactly as they will be deployed, whether they uphold what is asked."""
        x = asked.x
        area = LEAST_ASKED + (MOST_ASKED - LEAST_ASKED) * torch.rand(len(x), generator=generator)
        level = level_of_area(ranking, area.to(x.device))
        with torch.no_grad():
            saliency = torch.sigmoid((ranking - level) / TEMPERATURE)[:, 0]
            mask = mask_from_saliency(saliency, x.shape[-2], x.shape[-1], 0.5)
            logits = self.classifier(masked(x, mask, fill_background(x, self.fill)))
            upheld = is_upheld(asked.logits, logits, asked.target, asked.against)
        return breaking_loss(breaking, level, upheld)


def probability(ranking: Tensor, own_level: Tensor, draw: Draw, x: Tensor) -> Tensor:
    """Resized saliency at each image's drawn cut, (B, 1, H, W)."""
    cut = torch.where(draw.own.view(-1, 1, 1, 1), own_level, level_of_area(ranking, draw.area))
    return bilinear_by_product(torch.sigmoid((ranking - cut) / TEMPERATURE), x.shape[-2], x.shape[-1])
