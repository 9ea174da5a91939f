"""The loop over the steps of a run, in one process, to be read from top to bottom."""

from __future__ import annotations

import csv
import io
import math
import time
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import Precision

from whymask.runtime.errors import TrainingError
from whymask.runtime.files import write_atomically
from whymask.runtime.progress import Progress as ProgressBar
from whymask.train.ahead import Ahead
from whymask.train.checkpoint import Checkpoint, Progress, save_checkpoint
from whymask.train.classifier import FrozenClassifier
from whymask.train.compiled import compiled
from whymask.train.config import TrainConfig
from whymask.train.data import batch_indices, cropped, draw_crops
from whymask.train.distil import Lesson
from whymask.train.explainers import Explainer
from whymask.train.interrupts import hold_interrupts
from whymask.train.lessons import Lessons
from whymask.train.run import CHECKPOINT_FILE, METRICS_FILE
from whymask.train.run_images import Images, bar_of_process
from whymask.train.stand_in import stand_in_for
from whymask.train.step import Objective
from whymask.train.summary import fill_of
from whymask.train.validate import validate

WARM_UP = 0.03
"""Share of the steps over which the learning rate rises."""

GRADIENT_NORM = 5.0
"""Gradients are clipped to this norm: one image whose KL explodes must not undo a hundred steps."""

LEAST_SCALE = 1.0
"""Of the loss, in precision 16-mixed: gradients that overflow at less than this are no matter of the scale."""


class Loop:
    """The state of a run in one process, and the loop over its steps."""

    def __init__(
        self,
        fabric: Fabric,
        config: TrainConfig,
        out: Path,
        classifier: FrozenClassifier,
        explainer: Explainer,
        images: Images,
        lessons: Lessons | None = None,
    ) -> None:
        self.fabric, self.config, self.out, self.classifier = fabric, config, out, classifier
        self.images, self.plain, self.lessons = images, explainer, lessons
        optimizer = torch.optim.AdamW(
            explainer.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=config.precision != "16-mixed",  # whose loss scaling has to see the gradients before they are clipped
        )
        self.explainer, self.optimizer = fabric.setup(explainer, optimizer)
        self.explainer.mark_forward_method("ranking_and_breaking")
        stand_in = stand_in_for(classifier, config.precision)
        if config.compile:
            stand_in = compiled(stand_in, config.batch_size // config.devices, fabric.autocast())
        self.objective = Objective(config, stand_in, fill_of(classifier))
        self.progress = Progress()
        self._is_whole = True
        self._noted = (time.monotonic(), time.process_time())
        # From memory to memory, another thread gains nothing and takes its time from the CPU's own.
        waits = not images.train.cached or fabric.device.type == "cuda"
        self.read = Ahead(self.pictures, config.steps) if waits else self.pictures

    def restore(self, saved: Checkpoint) -> None:
        """Go back to a checkpoint."""
        began, self.progress = self.progress, saved.progress
        self.progress.classifier, self.progress.pictures = began.classifier, began.pictures
        self.plain.load_state_dict(saved.explainer)
        self.optimizer.load_state_dict(saved.optimizer)
        if self.progress.scaler:
            self._scaling.load_state_dict(self.progress.scaler)
        self._noted = (time.monotonic(), time.process_time())

    def run(self) -> str:
        """All steps that remain; returns why it ended: `finished`, `patience` or `max_minutes`."""
        if self._is_exhausted():
            return "patience"  # it had ended before it was resumed
        quiet = not self.fabric.is_global_zero
        try:
            with bar_of_process(quiet, self.config.steps - self.progress.step, "training", "steps") as bar:
                return self._steps(bar)
        except KeyboardInterrupt:
            if self._is_whole:  # else the last checkpoint stands: from half a step another run would go on
                self._checkpoint()
            raise
        finally:
            self._note_time()

    def _steps(self, bar: ProgressBar) -> str:
        """Step after step; Ctrl-C waits until one is whole, and all processes stop at the same."""
        config, began = self.config, time.monotonic()
        with hold_interrupts() as held:
            while self.progress.step < config.steps:
                figures = self.step()
                bar.advance(note=f"loss {figures['loss']:.2f}  {figures['images_per_s']:.0f} images/s")
                exhausted = self._log(figures)
                if self._any(held.asked):
                    raise KeyboardInterrupt
                if exhausted:
                    return "patience"
                if config.max_minutes and self._any(time.monotonic() - began > 60 * config.max_minutes):
                    self._checkpoint()
                    return "max_minutes"
        return "finished"

    def generator(self) -> torch.Generator:
        """What this step draws from; it depends on seed, step and process alone."""
        seed = (self.config.seed * 1_000_003 + self.progress.step) * 4096 + self.fabric.global_rank
        return torch.Generator().manual_seed(seed)

    def lessons_at(self, step: int) -> Lessons | None:
        """What a teacher says of the pictures of a step's batch; None where none teaches (any more)."""
        return self.lessons if step < self.config.teacher_until * self.config.steps else None

    def places(self, step: int, count: int) -> torch.Tensor:
        """Places of this process's share of a step's batch, int64 (B,), of `count` pictures."""
        indices = batch_indices(step, self.config.batch_size, count, self.config.seed)
        return indices[self.fabric.global_rank :: self.fabric.world_size]

    def pictures(self, step: int) -> torch.Tensor:
        """This process's pictures of a step as they are kept, uint8 (B, 3, ·, ·); taught ones if a teacher teaches."""
        lessons, train = self.lessons_at(step), self.images.train
        if lessons is None:
            own = train[self.places(step, len(train))]
        else:
            own = train[lessons.positions[self.places(step, len(lessons))]]
        return own.pin_memory() if self.fabric.device.type == "cuda" else own

    def batch(self, generator: torch.Generator) -> tuple[torch.Tensor, Lesson | None]:
        """This step's crops, float (B, 3, H, W) in 0–255, and what a teacher says of them, both on the device."""
        rule, step, device = self.classifier.rule, self.progress.step, self.fabric.device
        pictures = self.read(step).to(device, non_blocking=True)
        crops = draw_crops(len(pictures), generator)
        pixels = cropped(pictures, crops.to(device), rule.height, rule.width)
        lessons = self.lessons_at(step)
        return pixels, None if lessons is None else lessons.lesson(self.places(step, len(lessons)), crops).to(device)

    def step(self) -> dict[str, float]:
        """One optimiser step; its figures, averaged over processes where they steer."""
        config, step = self.config, self.progress.step
        began = time.monotonic()
        generator = self.generator()
        pixels, lesson = self.batch(generator)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_share(step, config.steps)
        self._is_whole = False
        self.explainer.train()
        with self.fabric.autocast():
            result = self.objective(self.explainer, pixels, step / config.steps, generator, lesson)
        if not bool(torch.isfinite(result.loss)):
            raise TrainingError(
                f"the loss is {float(result.loss.detach())} at step {step}; "
                "try a lower learning rate, or precision 32-true"
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(result.loss)
        self._clip()
        self.optimizer.step()
        self.progress.step += 1
        rate = config.batch_size / max(time.monotonic() - began, 1e-9)
        return {**result.figures, "images_per_s": rate}

    def _clip(self) -> None:
        """Clip the gradients. Loss scaling skips a step whose gradients overflowed, and takes a smaller scale."""
        norm = self.fabric.clip_gradients(
            self.explainer, self.optimizer, max_norm=GRADIENT_NORM, error_if_nonfinite=False
        )
        if norm is None or bool(torch.isfinite(norm)):
            return
        if self._scaling.state_dict().get("scale", 0.0) < LEAST_SCALE:
            raise TrainingError(
                f"the gradients are no numbers at step {self.progress.step}; "
                "try a lower learning rate, or precision 32-true"
            )

    @property
    def _scaling(self) -> Precision:
        """What scales losses in precision 16-mixed; its state is empty in others."""
        return self.fabric.strategy.precision

    def _log(self, figures: dict[str, float]) -> bool:
        """Validate, write metrics and checkpoint where they are due; True where patience has run out."""
        exhausted = self._logged(figures)
        self._is_whole = True
        return exhausted

    def _logged(self, figures: dict[str, float]) -> bool:
        config, step = self.config, self.progress.step
        last = step == config.steps
        validated = last or bool(config.evaluate_every and step % config.evaluate_every == 0)
        if not validated and step % config.log_every:
            return False
        row: dict[str, float] = {"step": step, **figures}
        if validated and self.fabric.is_global_zero:
            device = self.fabric.device
            row |= validate(self.classifier, self.plain, self.images.held_out, self.objective.fill, device)
        self.progress.rows.append(row)
        exhausted = validated and self._exhausted(row.get("retention_over_areas", 0.0))
        if self.fabric.is_global_zero:
            write_atomically(self.out / METRICS_FILE, csv_text(self.progress.rows))
        self._checkpoint()
        return exhausted

    def _exhausted(self, figure: float) -> bool:
        """Early stop: `patience` validations in a row without a better figure."""
        better = figure > self.progress.best
        self.progress.best = max(figure, self.progress.best)
        self.progress.since_best = 0 if better else self.progress.since_best + 1
        return self._is_exhausted()

    def _is_exhausted(self) -> bool:
        return self._any(bool(self.config.patience) and self.progress.since_best >= self.config.patience)

    def _any(self, flag: bool) -> bool:
        """Whether the first process says so: all must stop at the same step."""
        return bool(self.fabric.broadcast(flag, src=0))

    def _note_time(self) -> None:
        """Count the time since the last note as the steps'."""
        now = (time.monotonic(), time.process_time())
        self.progress.seconds += now[0] - self._noted[0]
        self.progress.cpu_seconds += now[1] - self._noted[1]
        self._noted = now

    def _checkpoint(self) -> None:
        self._note_time()
        self.progress.scaler = self._scaling.state_dict()
        if self.fabric.is_global_zero:
            path = self.out / CHECKPOINT_FILE
            save_checkpoint(path, self.config, self.progress, self.plain.state_dict(), self.optimizer.state_dict())


def learning_rate_share(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine to zero; in (0, 1]."""
    warm = max(1, round(WARM_UP * steps))
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))


def csv_text(rows: list[dict[str, float]]) -> str:
    """Rows as CSV; the columns are all names that occur, in order of first occurrence."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)
    return buffer.getvalue()
