"""Per-image methods where the classifier lives on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_run import make_run

from whymask.train.device import device_from_name, device_label
from whymask.train.matching.config import MatchingConfig
from whymask.train.matching.loop import match
from whymask.train.method_session import MethodSession
from whymask.train.methods import METHODS

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


@pytest.mark.parametrize("name", METHODS)
def test_a_session_on_a_gpu_answers_in_host_memory_as_one_on_the_processor(tmp_path, name: str):
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    target, logits, masks = np.array([0, 1]), [], []
    for device in (torch.device("cpu"), device_from_name("cuda")):
        session = MethodSession(name, make_run(tmp_path / device.type, "tapped").classifier, 2, 0, device)
        assert session.device == device_label(device)
        logits.append(session.classify(images))
        masks.append(session.explain(images, target, lambda step: None))
        circuit, drawing = session.circuit(images[0], (masks[-1][0] >= 0.5).astype(np.uint8), 0, 2)
        assert circuit["target"] == 0 and "<svg" in drawing
    assert np.allclose(*logits, atol=1e-3)
    assert np.abs(masks[0] - masks[1]).mean() < 0.05
