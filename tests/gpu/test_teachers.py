"""A teacher and its student on a GPU: maps are made there, kept as files, and taught there again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_base import make_base

from whymask.train.fit import train

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", ["optimise", "marc", "activation-matching-plain"])
def test_a_student_is_taught_on_the_gpu(tmp_path: Path, name: str):
    config = make_base(tmp_path, teacher=name, teacher_steps=2, teacher_images=6).config
    run = train(replace(config, accelerator="cuda", others=0.5), tmp_path / "run")
    assert run.card.training["teacher_images"] == 6
    assert run.classifier.sha256() == run.card.classifier.sha256
