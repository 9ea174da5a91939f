"""The terms of the objective, each a mean over the batch or one number an image.

Sources: activation matching, KL, cross-entropy and the priors follow *Activation Matching for Explanation Generation*
(arXiv 2509.23051), with distances made comparable between layers. Letters: B batch, C classes, h w a map's size, H W
the input's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from whymask.train.config import TrainConfig
from whymask.train.distance import energy, squared_distance
from whymask.train.levels import Breaking
from whymask.train.marc.confidence import log_confidence

LEAST_ENERGY = 1e-6
"""A value of the image's features, squared, on average, below which a distance is not divided by it."""


def kl_divergence(logits_image: Tensor, logits_kept: Tensor) -> Tensor:
    """KL(f(x) ‖ f(e)) per image, float (B,), from logits (B, C)."""
    log_image, log_kept = F.log_softmax(logits_image, 1), F.log_softmax(logits_kept, 1)
    return (log_image.exp() * (log_image - log_kept)).sum(1)


def cross_entropy(logits_kept: Tensor, target: Tensor) -> Tensor:
    """−log p(target | e) per image, float (B,)."""
    return F.cross_entropy(logits_kept, target, reduction="none")


def activation_distance(features_image: list[Tensor], features_kept: list[Tensor]) -> Tensor:
    """Mean over layers of ‖φ(e) − φ(x)‖² / ‖φ(x)‖² per image, float (B,); the gradient goes to φ(e) alone.

    Dividing by the image's own energy makes layers comparable whatever their width and scale.
    """
    distances = []
    for image, kept in zip(features_image, features_kept, strict=True):
        least = LEAST_ENERGY * image[0].numel()
        distances.append(squared_distance(kept, image) / energy(image.detach()).clamp_min(least))
    return torch.stack(distances).mean(0)


def necessity(logits_dropped: Tensor, target: Tensor) -> Tensor:
    """relu(log((1 − 1/C) / (1 − p))) per image, float (B,), with p the complement's probability of the target.

    Without the mask the class should fall to chance. −log(1 − p), as MaRC has it (Brinner and Zarrieß, arXiv
    2508.11388), less its value at chance: in the units of the terms that keep the class, and with a slope that does not
    vanish where the complement is sure of it, as that of p itself does.
    """
    _, log_left = log_confidence(logits_dropped, target, 0.0)
    return F.relu(math.log1p(-1.0 / logits_dropped.shape[1]) - log_left)


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


def is_upheld(logits_image: Tensor, logits_kept: Tensor, target: Tensor, against: Tensor | None) -> Tensor:
    """Whether the explanation says of an asked class what the image says, bool (B,).

    For the predicted class: it stays. For another one, which cannot be expected to become the first: its probability,
    or its lead over the class that it is held against, is at least the image's.
    """
    image, kept = (lead(logits, target, against) for logits in (logits_image, logits_kept))
    return torch.where(target == logits_image.argmax(1), is_kept(logits_kept, target), kept >= image)


def lead(logits: Tensor, target: Tensor, against: Tensor | None) -> Tensor:
    """log p(target), or its logit minus that of the class it is held against, float (B,)."""
    log_p = F.log_softmax(logits.float(), 1)
    of_target = log_p.gather(1, target[:, None])[:, 0]
    if against is None:
        return of_target
    of_other = log_p.gather(1, against.clamp_min(0)[:, None])[:, 0]
    return of_target - torch.where(against >= 0, of_other, 0.0 * of_other)


def asked_loss(logits_kept: Tensor, target: Tensor, against: Tensor | None) -> Tensor:
    """What a mask of an asked class costs, float (B,): −log p(target | e), or −log p of it among the two alone."""
    ahead = lead(logits_kept, target, against)
    if against is None:
        return -ahead
    return torch.where(against >= 0, F.softplus(-ahead), -ahead)


def presence_loss(presence: Tensor, seen: Tensor, absent: Tensor, is_absent: Tensor) -> Tensor:
    """Binary cross-entropy per image, float (B,), of telling classes that are there from those that are not.

    Args:
        presence, absent: logits of a class that was asked and of one that is not there, float32 (B,).
        seen, is_absent: bool (B,), whether each is certain enough to learn from.
    """
    return seen * F.softplus(-presence) + is_absent * F.softplus(absent)


def breaking_loss(breaking: Breaking, level: Tensor, kept: Tensor) -> Tensor:
    """−log-likelihood per image, float (B,), of whether a hard mask cut at `level` kept the class.

    A binary response at a random dose, fitted by a logistic curve of its own centre and scale an image (a quantal
    response model; Finney 1947, *Probit Analysis*). The least area that keeps the class with chance ρ is then read off
    the curve, so that the constraint needs no multiplier.

    Args:
        level: where each mask was cut, float (B, 1, 1, 1).
        kept: whether it kept the class, bool (B,).
    """
    chance = ((breaking.centre - level) / breaking.scale).flatten()
    return F.binary_cross_entropy_with_logits(chance, kept.float(), reduction="none")


def quantile_loss(ranking: Tensor, level: Tensor, area: float) -> Tensor:
    """Pinball loss per image, float (B,): least where a share `area` of the map lies above the level.

    Quantile regression (Koenker and Bassett 1978, *Regression Quantiles*). Its slope over the level is `area` less the
    share that a hard mask keeps there, so that predicted levels keep `area` on average. A square of the soft mask's
    share does not: the tails of a sigmoid hold a tenth of the map where no pixel is above its middle.

    Args:
        ranking: float (B, 1, H, W).
        level: float (B, 1, 1, 1).
        area: in (0, 1).
    """
    above = ranking - level
    return torch.where(above > 0, (1.0 - area) * above, -area * above).flatten(1).mean(1)


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
