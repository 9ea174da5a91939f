"""The objective of activation matching (arXiv 2509.23051, 2509.25686), written from its formulas.

    L = λ_act Σ α d(φ(x), φ(e)) + λ_CE CE(f(e), c) + λ_KL T² KL(f(x) ‖ f(e); T)
      + λ_area mean(m) + λ_bin mean(p (1 − p)) + λ_tv TV(p) + λ_rob mean_r CE(f(e_r), c) + λ_nec relu(f_c(x ∖ m) − 1/C)

with p the network's probability, m its straight-through cut at 0.5, e = m ⊙ x + (1 − m) ⊙ fill, e_r the same on
background r of {fill, Gaussian noise, uniform noise}, and x ∖ m the picture with the mask filled.

The published code computes the terms of robustness and necessity in a way that no gradient passes; `as_published` does
the same, by default they push the mask.

Letters: B batch, C classes, H W input size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from whymask.train.backgrounds import masked
from whymask.train.classifier import FrozenClassifier
from whymask.train.masks import straight_through
from whymask.train.matching.config import MatchingConfig
from whymask.train.matching.layers import MatchedLayer, activation_match, read
from whymask.train.objective import binarisation, cross_entropy, kl_divergence
from whymask.train.optimise import Asked

CUT = 0.5


class Step(NamedTuple):
    """One evaluation of the objective.

    Attributes:
        terms: weighted, float32 (B,) each, by name of the weight.
        kept: whether the hard mask kept the class, bool (B,).
        area: of the hard mask, float32 (B,) in [0, 1].
    """

    terms: dict[str, Tensor]
    kept: Tensor
    area: Tensor


@torch.no_grad()
def look_at(
    classifier: FrozenClassifier,
    layers: tuple[MatchedLayer, ...],
    pixels: Tensor,
    target: Tensor,
    fill: tuple[float, float, float],
) -> Asked:
    """Pictures and what the classifier makes of them whole.

    Args:
        pixels: float (B, 3, H, W) in 0–255.
        target: int64 (B,).
        fill: RGB in 0–255.
    """
    # Channels last, as everything made from it then is: a pass of the classifier takes three quarters of the time.
    x = classifier.normalise(pixels.float()).contiguous(memory_format=torch.channels_last)
    logits, features = read(classifier, layers, x)
    colour = torch.tensor(fill, device=x.device).view(1, 3, 1, 1)
    return Asked(x, target, logits, features, classifier.normalise(colour))


def evaluate(
    classifier: FrozenClassifier,
    layers: tuple[MatchedLayer, ...],
    picture: Asked,
    probability: Tensor,
    backgrounds: list[Tensor],
    config: MatchingConfig,
) -> Step:
    """Every weighted term at the networks' present masks.

    Args:
        probability: float32 (B, 1, H, W) in [0, 1].
        backgrounds: random ones of the robustness term beside the fill, normalised (1, 3, H, W) each.
        config: weights, temperature and whether robustness and necessity push.
    """
    x, target, weights = picture.x, picture.target, config.weights
    mask = straight_through(probability, torch.ones(len(x), dtype=torch.bool, device=x.device))
    logits, features = read(classifier, layers, masked(x, mask, picture.fill))
    terms = {
        "activation": weights.activation * activation_match(layers, picture.features, features),
        "ce": weights.ce * cross_entropy(logits, target),
        "kl": weights.kl * softened_divergence(picture.logits, logits, config.temperature),
        "area": weights.area * mask.flatten(1).mean(1),
        "binarisation": weights.binarisation * binarisation(probability),
        "tv": weights.tv * eight_neighbour_variation(probability),
    }
    with torch.set_grad_enabled(not config.as_published and torch.is_grad_enabled()):
        terms |= _abductive(classifier, picture, mask, logits, backgrounds, config)
    return Step(terms, logits.argmax(1) == target, mask.detach().flatten(1).mean(1))


def _abductive(
    classifier: FrozenClassifier,
    picture: Asked,
    mask: Tensor,
    logits_fill: Tensor,
    backgrounds: list[Tensor],
    config: MatchingConfig,
) -> dict[str, Tensor]:
    """Robustness and necessity, weighted; absent where the weight is 0, since each costs passes of the classifier."""
    x, target, weights, terms = picture.x, picture.target, config.weights, {}
    if weights.robustness:
        others = torch.cat([masked(x, mask, background.to(x.device)) for background in backgrounds])
        logits = torch.cat([logits_fill, classifier(others).float()])
        losses = cross_entropy(logits, target.repeat(1 + len(backgrounds)))
        terms["robustness"] = weights.robustness * losses.view(-1, len(x)).mean(0)
    if weights.necessity:
        dropped = classifier(masked(x, 1.0 - mask, picture.fill)).float()
        terms["necessity"] = weights.necessity * necessity(dropped, target)
    if config.as_published:
        terms = {name: term.detach() for name, term in terms.items()}
    return terms


def necessity(logits_dropped: Tensor, target: Tensor) -> Tensor:
    """relu(p(target | complement) − 1/C) per image, float (B,): without the mask, the class should fall to chance."""
    probability = logits_dropped.softmax(1).gather(1, target[:, None])[:, 0]
    return torch.relu(probability - 1.0 / logits_dropped.shape[1])


def softened_divergence(logits_image: Tensor, logits_kept: Tensor, temperature: float) -> Tensor:
    """T² KL(softmax(f(x) / T) ‖ softmax(f(e) / T)) per image, float (B,) (Hinton et al. 2015, arXiv 1503.02531)."""
    return temperature**2 * kl_divergence(logits_image / temperature, logits_kept / temperature)


def eight_neighbour_variation(probability: Tensor) -> Tensor:
    """Mean absolute step to the eight neighbours per image: float (B, 1, H, W) → (B,) in [0, 1].

    Each pair of neighbours counts once: across, down and along both diagonals.
    """
    p = probability
    pairs = (
        (p[..., 1:], p[..., :-1]),
        (p[..., 1:, :], p[..., :-1, :]),
        (p[..., 1:, 1:], p[..., :-1, :-1]),
        (p[..., 1:, :-1], p[..., :-1, 1:]),
    )
    return torch.stack([(a - b).abs().flatten(1).mean(1) for a, b in pairs]).mean(0)


def random_backgrounds(classifier: FrozenClassifier, height: int, width: int, seed: int, step: int) -> list[Tensor]:
    """Gaussian noise of the normalised space, and pixels drawn evenly from 0–255; float32 (1, 3, H, W) each.

    One of each kind serves all pictures of a batch: none of them depends on its neighbours.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    gaussian = torch.randn(1, 3, height, width, generator=generator)
    even = 255.0 * torch.rand(1, 3, height, width, generator=generator)
    return [gaussian, classifier.normalise(even.to(classifier.mean.device))]
