"""Half-precision copies: what stays exact in them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_run import make_run
from torch import nn
from torchvision.models import VisionTransformer

from whymask.export.half import ExactSum, half_copies
from whymask.export.onnx_from_run import classifier_onnx
from whymask.train.classifier import FrozenClassifier, InputRule
from whymask.train.explainers import Explainer
from whymask.train.run import Run


def ranking_of(run: Run, explainer: Explainer, x: torch.Tensor) -> torch.Tensor:
    """The standardised map, on the float32 classifier's features."""
    logits, features = run.classifier.with_taps(x)
    dtype = next(explainer.parameters()).dtype
    target = logits.argmax(1)
    return explainer.ranking_and_breaking([f.to(dtype) for f in features], x.to(dtype), logits, target)[0]


@pytest.mark.parametrize("kind", ["tapped", "autoencoder"])
@torch.no_grad()
def test_map_far_from_zero_keeps_its_ranking_in_half(tmp_path: Path, kind: str) -> None:
    run = make_run(tmp_path, kind)
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    nn.init.constant_(run.explainer.out.bias, 200.0)  # FP16's steps there are an eighth
    _, half = half_copies(run.classifier, run.explainer)
    error = ranking_of(run, half, x) - ranking_of(run, run.explainer, x)
    assert float(error.abs().max()) < 0.02


def test_exact_sum_is_the_convolution() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(16, 1, 1)
    features = torch.randn(2, 16, 5, 5)
    torch.testing.assert_close(ExactSum(convolution)(features), convolution(features))
    assert ExactSum(convolution)(features.half()).dtype == torch.float32


def test_original_explainer_keeps_its_convolution(tmp_path: Path) -> None:
    run = make_run(tmp_path, "tapped")
    half_copies(run.classifier, run.explainer)
    assert isinstance(run.explainer.out, nn.Conv2d)


def test_half_graph_of_torchvisions_attention_loads(tmp_path: Path) -> None:
    """In a process of its own: ONNX Runtime ends the process where its fusion of transposes is left on."""
    net = VisionTransformer(32, 8, num_layers=1, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=5)
    run = dataclasses.replace(make_run(tmp_path, "tapped"), classifier=FrozenClassifier(net, "vit", InputRule(32, 32)))
    path = classifier_onnx(run, tmp_path / "fused.onnx", precision="fp16", max_batch=4)
    program = "import sys; from whymask.runtime.ort import OrtBackend; print(*OrtBackend(sys.argv[1], 'cpu').outputs)"
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["logits"]), done.stderr
