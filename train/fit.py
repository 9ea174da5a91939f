"""Training: from a configuration to a run directory.

    classifier, images (→ teacher)  →  steps (whymask.train.loop)  →  calibration (whymask.train.calibrate)  →  RUN

Lightning Fabric carries device, precision and processes; `loop.py` holds the loop itself.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from whymask.runtime.errors import ArtefactError, InputError, TrainingError
from whymask.runtime.files import write_atomically
from whymask.train.allocator import keep_freed_memory
from whymask.train.calibrate import calibrate
from whymask.train.checkpoint import Progress, load_checkpoint, refuse_other_run
from whymask.train.config import TrainConfig
from whymask.train.explainers import build_explainer
from whymask.train.lessons import Share, lessons_for_run
from whymask.train.loop import Loop
from whymask.train.model_spec import classifier_from_config
from whymask.train.run import (
    CARD_FILE,
    CHECKPOINT_FILE,
    UNREADABLE_FILE,
    Run,
    load_run,
    refuse_no_folder,
    save_run,
)
from whymask.train.run_images import load_images
from whymask.train.summary import card_of
from whymask.train.validate import validate


def train(config: TrainConfig, out: Path, *, resume: bool = False) -> Run:
    """Train an explainer and write its run directory.

    Args:
        config: see `TrainConfig`.
        out: the run directory; made if absent.
        resume: go on from the checkpoint in `out`; the result equals that of an unbroken run. A run that had ended is
            calibrated anew.

    Returns:
        the finished run, loaded from the directory.

    Raises:
        InputError: bad options or data, or others than those of the run that is resumed.
        ArtefactError: `out` holds a run and `resume` is off, there is nothing to resume, or no folder can be there.
        TrainingError: the loss stopped being a number, or the frozen classifier changed.
        KeyboardInterrupt: passed on once the step is whole and in a checkpoint; a second one at once, from where the
            last checkpoint stands.
    """
    checkpoint = out / CHECKPOINT_FILE
    if resume and not checkpoint.is_file():
        instead = "into another folder" if (out / CARD_FILE).exists() else "without --resume"
        raise ArtefactError(f"--resume: {out} has no {CHECKPOINT_FILE}; train {instead}")
    if not resume and (checkpoint.exists() or (out / CARD_FILE).exists()):
        instead = ", or --resume to go on with it" if checkpoint.exists() else ""
        raise ArtefactError(f"{out} already holds a run; give another -o{instead}")
    refuse_no_folder(out)
    fabric = fabric_from_config(config)
    fabric.launch(partial(_train_process, config=config, out=out, resume=resume))
    return load_run(out)


def fabric_from_config(config: TrainConfig) -> Fabric:
    """Device, processes and precision of a run.

    Raises:
        InputError: this machine has no such device, or Fabric does not know it.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You passed `Fabric", UserWarning)  # refused below
            fabric = Fabric(
                accelerator=config.accelerator,
                devices=config.devices,
                strategy=config.strategy,
                precision=config.precision,  # type: ignore[arg-type]
            )
    except Exception as error:  # Fabric raises many kinds here, all of which mean: not with these options
        raise InputError(
            f"accelerator {config.accelerator!r} with {config.devices} devices and strategy {config.strategy!r}: "
            f"{' '.join(str(error).split())[:300]} Expected cpu, cuda, mps or auto, and auto, ddp or ddp_spawn"
        ) from None
    taken = fabric.strategy.precision.precision
    if taken != config.precision:
        raise InputError(
            f"precision is {config.precision!r}, which needs a GPU, and {fabric.device.type} was taken; "
            "expected 32-true or bf16-mixed there"
        )
    return fabric


def _train_process(fabric: Fabric, config: TrainConfig, out: Path, resume: bool) -> None:
    """What each process does."""
    keep_freed_memory()
    torch.manual_seed(config.seed)
    saved = load_checkpoint(out / CHECKPOINT_FILE, config) if resume else None
    out.mkdir(parents=True, exist_ok=True)
    classifier = classifier_from_config(config)
    digest, bits = classifier.sha256(), classifier.bits_sha256()
    images = load_images(config, classifier, quiet=not fabric.is_global_zero)
    if saved:
        refuse_other_run(saved.progress, digest, images.sha256)
    if images.unreadable and fabric.is_global_zero:
        lines = (f"{path}: {reason}\n" for path, reason in images.unreadable.items())
        write_atomically(out / UNREADABLE_FILE, "".join(lines))
    explainer = build_explainer(config.explainer_config(), classifier)
    classifier = classifier.to(fabric.device)
    share = Share(fabric.global_rank, fabric.world_size, fabric.barrier)
    lessons = lessons_for_run(config, classifier, images.train, out, share) if config.teacher else None
    loop = Loop(fabric, config, out, classifier, explainer, images, lessons)
    loop.progress = Progress(classifier=digest, pictures=images.sha256)
    if saved:
        loop.restore(saved)
    stopped = loop.run()
    if classifier.bits_sha256() != bits:
        raise TrainingError("the frozen classifier changed during training; please report this")
    if fabric.is_global_zero:
        _finish(loop, digest, stopped)
    fabric.barrier()


def _finish(loop: Loop, digest: str, stopped: str) -> None:
    """Calibrate, and write the run directory."""
    explainer = loop.plain.eval()
    calibration = calibrate(
        loop.classifier,
        explainer,
        loop.images.calibration,
        loop.objective.fill,
        alpha=loop.config.alpha,
        delta=loop.config.delta,
        device=loop.fabric.device,
    )
    figures = validate(loop.classifier, explainer, loop.images.held_out, loop.objective.fill, loop.fabric.device)
    training: dict[str, Any] = {
        "images": len(loop.images.train),
        "held_out_images": len(loop.images.held_out),
        "unreadable_images": len(loop.images.unreadable),
        "steps": loop.progress.step,
        "stopped": stopped,
        "seconds": round(loop.progress.seconds, 1),
        "cpu_seconds": round(loop.progress.cpu_seconds, 1),
        **(loop.lessons.facts if loop.lessons else {}),
    }
    card = card_of(loop.classifier.cpu(), explainer.cpu(), loop.config, calibration, figures, training, digest)
    save_run(Run(loop.classifier, explainer, card, loop.config, loop.out))
