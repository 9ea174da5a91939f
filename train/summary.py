"""The card of a finished training."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import Any

import torch

from whymask.runtime.card import Card, ExplainerCard
from whymask.runtime.versions import installed_versions
from whymask.train.calibrate import Calibration
from whymask.train.classifier import FrozenClassifier
from whymask.train.config import TrainConfig
from whymask.train.explainers import Explainer

REPORTED_PACKAGES = ("whymask", "torch", "torchvision", "timm", "lightning-fabric")


def fill_of(classifier: FrozenClassifier) -> tuple[float, float, float]:
    """RGB in 0–255 that dropped pixels take: the classifier's own mean, which is zero in its normalised space."""
    red, green, blue = (round(255.0 * channel) for channel in classifier.rule.mean)
    return (float(red), float(green), float(blue))


def card_of(
    classifier: FrozenClassifier,
    explainer: Explainer,
    config: TrainConfig,
    calibration: Calibration,
    figures: dict[str, float],
    training: dict[str, Any],
    digest: str,
) -> Card:
    """Everything that is known when training ends."""
    taps = classifier.taps if explainer.kind == "tapped" else ()
    height, width = saliency_size(classifier, explainer)
    parameters = sum(p.numel() for p in explainer.parameters())
    return Card(
        classifier=replace(classifier.card(), sha256=digest),
        input=classifier.rule.to_card(),
        explainer=ExplainerCard(explainer.kind, parameters, taps, height, width),
        threshold=calibration.threshold,
        fill=fill_of(classifier),
        guarantee=calibration.guarantee,
        seed=config.seed,
        metrics={name: round(value, 6) for name, value in figures.items()},
        training=training,
        versions={"python": platform.python_version()} | installed_versions(REPORTED_PACKAGES),
        licence=config.licence,
    )


@torch.no_grad()
def saliency_size(classifier: FrozenClassifier, explainer: Explainer) -> tuple[int, int]:
    """The explainer's own resolution (h, w)."""
    x = torch.zeros(1, 3, classifier.rule.height, classifier.rule.width)
    logits, features = classifier.with_taps(x)
    maps = explainer(features, x, logits, torch.zeros(1, dtype=torch.int64))
    return int(maps.shape[-2]), int(maps.shape[-1])
