"""MaRC for pictures (Brinner and Zarrieß, arXiv 2508.11388): one optimised mask a picture, from equations alone.

    m = sigmoid(z),  z_p = Σ_q w_q exp(−‖p − q‖² / σ_q)                                        (`windowed_sum.py`)
    L = mean over backgrounds b of [−log P_y(m ⊙ x + (1 − m) ⊙ b) − log(1 − P_y((1 − m) ⊙ x + m ⊙ b))]
        − 1.2 · mean log σ + (mean m)² + 10 · TV(m)²

Adam moves w and σ of every pixel at a rate of 0.03, σ held at 0.6 or more. Nothing is drawn at random, and the pictures
of a batch share nothing. What the paper leaves open here, and how it was read, is in `docs/marc.md`.

Letters: B batch, H W input size, K backgrounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from whymask.runtime.errors import InputError
from whymask.train.backgrounds import blur, masked
from whymask.train.classifier import FrozenClassifier
from whymask.train.marc.confidence import SIGMOID_SHARE, log_confidence
from whymask.train.marc.windowed_sum import RADIUS, windowed_sum
from whymask.train.stand_in import stand_in_for

COLOURS, BLUR = "colours", "blur"
BACKGROUNDS = (COLOURS, BLUR)
"""black, white and the mean colour of the classifier's normalisation, averaged; or the picture's own blur."""

OnStep = Callable[[int], None]
"""Told the number of steps done."""


@dataclass(frozen=True)
class MarcConfig:
    """How a mask is optimised; the defaults are the paper's where it gives one.

    Attributes:
        steps: most steps of Adam; 0 gives the start.
        learning_rate: of Adam, in units of w and of σ a step.
        weight, sigma: w and σ of every pixel at the start; m starts at about 0.87.
        least_sigma: below which σ never falls, in square pixels.
        smoothness: weight of −mean log σ, which widens the Gaussians.
        sparsity: weight of (mean m)².
        tv: weight of TV².
        background: one of BACKGROUNDS.
        radius: of the window, in pixels.
        patience: steps without progress after which a picture is done.
        progress: fall of the loss that counts as progress.
    """

    steps: int = 200
    learning_rate: float = 0.03
    weight: float = 0.5
    sigma: float = 1.2
    least_sigma: float = 0.6
    smoothness: float = 1.2
    sparsity: float = 1.0
    tv: float = 10.0
    background: str = COLOURS
    radius: int = RADIUS
    patience: int = 20
    progress: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse settings that move nothing."""
        if self.steps < 0 or self.patience < 1 or not 0.0 < self.learning_rate < math.inf:
            raise InputError(
                f"marc: {self.steps} steps, patience {self.patience}, learning rate {self.learning_rate}; expected no "
                "negative number of steps, a patience of at least 1 and a learning rate above 0"
            )
        if not 0.0 < self.least_sigma <= self.sigma:
            raise InputError(
                f"marc: sigma starts at {self.sigma}, least_sigma is {self.least_sigma}; expected 0 < least_sigma ≤ "
                "sigma"
            )
        if self.background not in BACKGROUNDS:
            raise InputError(f"marc: background is {self.background!r}, expected one of {', '.join(BACKGROUNDS)}")


def explain_images(
    classifier: FrozenClassifier,
    pixels: Tensor,
    target: Tensor,
    *,
    steps: int | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
    config: MarcConfig | None = None,
) -> Tensor:
    """MaRC's masks, as `whymask.train.methods` asks for.

    Args:
        classifier: asked, never changed.
        pixels: float32 (B, 3, H, W) in 0–255.
        target: int64 (B,), the classes to explain.
        steps: most steps; None takes the configuration's.
        seed: for the signature that methods share; the method draws nothing at random.
        on_step: told after each step how many are done.
        config: everything else; None takes the paper's settings.

    Returns:
        float32 (B, H, W) in [0, 1], to be cut at 0.5.
    """
    del seed
    config = config or MarcConfig()
    config = config if steps is None else replace(config, steps=steps)
    return marc_masks(classifier, pixels, target, config, on_step)


def marc_masks(
    classifier: FrozenClassifier, pixels: Tensor, target: Tensor, config: MarcConfig, on_step: OnStep | None = None
) -> Tensor:
    """The mask of the least loss that was met for each picture.

    What is asked in each step is the classifier's stand-in: its answers up to rounding, in fewer passes.

    Args:
        classifier: copied, never changed.
        pixels: float (B, 3, H, W) in 0–255.
        target: int64 (B,).
        config: how.
        on_step: told after each step how many are done; fewer than `config.steps` where every picture was done sooner.

    Returns:
        float32 (B, H, W) in [0, 1].
    """
    classifier = stand_in_for(classifier, "32-true")
    x = classifier.normalise(pixels.float())
    backgrounds = backgrounds_of(classifier, x, config.background)
    weight = x.new_full((len(x), *x.shape[2:]), config.weight).requires_grad_(True)
    sigma = x.new_full(weight.shape, config.sigma).requires_grad_(True)
    optimiser = torch.optim.Adam([weight, sigma], lr=config.learning_rate)
    best = _Best(weight, sigma)
    for step in range(config.steps):
        going = best.going(config.patience)
        if not len(going):
            break
        loss = losses(classifier, x[going], target[going], backgrounds[:, going], weight[going], sigma[going], config)
        best.note(going, loss.detach(), weight.detach(), sigma.detach(), config.progress)
        optimiser.zero_grad(set_to_none=True)
        # Summed over pictures, not averaged: each one's gradient is that of its own loss.
        loss.sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            sigma.clamp_(min=config.least_sigma)
        if on_step:
            on_step(step + 1)
    return torch.sigmoid(windowed_sum(best.weight, best.sigma, config.radius))


def losses(
    classifier: FrozenClassifier,
    x: Tensor,
    target: Tensor,
    backgrounds: Tensor,
    weight: Tensor,
    sigma: Tensor,
    config: MarcConfig,
) -> Tensor:
    """L of the module, float (B,), one a picture.

    Args:
        x: normalised pictures, float32 (B, 3, H, W).
        target: int64 (B,).
        backgrounds: normalised, float32 (K, B or 1, 3, H, W).
        weight, sigma: float32 (B, H, W).
    """
    mask = torch.sigmoid(windowed_sum(weight, sigma, config.radius))
    decision = _decision(classifier, x, target, backgrounds, mask[:, None])
    smooth = -config.smoothness * sigma.log().mean((1, 2))
    return decision + smooth + config.sparsity * mask.mean((1, 2)).square() + config.tv * variation(mask).square()


def _decision(classifier: FrozenClassifier, x: Tensor, target: Tensor, backgrounds: Tensor, mask: Tensor) -> Tensor:
    """−log P of what is kept and −log(1 − P) of what is left, averaged over backgrounds, float (B,)."""
    share = sigmoid_share_of(classifier)
    total = torch.zeros(len(x), device=x.device)
    for background in backgrounds:
        pair = torch.cat([masked(x, mask, background), masked(x, 1.0 - mask, background)])
        sure, unsure = log_confidence(classifier(pair).float(), torch.cat([target, target]), share)
        total = total - sure[: len(x)] - unsure[len(x) :]
    return total / len(backgrounds)


def sigmoid_share_of(classifier: FrozenClassifier) -> float:
    """s of `confidence.py`: the paper's share for CNNs, told by maps that are convolutional; 0 for transformers."""
    return SIGMOID_SHARE if all(tap.layout == "nchw" for tap in classifier.tap_specs) else 0.0


def backgrounds_of(classifier: FrozenClassifier, x: Tensor, kind: str) -> Tensor:
    """Normalised backgrounds, float32 (K, B, 3, H, W): black, white, mean colour; or each picture's blur."""
    if kind == BLUR:
        return blur(x)[None]
    white = classifier.normalise(torch.full((1, 3, 1, 1), 255.0, device=x.device))
    black = classifier.normalise(torch.zeros(1, 3, 1, 1, device=x.device))
    colours = torch.stack([black, white, torch.zeros_like(black)])
    return colours.expand(-1, *x.shape)


def variation(mask: Tensor) -> Tensor:
    """Mean step between neighbours in a row plus that in a column, float (B,), of masks float (B, H, W)."""
    down = (mask[:, 1:] - mask[:, :-1]).abs().mean((1, 2))
    right = (mask[:, :, 1:] - mask[:, :, :-1]).abs().mean((1, 2))
    return down + right


class _Best:
    """Each picture's parameters of least loss, and how long ago it last made progress.

    Args:
        weight, sigma: float (B, H, W), the start, which stands where nothing is tried.
    """

    def __init__(self, weight: Tensor, sigma: Tensor) -> None:
        self.weight, self.sigma = weight.detach().clone(), sigma.detach().clone()
        self._least = torch.full((len(weight),), math.inf, device=weight.device)
        self._reference = self._least.clone()
        self._waited = torch.zeros(len(weight), dtype=torch.int64, device=weight.device)

    def going(self, patience: int) -> Tensor:
        """Positions of the pictures that still make progress, int64."""
        return (self._waited < patience).nonzero()[:, 0]

    def note(self, going: Tensor, loss: Tensor, weight: Tensor, sigma: Tensor, progress: float) -> None:
        """Take note of one step: parameters (B, H, W), and losses of the pictures that are `going`."""
        better = going[loss < self._least[going]]
        self._least[going] = torch.minimum(self._least[going], loss)
        self.weight[better], self.sigma[better] = weight[better], sigma[better]
        moved = loss < self._reference[going] - progress
        self._reference[going] = torch.where(moved, loss, self._reference[going])
        self._waited[going] = torch.where(moved, 0, self._waited[going] + 1)
