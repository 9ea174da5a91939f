"""MaRC's objective (arXiv 2508.11388) for a batch of texts, as terms of what the head says.

    keep       = −log P_y(m ⊙ e + (1 − m) ⊙ PAD)          lose = −log(1 − P_y((1 − m) ⊙ e + m ⊙ PAD))
    sparsity   = (mean m)²                                 smoothness = mean |m_j − m_{j+1}|
    ranked     = keep + lose with m^a in place of m: z shifted so that the drawn share a lies above 0

Means are over a text's own tokens; special tokens are always shown. A term is the mean over texts.

Letters: K texts, N tokens of the longest, D width of an embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from whymask.train.marc.confidence import log_confidence
from whymask.train.text.amortized_config import AmortizedConfig
from whymask.train.text.marc import flipped, noisy_mix
from whymask.train.text.reading import ReadableClassifier, TextBatch


@dataclass(frozen=True)
class Asked:
    """Texts with what the frozen classifier is asked about them.

    Attributes:
        batch: the texts.
        embeddings: float32 (K, N, D), without gradient.
        pad: float32 (D,).
        target: int64 (K,), the class to keep and to lose.
    """

    batch: TextBatch
    embeddings: Tensor
    pad: Tensor
    target: Tensor


def terms(
    classifier: ReadableClassifier, asked: Asked, scores: Tensor, config: AmortizedConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    """Every term before its weight, each a scalar with a gradient to the scores.

    Args:
        classifier: asked, never changed.
        asked: texts and classes.
        scores: float32 (K, N), z of the head.
        config: how.
        generator: of flips, noise and areas.
    """
    own = asked.batch.own
    mask = torch.sigmoid(scores)
    keep, lose = _decisions(classifier, asked, mask, config, generator)
    found = {
        "keep": keep,
        "lose": lose,
        "sparsity": own_mean(mask, own).square().mean(),
        "smoothness": own_mean_step(mask, own).mean(),
    }
    if config.ranked:
        area = _drawn_area(len(scores), config, generator)
        at_area = mask_at_area(scores, own, area)
        found["ranked"] = torch.stack(_decisions(classifier, asked, at_area, config, generator)).sum()
    return found


def weighted(found: dict[str, Tensor], config: AmortizedConfig) -> Tensor:
    """The loss: every term times its weight."""
    return torch.stack([getattr(config, name) * term for name, term in found.items()]).sum()


def mask_at_area(scores: Tensor, own: Tensor, area: Tensor) -> Tensor:
    """The mask with all scores shifted so that about the asked share of the tokens has one half or more.

    The shift has its gradient, so that raising every score gains nothing; and scores are not rescaled, since a loss
    that does not see their scale lets them grow until every sigmoid is flat.

    Args:
        scores: float (K, N).
        own: bool (K, N).
        area: float (K,), share of a text's own tokens, in (0, 1).

    Returns:
        float (K, N) in (0, 1), one half midway between the last token that is kept and the first that is not.
    """
    count = own.sum(1)
    last = (area * count).ceil().long().clamp(min=1) - 1
    ordered = scores.masked_fill(~own, -math.inf).sort(1, descending=True).values
    following = torch.minimum(last + 1, count - 1)
    level = (ordered.gather(1, last[:, None]) + ordered.gather(1, following[:, None])) / 2.0
    return torch.sigmoid(scores - level)


def own_mean(values: Tensor, own: Tensor) -> Tensor:
    """Mean over a text's own tokens: float (K,) of float (K, N) and bool (K, N)."""
    return (values * own).sum(1) / own.sum(1)


def own_mean_step(mask: Tensor, own: Tensor) -> Tensor:
    """Mean |m_j − m_{j+1}| over neighbours that are both a text's own: float (K,); 0 for a text of one token."""
    both = own[:, 1:] & own[:, :-1]
    return ((mask[:, 1:] - mask[:, :-1]).abs() * both).sum(1) / both.sum(1).clamp(min=1)


def _drawn_area(count: int, config: AmortizedConfig, generator: torch.Generator) -> Tensor:
    """float (K,), logarithmically even between the configuration's least and most."""
    low, high = math.log(config.least_area), math.log(config.most_area)
    return (low + (high - low) * torch.rand(count, generator=generator)).exp()


def _decisions(
    classifier: ReadableClassifier, asked: Asked, mask: Tensor, config: AmortizedConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """−log P_y of what is kept and −log(1 − P_y) of what is left, with flips and noise as in `text/marc.py`."""
    own, seen = asked.batch.own, asked.batch.seen
    drawn = flipped(mask, config.flips, generator)
    parts = torch.stack([torch.where(own, part, 1.0) for part in (drawn, 1.0 - drawn)])
    shown = noisy_mix(asked.embeddings, asked.pad, parts, config.noise * _deviation(asked), generator)
    logits = classifier.read(shown.flatten(0, 1), torch.cat([seen, seen])).logits
    sure, unsure = log_confidence(logits.float(), torch.cat([asked.target, asked.target]), 0.0)
    return -sure[: len(mask)].mean(), -unsure[len(mask) :].mean()


def _deviation(asked: Asked) -> Tensor:
    """Of each text's own embeddings, float (K, 1, 1)."""
    own = asked.batch.own[..., None]
    count = own.sum((1, 2), keepdim=True) * asked.embeddings.shape[2]
    mean = (asked.embeddings * own).sum((1, 2), keepdim=True) / count
    return ((asked.embeddings - mean).square() * own).sum((1, 2), keepdim=True).div(count).sqrt()
