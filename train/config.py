"""The configuration of a training run: every option, its unit, its range, and why its default.

The command line mirrors these fields one to one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from whymask.runtime.card import RESIZE_RULES
from whymask.runtime.errors import InputError
from whymask.train.classifier_config import ClassifierConfig, check_seed, option

EXPLAINERS = ("tapped", "autoencoder")
AUTOENCODER_SIZES = ("small", "medium", "large")
MOST_RADIUS = 8
"""Of the guided filter, in cells."""
MOST_TEXTURES = 64
"""Of the picture, which `detail` lays over the map."""
MODES = ("constraint", "area", "weighted")
TEACHERS = (
    "activation-matching",
    "activation-matching-plain",
    "activation-matching-least",
    "activation-matching-published",
    "activation-matching-published-plain",
    "marc",
    "marc-blur",
    "optimise",
)
"""Names of `whymask.train.methods.METHODS`, which is heavy to import; a test holds them equal."""
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""Of Lightning Fabric, those that leave the weights in float32: calibration and files are of these."""


@dataclass(frozen=True)
class ExplainerConfig:
    """Which explainer to build.

    Attributes:
        kind: `tapped` (a decoder on the classifier's activations) or `autoencoder` (from the pixels).
        channels: of the tapped decoder.
        size: of the autoencoder, `small`, `medium` or `large`.
        retention: predicted chance of keeping the class at which maps are cut, in (0, 1).
        presence: whether it tells classes that are not there, whose masks are then empty.
        sharpen: radius of the guided filter behind it, in cells of its map; 0 for none.
        flat: of the filter, see `whymask.train.guided.guided_upsample`'s epsilon.
        detail: textures of the picture that the tapped decoder lays over its map (`whymask.train.detail`); 0 for none.
    """

    kind: str = "tapped"
    channels: int = 32
    size: str = "small"
    retention: float = 0.5
    presence: bool = False
    sharpen: int = 0
    flat: float = 0.05
    detail: int = 0

    def __post_init__(self) -> None:
        """Refuse unknown families and sizes."""
        _check_choice("explainer", self.kind, EXPLAINERS)
        _check_choice("autoencoder_size", self.size, AUTOENCODER_SIZES)
        if not 4 <= self.channels <= 512:
            raise InputError(f"channels is {self.channels}, expected 4 to 512")
        if not 0 <= self.sharpen <= MOST_RADIUS:
            raise InputError(f"sharpen is {self.sharpen}, expected a radius of 0 to {MOST_RADIUS} cells")
        if not self.flat > 0.0:
            raise InputError(f"flat is {self.flat}, expected a share above 0")
        self._check_detail()

    def _check_detail(self) -> None:
        if not 0 <= self.detail <= MOST_TEXTURES:
            raise InputError(f"detail is {self.detail}, expected 0 to {MOST_TEXTURES} textures")
        if self.detail and self.kind != "tapped":
            raise InputError(f"detail is {self.detail} with the explainer {self.kind!r}; it is of tapped ones alone")
        if self.detail and self.sharpen:
            raise InputError(
                f"sharpen is {self.sharpen} and detail {self.detail}; give one: both bring in the picture's edges"
            )


@dataclass(frozen=True)
class TrainConfig(ClassifierConfig):
    """How to train an explainer; each field's `help` says meaning, unit, range and why its default."""

    data: tuple[str, ...] = dataclasses.field(metadata={"help": "Folder of images, any tree; labels are not needed."})

    explainer: str = option("tapped", "tapped reads the classifier's activations; autoencoder reads pixels.")
    channels: int = option(32, "Width of the tapped decoder, 4 to 512.")
    autoencoder_size: str = option("small", "small, medium or large: about 0.2, 0.6 or 2.4 million parameters.")

    sharpen: int = option(
        0,
        "Radius, in cells of the map, of a guided filter that takes it to the picture's edges; 0: none, 2 is usual.",
    )
    flat: float = option(0.05, "Share of the picture's variance below which a window has no edge (--sharpen).")
    detail: int = option(
        0, "Textures of the picture that are learned and laid over the map, to its full size; 0: none, 8 is usual."
    )

    steps: int = option(2000, "Optimiser steps.")
    batch_size: int = option(24, "Images a step, over all processes.")
    learning_rate: float = option(3e-3, "Peak, after a warm-up of 3 % of the steps, then a cosine to zero.")
    weight_decay: float = option(1e-2, "Of AdamW.")
    seed: int = option(0, "Of everything random. A step's draws depend on seed, step and process alone.")

    mode: str = option(
        "constraint",
        "constraint: the least area that keeps decisions. area: all masks at --target-area. weighted: fixed weights.",
    )
    retention: float = option(0.9, "Chance of keeping the decision that an image's own mask aims at.")
    target_area: float = option(0.2, "Share of pixels kept (mode area).")
    level_from: float = option(
        0.5, "Share of the steps after which images' own areas are learned. Earlier, the map does not rank yet."
    )
    hard_from: float = option(0.3, "Share of the steps after which --hard-share rises from 0.")
    hard_share: float = option(0.8, "Share of hard masks at the last step, reached linearly.")
    min_area: float = option(0.05, "Smallest random area; areas are drawn log-uniformly.")
    max_area: float = option(0.9, "Largest random area.")

    kl: float = option(1.0, "Weight of KL(f(x) ‖ f(e)).")
    ce: float = option(0.5, "Weight of the cross-entropy of f(e) to the explained class.")
    activation: float = option(0.5, "Weight of matching the tapped activations.")
    level: float = option(1.0, "Weight of predicting where an image's decision breaks (mode constraint).")
    area: float = option(1.0, "Weight of the learned areas (modes area and weighted).")
    binarisation: float = option(0.1, "Weight of p (1 − p).")
    tv: float = option(3.0, "Weight of the standardised map's total variation.")
    necessity: float = option(
        0.0, "Weight of losing the class without the mask's pixels, 4 is usual. Costs one more pass a step."
    )
    robustness: float = option(0.5, "Share of draws that fill dropped pixels with a random background.")

    others: float = option(
        0.2,
        "Share of pictures that are asked about another class than the predicted one: of a second picture pasted into "
        "them, or the runner-up; some in contrast to the first. 0 where only predicted classes will be asked about.",
    )
    presence: float = option(
        1.0, "Weight of telling classes that are there from absent ones, whose masks are then empty; 0: not learned."
    )

    teacher: str | None = option(
        None,
        f"Per-image method whose masks teach the ranking, in place of the classifier's answers to the explainer's own: "
        f"one of {', '.join(TEACHERS)}. Default: none.",
    )
    teacher_steps: int = option(0, "Steps that the teacher spends on a picture; 0: its own number.")
    teacher_images: int = option(0, "Most training pictures that it explains, evenly spread; 0: all.")
    teacher_until: float = option(
        1.0, "Share of the steps that learn from its pictures; those after it ask the classifier, about all pictures."
    )
    teacher_cache: str | None = option(None, "Folder of its maps. Default: teacher/ in the run directory.")
    distil: float = option(5.0, "Weight of ranking as the teacher does.")

    holdout: float = option(0.1, "Share of images kept out of training, to validate and calibrate.")
    max_holdout: int = option(400, "Their largest number.")
    calibration_data: tuple[str, ...] | None = option(
        None,
        "Pictures to calibrate the threshold on instead of those held out; repeatable. The promise holds for pictures "
        "like these: take some that the classifier was not trained on either.",
    )
    alpha: float = option(0.1, "The threshold promises to keep at least 1 − alpha of the decisions …")
    delta: float = option(0.05, "… with confidence 1 − delta.")
    evaluate_every: int = option(500, "Steps between validations; 0: only at the end.")
    patience: int = option(0, "Validations without a better one before an early stop; 0: none.")
    max_minutes: float = option(0.0, "Stop after this time, calibrate and finish; 0: no limit.")
    cache_gigabytes: float = option(4.0, "Decoded images stay in memory up to this size.")
    workers: int = option(2, "Threads that decode images.")
    log_every: int = option(50, "Steps between rows of metrics.csv, and between checkpoints.")

    accelerator: str = option("auto", "Of Lightning Fabric: cpu, cuda, mps, auto.")
    devices: int = option(1, "Processes, one a device.")
    strategy: str = option("auto", "Of Lightning Fabric: ddp, ddp_spawn, auto.")
    precision: str = option(
        "32-true",
        "Of the training steps: 32-true, bf16-mixed, 16-mixed. Validation and calibration are always in float32. "
        "bf16-mixed is faster where the hardware multiplies it, see docs/training.md.",
    )

    compile: bool = option(
        False,
        "Compile the classifier's passes of the training steps (torch.compile); needs a C++ compiler, or Triton on a "
        "GPU. Whether it is faster, python -m whymask.benchmarks.training_speed --compile tells.",
    )

    def __post_init__(self) -> None:
        """Refuse values out of range, naming the field, the value and the range."""
        positive = ("steps", "batch_size", "learning_rate", "log_every", "devices", "max_holdout")
        _check_range(self, positive, 0, float("inf"), "above 0", open_low=True)
        check_seed(self.seed)
        self.check_rule()
        shares = ("level_from", "hard_from", "hard_share", "robustness", "others", "teacher_until")
        _check_range(self, shares, 0, 1, "in [0, 1]")
        inner = ("retention", "target_area", "min_area", "max_area", "holdout", "alpha", "delta")
        _check_range(self, inner, 0, 1, "in (0, 1)", open_low=True, open_high=True)
        weights = (
            "kl",
            "ce",
            "activation",
            "level",
            "area",
            "binarisation",
            "tv",
            "necessity",
            "presence",
            "distil",
            "teacher_steps",
            "teacher_images",
            "weight_decay",
            "max_minutes",
        )
        _check_range(
            self, (*weights, "cache_gigabytes", "workers", "patience", "evaluate_every"), 0, float("inf"), "≥ 0"
        )
        _check_choice("mode", self.mode, MODES)
        _check_choice("resize", self.resize, RESIZE_RULES)
        self._check_teacher()
        _check_choice("precision", self.precision, PRECISIONS)
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

    def _check_teacher(self) -> None:
        if self.teacher is None:
            given = [name for name in ("teacher_steps", "teacher_images", "teacher_cache") if getattr(self, name)]
            if given:
                value = getattr(self, given[0])
                raise InputError(f"{given[0]} is {value!r} without a teacher; name one with --teacher")
            return
        _check_choice("teacher", self.teacher, TEACHERS)
        if self.distil * self.teacher_until == 0:
            raise InputError(
                f"distil is {self.distil} and teacher_until {self.teacher_until}: it would teach nothing; give both a "
                "value above 0, or leave --teacher out"
            )

    def explainer_config(self) -> ExplainerConfig:
        """The part that builds the explainer."""
        retention = self.retention if self.mode == "constraint" else 0.5
        return ExplainerConfig(
            self.explainer,
            self.channels,
            self.autoencoder_size,
            retention,
            presence=self.presence > 0,
            sharpen=self.sharpen,
            flat=self.flat,
            detail=self.detail,
        )


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
        is_high = value > low if open_low else value >= low
        is_low = value < high if open_high else value <= high
        if not (is_high and is_low):  # so that nan, which is neither above nor below, is refused too
            raise InputError(f"{name} is {value}, expected a number {words}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name} is {value!r}, expected one of {', '.join(choices)}")
