"""MaRC for text (Brinner and Zarrieß, arXiv 2508.11388): a soft mask over words that favours spans.

    m_j = sigmoid(Σ_i w_i · exp(−d(i, j)² / σ_i²)),  d in words; all pieces of a word share its m
    L = −log P_y(kept) − log(1 − P_y(left)) − smoothness · mean log σ + sparsity · (mean m)²

Kept is m ⊙ e + (1 − m) ⊙ PAD, left the reverse. At each step a share of the tokens has its m set to 0, another to 1,
and noise is added to what is read, so that no single token is leant on by chance; AdamW moves w and σ. The authors'
settings are PUBLISHED; the defaults are for texts of a sentence or two, of which these keep half (`docs/marc.md`).

Special tokens are never masked. Letters: N tokens, n of them the text's own, W words of these, D width of an embedding,
K draws a step.
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

CHECK_EVERY = 50
"""Steps between two looks at whether the mask has settled."""


@dataclass(frozen=True)
class TextMarcConfig:
    """How a rationale is optimised. w, σ, the flips and AdamW's rate are the authors'; see PUBLISHED for all of theirs.

    Attributes:
        steps: of AdamW; 0 gives the start.
        settles: whether it ends before that, at the first look at which the mask has settled; see `is_settled`.
        learning_rate: of AdamW, in units of w and of σ a step.
        decay: of AdamW. It pulls w and σ to 0, which the terms already say in their own way.
        weight, sigma: w and σ (in words) of every word at the start; m starts at about 0.99.
        least_sigma: below which σ never falls.
        smoothness: weight of −mean log σ.
        sparsity: weight of (mean m)².
        flips: share of the tokens whose m is set to 0, and of those for which it is set to 1, drawn anew at each step.
        noise: deviation of the noise on embeddings, in deviations of the text's own embeddings.
        draws: flips and noises a step, averaged.
        seed: of flips and noise.
    """

    steps: int = 150
    settles: bool = False
    learning_rate: float = 0.03
    decay: float = 0.0
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


PUBLISHED = TextMarcConfig(
    steps=900, settles=True, decay=0.01, least_sigma=0.01, smoothness=1.2, sparsity=1.0, noise=0.03, draws=1
)
"""The authors' settings, made for reviews of hundreds of words. They have no least σ: 0.01 words reach no neighbour and
leave σ a logarithm. Their noise of 0.03 is added behind a layer normalisation, where a deviation is about one."""


def token_mask(weight: Tensor, sigma: Tensor) -> Tensor:
    """m of the module, float (W,) in (0, 1), from w and σ, float (W,) each; σ is the source's, as in pictures."""
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
    words = tokens.words
    weight = torch.full((int(words[-1]) + 1,), config.weight, requires_grad=True)
    sigma = torch.full_like(weight, config.sigma).requires_grad_(True)
    optimiser = torch.optim.AdamW([weight, sigma], lr=config.learning_rate, weight_decay=config.decay)
    last = 1.0
    for step in range(config.steps):
        optimiser.zero_grad(set_to_none=True)
        mask = token_mask(weight, sigma)
        if config.settles and step and step % CHECK_EVERY == 0:
            before, last = last, float(mask.detach().mean())
            if is_settled(step, last, before):
                break
        kept, left = _disturbed(mask[words], embeddings, pad, own, config, generator)
        loss = _decision(classifier, kept, left, target)
        loss = loss - config.smoothness * sigma.log().mean() + config.sparsity * mask.mean().square()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            sigma.clamp_(min=config.least_sigma)
        if on_step:
            on_step(step + 1)
    result = torch.zeros(len(tokens.ids))
    result[own] = token_mask(weight, sigma).detach()[words]
    return result


def is_settled(step: int, mean: float, before: float) -> bool:
    """Whether a mask has settled at a look, by the authors' rule.

    Args:
        step: from 0.
        mean: of m.
        before: the same at the look before, 1 at the first.
    """
    moved = abs(before - mean)
    rests = moved < 1 / 200 or (moved < 1 / 80 and mean < 0.2)
    return rests and (step >= 199 or mean < 0.3) and mean < 0.45


def mix(embeddings: Tensor, pad: Tensor, mask: Tensor) -> Tensor:
    """m ⊙ e + (1 − m) ⊙ PAD: float (…, N, D) of embeddings (N, D) or (…, N, D), pad (D,) and masks (…, N)."""
    return pad + mask[..., None] * (embeddings - pad)


def noisy_mix(embeddings: Tensor, pad: Tensor, mask: Tensor, deviation: Tensor, generator: torch.Generator) -> Tensor:
    """`mix` with noise added to all that is read: float (…, N, D); the deviation is one number, or (K, 1, 1)."""
    noise = torch.randn(*mask.shape, embeddings.shape[-1], generator=generator)
    return mix(embeddings, pad, mask) + deviation * noise


def _disturbed(
    mask: Tensor, embeddings: Tensor, pad: Tensor, own: Tensor, config: TextMarcConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Kept and left with flips and noise, float (K, N, D) each; special tokens are kept in both."""
    drawn = flipped(mask.expand(config.draws, -1), config.flips, generator)
    whole = torch.ones(config.draws, len(embeddings))
    parts = torch.stack([whole.index_copy(1, own, each) for each in (drawn, 1.0 - drawn)])
    deviation = config.noise * embeddings[own].std(correction=0)
    kept, left = noisy_mix(embeddings, pad, parts, deviation, generator)
    return kept, left


def flipped(mask: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A share of the values set to 0 and another to 1; what both drew stays. Of any shape."""
    zero, one = (torch.rand(mask.shape, generator=generator) < share for _ in range(2))
    return torch.where(zero ^ one, one.to(mask.dtype), mask)


def _decision(classifier: TextClassifier, kept: Tensor, left: Tensor, target: int) -> Tensor:
    """−log P_y(kept) − log(1 − P_y(left)), averaged over draws."""
    asked = torch.full((2 * len(kept),), target)
    sure, unsure = log_confidence(classifier.logits(torch.cat([kept, left])).float(), asked, 0.0)
    return -sure[: len(kept)].mean() - unsure[len(kept) :].mean()
