"""The pictures of a run: found, split, decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from whymask.runtime.errors import InputError
from whymask.runtime.progress import Progress as ProgressBar
from whymask.runtime.progress import track
from whymask.train.classifier import FrozenClassifier
from whymask.train.config import TrainConfig
from whymask.train.data import ImageStore, find_images, larger, split_images


class _NoBar:
    """Progress of a process that is not the first: shown nowhere."""

    def advance(self, n: float = 1, note: str = "") -> None:
        """Take no note."""


@contextmanager
def bar_of_process(quiet: bool, total: int, description: str, unit: str) -> Iterator[ProgressBar]:
    """A progress bar, or none: of the processes of a run only the first shows one."""
    if quiet:
        yield _NoBar()
        return
    with track(total, description, unit) as bar:
        yield bar


@dataclass(frozen=True)
class Images:
    """The pictures of a run.

    Attributes:
        train: at the crop size.
        held_out: at the input size, to validate on.
        calibration: at the input size; the held-out ones unless others were given.
    """

    train: ImageStore
    held_out: ImageStore
    calibration: ImageStore

    @property
    def unreadable(self) -> dict[Path, str]:
        """Files that could not be decoded, with the reason."""
        return {**self.train.unreadable, **self.held_out.unreadable, **self.calibration.unreadable}

    @property
    def sha256(self) -> str:
        """Of the pictures that are trained on and of those that are held out, in order: it tells how they are split."""
        return hashlib.sha256(f"{self.train.sha256} {self.held_out.sha256}".encode()).hexdigest()


def load_images(config: TrainConfig, classifier: FrozenClassifier, *, quiet: bool) -> Images:
    """Find, split and decode the pictures of a run.

    Raises:
        InputError: there are none, or a picture is to be both trained and calibrated on.
    """
    card = classifier.rule.to_card()
    paths = find_images(config.data)
    own = find_images(config.calibration_data) if config.calibration_data else []
    both = {path.resolve() for path in paths} & {path.resolve() for path in own}
    if both:
        raise InputError(
            f"calibration_data holds {len(both)} pictures of data, {min(both)} among them; a promise needs pictures "
            "that were not trained on: give others, or leave --calibration-data out"
        )
    split = split_images(paths, config.holdout, config.max_holdout, config.seed)
    cache = config.cache_gigabytes * 1e9
    with bar_of_process(quiet, len(paths) + len(own), "reading images", "images") as bar:
        train_store = ImageStore(split.train, larger(card), cache, config.workers, bar.advance)
        held_out = ImageStore(split.held_out, card, cache, config.workers, bar.advance)
        calibration = ImageStore(own, card, cache, config.workers, bar.advance) if own else held_out
    return Images(train_store, held_out, calibration)
