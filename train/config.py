"""The configuration of a training run: every option, its unit, its range, and why its default.

The command line mirrors these fields one to one.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from whymask.runtime.card import RESIZE_RULES
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.records import dataclass_from_record
from whymask.train.explainers import ExplainerConfig

MODES = ("constraint", "area", "weighted")


@dataclass(frozen=True)
class TrainConfig:
    """How to train an explainer.

    Attributes:
        model: `torchvision:NAME`, `timm:NAME` or `FILE.py:FACTORY`.
        data: folders or files of images; labels are not needed.
        weights, labels: files for the model, see `whymask.train.model_spec.load_classifier`.
        size: input (height, width) in pixels; the model's own when None.
        mean, std: normalisation of RGB in [0, 1]; the model's own when None.
        resize: `squash` or `crop`. Squashing lets the mask speak of the whole picture.
        taps: names of the modules to tap; automatic when None.
        licence: of the classifier and of what is made from it, for the card.

        explainer: `tapped` or `autoencoder`.
        channels: width of the tapped decoder. 32 costs about 2 % of a ResNet-18.
        autoencoder_size: `small`, `medium` or `large`.

        steps: optimiser steps.
        batch_size: images a step, over all processes.
        learning_rate: peak, after a warm-up of 3 % of the steps, then cosine to zero.
        weight_decay: of AdamW.
        seed: of everything random. A step's randomness depends on (seed, step, process) alone, which is what lets
            a resumed run equal an unbroken one.

        mode: `constraint` learns each image's area as the least that keeps the decision; `area` holds every mask at
            `target_area`; `weighted` trades area against the rest with the fixed weight `area`.
        retention: share of training images whose decision the hard mask has to keep (mode constraint).
        target_area: share of pixels in (0, 1) (mode area).
        level_from: share of the steps after which images' own areas are learned beside random ones. Ranking first: a level
            over a map that does not rank yet drifts to the full mask.
        hard_from: share of the steps after which hard masks are mixed in. Hard masks from the first step stay below CAM.
        hard_share: share of hard masks at the last step, reached linearly.
        min_area, max_area: range of the random areas, log-uniform.

        kl, ce, activation: weights of keeping f's distribution, its decision, its tapped activations.
        area, binarisation, tv: weights of the priors. `area` is of the learned areas; `tv` of the standardised map.
        necessity: weight of losing the class without the mask's pixels; costs a second pass of the classifier.
        robustness: share of draws whose dropped pixels are a random background instead of the fill.

        holdout: share of images kept out of training for validation and calibration.
        max_holdout: their largest number.
        alpha, delta: retention ≥ 1 − alpha with confidence 1 − delta is asked of the threshold.
        evaluate_every: steps between validations; 0 means only at the end.
        patience: validations without a better one before an early stop; 0 means none. A cosine schedule is best run out.
        max_minutes: stop after this time; 0 means none.
        cache_gigabytes: decoded images are kept in memory up to this size, else decoded anew each time.
        workers: processes that decode when images are not cached.
        log_every: steps between rows of metrics.csv and checkpoints' refreshes.

        accelerator, devices, strategy, precision: of Lightning Fabric.
    """

    model: str
    data: tuple[str, ...]
    weights: str | None = None
    labels: str | None = None
    size: tuple[int, int] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    resize: str = "squash"
    taps: tuple[str, ...] | None = None
    licence: str = "unstated"

    explainer: str = "tapped"
    channels: int = 32
    autoencoder_size: str = "small"

    steps: int = 2000
    batch_size: int = 24
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-2
    seed: int = 0

    mode: str = "constraint"
    retention: float = 0.95
    target_area: float = 0.2
    level_from: float = 0.5
    hard_from: float = 0.3
    hard_share: float = 0.8
    min_area: float = 0.05
    max_area: float = 0.7

    kl: float = 1.0
    ce: float = 0.5
    activation: float = 0.5
    area: float = 1.0
    binarisation: float = 0.1
    tv: float = 10.0
    necessity: float = 0.0
    robustness: float = 0.5

    holdout: float = 0.1
    max_holdout: int = 400
    alpha: float = 0.1
    delta: float = 0.05
    evaluate_every: int = 500
    patience: int = 0
    max_minutes: float = 0.0
    cache_gigabytes: float = 4.0
    workers: int = 2
    log_every: int = 50

    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "32-true"

    def __post_init__(self) -> None:
        """Refuse values out of range, naming the field, the value and the range."""
        positive = ("steps", "batch_size", "learning_rate", "log_every", "devices", "max_holdout")
        _check_range(self, positive, 0, float("inf"), "above 0", open_low=True)
        shares = ("level_from", "hard_from", "hard_share", "robustness")
        _check_range(self, shares, 0, 1, "in [0, 1]")
        inner = ("retention", "target_area", "min_area", "max_area", "holdout", "alpha", "delta")
        _check_range(self, inner, 0, 1, "in (0, 1)", open_low=True, open_high=True)
        weights = ("kl", "ce", "activation", "area", "binarisation", "tv", "necessity", "weight_decay", "max_minutes")
        _check_range(self, (*weights, "cache_gigabytes", "workers", "patience", "evaluate_every"), 0, float("inf"), "≥ 0")
        _check_choice("mode", self.mode, MODES)
        _check_choice("resize", self.resize, RESIZE_RULES)
        if self.min_area >= self.max_area:
            raise InputError(f"min_area {self.min_area} must be below max_area {self.max_area}")
        if self.kl + self.ce + self.activation == 0:
            raise InputError("kl, ce and activation are all 0: nothing would keep the decision; give one a weight")
        if self.batch_size % self.devices:
            raise InputError(f"batch_size {self.batch_size} must be a multiple of devices {self.devices}")
        if self.batch_size // self.devices < 2:
            raise InputError(
                f"batch_size {self.batch_size} over {self.devices} processes leaves one image each; "
                "batch normalisation needs two or more"
            )
        self.explainer_config()

    def explainer_config(self) -> ExplainerConfig:
        """The part that builds the explainer."""
        return ExplainerConfig(self.explainer, self.channels, self.autoencoder_size)

    def to_json(self) -> str:
        """As indented JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """Read a configuration.

        Raises:
            ArtefactError: not JSON, or an unknown key.
        """
        try:
            return dataclass_from_record(cls, "config.json", json.loads(text))
        except json.JSONDecodeError as error:
            raise ArtefactError(f"config.json is not valid JSON ({error}); train again") from None


def _check_range(
    config: TrainConfig,
    names: tuple[str, ...],
    low: float,
    high: float,
    words: str,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    for name in names:
        value = getattr(config, name)
        below = value <= low if open_low else value < low
        above = value >= high if open_high else value > high
        if below or above:
            raise InputError(f"{name} is {value}, expected a number {words}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name} is {value!r}, expected one of {', '.join(choices)}")
