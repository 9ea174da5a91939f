"""A real engine on a real GPU, verified against the run it came from, the ONNX file and the golden bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import typer
from tiny_run import make_run, weakened
from typer.testing import CliRunner, Result

from whymask.export import verify_cli
from whymask.runtime.cli import guarded
from whymask.train import run as train_run
from whymask.train.run import save_run

pytestmark = pytest.mark.gpu

MAX_BATCH = 4
"""Less than the largest batch that verification asks for, so that the engine's profile decides."""


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def folder(tensorrt: ModuleType, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A run directory with fused.onnx, fused.golden.npz and fused.plan in it, all of one precision."""
    from whymask.export.onnx_from_run import export_run

    folder = tmp_path_factory.mktemp(request.param)
    run = make_run(folder, "tapped")
    save_run(run)
    fused = folder / "fused.onnx"
    export_run(run, fused, precision=request.param, max_batch=MAX_BATCH, certify="both", target=True, golden=12)
    build(fused, folder / "fused.plan", request.param)
    return folder


def build(onnx: Path, plan: Path, precision: str) -> None:
    from whymask.export.build_config import BuildConfig
    from whymask.export.engine_from_onnx import engine_from_onnx

    engine_from_onnx(onnx, plan, BuildConfig(precision=precision, min_batch=1, opt_batch=2, max_batch=MAX_BATCH))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`whymask verify`, to which the tiny classifier is known."""
    monkeypatch.setattr(train_run, "load_run", lambda path, model, weights: make_run(path, "tapped"))
    app = typer.Typer()
    app.command()(guarded(verify_cli.verify))
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("reference", ["run", "fused.onnx", "fused.golden.npz"])
def test_an_engine_agrees_with_what_it_came_from(folder: Path, command: Callable[..., Result], reference: str):
    other = {"run": [folder], "fused.golden.npz": ["--golden", folder / reference]}.get(reference, [folder / reference])
    done = command(folder / "fused.plan", *other, "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert (record["measured"]["kind"], record["measured"]["precision"]) == ("engine", folder.name[:4])
    assert record["measured"]["provider"].startswith("TensorRT ")
    assert record["tolerances"]["precision"] == folder.name[:4]
    assert np.isfinite([row["logits_max"] for row in record["each_image"]]).all()


def test_an_engine_of_a_wrong_graph_is_found_out_by_the_bundle(folder: Path, command: Callable[..., Result]):
    import onnx

    wrong, precision = folder / "wrong.onnx", folder.name[:4]
    model = onnx.load(folder / "fused.onnx")
    onnx.save(weakened(model, "classifier.model.head", 1.2), wrong)
    build(wrong, folder / "wrong.plan", precision)
    done = command(folder / "wrong.plan", "--golden", folder / "fused.golden.npz")
    assert done.exit_code == 1
    assert "wrong.plan disagrees with fused.golden.npz: " in done.stderr
    assert "logits_max is 0." in done.stderr
