"""MaRC for text (Brinner and Zarrieß, arXiv 2508.11388): a soft mask over tokens that favours spans.

    m_j = sigmoid(Σ_i w_i · exp(−d(i, j)² / σ_i²)),  d in tokens
    L = −log P_y(kept) − log(1 − P_y(left)) − smoothness · mean log σ + sparsity · (mean m)²

Kept is m ⊙ e + (1 − m) ⊙ PAD, left the reverse. At each step a share of the tokens has its m turned around and noise is
added to the embeddings, so that no single token is leant on by chance; AdamW moves w and σ.

Special tokens are never masked. Letters: N tokens, n of them the text's own, D width of an embedding, K draws a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from whymask.runtime.errors import InputError
from whymask.train.marc.confidence import log_confidence
from whymask.train.text.classifier import TextClassifier, Tokens

OnStep = Callable[[int], None]
"""Told the number of steps done."""


@dataclass(frozen=True)
class TextMarcConfig:
    """How a rationale is optimised. w, σ, the flips and AdamW's rate are the paper's; the rest is ours.

    Attributes:
        steps: of AdamW; 0 gives the start.
        learning_rate: of AdamW, in units of w and of σ a step.
        weight, sigma: w and σ (in tokens) of every token at the start; m starts at about 0.99.
        least_sigma: below which σ never falls.
        smoothness: weight of −mean log σ.
        sparsity: weight of (mean m)².
        flips: share of the tokens whose m becomes 1 − m, drawn anew at each step.
        noise: deviation of the noise on embeddings, in deviations of the text's own embeddings.
        draws: flips and noises a step, averaged.
        seed: of flips and noise.
    """

    steps: int = 150
    learning_rate: float = 0.03
    weight: float = 1.2
    sigma: float = 2.0
    least_sigma: float = 0.6
    smoothness: float = 0.1
    sparsity: float = 4.0
    flips: float = 0.05
    noise: float = 0.1
    draws: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that move nothing."""
        if self.steps < 0 or self.draws < 1 or not 0.0 < self.learning_rate < math.inf:
            raise InputError(
                f"rationale: {self.steps} steps, {self.draws} draws, learning rate {self.learning_rate}; expected no "
                "negative number of steps, at least one draw and a learning rate above 0"
            )
        if not 0.0 < self.least_sigma <= self.sigma or not 0.0 <= self.flips < 0.5 or self.noise < 0.0:
            raise InputError(
                f"rationale: sigma {self.sigma} and least_sigma {self.least_sigma}, flips {self.flips}, noise "
                f"{self.noise}; expected 0 < least_sigma ≤ sigma, flips in [0, 0.5) and noise of at least 0"
            )


def token_mask(weight: Tensor, sigma: Tensor) -> Tensor:
    """m of the module, float (n,) in (0, 1), from w and σ, float (n,) each; σ is the source's, as in pictures."""
    place = torch.arange(len(weight), dtype=weight.dtype, device=weight.device)
    square = (place[:, None] - place[None]).square()  # (source, target)
    return torch.sigmoid((weight[:, None] * torch.exp(-square / sigma.square()[:, None])).sum(0))


def explain_text(
    classifier: TextClassifier,
    tokens: Tokens,
    target: int,
    config: TextMarcConfig | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """The mask of one text.

    Args:
        classifier: asked, never changed.
        tokens: of the text.
        target: class to explain.
        config: how.
        on_step: told after each step how many are done.

    Returns:
        float32 (N,) in [0, 1], to be cut at 0.5; 0 at special tokens.
    """
    config = config or TextMarcConfig()
    generator = torch.Generator().manual_seed(config.seed)
    embeddings, pad, own = classifier.embed(torch.tensor(tokens.ids)).detach(), classifier.pad().detach(), tokens.own
    weight = torch.full((len(own),), config.weight, requires_grad=True)
    sigma = torch.full((len(own),), config.sigma, requires_grad=True)
    # No decay: it would pull w and σ to 0, which the paper's terms already say in their own way.
    optimiser = torch.optim.AdamW([weight, sigma], lr=config.learning_rate, weight_decay=0.0)
    for step in range(config.steps):
        optimiser.zero_grad(set_to_none=True)
        mask = token_mask(weight, sigma)
        kept, left = _disturbed(mask, embeddings, pad, own, config, generator)
        loss = _decision(classifier, kept, left, target)
        loss = loss - config.smoothness * sigma.log().mean() + config.sparsity * mask.mean().square()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            sigma.clamp_(min=config.least_sigma)
        if on_step:
            on_step(step + 1)
    result = torch.zeros(len(tokens.ids))
    result[own] = token_mask(weight, sigma).detach()
    return result


def mix(embeddings: Tensor, pad: Tensor, mask: Tensor) -> Tensor:
    """m ⊙ e + (1 − m) ⊙ PAD: float (K, N, D) of embeddings (N, D) or (K, N, D), pad (D,) and masks (K, N)."""
    return pad + mask[..., None] * (embeddings - pad)


def _disturbed(
    mask: Tensor, embeddings: Tensor, pad: Tensor, own: Tensor, config: TextMarcConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Kept and left with flips and noise, float (K, N, D) each; special tokens are kept in both."""
    flipped = torch.rand(config.draws, len(own), generator=generator) < config.flips
    drawn = torch.where(flipped, 1.0 - mask, mask)
    whole = torch.ones(config.draws, len(embeddings))
    kept, left = whole.index_copy(1, own, drawn), whole.index_copy(1, own, 1.0 - drawn)
    noise = torch.randn(config.draws, *embeddings.shape, generator=generator)
    noisy = embeddings + config.noise * embeddings[own].std(correction=0) * noise
    return mix(noisy, pad, kept), mix(noisy, pad, left)


def _decision(classifier: TextClassifier, kept: Tensor, left: Tensor, target: int) -> Tensor:
    """−log P_y(kept) − log(1 − P_y(left)), averaged over draws."""
    asked = torch.full((2 * len(kept),), target)
    sure, unsure = log_confidence(classifier.logits(torch.cat([kept, left])).float(), asked, 0.0)
    return -sure[: len(kept)].mean() - unsure[len(kept) :].mean()
