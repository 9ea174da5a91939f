"""Recipro-CAM: which cell of the last feature map, left alone, still gives the class?

Byun and Lee 2022, "Recipro-CAM: Fast Gradient-Free Visual Explanations for Convolutional Neural Networks" (arXiv
2209.14074): each of the h·w cells is left with a Gaussian 3 × 3 neighbourhood, all others are set to zero, the rest of
the network answers each of these maps, and the softmax probability of the class is the cell's relevance.

The layers before the map run once a picture: the pass of one picture carries h·w maps from there on.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whymask.benchmarks.rivals.rival import Maps
from whymask.benchmarks.rivals.torch_maps import Layer, normalised, replaced
from whymask.runtime.errors import InputError
from whymask.train.classifier import FrozenClassifier
from whymask.train.taps import Tap

GAUSSIAN = (1 / 4, 1 / 2, 1 / 4)
"""Along each axis; the 3 × 3 filter of the paper is its outer product."""
AGREEMENT = 1e-3
"""Largest difference of logits, as a share of their range, when a map is carried twice; rounding is far below."""


def recipro_cam_maps(classifier: FrozenClassifier, layer: Layer) -> Maps:
    """The method as a function on uint8 pictures.

    Raises:
        InputError: the rest of the classifier cannot carry more maps than pictures.
    """
    check_carries(classifier, layer)
    tap = layer.tap
    weights = in_layout(tap, gaussian_masks(tap.height, tap.width).to(classifier.mean.device))

    @torch.no_grad()
    def maps(images: NDArray[np.uint8], target: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float32]:
        del places
        pairs = zip(normalised(classifier, images), target.tolist(), strict=True)
        # float64: the cells' probabilities may differ in their last float32 digits only.
        scores = [masked_logits(classifier, layer, x[None], weights).double().softmax(1)[:, c] for x, c in pairs]
        relevance: NDArray[np.float32] = standardised(torch.stack(scores)).float().cpu().numpy()
        return relevance.reshape(-1, tap.height, tap.width)

    return maps


def gaussian_masks(height: int, width: int) -> Tensor:
    """A mask for each cell: float32 (h·w, h, w), the Gaussian neighbourhood of cell n, cut off at the border."""
    rows, columns = (_neighbours(length) for length in (height, width))
    return torch.einsum("ia,jb->ijab", rows, columns).reshape(-1, height, width)


def _neighbours(length: int) -> Tensor:
    """float32 (length, length): row i has the middle of `GAUSSIAN` at i."""
    side, middle, _ = GAUSSIAN
    ones = torch.ones(length)
    return middle * torch.diag(ones) + side * (torch.diag(ones[1:], 1) + torch.diag(ones[1:], -1))


def in_layout(tap: Tap, masks: Tensor) -> Tensor:
    """Masks (n, h, w) as factors of the tap's own output; class and register tokens stay as they are."""
    if tap.layout == "nchw":
        return masks[:, None]
    if tap.layout == "nhwc":
        return masks[..., None]
    kept = masks.new_ones(len(masks), tap.prefix)
    return torch.cat([kept, masks.flatten(1)], dim=1)[..., None]


def masked_logits(classifier: FrozenClassifier, layer: Layer, x: Tensor, weights: Tensor) -> Tensor:
    """Logits (n, C) of one picture under each of n factors of its feature map, in one pass.

    Args:
        classifier: read only.
        layer: which feature map.
        x: normalised float32 (1, 3, H, W).
        weights: float32, from `in_layout`.
    """
    with replaced(classifier.model, layer.tap.name, layer.calls, lambda output: output * weights):
        logits: Tensor = classifier(x)
    return logits


def standardised(scores: Tensor) -> Tensor:
    """Each row of (B, n) brought to 0…1, as the paper does; a flat row becomes 0."""
    low, high = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
    return (scores - low) / torch.where(high > low, high - low, 1.0)


@torch.no_grad()
def check_carries(classifier: FrozenClassifier, layer: Layer) -> None:
    """See that a picture whose map is carried twice gets its own logits twice.

    Raises:
        InputError: it does not.
    """
    tap, rule = layer.tap, classifier.rule
    x = classifier.mean.new_zeros(1, 3, rule.height, rule.width)
    twice = in_layout(tap, torch.ones(2, tap.height, tap.width, device=x.device))
    plain = classifier(x)
    try:
        carried = masked_logits(classifier, layer, x, twice)
        agree = carried.shape == (2, plain.shape[1]) and bool(
            (carried - plain).abs().max() <= AGREEMENT * (plain.amax() - plain.amin())
        )
    except RuntimeError:  # torch's own, of shapes that do not fit
        agree = False
    if not agree:
        raise InputError(
            f"{classifier.id}: no Recipro-CAM; what follows {tap.name!r} cannot take more maps than pictures"
        )
