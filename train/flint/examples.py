"""The pictures of a FLINT run, and their classes where the classifier is trained as well.

Letters: N pictures, H W the classifier's input size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from whymask.runtime.errors import InputError
from whymask.train.classifier import FrozenClassifier
from whymask.train.data import ImageStore, find_images, split_images
from whymask.train.flint.config import FlintConfig


@dataclass(frozen=True)
class Examples:
    """Pictures at the classifier's input size.

    Attributes:
        pixels: uint8, (N, 3, H, W), 0–255.
        classes: int64, (N,), the true ones; None where they are not known.
    """

    pixels: Tensor
    classes: Tensor | None = None

    def __len__(self) -> int:
        """N."""
        return len(self.pixels)


@dataclass(frozen=True)
class Split:
    """What is learned from, what is measured on, and the files that could not be decoded with the reason."""

    train: Examples
    held_out: Examples
    unreadable: dict[Path, str]


def examples_from(config: FlintConfig, classifier: FrozenClassifier, on_image: Callable[[], None]) -> Split:
    """Find, split and decode the pictures of a run.

    Args:
        config: names the folders.
        classifier: gives the input size and the number of classes.
        on_image: called once an image.

    Raises:
        InputError: there are none, or by design their folders are not the classifier's classes.
    """
    split = split_images(find_images(config.data), config.holdout, config.max_holdout, config.seed)
    names = class_names([*split.train, *split.held_out], classifier) if config.by_design else None
    if names and not classifier.labels:
        classifier.labels = names
    card = classifier.rule.to_card()
    stores = [
        ImageStore(paths, card, workers=config.workers, on_image=on_image) for paths in (split.train, split.held_out)
    ]
    train, held_out = (Examples(store[torch.arange(len(store))], _classes(store.paths, names)) for store in stores)
    return Split(train, held_out, stores[0].unreadable | stores[1].unreadable)


def class_names(paths: Sequence[Path], classifier: FrozenClassifier) -> tuple[str, ...]:
    """Names of the folders that hold the pictures, sorted: class 0, 1, … of a classifier trained by design.

    Raises:
        InputError: their number is not the classifier's number of classes.
    """
    names = tuple(sorted({path.parent.name for path in paths}))
    if len(names) != classifier.num_classes:
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise InputError(
            f"by_design: the pictures lie in {len(names)} folders ({shown}), and the classifier has "
            f"{classifier.num_classes} classes; give one folder a class, in sorted order, or train post hoc"
        )
    return names


def _classes(paths: Sequence[Path], names: Sequence[str] | None) -> Tensor | None:
    return None if names is None else torch.tensor([names.index(path.parent.name) for path in paths])
