"""Train an autoencoder for each picture, and give its mask.

Letters: B pictures, H W the input size.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from whymask.runtime.errors import InputError
from whymask.train.classifier import FrozenClassifier
from whymask.train.matching.config import LEAST, MatchingConfig
from whymask.train.matching.layers import matched_layers
from whymask.train.matching.networks import Autoencoders
from whymask.train.matching.objective import Step, evaluate, look_at, random_backgrounds
from whymask.train.optimise import OnStep
from whymask.train.stand_in import stand_in_for


class Matched(NamedTuple):
    """What was found.

    Attributes:
        masks: the networks' probabilities, float32 (B, H, W) in [0, 1]; cut at 0.5 they are the masks.
        terms: weighted terms at the last step, float32 (B,) each.
    """

    masks: Tensor
    terms: dict[str, Tensor]


class _Least:
    """The smallest mask of each picture so far that kept the class."""

    def __init__(self, start: Tensor) -> None:
        self.masks = start.detach().clone()
        self.area = torch.full((len(start),), torch.inf, device=start.device)

    def see(self, probability: Tensor, kept: Tensor, area: Tensor) -> None:
        """Take note of masks, float (B, 1, H, W), of which `kept`, bool (B,), says whether the class stayed."""
        better = kept & (area < self.area)
        self.masks = torch.where(better[:, None, None, None], probability.detach(), self.masks)
        self.area = torch.where(better, area, self.area)


def explain_images(
    classifier: FrozenClassifier,
    pixels: Tensor,
    target: Tensor,
    *,
    steps: int | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
    config: MatchingConfig | None = None,
) -> Tensor:
    """Masks of pictures, as `whymask.train.methods` asks for: float32 (B, H, W) in [0, 1], to be cut at 0.5.

    Args:
        classifier: asked, never changed.
        pixels: float32 (B, 3, H, W) in 0–255, at the classifier's input size.
        target: int64 (B,), the classes to keep.
        steps: of Adam; None takes the configuration's.
        seed: of the networks' start and the backgrounds.
        on_step: told after each step how many are done.
        config: everything else.
    """
    config = replace(config or MatchingConfig(), seed=seed)
    return match(classifier, pixels, target, config if steps is None else replace(config, steps=steps), on_step).masks


def match(
    classifier: FrozenClassifier,
    pixels: Tensor,
    target: Tensor,
    config: MatchingConfig,
    on_step: OnStep | None = None,
) -> Matched:
    """Train B networks on B pictures at once.

    What is asked in each step is the classifier's stand-in: its answers up to rounding, in fewer passes.

    Args:
        classifier: copied, never changed.
        pixels: float32 (B, 3, H, W) in 0–255, at the classifier's input size.
        target: int64 (B,).

    Raises:
        InputError: pictures and classes of different numbers, or pictures too small for the network.
    """
    if pixels.ndim != 4 or len(pixels) != len(target):
        raise InputError(
            f"matching: pictures {tuple(pixels.shape)}, {len(target)} classes; expected one class a picture"
        )
    layers = matched_layers(classifier, config.taps)
    classifier = stand_in_for(classifier.tapped_at(tuple(layer.tap for layer in layers)), "32-true")
    picture = look_at(classifier, layers, pixels, target, config.fill)
    height, width = pixels.shape[-2:]
    networks = Autoencoders(config, len(pixels), height, width, picture.x.device)
    optimiser = torch.optim.Adam(networks.parameters.values(), lr=config.learning_rate, fused=True)

    def look(step: int, probability: Tensor) -> Step:
        backgrounds = random_backgrounds(classifier, height, width, config.seed, step)
        asked = config if step == config.steps else pushing(config)
        return evaluate(classifier, layers, picture, probability, backgrounds, asked)

    with torch.enable_grad():
        probability = networks(picture.x)
        least = _Least(probability)
        for step in range(config.steps):
            seen = look(step, probability)
            least.see(probability, seen.kept, seen.area)
            optimiser.zero_grad(set_to_none=True)
            # Summed over pictures, not averaged: each network's gradient is that of its own loss.
            torch.stack(list(seen.terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            probability = networks(picture.x)
            if on_step:
                on_step(step + 1)
    with torch.no_grad():
        seen = look(config.steps, probability.detach())
        least.see(probability, seen.kept, seen.area)
    none_kept = least.area.isinf()[:, None, None, None]
    wanted = torch.where(none_kept, probability.detach(), least.masks) if config.answer == LEAST else probability
    return Matched(wanted.detach()[:, 0], {name: term.detach() for name, term in seen.terms.items()})


def pushing(config: MatchingConfig) -> MatchingConfig:
    """The same objective without terms that carry no gradient: they cost passes and move nothing."""
    if not config.as_published:
        return config
    return replace(config, weights=replace(config.weights, robustness=0.0, necessity=0.0))
