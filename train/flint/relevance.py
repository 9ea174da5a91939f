"""What attributes say of a decision: relevance, fidelity, conciseness (arXiv 2010.09345, sec. 3.1 and 4).

Letters: N pictures, B batch, J attributes, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whymask.runtime.errors import InputError

TAUS = (1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0)
"""Thresholds τ of the conciseness curve: an attribute is important where its relevance is above 1/τ."""
LEAST = 1e-12
"""Of what relevance is divided by: a picture without any attribute has relevance 0, not NaN."""


def local_relevance(phi: Tensor, weight: Tensor, classes: Tensor) -> Tensor:
    """r_{j,c,x} = Φ_j(x) W_{j,c} / max_i |Φ_i(x) W_{i,c}|.

    Args:
        phi: Φ(x), (B, J).
        weight: (C, J), see `Interpreter.weight`.
        classes: int64, (B,), the class c of each picture.

    Returns:
        (B, J), in [−1, 1]; 0 everywhere where no attribute contributes.
    """
    contribution = phi * weight[classes]
    return contribution / contribution.abs().amax(1, keepdim=True).clamp_min(LEAST)


def global_relevance(relevance: Tensor, classes: Tensor, count: int) -> Tensor:
    """r_{j,c}: mean local relevance over the pictures whose predicted class is c.

    Args:
        relevance: (N, J).
        classes: int64, (N,), predicted.
        count: C.

    Returns:
        (C, J); NaN in the rows of classes that no picture is predicted as.
    """
    sums = torch.zeros(count, relevance.shape[1]).index_add_(0, classes, relevance)
    number = torch.bincount(classes, minlength=count)
    return torch.where(number[:, None] > 0, sums / number.clamp_min(1)[:, None], torch.nan)


def conciseness_of(relevance: Tensor, tau: float) -> Tensor:
    """Number of important attributes of each picture, those with r > 1/τ: (N, J) → int64 (N,).

    Raises:
        InputError: τ is not above 1.
    """
    if tau <= 1:
        raise InputError(f"tau is {tau}, expected a number above 1: relevance never exceeds 1")
    return (relevance > 1 / tau).sum(1)


@dataclass(frozen=True)
class Judged:
    """What an interpreter says of some pictures.

    Attributes:
        predicted: int64 (N,), the classifier's classes.
        interpreted: int64 (N,), the interpreter's.
        phi: float32 (N, J).
        relevance: float32 (N, J), local, of the predicted classes.
    """

    predicted: Tensor
    interpreted: Tensor
    phi: Tensor
    relevance: Tensor

    @property
    def agreed(self) -> int:
        """Pictures on which interpreter and classifier name the same class."""
        return int((self.predicted == self.interpreted).sum())

    @property
    def fidelity(self) -> float:
        """Share of them, in [0, 1]."""
        return self.agreed / len(self.predicted)

    def conciseness(self, taus: Sequence[float] = TAUS) -> dict[str, float]:
        """Mean number of important attributes, by τ as text."""
        return {f"{tau:g}": float(conciseness_of(self.relevance, tau).float().mean()) for tau in taus}
