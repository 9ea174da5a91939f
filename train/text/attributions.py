"""What MaRC's rationales stand beside: random scores, gradient × input and occlusion of one token at a time.

Each gives float32 (N,), larger is more relevant, and minus infinity at special tokens, which no rationale may hold.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from whymask.train.text.classifier import TextClassifier, Tokens, probabilities


def random_scores(tokens: Tokens, seed: int) -> Tensor:
    """Seeded uniform scores."""
    return _own_alone(torch.rand(len(tokens.ids), generator=torch.Generator().manual_seed(seed)), tokens)


def gradient_times_input(classifier: TextClassifier, tokens: Tokens, target: int) -> Tensor:
    """Σ_d e_d · ∂l_y/∂e_d a token: what its embedding adds to the class's logit, to first order.

    (Shrikumar et al. 2016, arXiv 1605.01713; for text, Denil et al. 2014, arXiv 1412.6815.)
    """
    embeddings = classifier.embed(torch.tensor(tokens.ids)).detach().requires_grad_(True)
    logit = classifier.logits(embeddings[None])[0, target]
    (gradient,) = torch.autograd.grad(logit, embeddings)
    return _own_alone((gradient * embeddings).sum(1).detach(), tokens)


def occlusion(classifier: TextClassifier, tokens: Tokens, target: int) -> Tensor:
    """Fall of the class's probability when PAD stands in for a token: one pass a token (Li et al. 2016, 1612.08220)."""
    ids = torch.tensor(tokens.ids)
    embeddings, pad = classifier.embed(ids).detach(), classifier.pad().detach()
    without = embeddings.repeat(len(ids), 1, 1)
    without[torch.arange(len(ids)), torch.arange(len(ids))] = pad
    whole = probabilities(classifier, embeddings[None])[0, target]
    return _own_alone(whole - probabilities(classifier, without)[:, target], tokens)


def _own_alone(scores: Tensor, tokens: Tokens) -> Tensor:
    return scores.masked_fill(torch.tensor(tokens.special), -math.inf)
