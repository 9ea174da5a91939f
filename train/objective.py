"""The terms of the objective, each a mean over the batch or one number an image.

Sources: activation matching, KL, cross-entropy and the priors follow *Activation Matching for Explanation Generation*
(arXiv 2509.23051), with distances made comparable between layers; dual ascent follows De Cao et al. 2020 (arXiv
2004.14992) and Vision DiffMask (arXiv 2304.06391). Letters: B batch, C classes, h w a map's size, H W the input's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from whymask.train.config import TrainConfig


def kl_divergence(logits_image: Tensor, logits_kept: Tensor) -> Tensor:
    """KL(f(x) ‖ f(e)) per image, float (B,), from logits (B, C)."""
    log_image, log_kept = F.log_softmax(logits_image, 1), F.log_softmax(logits_kept, 1)
    return (log_image.exp() * (log_image - log_kept)).sum(1)


def cross_entropy(logits_kept: Tensor, target: Tensor) -> Tensor:
    """−log p(target | e) per image, float (B,)."""
    return F.cross_entropy(logits_kept, target, reduction="none")


def activation_distance(features_image: list[Tensor], features_kept: list[Tensor]) -> Tensor:
    """Mean over layers of ‖φ(e) − φ(x)‖² / ‖φ(x)‖² per image, float (B,).

    Dividing by the image's own energy makes layers comparable whatever their width and scale.
    """
    distances = []
    for image, kept in zip(features_image, features_kept, strict=True):
        energy = image.float().square().flatten(1).mean(1)
        distances.append((kept.float() - image.float()).square().flatten(1).mean(1) / energy.clamp_min(1e-6))
    return torch.stack(distances).mean(0)


def necessity(logits_dropped: Tensor, target: Tensor) -> Tensor:
    """relu(p(target | complement) − 1/C) per image, float (B,): without the mask, the class should fall to chance."""
    probability = logits_dropped.softmax(1).gather(1, target[:, None])[:, 0]
    return F.relu(probability - 1.0 / logits_dropped.shape[1])


def binarisation(probability: Tensor) -> Tensor:
    """Mean of p (1 − p) per image, float (B,), from (B, 1, H, W)."""
    return (probability * (1.0 - probability)).flatten(1).mean(1)


def total_variation(ranking: Tensor) -> Tensor:
    """Mean squared step between neighbours of the standardised map per image, float (B,), from (B, 1, h, w).

    Measured per step of a 20-cell map, so that one weight serves every resolution of the explainer.
    """
    scale = (ranking.shape[-1] / 20.0) ** 2
    down = (ranking[..., 1:, :] - ranking[..., :-1, :]).square().flatten(1).mean(1)
    across = (ranking[..., 1:] - ranking[..., :-1]).square().flatten(1).mean(1)
    return scale * (down + across)


def is_kept(logits_kept: Tensor, target: Tensor) -> Tensor:
    """Whether the explanation keeps the class, bool (B,)."""
    return logits_kept.argmax(1) == target


@dataclass
class Multiplier:
    """The price λ of a lost decision, moved until the asked share of decisions is kept.

    min area subject to retention ≥ ρ becomes area + λ · keep; λ ← λ · exp(rate · (ρ − retention)), clamped. The
    update is multiplicative because λ spans orders of magnitude between classifiers, which is what makes hand weights
    not travel.

    Attributes:
        value: λ.
        retention: exponential mean of the measured share of kept decisions.
    """

    value: float = 1.0
    retention: float = 0.5

    RATE = 0.02
    MEMORY = 0.9
    LOWEST, HIGHEST = 0.02, 20.0

    def update(self, measured: float, wanted: float) -> None:
        """One step of dual ascent from a batch's retention."""
        self.retention = self.MEMORY * self.retention + (1 - self.MEMORY) * measured
        moved = self.value * math.exp(self.RATE * (wanted - self.retention))
        self.value = min(max(moved, self.LOWEST), self.HIGHEST)


def keep_loss(
    config: TrainConfig,
    logits_image: Tensor,
    logits_kept: Tensor,
    target: Tensor,
    features_image: list[Tensor],
    features_kept: list[Tensor],
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted terms that hold the decision, float (B,), and each term's own values for the log."""
    terms = {
        "kl": kl_divergence(logits_image, logits_kept),
        "ce": cross_entropy(logits_kept, target),
        "activation": activation_distance(features_image, features_kept),
    }
    total = config.kl * terms["kl"] + config.ce * terms["ce"] + config.activation * terms["activation"]
    return total, terms
