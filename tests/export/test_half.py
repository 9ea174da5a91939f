"""Half-precision copies: what stays exact in them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_run import make_run
from torch import nn

from whymask.export.half import ExactSum, half_copies
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
