"""Masks: the one function from saliency to mask, and the soft masks that training draws.

`mask_from_saliency` is *the* mask: training, evaluation in torch, ONNX and TensorRT all compute it. Letters: B batch,
h w the explainer's resolution, H W the input size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

STANDARDISATION_EPSILON = 1e-3
"""Keeps a constant map finite. Above half precision's smallest normal number, so that FP16 graphs agree."""


def resize(maps: Tensor, height: int, width: int) -> Tensor:
    """float (B, h, w) → (B, 1, H, W): bilinear with half-pixel centres, as ONNX Resize(linear, half_pixel)."""
    return bilinear(maps[:, None], height, width)


def resize_to(maps: Tensor, like: Tensor) -> Tensor:
    """`resize` of (B, ·, ·, ·) to the spatial size of another map."""
    return bilinear(maps, int(like.shape[-2]), int(like.shape[-1]))


def bilinear(maps: Tensor, height: int, width: int, antialias: bool = False) -> Tensor:
    """`resize` of (B, ·, h, w); maps of that size are given back as they are, the same function in no node.

    Args:
        maps: float (B, C, h, w).
        height, width: wanted.
        antialias: whether a smaller size averages over what it covers; ONNX's Resize of the graphs does not.
    """
    if maps.shape[-2:] == (height, width):
        return maps
    return F.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False, antialias=antialias)


def bilinear_by_product(maps: Tensor, height: int, width: int, antialias: bool = False) -> Tensor:
    """`bilinear` as two matrix products, equal up to rounding, for maps that a gradient passes through.

    Interpolation is linear and separable. A product's gradient takes a fifth of the time of an interpolation's, and is
    the same in every run on a GPU, where interpolation adds up its gradient in any order. For several channels on a CPU
    the products themselves take half the time. Always in float32.
    """
    full = maps.float()
    if maps.shape[-2:] == (height, width):
        return full
    with torch.autocast(maps.device.type, enabled=False):
        sides = ((maps.shape[-2], height), (maps.shape[-1], width))
        down, across = (_weights(full, *side, antialias) for side in sides)
        return down @ full @ across.T


def _weights(like: Tensor, inputs: int, outputs: int, antialias: bool) -> Tensor:
    """Weight of each input row in each output row of `bilinear`, (outputs, inputs): what it makes of unit rows."""
    rows = torch.eye(inputs, dtype=like.dtype, device=like.device)
    return bilinear(rows[None, None], outputs, inputs, antialias)[0, 0]


def mask_from_saliency(saliency: Tensor, height: int, width: int, threshold: float | Tensor) -> Tensor:
    """The mask: 1 where the resized saliency reaches the threshold, else 0.

    Args:
        saliency: float32 (B, h, w) in [0, 1].
        threshold: in [0, 1], a number or (B, 1, 1, 1).

    Returns:
        float32 (B, 1, H, W), 0 or 1.
    """
    return (resize(saliency, height, width) >= threshold).to(saliency.dtype)


def standardise(maps: Tensor) -> Tensor:
    """float (B, 1, h, w) → float32 of zero mean and unit deviation per image.

    Always in float32: in half precision the variance of a large map overflows, and ranks are lost.
    """
    full = maps.float()
    centred = full - full.mean((-2, -1), keepdim=True)
    deviation = centred.square().mean((-2, -1), keepdim=True).sqrt()
    return centred / (deviation + STANDARDISATION_EPSILON)


def level_of_area(maps: Tensor, area: Tensor) -> Tensor:
    """The level above which a share `area` of each map's pixels lies: the (1 − area) quantile.

    Args:
        maps: float (B, 1, H, W).
        area: float (B,) in (0, 1).

    Returns:
        float (B, 1, 1, 1), without gradient: a level moves with the map, not the map with its level.
    """
    flat = maps.detach().flatten(1)
    rank = (flat.shape[1] * (1.0 - area)).long().clamp(0, flat.shape[1] - 1)
    return flat.sort(dim=1).values.gather(1, rank[:, None]).view(-1, 1, 1, 1)


class _StraightThrough(torch.autograd.Function):
    """One pass forwards and none backwards; by additions and subtractions it takes a dozen, and hard is not quite 1."""

    @staticmethod
    def forward(ctx: Any, probability: Tensor, hard: Tensor) -> Tensor:
        """See `straight_through`."""
        return torch.where(hard, (probability >= 0.5).to(probability.dtype), probability)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient as it comes."""
        return gradients[0], None


def straight_through(probability: Tensor, hard: Tensor) -> Tensor:
    """Hard values forwards, the soft mask's gradient backwards (Bengio et al. 2013, arXiv 1308.3432).

    Args:
        probability: float (B, 1, H, W) in [0, 1], 0.5 at the cut.
        hard: bool (B,), which images get a hard mask; the others keep the soft one.
    """
    mask: Tensor = _StraightThrough.apply(probability, hard.view(-1, 1, 1, 1))
    return mask
