"""The classifier that is trained with its attributes on scikit-learn's digits, and the digits themselves.

whymask train benchmarks/digits_classifier.py:digits_classifier --method flint --by-design …
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from whymask.runtime.errors import MissingExtra

SIDE, CLASSES, CHANNELS = 8, 10, 32
LARGEST = 16
"""Of scikit-learn's grey values."""
TAPS = ("stage2", "stage3")
"""The last convolutions, as the paper reads them: 8 × 8 and 4 × 4 cells."""
MEAN, STD = (0.5,) * 3, (0.5,) * 3
TEST_SHARE = 5
"""Every fifth digit of a seeded order is measured on."""


class DigitsClassifier(nn.Module):
    """Three convolutions and two linear layers, as LeNet has, for 8 × 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1, self.stage2 = _stage(3, CHANNELS), _stage(CHANNELS, CHANNELS)
        self.stage3 = _stage(CHANNELS, 2 * CHANNELS, stride=2)
        self.hidden = nn.Linear(2 * CHANNELS * (SIDE // 2) ** 2, 64)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised float (B, 3, 8, 8) → logits (B, 10)."""
        features = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.head(torch.relu(self.hidden(features.flatten(1))))
        return logits


def _stage(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def digits_classifier() -> nn.Module:
    """Untrained, with seeded weights."""
    torch.manual_seed(0)
    return DigitsClassifier()


@dataclass(frozen=True)
class Digits:
    """Grey digits as RGB.

    Attributes:
        pixels: uint8, (N, 3, 8, 8), 0–255.
        classes: int64, (N,), 0–9.
    """

    pixels: Tensor
    classes: Tensor


def load_digits(seed: int = 0) -> tuple[Digits, Digits]:
    """The 1,797 digits of scikit-learn in a seeded order: four fifths to train on, one to measure on.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ModuleNotFoundError:
        raise MissingExtra("scikit-learn", "evaluate", "load the digits") from None
    grey, classes = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(grey))
    pixels = np.rint(grey[order].reshape(-1, 1, SIDE, SIDE) * (255 / LARGEST)).astype(np.uint8).repeat(3, axis=1)
    is_test = np.arange(len(order)) % TEST_SHARE == 0
    train, test = (
        Digits(torch.from_numpy(pixels[r]), torch.from_numpy(classes[order][r])) for r in (~is_test, is_test)
    )
    return train, test
