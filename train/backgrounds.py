"""What dropped pixels become: the fill that is deployed, and the random backgrounds a robust mask has to stand.

Every background is float32 (B, 3, H, W) in the classifier's normalised space. B batch, H W input size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from whymask.train.masks import resize_to

BLUR_CELLS = 20
"""A blurred background keeps about this many cells a side: no class of ImageNet is recognised from it alone."""

NOISE_DEVIATION = 0.3
"""Deviation of pixel noise around a random colour, in normalised units. Stronger noise from the start stalls
training."""

KINDS = ("blur", "other_blur", "colour", "other_image")
FROM_ANOTHER = ("other_blur", "other_image")
"""Kinds that are made from the picture before in the batch."""


class _Masked(torch.autograd.Function):
    """b + m (x − b) in two passes over the pictures; the gradient goes to the mask alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, background: Tensor) -> Tensor:
        """See `masked`."""
        difference = x - background
        ctx.save_for_backward(difference)
        return torch.addcmul(background, mask, difference)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        """Gradient float (B, 3, H, W) → that of the mask, (B, 1, H, W)."""
        (difference,) = ctx.saved_tensors
        red, green, blue = (gradients[0] * difference).split(1, dim=1)
        return None, red + green + blue, None  # a sum over colours that lie last takes three times as long


def masked(x: Tensor, mask: Tensor, background: Tensor) -> Tensor:
    """m ⊙ x + (1 − m) ⊙ background.

    Args:
        x: float (B, 3, H, W).
        mask: float (B, 1, H, W); a gradient goes to it alone.
        background: float (B, 3, H, W) or (1, 3, 1, 1).
    """
    explanation: Tensor = _Masked.apply(x, mask, background)
    return explanation


def fill_background(x: Tensor, fill: Tensor) -> Tensor:
    """The deployed fill, normalised (1, 3, 1, 1), at the size of x."""
    return fill.expand_as(x)


def blur(x: Tensor) -> Tensor:
    """x averaged over cells and interpolated back: cheap, and without a class's detail."""
    cell = max(1, x.shape[-1] // BLUR_CELLS)
    small = F.avg_pool2d(x, cell, cell, ceil_mode=True)
    smooth = F.avg_pool2d(small, 3, 1, 1, count_include_pad=False)
    return resize_to(smooth.contiguous(), x)  # a resize of colours that lie last takes twice as long


def random_background(x: Tensor, fill: Tensor, robustness: float, generator: torch.Generator) -> Tensor:
    """For each image the fill, or with probability `robustness` one of KINDS, drawn evenly.

    Args:
        x: normalised images, float32 (B, 3, H, W).
        fill: normalised, float32 (1, 3, 1, 1).
        robustness: in [0, 1].
        generator: of all randomness, on the CPU.
    """
    count = len(x)
    random = torch.rand(count, generator=generator) < robustness
    kind = torch.where(random, torch.randint(len(KINDS), (count,), generator=generator), -1)
    background = torch.empty_like(x)  # in the layout of x: passes over two layouts cost twice
    background[:1] = fill
    background[1:] = background[:1]  # a whole picture at a time: three numbers at a time take four times as long
    for index, name in enumerate(KINDS):
        chosen = (kind == index).nonzero()[:, 0]
        if len(chosen):
            places = (chosen - 1) % count if name in FROM_ANOTHER else chosen
            background[chosen.to(x.device)] = _background_of(name, x[places.to(x.device)], generator)
    return background


def _background_of(kind: str, source: Tensor, generator: torch.Generator) -> Tensor:
    """Backgrounds of one kind, float32 (N, 3, H, W), from as many pictures."""
    if kind == "colour":
        return _colour_noise(source, generator)
    return source if kind == "other_image" else blur(source)


def _colour_noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """A colour for each picture with noise, float32 (N, 3, H, W), drawn evenly from all that the pictures' values span.

    Colours near their mean hide the rims of a mask, and masks that were trained with them lean on it.
    """
    planes = like.contiguous()  # whose extremes are found in a quarter of the time
    low, high = planes.amin((0, 2, 3), keepdim=True), planes.amax((0, 2, 3), keepdim=True)
    share = torch.rand(len(like), 3, 1, 1, generator=generator).to(like.device)
    noise = torch.randn(like.shape, generator=generator).to(like.device)
    return torch.add(low + (high - low) * share, noise, alpha=NOISE_DEVIATION)
