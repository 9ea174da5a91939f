"""The interpretability loss of FLINT (arXiv 2010.09345, sec. 3.2): L_int = β L_of + γ L_if + δ L_cd.

Sums over a batch are means here, and squares are averaged over pixels, so that weights do not hang on batch or size.
Letters: B batch, J attributes, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from whymask.train.flint.config import FlintConfig

PREDICTION, OUTPUT, INPUT = "prediction", "output_fidelity", "input_fidelity"
CONCISE, DIVERSE, SPARSE = "conciseness", "diversity", "sparsity"


def output_fidelity(interpreted: Tensor, logits: Tensor) -> Tensor:
    """L_of = −E f(x)ᵀ log h(Φ(x)), the generalised cross-entropy of classifier and interpreter.

    As the authors' code has it: f is the target and is not moved towards h. A second source of the paper has the two
    the other way round, −E h(Φ(x))ᵀ log f(x); its gradient vanishes where h is sure and wrong, and interpreters on
    small data stayed there.

    Args:
        interpreted: logits of h∘Φ, (B, C).
        logits: of the classifier, (B, C); they get no gradient.
    """
    return -(logits.detach().softmax(1) * interpreted.log_softmax(1)).sum(1).mean()


def entropy(values: Tensor) -> Tensor:
    """E(v) = −Σ p log p with p = softmax(v), over the last dimension, in nats: (…, J) → (…)."""
    return -(values.softmax(-1) * values.log_softmax(-1)).sum(-1)


def conciseness(phi: Tensor) -> Tensor:
    """Mean entropy of each picture's attributes, (B, J) → (): low where few stand out."""
    return entropy(phi).mean()


def diversity(phi: Tensor) -> Tensor:
    """−E of the batch's mean attributes, (B, J) → (): low where the batch as a whole uses many."""
    return -entropy(phi.mean(0))


def sparsity(phi: Tensor) -> Tensor:
    """Mean ‖Φ(x)‖₁ over the batch, (B, J) → (): entropies alone leave the size free."""
    return phi.abs().sum(1).mean()


def weighted_terms(
    config: FlintConfig,
    phi: Tensor,
    interpreted: Tensor,
    logits: Tensor,
    pictures: tuple[Tensor, Tensor],
    classes: Tensor | None,
    is_concise: bool = True,
) -> dict[str, Tensor]:
    """Every term, weighted; the loss is their sum.

    Args:
        config: gives the weights β, γ, δ, η.
        phi: Φ(x), (B, J).
        interpreted: logits of h∘Φ, (B, C).
        logits: of the classifier, (B, C).
        pictures: the decoder's, and what it is to give, both (B, 3, h, w).
        classes: int64, (B,), the true classes, for L_pred by design; None post hoc.
        is_concise: whether δ counts already.
    """
    terms = {
        OUTPUT: config.output_fidelity * output_fidelity(interpreted, logits),
        INPUT: config.input_fidelity * F.mse_loss(*pictures),
    }
    if classes is not None:
        terms[PREDICTION] = F.cross_entropy(logits, classes)
    if is_concise:
        terms |= {
            CONCISE: config.conciseness * conciseness(phi),
            DIVERSE: config.conciseness * diversity(phi),
            SPARSE: config.conciseness * config.sparsity * sparsity(phi),
        }
    return terms


def total(terms: dict[str, Tensor]) -> Tensor:
    """Sum of the terms, ()."""
    return torch.stack(list(terms.values())).sum()
