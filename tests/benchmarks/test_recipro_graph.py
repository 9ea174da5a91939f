"""Recipro-CAM's graph gives the rival's own map, in torch and as ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tiny_run
import torch
from torch import nn

from whymask.benchmarks.recipro_graph import ReciproGraph, recipro_onnx
from whymask.benchmarks.rivals.recipro_cam import recipro_cam_maps
from whymask.benchmarks.rivals.torch_maps import last_layer, normalised
from whymask.runtime.errors import InputError
from whymask.train.classifier import FrozenClassifier, InputRule


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, tiny_run.SIZE, tiny_run.SIZE, 3), np.uint8)


@pytest.fixture
def classifier(tmp_path: Path) -> FrozenClassifier:
    return tiny_run.make_run(tmp_path, "tapped").classifier


@torch.no_grad()
def test_the_module_gives_the_logits_and_the_rivals_map(classifier: FrozenClassifier) -> None:
    images = pictures(3)
    logits, saliency = ReciproGraph(classifier)(torch.from_numpy(images))
    expected = classifier(normalised(classifier, images))
    torch.testing.assert_close(logits, expected)
    maps = recipro_cam_maps(classifier, last_layer(classifier))(images, expected.argmax(1).numpy(), 0)
    assert maps.std() > 0.05
    np.testing.assert_allclose(saliency.numpy(), maps, atol=1e-4)


@torch.no_grad()
def test_the_onnx_graph_gives_what_the_module_gives(classifier: FrozenClassifier) -> None:
    images = pictures(1)
    session = onnxruntime.InferenceSession(
        recipro_onnx(classifier).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for actual, expected in zip(
        session.run(None, {"image": images}), ReciproGraph(classifier)(torch.from_numpy(images)), strict=True
    ):
        np.testing.assert_allclose(actual, expected.numpy(), atol=1e-4)


class FixedBatchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, 8, 1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).view(len(x), 8, -1).mean(2))


def test_a_classifier_that_cannot_carry_more_maps_is_refused() -> None:
    frozen = FrozenClassifier(FixedBatchNet(), "tests:fixed", InputRule(32, 32))
    with pytest.raises(InputError, match="cannot take more maps than pictures"):
        ReciproGraph(frozen)
