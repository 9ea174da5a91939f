"""A tiny classifier and its explainers, through the real classes, and what an export of them is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from whymask.runtime.card import Card, ExplainerCard
from whymask.train.classifier import FrozenClassifier, InputRule
from whymask.train.config import TrainConfig
from whymask.train.explainers import ExplainerConfig, build_explainer
from whymask.train.run import Run

CLASSES = 5
SIZE = 32
TOP = 3
"""Classes that an export with all options explains at once."""
FILL = (120.4, 0.0, 255.0)


class TinyNet(nn.Module):
    """Three stages with BatchNorm, global pooling, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_stage(i, o) for i, o in ((3, 8), (8, 12), (12, 16)))
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) → (B, CLASSES)."""
        for stage in self.stages:
            x = stage(x)
        logits: torch.Tensor = self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))
        return logits


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def make_run(path: Path, kind: str, seed: int = 0) -> Run:
    """A run with random weights and random, non-trivial statistics."""
    torch.manual_seed(seed)
    net = TinyNet()
    _settle(net)
    nn.init.normal_(net.head.weight, std=2.0)
    classifier = FrozenClassifier(net, "tiny.py:build", InputRule(SIZE, SIZE))
    explainer = build_explainer(ExplainerConfig(kind, channels=8), classifier).eval().requires_grad_(False)
    _settle(explainer)
    parameters = sum(p.numel() for p in explainer.parameters())
    taps = classifier.taps if kind == "tapped" else ()
    explains = ExplainerCard(kind, parameters, taps)
    card = Card(classifier.card(), classifier.rule.to_card(), explains, fill=FILL)
    return Run(classifier, explainer, card, TrainConfig("tiny.py:build", (str(path / "absent"),)), path)


def _settle(module: nn.Module) -> None:
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
            nn.init.uniform_(norm.weight, 0.5, 2.0)
            nn.init.normal_(norm.bias, std=0.2)


def weakened(model: onnx.ModelProto, part: str, factor: float = 1.05) -> onnx.ModelProto:
    """A copy whose last convolution or matrix of a part is too large by a factor."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    readers = [n for n in copy.graph.node if part in n.name and n.op_type in ("Conv", "Gemm")]
    weight = next(i for i in copy.graph.initializer if i.name == readers[-1].input[1])
    values = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array((values * factor).astype(values.dtype), weight.name))
    return copy


def map_side(run: Run) -> int:
    """Side of a tapped explainer's saliency: that of the finest tap."""
    return run.classifier.tap_specs[0].height


@dataclass(frozen=True)
class Exported:
    """A run and its file."""

    run: Run
    path: Path
    card: Card
    model: onnx.ModelProto
    stages: list[str]
