"""A base of the studies of variants that trains in a second: a tiny classifier in a file, and coloured pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from whymask.benchmarks.variants import SHAPES, Base
from whymask.train.config import TrainConfig

MODEL_FILE = """
import torch
from torch import nn


def stage(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(stage(3, 8), stage(8, 12), stage(12, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def build():
    torch.manual_seed(1)
    model = Tiny()
    nn.init.normal_(model.head.weight, std=3.0)
    return model


def not_a_model():
    return 3
"""


def make_base(folder: Path, **settings: object) -> Base:
    """Six quick steps; settings are fields of `TrainConfig`."""
    (folder / "tiny.py").write_text(MODEL_FILE)
    random = np.random.default_rng(0)
    for name, count in (("train", 16), ("held-out", 6)):
        (folder / name).mkdir()
        for index in range(count):
            cells = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            picture = Image.fromarray(cells).resize((32, 32), Image.Resampling.NEAREST)
            picture.save(folder / name / f"{index:02d}.png")
    config = TrainConfig(
        model=f"{folder / 'tiny.py'}:build",
        data=(str(folder / "train"),),
        size=(32, 32),
        channels=8,
        steps=6,
        batch_size=4,
        level_from=0.25,
        hard_from=0.25,
        log_every=3,
        accelerator="cpu",
        **settings,  # type: ignore[arg-type]
    )
    return Base(SHAPES, config, tuple(sorted((folder / "held-out").iterdir())))
