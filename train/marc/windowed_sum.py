"""The sum of MaRC (arXiv 2508.11388): every pixel spreads a Gaussian of its own height and width over a window.

    z_p = Σ_q w_q · exp(−‖p − q‖² / σ_q),  q within RADIUS rows and columns of p

σ belongs to the source q, so that the sum is no convolution; unfolded, it holds 41² numbers a pixel, 337 MB for a
picture of 224 × 224. Here the offsets are grouped by their squared length d², since all offsets of a group share one
plane w ⊙ exp(−d² / σ): that plane is made, added up shifted, and dropped. The gradient is written out and does the
same with what comes back, so that nothing but w and σ outlives the forward pass:

    ∂L/∂w_q = Σ_d² e · G,  ∂L/∂σ_q = Σ_d² w_q · d² / σ_q² · e · G,  e = exp(−d² / σ_q),  G = Σ_{|o|² = d²} ∂L/∂z_{q+o}

Groups whose e is below exp(−NEGLIGIBLE_EXPONENT) at the largest σ are left out: what they add is lost in float32.

Letters: B batch, H W picture, R radius.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from whymask.runtime.errors import InputError

RADIUS = 20
"""Of the window, in pixels: 41 × 41."""
NEGLIGIBLE_EXPONENT = 30.0
"""exp(−30) is 9e-14: all offsets of a window together stay below 2e-10 of a weight, a hundredth of what float32 can
tell beside one."""

Offsets = tuple[tuple[int, int], ...]


def windowed_sum(weight: Tensor, sigma: Tensor, radius: int = RADIUS) -> Tensor:
    """Each pixel's Gaussian, summed where they overlap.

    Args:
        weight: float (B, H, W), heights.
        sigma: float (B, H, W), widths in square pixels, above 0.
        radius: of the square window, at least 0.

    Returns:
        float (B, H, W), with gradients to both.

    Raises:
        InputError: shapes that differ, or a negative radius.
    """
    if weight.shape != sigma.shape or weight.ndim != 3 or radius < 0:
        raise InputError(
            f"windowed sum: weight {tuple(weight.shape)}, sigma {tuple(sigma.shape)}, radius {radius}; expected two of "
            "the same (batch, height, width) and a radius of at least 0"
        )
    total: Tensor = _WindowedSum.apply(weight, sigma, radius)
    return total


def reach_of(sigma: Tensor, radius: int = RADIUS) -> int:
    """How far along one axis the widest Gaussian is not yet negligible, at most `radius`."""
    return _reach(_rings_that_count(sigma.detach(), radius))


@lru_cache(maxsize=8)
def rings(radius: int) -> tuple[tuple[int, Offsets], ...]:
    """Offsets (rows, columns) of the window by their squared length, shortest first."""
    found: dict[int, list[tuple[int, int]]] = {}
    for row in range(-radius, radius + 1):
        for column in range(-radius, radius + 1):
            found.setdefault(row * row + column * column, []).append((row, column))
    return tuple((square, tuple(found[square])) for square in sorted(found))


class _WindowedSum(torch.autograd.Function):
    """The sum and its written-out gradient; see the module."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, sigma: Tensor, radius: int) -> Tensor:
        """float (B, H, W) from weights and widths."""
        weight, sigma = weight.detach(), sigma.detach()
        ctx.save_for_backward(weight, sigma)
        ctx.rings = _rings_that_count(sigma, radius)
        total = _room(weight, ctx.rings)
        reach = _reach(ctx.rings)
        height, width = weight.shape[1:]
        for square, offsets in ctx.rings:
            plane = torch.exp(sigma.reciprocal().mul_(-square)).mul_(weight)
            for row, column in offsets:
                total[:, reach + row : reach + row + height, reach + column : reach + column + width].add_(plane)
        return total[:, reach : reach + height, reach : reach + width].contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of weights and widths, float (B, H, W) each."""
        weight, sigma = ctx.saved_tensors
        reach = _reach(ctx.rings)
        height, width = weight.shape[1:]
        around = F.pad(gradient, (reach, reach, reach, reach))
        of_weight, of_sigma = torch.zeros_like(weight), torch.zeros_like(weight)
        for square, offsets in ctx.rings:
            ring = torch.zeros_like(weight)
            for row, column in offsets:
                ring.add_(around[:, reach + row : reach + row + height, reach + column : reach + column + width])
            ring.mul_(torch.exp(sigma.reciprocal().mul_(-square)))
            of_weight.add_(ring)
            of_sigma.add_(ring, alpha=float(square))
        return of_weight, of_sigma.mul_(weight).div_(sigma.square()), None


def _rings_that_count(sigma: Tensor, radius: int) -> tuple[tuple[int, Offsets], ...]:
    """The rings at which the widest Gaussian is not yet negligible; the first, the pixel itself, always is there."""
    limit = NEGLIGIBLE_EXPONENT * float(sigma.max()) if sigma.numel() else 0.0
    return tuple(ring for ring in rings(radius) if ring[0] <= limit)


def _reach(found: tuple[tuple[int, Offsets], ...]) -> int:
    """Largest shift along one axis."""
    return max((abs(row) for _, offsets in found for row, _ in offsets), default=0)


def _room(like: Tensor, found: tuple[tuple[int, Offsets], ...]) -> Tensor:
    """Zeros with a margin into which planes may be shifted."""
    reach = _reach(found)
    return like.new_zeros(like.shape[0], like.shape[1] + 2 * reach, like.shape[2] + 2 * reach)
