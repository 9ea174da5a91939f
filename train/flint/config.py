"""The configuration of a FLINT run. Fields that `TrainConfig` has too mean the same and have the same default."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from whymask.runtime.card import RESIZE_RULES
from whymask.runtime.errors import InputError
from whymask.train.classifier_config import ClassifierConfig, check_seed, option


@dataclass(frozen=True)
class FlintConfig(ClassifierConfig):
    """How to learn attributes; each field's `help` says meaning, unit, range and why its default."""

    data: tuple[str, ...] = dataclasses.field(
        metadata={"help": "Folder of images; with by_design, one folder a class inside it."}
    )
    taps: tuple[str, ...] | None = option(None, "Hidden layers that attributes read; repeatable. Default: chosen.")
    licence: str = option("unstated", "Licence of classifier and attributes together, for the card.")

    by_design: bool = option(
        False, "Train the classifier together with its attributes, on labelled pictures; else it stays bit-identical."
    )
    attributes: int = option(24, "Number of attribute functions J, 2 to 1024. The paper: 25 on MNIST, 36 on CIFAR.")
    output_fidelity: float = option(0.5, "β, weight of the cross-entropy between classifier and interpreter.")
    input_fidelity: float = option(0.8, "γ, weight of reconstructing the picture from its attributes.")
    conciseness: float = option(0.2, "δ, weight of conciseness, diversity and sparsity together.")
    sparsity: float = option(
        0.02, "η, weight of the attributes' sum of absolute values inside δ; at 0.5 all of them went out."
    )
    concise_from: float = option(
        0.3, "Share of the steps before δ counts: attributes that mean nothing yet should not be made few."
    )
    pictures: bool = option(
        False, "Put a small training picture of each attribute into the card. They then travel with the graph."
    )

    steps: int = option(2000, "Optimiser steps.")
    batch_size: int = option(24, "Images a step.")
    learning_rate: float = option(3e-3, "Peak, after a warm-up of 3 % of the steps, then a cosine to zero.")
    weight_decay: float = option(1e-2, "Of AdamW.")
    seed: int = option(0, "Of everything random.")
    holdout: float = option(0.1, "Share of images kept out of training, to measure fidelity and conciseness.")
    max_holdout: int = option(400, "Their largest number.")
    cache_gigabytes: float = option(4.0, "A frozen classifier's activations stay in memory up to this size.")
    workers: int = option(2, "Threads that decode images.")
    log_every: int = option(50, "Steps between rows of metrics.csv.")

    def __post_init__(self) -> None:
        """Refuse values out of range, naming the field, the value and the range."""
        weights = ("output_fidelity", "input_fidelity", "conciseness", "sparsity", "weight_decay", "cache_gigabytes")
        positive = ("steps", "learning_rate", "log_every", "max_holdout", "workers")
        self._check(weights, lambda value: value >= 0, "≥ 0")
        self._check(positive, lambda value: value > 0, "above 0")
        self._check(("holdout",), lambda value: 0 < value < 1, "in (0, 1)")
        self._check(("concise_from",), lambda value: 0 <= value <= 1, "in [0, 1]")
        self._check(("batch_size",), lambda value: value >= 2, "≥ 2: batch normalisation needs two images or more")
        self._check(("attributes",), lambda value: 2 <= value <= 1024, "from 2 to 1024")
        check_seed(self.seed)
        self.check_rule()
        if self.resize not in RESIZE_RULES:
            raise InputError(f"resize is {self.resize!r}, expected one of {', '.join(RESIZE_RULES)}")
        if self.output_fidelity == 0:
            raise InputError("output_fidelity is 0: nothing would tie attributes to the classifier; give it a weight")

    def _check(self, names: tuple[str, ...], is_right: Any, words: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not is_right(value):
                raise InputError(f"{name} is {value}, expected a number {words}")
