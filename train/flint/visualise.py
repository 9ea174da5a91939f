"""What an attribute stands for, as pictures: maximum-activating samples, and activation maximisation from them.

The pipeline of arXiv 2010.09345, sec. 3.3: for a class and an attribute the samples of that class which the attribute
answers to most (MAS), and inputs that raise it further, begun from a dim copy of each (partial initialisation, AM+PI).

Letters: N pictures, B batch, J attributes, H W the classifier's input size.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from whymask.runtime.errors import InputError
from whymask.train.classifier import FrozenClassifier
from whymask.train.flint.interpreter import Interpreter
from whymask.train.flint.relevance import Judged, global_relevance

SAMPLES = 3
"""Samples of each pair of class and attribute, as published."""
THUMBNAIL_SIDE = 48
"""Longest side, in pixels, of a picture that travels in a card."""


@dataclass(frozen=True)
class Maximisation:
    """max over x of λ_φ Φ_j(x) − λ_tv TV(x) − λ_bo Bo(x), from a dim copy of a sample; x is RGB in [0, 1].

    The terms are the paper's. TV and Bo are means over pixels here, and the weights are this project's: the published
    ones could not be checked.

    Attributes:
        activation: λ_φ.
        tv: λ_tv, of the mean absolute difference of neighbours.
        bound: λ_bo, of the mean square by which values leave [0, 1].
        dim: share of the sample's intensity at the start, in [0, 1].
        steps: of Adam.
        learning_rate: halved every `halve_every` steps.
        halve_every: as above.
    """

    activation: float = 1.0
    tv: float = 2.0
    bound: float = 10.0
    dim: float = 0.2
    steps: int = 150
    learning_rate: float = 0.05
    halve_every: int = 50

    def __post_init__(self) -> None:
        """Refuse a start or a number of steps that cannot be."""
        if not 0 <= self.dim <= 1:
            raise InputError(f"dim is {self.dim}, expected a share in [0, 1] of the sample's intensity")
        if self.steps < 1 or self.halve_every < 1:
            raise InputError(f"steps is {self.steps}, halve_every {self.halve_every}; expected 1 or more of each")


def maximum_activating(judged: Judged, attribute: int, label: int, count: int = SAMPLES) -> list[int]:
    """Rows of the pictures predicted as a class that an attribute answers to most, best first.

    Args:
        judged: from `whymask.train.flint.fit.judge`.
        attribute: 0 … J − 1.
        label: the class.
        count: how many at most.
    """
    rows = (judged.predicted == label).nonzero().flatten()
    order = judged.phi[rows, attribute].argsort(descending=True, stable=True)
    return [int(row) for row in rows[order[:count]]]


def relevant_pairs(judged: Judged, classes: int, tau: float = 2.0) -> list[tuple[int, int, float]]:
    """The global interpretation: pairs of class and attribute whose global relevance is above 1/τ.

    Args:
        judged: of pictures not few.
        classes: C.
        tau: above 1.

    Returns:
        (class, attribute, relevance), the most relevant first within each class.
    """
    relevance = global_relevance(judged.relevance, judged.predicted, classes)
    found = ((relevance > 1 / tau).nonzero()).tolist()  # comparisons with NaN are false
    pairs = [(label, attribute, float(relevance[label, attribute])) for label, attribute in found]
    return sorted(pairs, key=lambda pair: (pair[0], -pair[2]))


def maximise(
    classifier: FrozenClassifier,
    interpreter: Interpreter,
    samples: Tensor,
    attributes: Sequence[int],
    settings: Maximisation | None = None,
) -> Tensor:
    """Raise an attribute from a dim copy of each sample.

    Args:
        classifier, interpreter: in eval mode; left as they are.
        samples: uint8, (B, 3, H, W).
        attributes: of each sample the attribute to raise, B numbers.
        settings: the defaults where None.

    Returns:
        uint8, (B, 3, H, W).
    """
    settings = settings or Maximisation()
    rows, columns = torch.arange(len(samples)), torch.tensor(list(attributes))
    x = (settings.dim * samples.float() / 255).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, settings.halve_every, 0.5)
    for _ in range(settings.steps):
        _, maps = classifier.with_taps(classifier.normalise(255 * x))
        phi = interpreter.phi(maps)[rows, columns]
        # Per picture, then summed: none may weigh on another.
        loss = (settings.tv * _tv(x) + settings.bound * _outside(x) - settings.activation * phi).sum()
        (x.grad,) = torch.autograd.grad(loss, [x])
        optimizer.step()
        schedule.step()
    return (x.detach().clamp(0, 1) * 255).round().to(torch.uint8)


def _tv(x: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, (B, 3, H, W) → (B,)."""
    return x.diff(dim=2).abs().mean((1, 2, 3)) + x.diff(dim=3).abs().mean((1, 2, 3))


def _outside(x: Tensor) -> Tensor:
    """Mean square by which values leave [0, 1], (B, 3, H, W) → (B,)."""
    return (x - x.clamp(0, 1)).square().mean((1, 2, 3))


def thumbnails(judged: Judged, pixels: Tensor) -> tuple[str, ...]:
    """For a card: of each attribute the picture that it answers to most, a small PNG in base64.

    Args:
        judged: of these pictures.
        pixels: uint8, (N, 3, H, W).
    """
    return tuple(_png(pixels[int(row)]) for row in judged.phi.argmax(0))


def _png(pixels: Tensor) -> str:
    from PIL import Image

    side = max(pixels.shape[1:])
    small = pixels.float()
    if side > THUMBNAIL_SIDE:
        height, width = (max(1, round(each * THUMBNAIL_SIDE / side)) for each in pixels.shape[1:])
        small = F.adaptive_avg_pool2d(small, (height, width))
    buffer = io.BytesIO()
    Image.fromarray(small.round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
