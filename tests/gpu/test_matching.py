"""Activation matching where the classifier lives on a GPU."""

from __future__ import annotations

import pytest
import torch
from tiny_run import make_run

from whymask.train.matching.config import MatchingConfig
from whymask.train.matching.loop import match

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("network", ["unet", "plain"])
def test_a_gpu_finds_what_the_cpu_finds(tmp_path, network: str):
    classifier = make_run(tmp_path / "run", "tapped").classifier
    pixels = 255.0 * torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 1])
    config = MatchingConfig(steps=3, network=network, width=4, learning_rate=1e-3)
    on_cpu = match(classifier, pixels, target, config).masks
    on_gpu = match(classifier.cuda(), pixels.cuda(), target.cuda(), config).masks
    assert on_gpu.device.type == "cuda"
    assert torch.allclose(on_gpu.cpu(), on_cpu, atol=1e-2)
