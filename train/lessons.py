"""What a run learns from its teacher: maps of its training pictures, computed once and kept on disk.

The teacher explains whole pictures at the input size. Training cuts crops from pictures that are kept a little larger
but show the same; a crop is stated in the picture's own coordinates, so the same one is cut from the map.

Letters: N taught pictures, B batch, H W input size, s t a map's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from whymask.runtime.progress import Progress, track
from whymask.train.classifier import FrozenClassifier
from whymask.train.config import TrainConfig
from whymask.train.data import ImageStore
from whymask.train.distil import Lesson
from whymask.train.summary import fill_of
from whymask.train.teacher_cache import Shard, TeacherCache
from whymask.train.teachers import Teacher, predicted, teacher_from_config

FOLDER = "teacher"
"""Of the maps, in the run directory, where no other is given."""

SHARD = 8
"""Pictures explained together and kept in one file."""

SIDE = 64
"""Most cells a side of a kept map: explainers' own have no more up to an input of 256 pixels, a quarter of it."""


@dataclass(frozen=True)
class Lessons:
    """A teacher's maps for the pictures of a training set.

    Attributes:
        positions: int64 (N,), of the taught pictures in the training set.
        maps: float32 (N, s, t).
        target: int64 (N,), the classes that were explained.
        facts: method, steps, pictures and seconds, for the card.
    """

    positions: Tensor
    maps: Tensor
    target: Tensor
    facts: dict[str, Any]

    def __len__(self) -> int:
        """N."""
        return len(self.positions)

    def lesson(self, indices: Tensor, crops: Tensor) -> Lesson:
        """What the teacher says of some pictures: int64 (B,) of positions in here, float32 (B, 2, 3)."""
        return Lesson(self.maps[indices][:, None], crops, self.target[indices])


@dataclass(frozen=True)
class Share:
    """Which process of how many this is, and how it waits for the others."""

    rank: int = 0
    count: int = 1
    wait: Callable[[], object] = lambda: None


def lessons_for_run(
    config: TrainConfig, classifier: FrozenClassifier, train: ImageStore, out: Path, share: Share | None = None
) -> Lessons:
    """Ask the teacher about the training pictures, but for what it was asked before.

    Args:
        config: names the teacher.
        classifier: asked, never changed; on the device to compute on.
        train: the training set.
        out: the run directory.
        share: of several processes each explains its part, and all read the whole.

    Raises:
        ArtefactError: the cache holds the maps of something else, or a damaged file.
        InputError: a picture that the method cannot explain, such as one too small for its network.
    """
    share = share or Share()
    teacher = teacher_from_config(config, fill_of(classifier))
    positions = spread_positions(len(train), config.teacher_images)
    rule = classifier.rule.to_card()
    pictures = ImageStore([train.paths[i] for i in positions.tolist()], rule, config.cache_gigabytes * 1e9)
    key = {
        "teacher": teacher.name,
        "steps": teacher.steps,
        "settings": teacher.settings,
        "classifier_sha256": classifier.sha256(),
        "taps": list(classifier.taps),
        "input": asdict(rule),
        "pictures": len(pictures),
        "pictures_sha256": pictures.sha256,
        "shard": SHARD,
        "side": SIDE,
    }
    cache = TeacherCache(Path(config.teacher_cache) if config.teacher_cache else out / FOLDER, key)
    _fill(cache, teacher, classifier, pictures, share)
    share.wait()
    shards = [cache.read(index) for index in range(len(pictures.batches(SHARD)))]
    facts = {
        "teacher": teacher.name,
        "teacher_steps": teacher.steps,
        "teacher_images": len(pictures),
        "teacher_seconds": round(sum(shard.seconds for shard in shards), 3),
        "teacher_cpu_seconds": round(sum(shard.cpu_seconds for shard in shards), 3),
    }
    maps, target = torch.cat([shard.maps for shard in shards]), torch.cat([shard.target for shard in shards])
    return Lessons(positions, maps, target, facts)


def spread_positions(count: int, limit: int) -> Tensor:
    """At most `limit` of `count` positions, evenly spread, int64; all where the limit is 0."""
    wanted = count if limit == 0 else min(limit, count)
    return torch.arange(wanted) * count // wanted


def _fill(
    cache: TeacherCache, teacher: Teacher, classifier: FrozenClassifier, pictures: ImageStore, share: Share
) -> None:
    """Compute this process's part of the shards that are absent."""
    own = list(enumerate(pictures.batches(SHARD)))[share.rank :: share.count]
    absent = [(index, indices) for index, indices in own if index not in cache]
    if not absent:
        return
    total = sum(len(indices) for _, indices in absent) * teacher.steps
    with track(total, f"teacher {teacher.name}", "picture steps") as bar:
        for index, indices in absent:
            pixels = pictures[indices].to(classifier.mean.device).float()
            cache.write(index, _shard(teacher, classifier, pixels, bar))


def _shard(teacher: Teacher, classifier: FrozenClassifier, pixels: Tensor, bar: Progress) -> Shard:
    """Explain a few pictures, float32 (B, 3, H, W) in 0–255."""
    done = 0

    def on_step(step: int) -> None:
        nonlocal done
        bar.advance(len(pixels) * (step - done))
        done = step

    began, cpu = time.monotonic(), time.process_time()
    target = predicted(classifier, pixels)
    with torch.enable_grad():
        maps = teacher.explain(classifier, pixels, target, on_step=on_step).detach()
    small = F.adaptive_avg_pool2d(maps, (min(SIDE, maps.shape[-2]), min(SIDE, maps.shape[-1])))
    on_step(teacher.steps)  # a method may be done sooner than it was allowed to be
    return Shard(small, target, time.monotonic() - began, time.process_time() - cpu)
