"""Class activation maps: the classifier's own evidence for a class.

Zhou et al. 2016, "Learning Deep Features for Discriminative Localization" (arXiv 1512.04150), eq. 2:
M_c(p) = Σ_d W[c, d] · F_d(p), with F the last feature map and W the final layer's rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whymask.runtime.errors import InputError
from whymask.train.classifier import FrozenClassifier


def class_evidence(features: Tensor, rows: Tensor) -> Tensor:
    """M_c for one class an image.

    Args:
        features: float (B, D, h, w), the deepest tap.
        rows: float (B, D), the final layer's row of each image's class.

    Returns:
        float (B, 1, h, w). Only the asked class's map is computed, never all C.
    """
    return (features * rows[:, :, None, None]).sum(1, keepdim=True)


@torch.no_grad()
def class_activation_map(classifier: FrozenClassifier, x: Tensor, target: Tensor) -> Tensor:
    """CAM of a class, the baseline.

    Args:
        x: normalised float32 (B, 3, H, W).
        target: int64 (B,), the class of each image.

    Returns:
        float32 (B, h, w), unbounded.

    Raises:
        InputError: the classifier's final layer does not read its last feature map.
    """
    weight = classifier.head_weight
    if weight is None or not classifier.has_class_evidence:
        raise InputError(
            f"{classifier.id}: no CAM; its final layer does not read the channels of {classifier.taps[-1]!r}"
        )
    _, features = classifier.with_taps(x)
    return class_evidence(features[-1], weight[target])[:, 0]
