"""Our time of an engine on the GPU against trtexec's, on ResNet-18 with random weights: large enough to be steady."""

from __future__ import annotations

import statistics
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("torch", reason="needs torch and onnx, to make a graph to build from")
from whymask.benchmarks.trtexec import MOST_APART, cross_check, find_trtexec
from whymask.runtime.errors import BackendError

pytestmark = pytest.mark.gpu

BATCH = 8


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return find_trtexec()
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def engine(tensorrt: ModuleType, program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fused engine of ResNet-18 at 224 × 224 pixels; FP32, for random weights are full of near ties."""
    pytest.importorskip("torchvision", reason="ResNet-18 is torchvision's")
    from whymask.benchmarks.cost_graphs import seeded
    from whymask.export.build_config import BuildConfig
    from whymask.export.engine_from_onnx import engine_from_onnx
    from whymask.export.onnx_from_run import export_run
    from whymask.runtime.card import Card, ExplainerCard
    from whymask.train.config import ExplainerConfig, TrainConfig
    from whymask.train.run import Run

    folder = tmp_path_factory.mktemp("resnet18")
    graph, plan = folder / "fused.onnx", folder / "fused.plan"
    classifier, explainer = seeded("torchvision:resnet18", "random", ExplainerConfig(), None, 0)
    card = Card(classifier.card(), classifier.rule.to_card(), ExplainerCard("tapped", 0, classifier.taps))
    run = Run(classifier, explainer, card, TrainConfig("torchvision:resnet18", (str(folder / "absent"),)), folder)
    export_run(run, graph, max_batch=BATCH)
    engine_from_onnx(graph, plan, BuildConfig("fp32", opt_batch=BATCH, max_batch=BATCH))
    return plan


def test_both_tools_time_the_same_engine_alike(engine: Path, program: Path) -> None:
    # A clock that steps between the tools spoils one try of three.
    checks = [cross_check(engine, BATCH, seconds=5.0, trtexec=program) for _ in range(3)]
    assert abs(statistics.median(check.apart for check in checks)) <= MOST_APART, "; ".join(map(str, checks))
