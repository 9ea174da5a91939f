"""MaRC for pictures (Brinner and Zarrieß, arXiv 2508.11388): one optimised mask a picture, from equations alone.

    m = sigmoid(z),  z_p = Σ_q w_q exp(−‖p − q‖² / σ_q)                                        (`windowed_sum.py`)
    L = mean over backgrounds b of [−log P_y(m ⊙ x + (1 − m) ⊙ b) − log(1 − P_y((1 − m) ⊙ x + m ⊙ b))]
        − 1.2 · mean log σ + λ (mean m)² + 10 · TV(m)

Adam moves w and σ of every pixel at a rate of 0.03, σ held at 0.6 or more, until the mask has settled. Nothing is drawn
at random, and the pictures of a batch share nothing. Values that the paper leaves open are those of the authors'
settings; what was read how is in `docs/marc.md`.

Letters: B batch, H W input size, K backgrounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from whymask.runtime.errors import InputError
from whymask.train.backgrounds import blur, masked
from whymask.train.classifier import FrozenClassifier
from whymask.train.marc.confidence import SIGMOID_SHARE, log_confidence
from whymask.train.marc.windowed_sum import RADIUS, reach_of, windowed_sum
from whymask.train.stand_in import stand_in_for

COLOURS, BLUR = "colours", "blur"
BACKGROUNDS = (COLOURS, BLUR)
"""black, white and the mean colour of the classifier's normalisation, averaged; or the picture's own blur."""
MEMORY = 0.95
"""Of the moving average of a mask's shrinking: a single step says little."""

OnStep = Callable[[int], None]
"""Told the number of steps done."""


@dataclass(frozen=True)
class Family:
    """What the authors set by the kind of classifier.

    Attributes:
        sigmoid_share: s of `confidence.py`.
        sparsity: weight λ of (mean m)².
        background: one of BACKGROUNDS.
    """

    sigmoid_share: float
    sparsity: float
    background: str


CONVOLUTIONAL, OTHER = Family(SIGMOID_SHARE, 0.6, COLOURS), Family(0.0, 0.25, BLUR)


@dataclass(frozen=True)
class MarcConfig:
    """How a mask is optimised; the defaults are the authors'.

    Attributes:
        steps: most steps of Adam; 0 gives the start.
        learning_rate: of Adam, in units of w and of σ a step.
        weight, sigma: w and σ of every pixel at the start; m starts at about 0.87.
        least_sigma: below which σ never falls, in square pixels.
        smoothness: weight of −mean log σ, which widens the Gaussians.
        sparsity: weight λ of (mean m)²; None takes the classifier's family's.
        tv: weight of TV.
        background: one of BACKGROUNDS; None takes the classifier's family's.
        radius: of the window, in pixels.
        least_steps: before which no mask has settled.
        settled: fall of the mean of m a step, averaged with a memory of MEMORY, below which a mask has settled.
        widest: mean of m from which on no mask has settled.
    """

    steps: int = 7500
    learning_rate: float = 0.03
    weight: float = 0.5
    sigma: float = 1.2
    least_sigma: float = 0.6
    smoothness: float = 1.2
    sparsity: float | None = None
    tv: float = 10.0
    background: str | None = None
    radius: int = RADIUS
    least_steps: int = 250
    settled: float = 2e-4
    widest: float = 0.5

    def __post_init__(self) -> None:
        """Refuse settings that move nothing."""
        if self.steps < 0 or self.least_steps < 0 or not 0.0 < self.learning_rate < math.inf:
            raise InputError(
                f"marc: {self.steps} steps, {self.least_steps} at least, learning rate {self.learning_rate}; expected "
                "no negative number of steps and a learning rate above 0"
            )
        if not 0.0 < self.least_sigma <= self.sigma:
            raise InputError(
                f"marc: sigma starts at {self.sigma}, least_sigma is {self.least_sigma}; expected 0 < least_sigma ≤ "
                "sigma"
            )
        if self.background not in (None, *BACKGROUNDS):
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
        config: everything else; None takes the authors' settings.

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
    """The mask of each picture after its last step: when it had settled, or when steps ended.

    What is asked in each step is the classifier's stand-in: its answers up to rounding, in fewer passes.

    Args:
        classifier: copied, never changed.
        pixels: float (B, 3, H, W) in 0–255.
        target: int64 (B,).
        config: how.
        on_step: told after each step how many are done; fewer than `config.steps` where every mask settled sooner.

    Returns:
        float32 (B, H, W) in [0, 1].
    """
    classifier = stand_in_for(classifier, "32-true")
    family = family_for(classifier, config)
    x = classifier.normalise(pixels.float())
    backgrounds = backgrounds_of(classifier, x, family.background)
    start = x.new_ones(x.shape[2:])
    # A picture's own tensors, so that Adam lets those rest that have no gradient any more.
    weights = [(config.weight * start).requires_grad_(True) for _ in x]
    sigmas = [(config.sigma * start).requires_grad_(True) for _ in x]
    optimiser = torch.optim.Adam([*weights, *sigmas], lr=config.learning_rate)
    settling = _Settling(len(x), config)
    for step in range(config.steps):
        going = settling.going
        if not going:
            break
        weight, sigma = (torch.stack([of[i] for i in going]) for of in (weights, sigmas))
        asked = (x[going], target[going], backgrounds[:, going])
        loss, mean = losses(classifier, *asked, weight, sigma, config, family)
        optimiser.zero_grad(set_to_none=True)
        # Summed over pictures, not averaged: each one's gradient is that of its own loss.
        loss.sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        _hold(sigmas, config.least_sigma)
        settling.note(mean.tolist())
        if on_step:
            on_step(step + 1)
    with torch.no_grad():
        return mask_of(torch.stack(weights), torch.stack(sigmas), config.radius)


def family_for(classifier: FrozenClassifier, config: MarcConfig) -> Family:
    """CONVOLUTIONAL, told by taps that are convolutional maps, else OTHER; with what `config` sets itself."""
    family = CONVOLUTIONAL if all(tap.layout == "nchw" for tap in classifier.tap_specs) else OTHER
    sparsity = family.sparsity if config.sparsity is None else config.sparsity
    return replace(family, sparsity=sparsity, background=config.background or family.background)


@torch.no_grad()
def _hold(sigmas: list[Tensor], least: float) -> None:
    for sigma in sigmas:
        sigma.clamp_(min=least)


def mask_of(weight: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """m of float (B, H, W) each. Outside the picture w and σ go on as at its rim, so that a rim is no edge."""
    rim = reach_of(sigma, radius)
    wide = [F.pad(each[:, None], [rim] * 4, mode="replicate")[:, 0] for each in (weight, sigma)]
    total = windowed_sum(wide[0], wide[1], radius)
    return torch.sigmoid(total[:, rim : rim + weight.shape[1], rim : rim + weight.shape[2]])


def losses(
    classifier: FrozenClassifier,
    x: Tensor,
    target: Tensor,
    backgrounds: Tensor,
    weight: Tensor,
    sigma: Tensor,
    config: MarcConfig,
    family: Family,
) -> tuple[Tensor, Tensor]:
    """L of the module and the mean of m, float (B,) each, one a picture.

    Args:
        x: normalised pictures, float32 (B, 3, H, W).
        target: int64 (B,).
        backgrounds: normalised, float32 (K, B or 1, 3, H, W).
        weight, sigma: float32 (B, H, W).
        config: the other weights, and the window.
        family: from `family_for`.
    """
    mask = mask_of(weight, sigma, config.radius)
    mean = mask.mean((1, 2))
    decision = _decision(classifier, x, target, backgrounds, mask[:, None], family.sigmoid_share)
    smooth = -config.smoothness * sigma.log().mean((1, 2))
    loss = decision + smooth + family.sparsity * mean.square() + config.tv * variation(mask)
    return loss, mean.detach()


def _decision(
    classifier: FrozenClassifier, x: Tensor, target: Tensor, backgrounds: Tensor, mask: Tensor, share: float
) -> Tensor:
    """−log P of what is kept and −log(1 − P) of what is left, averaged over backgrounds, float (B,)."""
    total = torch.zeros(len(x), device=x.device)
    for background in backgrounds:
        pair = torch.cat([masked(x, mask, background), masked(x, 1.0 - mask, background)])
        sure, unsure = log_confidence(classifier(pair).float(), torch.cat([target, target]), share)
        total = total - sure[: len(x)] - unsure[len(x) :]
    return total / len(backgrounds)


def backgrounds_of(classifier: FrozenClassifier, x: Tensor, kind: str) -> Tensor:
    """Normalised backgrounds, float32 (K, B, 3, H, W): black, white, mean colour; or each picture's blur."""
    if kind == BLUR:
        return blur(x)[None]
    white = classifier.normalise(torch.full((1, 3, 1, 1), 255.0, device=x.device))
    black = classifier.normalise(torch.zeros(1, 3, 1, 1, device=x.device))
    colours = torch.stack([black, white, torch.zeros_like(black)])
    return colours.expand(-1, *x.shape)


def variation(mask: Tensor) -> Tensor:
    """TV of masks float (B, H, W): squared steps to the four neighbours right and below, a pixel; float (B,)."""
    down, right = mask[:, 1:] - mask[:, :-1], mask[:, :, 1:] - mask[:, :, :-1]
    falling, rising = mask[:, 1:, 1:] - mask[:, :-1, :-1], mask[:, 1:, :-1] - mask[:, :-1, 1:]
    total = sum(step.square().sum((1, 2)) for step in (down, right, falling, rising))
    return torch.as_tensor(total) / mask[0].numel()


class _Settling:
    """Which masks still shrink.

    Args:
        count: of pictures.
        config: its `least_steps`, `settled` and `widest` decide.
    """

    def __init__(self, count: int, config: MarcConfig) -> None:
        self.going = list(range(count))
        self._config, self._steps = config, 0
        self._last = [1.0] * count
        self._fall: list[float | None] = [None] * count

    def note(self, means: list[float]) -> None:
        """Take note of a step: the mean of m of each picture that was `going`, before the step."""
        for picture, mean in zip(self.going, means, strict=True):
            fall, before = self._last[picture] - mean, self._fall[picture]
            self._fall[picture] = fall if before is None else MEMORY * before + (1.0 - MEMORY) * fall
            self._last[picture] = mean
        self._steps += 1
        if self._steps > self._config.least_steps:
            self.going = [picture for picture in self.going if not self._is_settled(picture)]

    def _is_settled(self, picture: int) -> bool:
        fall = self._fall[picture]
        return fall is not None and fall < self._config.settled and self._last[picture] < self._config.widest
