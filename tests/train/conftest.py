"""A tiny classifier in a file, as a user hands one over, and a folder of small coloured pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_base import MODEL_FILE

from whymask.train.classifier import FrozenClassifier
from whymask.train.config import TrainConfig
from whymask.train.model_spec import load_classifier


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.py"
    path.write_text(MODEL_FILE)
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for index in range(24):
        cells = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(cells).resize((40, 36), Image.Resampling.NEAREST).save(folder / f"{index:02d}.png")
    return folder


@pytest.fixture()
def classifier(model_file: Path) -> FrozenClassifier:
    return load_classifier(f"{model_file}:build", size=(32, 32))


@pytest.fixture()
def config(model_file: Path, pictures: Path) -> TrainConfig:
    """Eight quick steps with every kind of mask in them."""
    return TrainConfig(
        model=f"{model_file}:build",
        data=(str(pictures),),
        size=(32, 32),
        channels=8,
        steps=8,
        batch_size=4,
        level_from=0.25,
        hard_from=0.25,
        evaluate_every=4,
        log_every=2,
        accelerator="cpu",
    )
