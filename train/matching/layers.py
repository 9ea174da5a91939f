"""Which activations are matched, how heavily, and by which distance.

Published for ResNet-18 (arXiv 2509.23051): the first ReLU and the four stages, weighted 1, 2, 2, 4, 8; cosine on the
first two, standardised squares on the rest. Other classifiers get their own taps with the weights and distances counted
from the deepest.

Letters: B batch, C channels, h w a map's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from whymask.runtime.errors import InputError
from whymask.train.classifier import FrozenClassifier
from whymask.train.taps import Tap, named_taps, recording

FIRST_ACTIVATION = ("relu", "act1")
"""The first ReLU of a ResNet: torchvision's and timm's name."""

STAGES = ("layer1", "layer2", "layer3", "layer4")
PUBLISHED_WEIGHTS = (1.0, 2.0, 2.0, 4.0, 8.0)
BY_SQUARES = 3
"""So many of the deepest layers are compared by standardised squares, those before by cosine."""

LEAST_DEVIATION = 1e-3
LEAST_NORM = 1e-6

MAP = (1, 2, 3)
"""Dimensions of one picture's features."""


@dataclass(frozen=True)
class MatchedLayer:
    """One layer of the match.

    Attributes:
        tap: where it is read.
        weight: α of its distance.
        cosine: whether the distance is 1 − cosine instead of standardised squares.
    """

    tap: Tap
    weight: float
    cosine: bool


def matched_layers(classifier: FrozenClassifier, names: Sequence[str] | None = None) -> tuple[MatchedLayer, ...]:
    """The layers to match, finest first.

    Args:
        classifier: whose.
        names: modules, at most as many as there are published weights; None chooses.

    Raises:
        InputError: an unknown module, or too many or none.
    """
    taps = _taps(classifier, names)
    if not 0 < len(taps) <= len(PUBLISHED_WEIGHTS):
        raise InputError(f"matching: {len(taps)} taps, expected 1 to {len(PUBLISHED_WEIGHTS)}")
    weights = PUBLISHED_WEIGHTS[-len(taps) :]
    return tuple(
        MatchedLayer(tap, weight, len(taps) - place > BY_SQUARES)
        for place, (tap, weight) in enumerate(zip(taps, weights, strict=True))
    )


def read(classifier: FrozenClassifier, layers: Sequence[MatchedLayer], x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Normalised float (B, 3, H, W) → logits float32 (B, classes) and each layer's features float (B, C, h, w)."""
    with recording(classifier.model, [layer.tap.name for layer in layers]) as outputs:
        logits = classifier(x)
    return logits.float(), [layer.tap.to_map(outputs[layer.tap.name]).float() for layer in layers]


def activation_match(
    layers: Sequence[MatchedLayer], features_image: Sequence[Tensor], features_kept: Sequence[Tensor]
) -> Tensor:
    """Σ_l α_l d(φ_l(x), φ_l(e)) per image, float32 (B,).

    Args:
        layers: weights and distances.
        features_image, features_kept: float (B, C, h, w) a layer.
    """
    distances = []
    for layer, image, kept in zip(layers, features_image, features_kept, strict=True):
        distance = cosine_distance if layer.cosine else standardised_squares
        distances.append(layer.weight * distance(image, kept))
    return torch.stack(distances).sum(0)


def cosine_distance(image: Tensor, kept: Tensor) -> Tensor:
    """1 − cosine of the flattened features per image: float (B, C, h, w) twice → (B,) in [0, 2]."""
    # By hand: `cosine_similarity` normalises both maps first, and goes twice as often over them. Not flattened either,
    # which copies maps that lie channels last.
    of_image, of_kept = (torch.linalg.vector_norm(each, dim=MAP).clamp_min(LEAST_NORM) for each in (image, kept))
    cosine: Tensor = (image * kept).sum(MAP) / (of_image * of_kept)
    return 1.0 - cosine


def standardised_squares(image: Tensor, kept: Tensor) -> Tensor:
    """Mean squared difference, in deviations of the picture's own features: float (B, C, h, w) twice → (B,)."""
    variance = image.var(MAP, correction=0).clamp_min(LEAST_DEVIATION**2)
    squares: Tensor = F.mse_loss(kept, image, reduction="none").mean(MAP)
    return squares / variance


def _taps(classifier: FrozenClassifier, names: Sequence[str] | None) -> tuple[Tap, ...]:
    if names is None:
        modules = dict(classifier.model.named_modules())
        first = next((name for name in FIRST_ACTIVATION if name in modules), None)
        if first is None or not all(stage in modules for stage in STAGES):
            return classifier.tap_specs[-len(PUBLISHED_WEIGHTS) :]
        names = (first, *STAGES)
    rule = classifier.rule
    return named_taps(classifier.model, names, rule.height, rule.width, classifier.head)
