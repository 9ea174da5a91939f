"""The two autoencoders, and many of them at once.

A batch of B pictures trains B networks that share nothing; `torch.func.stack_module_state` stacks their parameters.
On a GPU `vmap` runs them at once, each convolution as one grouped convolution with a group a picture. A CPU runs one
network after the other: grouped convolutions are slower there (58 ms a picture against 40, the plain network at 224
px, one thread). Every network starts from the same seeded weights, so that a picture's result does not depend on its
place in the batch or on its neighbours.

The published networks normalise by batches of one picture: that is an instance normalisation. It is written as a group
normalisation of one channel a group, the same function, which costs fewer passes under `vmap`.

Letters: B pictures, H W the input size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from whymask.runtime.errors import InputError
from whymask.train.masks import resize_to
from whymask.train.matching.config import UNET, MatchingConfig

LEVELS = 4
"""Halvings from the picture to the innermost map."""

LEAST_SIDE = 2 << LEVELS
"""Pixels; below, the innermost map is a single cell, which an instance normalisation sets to zero."""


class UNet(nn.Module):
    """A U-Net of four levels (Ronneberger et al. 2015, arXiv 1505.04597); 7.8 M parameters at width 32.

    Args:
        width: channels at the input's size; each level down doubles them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width << level for level in range(LEVELS + 1)]
        self.down = nn.ModuleList(_double(a, b) for a, b in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in reversed(widths[:-1]))
        self.merge = nn.ModuleList(_double(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised float (1, 3, H, W) → logits of the mask (1, 1, H, W)."""
        skips: list[Tensor] = []
        for block in self.down:
            x = block(F.max_pool2d(skips[-1], 2) if skips else x)
            skips.append(x)
        x = skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            skip = skips.pop()
            x = merge(torch.cat([resize_to(up(x), skip), skip], 1))
        logits: Tensor = self.head(x)
        return logits


class PlainAutoencoder(nn.Module):
    """Four strided convolutions down and four transposed ones up, no skips; 1.1 M parameters at width 32.

    Args:
        width: channels of the first layer; each one after it doubles them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width << level for level in range(LEVELS)]
        down = zip([3, *widths], widths, strict=False)
        self.encoder = nn.Sequential(*(_strided(a, b) for a, b in down))
        up = zip(reversed(widths), reversed(widths[:-1]), strict=False)
        self.decoder = nn.Sequential(*(_transposed(a, b) for a, b in up), nn.ConvTranspose2d(width, 1, 4, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised float (1, 3, H, W) → logits of the mask (1, 1, H, W)."""
        return resize_to(self.decoder(self.encoder(x)), x)


class Autoencoders:
    """A network a picture, run as one.

    Args:
        config: kind, width and seed.
        count: B, at least 1.
        height, width: of the pictures in pixels.
        device: where they live.

    Attributes:
        parameters: every network's, stacked: name → float32 (B, …), with gradients.

    Raises:
        InputError: pictures too small for the network.
    """

    def __init__(
        self, config: MatchingConfig, count: int, height: int, width: int, device: torch.device | str = "cpu"
    ) -> None:
        if min(height, width) < LEAST_SIDE:
            raise InputError(f"matching: pictures of {height} × {width} pixels, expected at least {LEAST_SIDE} a side")
        self._skeleton = fresh_network(config).to(device)
        self.parameters: dict[str, Tensor]
        self.parameters, _ = stack_module_state([self._skeleton] * count)

    def __call__(self, x: Tensor) -> Tensor:
        """Normalised float (B, 3, H, W), a picture for each network → probability of keeping, float (B, 1, H, W)."""
        return torch.sigmoid(self.one_by_one(x) if x.device.type == "cpu" else self.at_once(x))

    def at_once(self, x: Tensor) -> Tensor:
        """Normalised float (B, 3, H, W) → logits (B, 1, H, W), by grouped convolutions."""
        logits: Tensor = vmap(self._run)(self.parameters, x)
        return logits

    def one_by_one(self, x: Tensor) -> Tensor:
        """Normalised float (B, 3, H, W) → logits (B, 1, H, W), a network after the other."""
        # Unbound once: a gradient of rows taken one by one would fill the stack with zeros for each of them.
        networks = zip(*(stacked.unbind() for stacked in self.parameters.values()), strict=True)
        # In the layout of single pictures: channels last, as the classifier wants them, costs these networks a tenth.
        pictures = x.contiguous()
        return torch.stack(
            [
                self._run(dict(zip(self.parameters, network, strict=True)), picture)
                for network, picture in zip(networks, pictures, strict=True)
            ]
        )

    def _run(self, parameters: dict[str, Tensor], picture: Tensor) -> Tensor:
        logits: Tensor = functional_call(self._skeleton, parameters, (picture[None],))[0]
        return logits


def fresh_network(config: MatchingConfig) -> nn.Module:
    """One network with weights that the seed alone decides; the generators of the process are left as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return UNet(config.width) if config.network == UNET else PlainAutoencoder(config.width)


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), _instance_norm(outputs)]
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def _instance_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels, channels)


def _strided(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, 2, 1)
    return nn.Sequential(convolution, _instance_norm(outputs), nn.ReLU())


def _transposed(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
    return nn.Sequential(convolution, _instance_norm(outputs), nn.ReLU())
