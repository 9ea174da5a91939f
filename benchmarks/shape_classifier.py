"""The demo's own classifier: a small convolutional network, and its training in about a minute on two cores.

    whymask train benchmarks/shape_classifier.py:shape_classifier --weights classifier.safetensors --data images -o run

It stands for "a user's own model": whymask reads it from this file like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whymask.benchmarks.shapes import LABELS, ShapeSet
from whymask.runtime.errors import InputError, TrainingError

MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)
MAX_RATE = 0.01
WEIGHT_DECAY = 0.02


class _Block(nn.Sequential):
    """Convolution 3×3, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
        )


class ShapeClassifier(nn.Module):
    """Three stages at strides 2, 4 and 8, mean over places, one linear layer (so that its CAM is exact)."""

    def __init__(self, classes: int = len(LABELS), width: int = 24) -> None:
        super().__init__()
        self.stage1 = _Block(3, width, 2)
        self.stage2 = nn.Sequential(_Block(width, 2 * width, 2), _Block(2 * width, 2 * width))
        self.stage3 = nn.Sequential(
            _Block(2 * width, 4 * width, 2), _Block(4 * width, 4 * width), _Block(4 * width, 4 * width)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Args:
            x: float32, (B, 3, H, W), normalised by `MEAN` and `STD`.

        Returns:
            float32, (B, C).
        """
        features = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.head(self.pool(features).flatten(1))
        return logits


def shape_classifier() -> ShapeClassifier:
    """The untrained network: the FACTORY of `FILE.py:FACTORY`."""
    return ShapeClassifier()


@dataclass(frozen=True)
class ClassifierConfig:
    """How to train the classifier.

    Attributes:
        epochs: passes over the images; each sees them turned, mirrored and recoloured anew.
        batch_size: images a step; 64 gives the most images a second on two cores.
        seed: of the start and of every draw.
    """

    epochs: int = 6
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings with which nothing is learnt."""
        if self.epochs < 1 or self.batch_size < 2:
            raise InputError(f"classifier: epochs {self.epochs}, batch_size {self.batch_size}; expected ≥ 1 and ≥ 2")


def train_classifier(
    shapes: ShapeSet, config: ClassifierConfig, on_step: Callable[[int, int, float], None] | None = None
) -> ShapeClassifier:
    """Train from scratch, with a one-cycle learning rate.

    Args:
        shapes: training images; at least one batch.
        config: see there.
        on_step: called with (step from 1, steps in all, loss) after each step.

    Returns:
        The network in eval mode, parameters frozen.

    Raises:
        TrainingError: fewer images than a batch, or a loss that is not finite.
    """
    batches = len(shapes) // config.batch_size
    if batches < 1:
        raise TrainingError(f"classifier: {len(shapes)} images, expected at least one batch of {config.batch_size}")
    torch.manual_seed(config.seed)
    model = shape_classifier().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), MAX_RATE, weight_decay=WEIGHT_DECAY)
    total = batches * config.epochs
    # The rise must take more than one step, or torch divides by zero in a smoke test's few.
    rise = min(1.0, max(0.25, 1.5 / total))
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, MAX_RATE, total_steps=total + 1, pct_start=rise)
    images, labels = torch.from_numpy(shapes.images), torch.from_numpy(shapes.labels)
    for epoch in range(config.epochs):
        order = torch.randperm(len(shapes))
        for batch in range(batches):
            rows = order[batch * config.batch_size : (batch + 1) * config.batch_size]
            loss = functional.cross_entropy(model(_varied(images[rows])), labels[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rate.step()
            if on_step is not None:
                on_step(epoch * batches + batch + 1, total, loss.item())
    if not torch.isfinite(loss):
        raise TrainingError(f"classifier: the loss became {loss.item()}; lower MAX_RATE")
    return model.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(model: ShapeClassifier, shapes: ShapeSet, batch_size: int = 256) -> float:
    """Share of images whose largest logit is their label's."""
    right = 0
    for start in range(0, len(shapes), batch_size):
        rows = slice(start, start + batch_size)
        logits = model(normalised(torch.from_numpy(shapes.images[rows])))
        right += int((logits.argmax(1) == torch.from_numpy(shapes.labels[rows])).sum())
    return right / len(shapes)


def normalised(images: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) to float32 (B, 3, H, W), channels last in memory."""
    return (images.permute(0, 3, 1, 2).float() / 255.0 - MEAN[0]) / STD[0]


def _varied(images: Tensor) -> Tensor:
    """A normalised batch, turned by quarters, mirrored and with its colours exchanged: the shape's class stays.

    One draw a batch, since a turn of whole batches costs nothing; the order of the images is drawn anew each epoch.
    """
    x = normalised(images)
    turn, mirror, invert = (int(torch.randint(0, n, ())) for n in (4, 2, 2))
    x = torch.rot90(x, turn, (2, 3))
    if mirror:
        x = x.flip(3)
    x = x[:, torch.randperm(3)] * (1 - 2 * invert)
    return x.contiguous(memory_format=torch.channels_last)
