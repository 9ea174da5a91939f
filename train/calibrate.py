"""The threshold, chosen on held-out images with a guarantee.

Learn-then-Test (Angelopoulos et al. 2021, arXiv 2110.01052) by fixed-sequence testing: thresholds are tried from the
one that keeps nearly everything upwards, each tested at level delta by an exact binomial bound on the retained
decisions, until the first failure. Masks only shrink as the threshold rises, so the last that passed is the smallest
mask with the promise, and no correction for the number of thresholds is due.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.stats import beta
from torch import Tensor

from whymask.runtime.card import GuaranteeCard
from whymask.train.classifier import FrozenClassifier
from whymask.train.data import ImageStore
from whymask.train.explainers import Explainer
from whymask.train.validate import held_out_saliency, kept_at

THRESHOLDS = tuple(1.0 / (1.0 + math.exp(-logit / 8.0)) for logit in range(-56, 57))
"""Even steps of an eighth in the saliency's logit, from 0.0009 to 0.9991."""


@dataclass(frozen=True)
class Calibration:
    """The chosen threshold and what can be promised at it."""

    threshold: float
    guarantee: GuaranteeCard


def lower_bound(successes: int, n: int, delta: float) -> float:
    """Exact one-sided lower confidence bound of a proportion at level 1 − delta (Clopper and Pearson 1934)."""
    return 0.0 if successes == 0 else float(beta.ppf(delta, successes, n - successes + 1))


def calibrate(
    classifier: FrozenClassifier,
    explainer: Explainer,
    store: ImageStore,
    fill: Tensor,
    *,
    alpha: float,
    delta: float,
    device: torch.device,
) -> Calibration:
    """Choose the highest threshold whose retention is at least 1 − alpha with confidence 1 − delta.

    Where none meets it, the threshold is the lowest, the guarantee says `met=False`, and its `lower_bound` is what
    holds.

    Args:
        store: images that were not trained on. The promise is for images drawn as these were.
        fill: normalised (1, 3, 1, 1).
    """
    saliency, target = held_out_saliency(classifier, explainer, store, device)
    chosen: Calibration | None = None
    for threshold in THRESHOLDS:
        kept, areas = kept_at(classifier, store, saliency, target, fill, threshold=threshold)
        successes, n = int(kept.sum()), len(kept)
        bound = lower_bound(successes, n, delta)
        guarantee = GuaranteeCard(alpha, delta, n, successes / n, float(areas.mean()), bound >= 1.0 - alpha, bound)
        if chosen is None or guarantee.met:
            chosen = Calibration(threshold, guarantee)
        if not guarantee.met:
            break
    if chosen is None:
        raise AssertionError("THRESHOLDS is empty")
    return chosen
