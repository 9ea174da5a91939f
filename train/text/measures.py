"""Is a rationale faithful, and is it the one that people gave? Measures of ERASER (DeYoung et al. 2020, 1911.03429).

    sufficiency        = p(y | x) − p(y | r)        low is good: the rationale r alone keeps the class
    comprehensiveness  = p(y | x) − p(y | x ∖ r)    high is good: without it the class is lost

For scores, r is the best share of the tokens; AOPC is the mean over the shares of BINS. Tokens that are not shown take
PAD's embedding (`pad`) or are taken out, so that the text gets shorter (`delete`, as in ERASER).

Letters: N tokens, n of them the text's own, M rationales.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whymask.runtime.errors import InputError
from whymask.train.text.classifier import TextClassifier, Tokens, probabilities
from whymask.train.text.marc import mix

BINS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares of the tokens in ERASER's AOPC."""
PAD, DELETE = "pad", "delete"
REMOVALS = (PAD, DELETE)


@dataclass(frozen=True)
class Faithfulness:
    """Both measures of one text, each in [−1, 1].

    Attributes:
        sufficiency: low is good.
        comprehensiveness: high is good.
    """

    sufficiency: float
    comprehensiveness: float


@dataclass(frozen=True)
class Agreement:
    """How tokens agree with a given rationale, each in [0, 1].

    Attributes:
        precision, recall: 0 where nothing was chosen.
        f1: their harmonic mean.
        iou: intersection over union.
    """

    precision: float
    recall: float
    f1: float
    iou: float


def aopc(
    classifier: TextClassifier,
    tokens: Tokens,
    target: int,
    scores: Tensor,
    removal: str = DELETE,
    bins: Sequence[float] = BINS,
) -> Faithfulness:
    """Both measures, averaged over shares of the best tokens (rounded up, at least one).

    Args:
        classifier: asked.
        tokens: of the text.
        target: class.
        scores: float (N,), larger is more relevant; ties go to the earlier token.
        removal: one of REMOVALS.
        bins: shares in (0, 1].

    Raises:
        InputError: no bin, or one outside (0, 1].
    """
    if not bins or not all(0.0 < share <= 1.0 for share in bins):
        raise InputError(f"AOPC: bins {tuple(bins)}, expected shares above 0 and up to 1, at least one")
    chosen = torch.stack([best_tokens(tokens, scores, share) for share in sorted(bins)])
    return _faithfulness(classifier, tokens, target, chosen, removal)


def faithfulness(
    classifier: TextClassifier, tokens: Tokens, target: int, chosen: Tensor, removal: str = DELETE
) -> Faithfulness:
    """Both measures of one rationale.

    Args:
        chosen: bool (N,), the rationale's tokens; special tokens are always shown.
        removal: one of REMOVALS.
        classifier, tokens, target: as in `aopc`.

    Raises:
        InputError: an unknown removal.
    """
    return _faithfulness(classifier, tokens, target, chosen[None], removal)


def best_tokens(tokens: Tokens, scores: Tensor, share: float) -> Tensor:
    """The best share of the text's own tokens, rounded up: bool (N,)."""
    # Rounding first, since 0.1 · 30 is a little more than 3.
    return best_count(tokens, scores, math.ceil(round(share * len(tokens.own), 9)))


def best_count(tokens: Tokens, scores: Tensor, count: int) -> Tensor:
    """The `count` best of the text's own tokens, ties to the earlier one: bool (N,)."""
    own = tokens.own
    order = own[scores[own].argsort(descending=True, stable=True)]
    return torch.zeros(len(tokens.ids), dtype=torch.bool).index_fill(0, order[:count], True)


def tokens_in_spans(tokens: Tokens, spans: Sequence[tuple[int, int]]) -> Tensor:
    """The text's own tokens that share a character with a span (start, end): bool (N,)."""
    inside = [not special and touches(span, spans) for span, special in zip(tokens.spans, tokens.special, strict=True)]
    return torch.tensor(inside)


def touches(span: tuple[int, int], others: Sequence[tuple[int, int]]) -> bool:
    """Whether a span (start, end) shares a character with one of the others."""
    return any(span[0] < last and first < span[1] for first, last in others)


def agreement(chosen: NDArray[np.bool_], given: NDArray[np.bool_]) -> Agreement:
    """Compare chosen tokens with a given rationale, bool (N,) both.

    Raises:
        InputError: shapes that differ, or an empty given rationale, with which nothing can agree.
    """
    if chosen.shape != given.shape or not given.any():
        raise InputError(
            f"agreement: {chosen.shape} chosen flags, {int(given.sum())} of {given.shape} given; expected the same "
            "tokens, and at least one in the given rationale"
        )
    both, either = int((chosen & given).sum()), int((chosen | given).sum())
    precision, recall = both / max(1, int(chosen.sum())), both / int(given.sum())
    return Agreement(precision, recall, 2.0 * precision * recall / max(precision + recall, 1e-12), both / either)


def _faithfulness(
    classifier: TextClassifier, tokens: Tokens, target: int, chosen: Tensor, removal: str
) -> Faithfulness:
    """Both measures, averaged over rationales: bool (M, N)."""
    special = torch.tensor(tokens.special)
    whole = torch.ones_like(special)[None]
    found = _probabilities(classifier, tokens, target, torch.cat([whole, chosen | special, ~chosen | special]), removal)
    count = len(chosen)
    alone, left = float(np.mean(found[1 : 1 + count])), float(np.mean(found[1 + count :]))
    return Faithfulness(found[0] - alone, found[0] - left)


def _probabilities(classifier: TextClassifier, tokens: Tokens, target: int, shown: Tensor, removal: str) -> list[float]:
    """Of the class, once for each choice of tokens that are shown, bool (M, N)."""
    embeddings, pad = classifier.embed(torch.tensor(tokens.ids)).detach(), classifier.pad().detach()
    if removal == PAD:
        found: list[float] = probabilities(classifier, mix(embeddings, pad, shown.float()))[:, target].tolist()
        return found
    if removal != DELETE:
        raise InputError(f"removal is {removal!r}, expected one of {', '.join(REMOVALS)}")
    # Where nothing is left, PAD alone stands for the empty text.
    parts = [embeddings[each] if bool(each.any()) else pad[None] for each in shown]
    return [float(probabilities(classifier, part[None])[0, target]) for part in parts]
