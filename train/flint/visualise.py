"""What an attribute stands for, as pictures: maximum-activating samples, and activation maximisation from them.

The pipeline of arXiv 2010.09345, sec. 3.3: for a class and an attribute the samples of that class which the attribute
answers to most (MAS), and inputs that raise it further, begun from a dim copy of each (partial initialisation, AM+PI).
Weights, rates, rounds and stages are those of the authors' published code; none of its lines is here.

Letters: N pictures, B batch, J attributes, H W the classifier's input size.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from whymask.runtime.errors import InputError
from whymask.train.classifier import IMAGENET_MEAN, IMAGENET_STD, FrozenClassifier
from whymask.train.flint.interpreter import Interpreter
from whymask.train.flint.relevance import Judged, global_relevance

SAMPLES = 3
"""Samples of each pair of class and attribute, as published."""
THUMBNAIL_SIDE = 48
"""Longest side, in pixels, of a picture that travels in a card."""


@dataclass(frozen=True)
class Stage:
    """Rounds of Adam towards max over x of λ_φ Φ_j(x) − λ_tv TV(x) − λ_bo Bo(x).

    Attributes:
        activation: λ_φ.
        tv: λ_tv, of the mean absolute difference of neighbours.
        bound: λ_bo, of the mean of |x| over all values, counted where x leaves its bounds.
        steps: a round.
        learning_rate: in the first round.
        shrink: what the rate is divided by from one round to the next.
        rounds: each begins Adam anew.
    """

    activation: float
    tv: float
    bound: float
    steps: int = 50
    learning_rate: float = 0.05
    shrink: float = 2.0
    rounds: int = 12

    def __post_init__(self) -> None:
        """Refuse a number of steps that cannot be."""
        if self.steps < 1 or self.rounds < 1:
            raise InputError(f"steps is {self.steps}, rounds {self.rounds}; expected 1 or more of each")


@dataclass(frozen=True)
class Maximisation:
    """How an attribute is raised from a dim copy of a sample (AM+PI).

    Attributes:
        stages: one after the other, each from where the last one ended.
        dim: share of the sample's x at the start, in [0, 1].
        mean, std: x = (RGB − mean) / std with RGB in [0, 1]; not the classifier's own, so that weights, bounds and
            rates mean the same for every classifier.
        low, high: bounds of x.
        jitter: before each step, what the classifier sees is shifted by up to so many pixels, round the rims.
        seed: of the shifts.
    """

    stages: tuple[Stage, ...]
    dim: float
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    low: float = 0.0
    high: float = 1.0
    jitter: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a start that cannot be, and no stage."""
        if not 0 <= self.dim <= 1:
            raise InputError(f"dim is {self.dim}, expected a share in [0, 1] of the sample's intensity")
        if not self.stages:
            raise InputError("no stage was given, expected one or more")

    @property
    def steps(self) -> int:
        """Of all rounds of all stages."""
        return sum(stage.rounds * stage.steps for stage in self.stages)


PUBLISHED = {
    "digits": Maximisation((Stage(2, 6, 10),), dim=0.3),
    "cifar": Maximisation(
        (Stage(2, 20, 20),),
        dim=0.4,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.247, 0.243, 0.261),
        low=-2.5,
        high=2.5,
    ),
    "cub": Maximisation(
        (
            Stage(4, 80, 20, steps=200, learning_rate=0.01, shrink=1.5),
            Stage(4, 240, 20, steps=180, learning_rate=0.01, shrink=1.5),
        ),
        dim=0.5,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        low=-2.5,
        high=2.5,
        jitter=10,
    ),
}
"""The numbers of the authors' published code, by what it uses them for: grey pictures of MNIST's kind, colour pictures
of 32 pixels, and photographs of 224, which are raised a second time for smoothness."""


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
    settings: Maximisation,
) -> Tensor:
    """Raise an attribute from a dim copy of each sample.

    Args:
        classifier, interpreter: in eval mode; left as they are.
        samples: uint8, (B, 3, H, W).
        attributes: of each sample the attribute to raise, B numbers.
        settings: one of `PUBLISHED`, or others.

    Returns:
        uint8, (B, 3, H, W).
    """
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (settings.mean, settings.std))
    rows, columns = torch.arange(len(samples)), torch.tensor(list(attributes))
    shifts = torch.Generator().manual_seed(settings.seed)

    def answer(x: Tensor) -> Tensor:
        seen = _shifted(x, settings.jitter, shifts) * std + mean
        _, maps = classifier.with_taps(classifier.normalise(255 * seen))
        return interpreter.phi.sloped(maps)[rows, columns]

    x = (settings.dim * (samples.float() / 255 - mean) / std).requires_grad_()
    for stage in settings.stages:
        _climb(x, answer, stage, (settings.low, settings.high))
    return ((x.detach() * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)


def _climb(x: Tensor, answer: Callable[[Tensor], Tensor], stage: Stage, bounds: tuple[float, float]) -> None:
    """Change x, (B, 3, H, W), in place by all rounds of a stage; `answer` gives Φ_j(x), (B,)."""
    for number in range(stage.rounds):
        optimizer = torch.optim.Adam([x], lr=stage.learning_rate / stage.shrink**number)
        for _ in range(stage.steps):
            # Per picture, then summed: none may weigh on another.
            cost = stage.tv * _tv(x) + stage.bound * _outside(x, *bounds) - stage.activation * answer(x)
            (x.grad,) = torch.autograd.grad(cost.sum(), [x])
            optimizer.step()


def _shifted(x: Tensor, most: int, shifts: torch.Generator) -> Tensor:
    """x moved by a random number of pixels down and right, each from −most to most; what leaves comes in opposite."""
    if not most:
        return x
    down, right = torch.randint(-most, most + 1, (2,), generator=shifts).tolist()
    return x.roll((down, right), (2, 3))


def _tv(x: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, (B, 3, H, W) → (B,)."""
    return x.diff(dim=2).abs().mean((1, 2, 3)) + x.diff(dim=3).abs().mean((1, 2, 3))


def _outside(x: Tensor, low: float, high: float) -> Tensor:
    """Mean of |x| where x leaves [low, high], and 0 elsewhere, (B, 3, H, W) → (B,)."""
    return (x.abs() * ((x < low) | (x > high))).mean((1, 2, 3))


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
