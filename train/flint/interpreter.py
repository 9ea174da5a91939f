"""The interpreter: attribute functions Φ on hidden layers, a linear h on Φ, and a decoder d (arXiv 2010.09345, sec. 3).

Letters: B batch, J attributes, C classes, c h w channels and size of a tapped map, H W the classifier's input size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whymask.train.masks import bilinear
from whymask.train.taps import Tap

WIDTH = 32
"""Channels that each tapped map is brought to."""
FINEST_GRID = 4
"""Cells a side that a map is averaged over at most, so that an attribute can tell places apart."""
DECODED_SIDE = 32
"""Longest side, in pixels, of a reconstruction. A larger picture is compared after averaging it down to this."""
FIRST_SIDE, DECODER_WIDTH = 4, 32


class AttributeNet(nn.Module):
    """Ψ: the tapped maps → Φ(x), J numbers that are 0 or more.

    Args:
        taps: the chosen hidden layers.
        attributes: J.
    """

    def __init__(self, taps: Sequence[Tap], attributes: int) -> None:
        super().__init__()
        self.reads = nn.ModuleList(_read(tap.channels) for tap in taps)
        self.cells = [(tap.height // side, tap.width // side) for tap in taps for side in (grid_side(tap),)]
        inputs = sum(WIDTH * grid_side(tap) ** 2 for tap in taps)
        self.mix = nn.Linear(inputs, attributes)
        nn.init.constant_(self.mix.bias, 0.1)  # an attribute that starts below 0 everywhere would never learn

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (B, c, h, w), in the taps' order → Φ, (B, J), ≥ 0."""
        return F.relu(self._mixed(maps))

    def sloped(self, maps: Sequence[Tensor]) -> Tensor:
        """Φ where it is above 0, and a slope towards it where it is 0, for those who climb: (B, J)."""
        return F.leaky_relu(self._mixed(maps))

    def _mixed(self, maps: Sequence[Tensor]) -> Tensor:
        pooled = [
            F.avg_pool2d(read(each), cell).flatten(1)
            for read, each, cell in zip(self.reads, maps, self.cells, strict=True)
        ]
        mixed: Tensor = self.mix(torch.cat(pooled, dim=1))
        return mixed


def _read(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, WIDTH, 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU())


def grid_side(tap: Tap) -> int:
    """Cells a side that a tap is averaged over: the most, up to `FINEST_GRID`, that divide its height and width."""
    return max(n for n in range(1, FINEST_GRID + 1) if tap.height % n == 0 and tap.width % n == 0)


class Decoder(nn.Module):
    """d: Φ(x) → the picture in [−1, 1].

    Args:
        attributes: J.
        height, width: of the reconstruction; see `decoded_size`.
    """

    def __init__(self, attributes: int, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)
        self.seed = nn.Linear(attributes, DECODER_WIDTH * FIRST_SIDE**2)
        steps, side = [], FIRST_SIDE
        while side < max(height, width):
            steps += [nn.Upsample(scale_factor=2), nn.Conv2d(DECODER_WIDTH, DECODER_WIDTH, 3, 1, 1), nn.ReLU()]
            side *= 2
        self.grow = nn.Sequential(*steps, nn.Conv2d(DECODER_WIDTH, 3, 3, 1, 1))

    def forward(self, phi: Tensor) -> Tensor:
        """Φ (B, J) → (B, 3, height, width)."""
        first = F.relu(self.seed(phi)).view(-1, DECODER_WIDTH, FIRST_SIDE, FIRST_SIDE)
        return bilinear(self.grow(first), *self.size)


class Interpreter(nn.Module):
    """Φ, h and d together.

    Args:
        taps: the hidden layers that Φ reads.
        classes: C.
        attributes: J.
        height, width: H, W.
    """

    def __init__(self, taps: Sequence[Tap], classes: int, attributes: int, height: int, width: int) -> None:
        super().__init__()
        self.taps = tuple(taps)
        self.phi = AttributeNet(taps, attributes)
        self.head = nn.Linear(attributes, classes, bias=False)
        self.decoder = Decoder(attributes, *decoded_size(height, width))

    @property
    def attributes(self) -> int:
        """J."""
        return self.head.in_features

    @property
    def weight(self) -> Tensor:
        """W transposed, float32 (C, J): row c holds the weights of class c."""
        return self.head.weight

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps of the taps → Φ (B, J), and the logits of h∘Φ, WᵀΦ (B, C)."""
        phi = self.phi(maps)
        return phi, self.head(phi)

    def target(self, x: Tensor) -> Tensor:
        """What the decoder is to give: pictures (B, 3, H, W) in [−1, 1], averaged down to its size."""
        return x if tuple(x.shape[-2:]) == self.decoder.size else F.adaptive_avg_pool2d(x, self.decoder.size)


def decoded_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of a reconstruction: the input's, scaled to `DECODED_SIDE` where it is larger."""
    scale = min(1.0, DECODED_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
