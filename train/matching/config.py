"""How a picture is explained by activation matching: the published settings for ResNet-18, each of them a field."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from whymask.runtime.errors import InputError
from whymask.train.optimise import FILL

UNET, PLAIN = "unet", "plain"
NETWORKS = (UNET, PLAIN)
LAST, LEAST = "last", "least"
ANSWERS = (LAST, LEAST)


@dataclass(frozen=True)
class Weights:
    """Weight of each term of the objective; the defaults are those published for ResNet-18 (arXiv 2509.25686).

    Attributes:
        activation: distance of the taps' features, λ_act.
        ce: cross-entropy of the explanation to the asked class, λ_CE.
        kl: divergence of the explanation's softened prediction from the picture's, λ_KL.
        area: mean of the mask, λ_area.
        binarisation: mean of p (1 − p), λ_bin.
        tv: total variation over eight neighbours, λ_tv.
        robustness: cross-entropy over backgrounds, λ_rob.
        necessity: what the class keeps where the mask is hidden. 0, since no weight of it was published.
    """

    activation: float = 10.0
    ce: float = 15.0
    kl: float = 5.0
    area: float = 100.0
    binarisation: float = 1.0
    tv: float = 500.0
    robustness: float = 100.0
    necessity: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a weight that would turn its term around."""
        for each in fields(self):
            value = getattr(self, each.name)
            if not 0.0 <= value < math.inf:
                raise InputError(f"matching: weight {each.name} is {value}, expected a number of at least 0")


@dataclass(frozen=True)
class MatchingConfig:
    """How an autoencoder is trained on one picture.

    Attributes:
        steps: of Adam, at least 1.
        learning_rate: of Adam, constant.
        network: `unet` (7.8 M parameters) or `plain` (1.1 M).
        width: channels of the network's first layer; deeper ones double it.
        temperature: that softens both predictions of the divergence.
        weights: of the terms.
        as_published: whether robustness and necessity are counted without a gradient, as the published code does.
        answer: `last` gives the mask after the last step, as published; `least` the smallest one on the way that kept
            the class, and the last where none did.
        taps: modules whose features are matched; None takes the published ones of a ResNet, else the classifier's own.
        seed: of the network's start and the backgrounds.
        fill: RGB in 0–255 of dropped pixels.
    """

    steps: int = 880
    learning_rate: float = 5e-5
    network: str = UNET
    width: int = 32
    temperature: float = 2.0
    weights: Weights = field(default_factory=Weights)
    as_published: bool = False
    answer: str = LAST
    taps: tuple[str, ...] | None = None
    seed: int = 0
    fill: tuple[float, float, float] = FILL

    def __post_init__(self) -> None:
        """Refuse settings that explain nothing."""
        if self.steps < 1 or self.width < 1:
            raise InputError(f"matching: {self.steps} steps, width {self.width}; expected at least 1 of both")
        for name in ("learning_rate", "temperature"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise InputError(f"matching: {name} is {getattr(self, name)}, expected a number above 0")
        for name, allowed in (("network", NETWORKS), ("answer", ANSWERS)):
            if getattr(self, name) not in allowed:
                raise InputError(f"matching: {name} is {getattr(self, name)!r}, expected {' or '.join(allowed)}")
