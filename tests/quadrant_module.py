"""A torch classifier whose whole evidence lies in one quadrant, and pictures of it: the right masks are known."""

from __future__ import annotations

import torch
from torch import nn

from whymask.train.classifier import FrozenClassifier, InputRule


class Quadrant(nn.Module):
    """The mean colour of the lower right quadrant decides; features are the picture in cells of an eighth of its side.

    Args:
        gain: of the logits.
        normalised: whether a batch normalisation, with its buffers, comes before them.
    """

    def __init__(self, size: int, gain: float, normalised: bool) -> None:
        super().__init__()
        self.cells = nn.AvgPool2d(size // 8)
        self.head = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3) if normalised else nn.Identity()
        self.gain = gain
        nn.init.eye_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) → (B, 3)."""
        logits: torch.Tensor = self.gain * self.norm(self.head(self.cells(x)[:, :, 4:, 4:].mean((2, 3))))
        return logits


def quadrant_classifier(size: int, gain: float = 4.0, normalised: bool = False) -> FrozenClassifier:
    """The classifier, frozen, with its cells as the only tap."""
    return FrozenClassifier(Quadrant(size, gain, normalised), "tests:quadrant", InputRule(size, size), taps=("cells",))


def quadrant_pictures(count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise whose lower right quadrant is plain green or blue, float32 (count, 3, size, size), and these classes."""
    generator = torch.Generator().manual_seed(0)
    pixels = 255.0 * torch.rand(count, 3, size, size, generator=generator)
    target = 1 + torch.arange(count) % 2
    pixels[:, :, size // 2 :, size // 2 :] = 255.0 * torch.eye(3)[target][:, :, None, None]
    return pixels, target
