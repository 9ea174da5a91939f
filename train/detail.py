"""Detail of the picture laid over a coarse map: a learned upsampler.

A map of a few cells cannot say which *pixels* of a cell matter. Here one convolution reads the picture at its full size
and gives K textures t_k (edges and colours), and each cell of the decoder says how much of each it wants:

    map = standardise(enlarge(coarse) + Σ_k enlarge(a_k) · t_k)

Coefficients at the low resolution, of what the network knows, applied to the picture at the full one: deep bilateral
learning (Gharbi et al. 2017, arXiv 1707.02880, §3.1 and §3.4), without its grid over intensities. The guided filter
(`guided.py`) does the same with one coefficient, found by least squares and not learned.

Letters: B batch, h w the coarse map's size, H W the picture's, K the textures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whymask.train.masks import bilinear_by_product

FIRST_WEIGHTS = 0.1
"""Of the coefficients before training, as a share of the usual: the untrained map is the coarse one, nearly."""


class Detail(nn.Module):
    """Textures of the picture, and how much of each the places of a decoder want.

    Args:
        channels: of the decoder.
        count: of textures.
    """

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.textures = nn.Sequential(nn.Conv2d(3, count, 3, padding=1, bias=False), nn.BatchNorm2d(count), nn.ReLU())
        self.wanted = nn.Conv2d(channels, count, 1)
        with torch.no_grad():
            self.wanted.weight.mul_(FIRST_WEIGHTS)
            nn.init.zeros_(self.wanted.bias)  # type: ignore[arg-type]

    def forward(self, coarse: Tensor, decoded: Tensor, textures: Tensor) -> Tensor:
        """The map at the picture's size, not yet standardised.

        Args:
            coarse: float32 (B, 1, h, w), standardised.
            decoded: float (B, channels, h, w).
            textures: what `textures` made of the normalised picture, float (B, K, H, W).

        Returns:
            float32 (B, 1, H, W).
        """
        height, width = textures.shape[-2:]
        asked = bilinear_by_product(self.wanted(decoded), height, width) * textures.float()
        return bilinear_by_product(coarse, height, width) + channel_sum(asked)


def channel_sum(maps: Tensor) -> Tensor:
    """float32 (B, K, H, W) → (B, 1, H, W), as a product with ones: runtimes on a CPU sum over channels slowly."""
    ones = torch.ones(1, maps.shape[1], dtype=maps.dtype, device=maps.device)
    with torch.autocast(maps.device.type, enabled=False):
        return torch.unflatten(ones @ maps.flatten(2), 2, maps.shape[-2:])
