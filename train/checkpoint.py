"""Checkpoints: everything a run needs to go on as if it had not stopped."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.files import write_atomically
from whymask.train.config import TrainConfig

FREE_TO_CHANGE = frozenset(
    {"max_minutes", "patience", "workers", "cache_gigabytes", "accelerator", "strategy", "licence", "teacher_cache"}
    | {"alpha", "delta", "calibration_data"}
)
"""Options that may differ when a run is resumed; any other would make it another run. The second line is read once all
steps are done: a finished run is calibrated anew by resuming it."""


@dataclass
class Progress:
    """Where a run is, beside the weights.

    Attributes:
        step: steps done.
        best: best held-out figure so far, and validations since.
        rows: of metrics.csv.
        seconds, cpu_seconds: that the steps took so far, over all resumptions; by the clock, and of the processor.
        classifier, pictures: digests of what it trains for and on; empty in checkpoints that did not tell yet.
        scaler: state of the loss scaling in half precision; empty without one.
    """

    step: int = 0
    best: float = -1.0
    since_best: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    classifier: str = ""
    pictures: str = ""
    scaler: dict[str, Any] = field(default_factory=dict)


class Checkpoint(NamedTuple):
    """What a run goes on from: where it is, and the states of explainer and optimiser."""

    progress: Progress
    explainer: dict[str, Any]
    optimizer: dict[str, Any]


def save_checkpoint(
    path: Path, config: TrainConfig, progress: Progress, explainer: dict[str, Any], optimizer: dict[str, Any]
) -> None:
    """Write a checkpoint whole or not at all."""
    buffer = io.BytesIO()
    record = {
        "config": config.to_json(),
        "step": progress.step,
        "best": progress.best,
        "since_best": progress.since_best,
        "rows": progress.rows,
        "times": [progress.seconds, progress.cpu_seconds],
        "digests": [progress.classifier, progress.pictures],
        "scaler": progress.scaler,
        "explainer": explainer,
        "optimizer": optimizer,
    }
    torch.save(record, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path, config: TrainConfig) -> Checkpoint:
    """Read a checkpoint of the same run.

    Raises:
        ArtefactError: the file is damaged.
        InputError: it belongs to another configuration.
    """
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
        saved = TrainConfig.from_json(record["config"])
        where = [record[name] for name in ("step", "best", "since_best", "rows")]
        # Checkpoints did not always tell these.
        told = [*record.get("times", [0.0, 0.0]), *record.get("digests", ["", ""]), record.get("scaler", {})]
        progress = Progress(*where, *told)
        explainer, optimizer = record["explainer"], record["optimizer"]
    except Exception as error:  # pickle and torch raise many kinds here, all of which mean: not a checkpoint
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ArtefactError(
            f"checkpoint {path} cannot be read ({reason}); train again without --resume, into another folder"
        ) from None
    _refuse_changes(saved, config)
    return Checkpoint(progress, explainer, optimizer)


def refuse_other_run(began: Progress, classifier: str, pictures: str) -> None:
    """Refuse to go on with another classifier or with other pictures than a run began with.

    Args:
        began: of the checkpoint.
        classifier, pictures: digests of what there is now.

    Raises:
        InputError: either differs.
    """
    if began.classifier not in ("", classifier):
        raise InputError(
            f"--resume: the classifier has sha256 {classifier[:12]}…, this run began with {began.classifier[:12]}…; "
            "give the same weights, or train into another folder"
        )
    if began.pictures not in ("", pictures):
        raise InputError(
            f"--resume: the pictures of data have sha256 {pictures[:12]}…, this run began with "
            f"{began.pictures[:12]}…, and some that were trained on would now be held out; "
            "give the same pictures, or train into another folder"
        )


def _refuse_changes(saved: TrainConfig, config: TrainConfig) -> None:
    for option in dataclasses.fields(TrainConfig):
        before, now = getattr(saved, option.name), getattr(config, option.name)
        if before != now and option.name not in FREE_TO_CHANGE:
            raise InputError(
                f"--resume: {option.name} was {before!r} when this run began and is {now!r} now; "
                "give the same value, or train into another folder"
            )
