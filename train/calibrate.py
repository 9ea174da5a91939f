"""The threshold, chosen on held-out images with a guarantee.

Learn-then-Test (Angelopoulos et al. 2021, arXiv 2110.01052) by fixed-sequence testing: thresholds are tried from the
one that keeps nearly everything upwards, each tested at level delta by an exact binomial bound on the retained
decisions, until the first failure. Masks only shrink as the threshold rises, so the last that passed is the smallest
mask with the promise, and no correction for the number of thresholds is due.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

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


class Answer(NamedTuple):
    """What held-out images say at one threshold: how many of n keep their class, and their masks' mean area."""

    kept: int
    n: int
    mean_area: float


Ask: TypeAlias = Callable[[float], Answer]
"""Asks at a threshold; called only until the first failure, since each call is a pass over all images."""


@dataclass(frozen=True)
class Calibration:
    """The chosen threshold and what can be promised at it."""

    threshold: float
    guarantee: GuaranteeCard


@lru_cache(maxsize=65_536)
def lower_bound(successes: int, n: int, delta: float) -> float:
    """Exact one-sided lower confidence bound of a proportion at level 1 − delta (Clopper and Pearson 1934)."""
    return 0.0 if successes == 0 else float(beta.ppf(delta, successes, n - successes + 1))


def choose_threshold(ask: Ask, *, alpha: float, delta: float, thresholds: Sequence[float] = THRESHOLDS) -> Calibration:
    """Choose the highest threshold up to which no test has failed.

    Where none meets the promise, the threshold is the lowest, the guarantee says `met=False`, and its `lower_bound` is
    what holds.

    Args:
        ask: about images that were not trained on.
        alpha, delta: of the promise, in (0, 1).
        thresholds: rising; fixed before any image was seen.
    """
    chosen: Calibration | None = None
    for threshold in thresholds:
        kept, n, mean_area = ask(threshold)
        bound = lower_bound(kept, n, delta)
        guarantee = GuaranteeCard(alpha, delta, n, kept / n, mean_area, bound >= 1.0 - alpha, bound)
        if chosen is None or guarantee.met:
            chosen = Calibration(threshold, guarantee)
        if not guarantee.met:
            break
    if chosen is None:
        raise AssertionError("there is no threshold to choose from")
    return chosen


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

    Args:
        store: images that were not trained on. The promise is for images drawn as these were.
        fill: normalised (1, 3, 1, 1).
    """
    saliency, target = held_out_saliency(classifier, explainer, store, device)

    def ask(threshold: float) -> Answer:
        kept, areas = kept_at(classifier, store, saliency, target, fill, threshold=threshold)
        return Answer(int(kept.sum()), len(kept), float(areas.mean()))

    return choose_threshold(ask, alpha=alpha, delta=delta)
