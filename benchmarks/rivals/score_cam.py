"""Score-CAM: how much of the class does a channel of the last feature map show?

Wang et al. 2020, "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks" (arXiv 1910.01279),
eq. 3–5: each channel A^k, resized to the picture and scaled to 0…1, masks it; the softmax over channels of the
class's logits on these pictures gives the weights α_k, and the map is ReLU(Σ_k α_k A^k). The logit of the blank
picture, which the paper takes off each, changes no softmax. Where a channel is 0 the picture takes the card's fill, as
under the explainer's masks, in place of the mean colour.

The package grad-cam has the method too; it holds all masked pictures of a picture at once, 0.3 GB for 512 channels at
224 × 224, and the features of every pass besides.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from whymask.benchmarks.rivals.rival import Maps
from whymask.benchmarks.rivals.torch_maps import Layer, normalised, normalised_fill, replaced
from whymask.train.classifier import FrozenClassifier

ROWS = 16
"""Masked pictures in one pass."""


def score_cam_maps(classifier: FrozenClassifier, layer: Layer, fill: NDArray[np.uint8]) -> Maps:
    """The method as a function on uint8 pictures.

    Args:
        classifier: read only.
        layer: where it is explained.
        fill: uint8, (3,), what a channel of 0 shows.
    """
    background = normalised_fill(classifier, fill)

    @torch.no_grad()
    def maps(images: NDArray[np.uint8], target: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float32]:
        del places
        pairs = zip(normalised(classifier, images), target.tolist(), strict=True)
        found = torch.stack([_map(classifier, layer, x[None], background, c) for x, c in pairs])
        relevance: NDArray[np.float32] = found.cpu().numpy()
        return relevance

    return maps


def _map(classifier: FrozenClassifier, layer: Layer, x: Tensor, background: Tensor, target: int) -> Tensor:
    """float32 (h, w) of one normalised picture (1, 3, H, W)."""
    channels = _features(classifier, layer, x)
    scores = [
        classifier(torch.lerp(background, x, _shown(block, x)))[:, target] for block in torch.split(channels, ROWS)
    ]
    weights = torch.cat(scores).double().softmax(0)
    return torch.einsum("k,khw->hw", weights, channels[:, 0].double()).relu().float()


def _features(classifier: FrozenClassifier, layer: Layer, x: Tensor) -> Tensor:
    """The feature map's channels, float32 (channels, 1, h, w)."""
    seen: list[Tensor] = []

    def keep(output: Tensor) -> Tensor:
        seen.append(layer.tap.to_map(output).detach().clone())
        return output

    with replaced(classifier.model, layer.tap.name, layer.calls, keep):
        classifier(x)
    return seen[0][0][:, None].float()


def _shown(channels: Tensor, x: Tensor) -> Tensor:
    """How much of each pixel a channel shows, (channels, 1, H, W) in 0…1; nothing where the channel is flat."""
    large = functional.interpolate(channels, x.shape[2:], mode="bilinear", align_corners=False)
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    return (large - low) / torch.where(high > low, high - low, 1.0)
