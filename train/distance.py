"""Squared distance of two batches of feature maps, with as few passes over them as it takes.

Features of fine stages are the largest tensors of a training step after the classifier's own; what autograd makes of
`(a − b)²` reads and writes them a dozen times, and flattening maps that lie channels last copies them besides.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _SquaredDistance(torch.autograd.Function):
    """‖a − b‖² per image; the gradient, 2 (a − b), goes to `a` alone, once: it takes the difference's place."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        """See `squared_distance`."""
        # bfloat16 stays as it is: what is rounded off a difference is less than has been rounded off the maps. float16
        # does not: neither its differences nor the factors of their gradients are sure to lie within its range.
        difference = (a if a.dtype == torch.bfloat16 else a.float()) - b
        ctx.save_for_backward(difference)
        ctx.dtype = a.dtype
        return energy(difference)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Gradient float (B,) → that of `a`."""
        (difference,) = ctx.saved_tensors
        factors = (2.0 * gradients[0]).view(-1, 1, 1, 1).to(difference.dtype)
        return difference.mul_(factors).to(ctx.dtype), None


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖² per image, float32 (B,), whatever the precision of the maps.

    Args:
        a: float (B, C, h, w), the one that is learned through.
        b: the same shape; it gets no gradient.
    """
    distance: Tensor = _SquaredDistance.apply(a, b)
    return distance


def energy(maps: Tensor) -> Tensor:
    """‖maps‖² per image, float32 (B,), from float (B, C, h, w), in one pass."""
    if maps.dtype == torch.bfloat16:
        # Asked for a norm in float32, torch writes the maps in float32 first, at up to thirteen times the time. Each
        # cell's own norm is summed in float32 and rounded once; these errors are small and cancel.
        cells: Tensor = torch.linalg.vector_norm(maps, dim=1).float()
        return cells.square().sum((1, 2))
    norms: Tensor = torch.linalg.vector_norm(maps, dim=(1, 2, 3), dtype=torch.float32)
    return norms.square()
