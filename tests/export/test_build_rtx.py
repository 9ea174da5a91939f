"""`whymask build --rtx` for real: TensorRT-RTX parses and builds without a GPU."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import typer
from tiny_run import Exported
from typer.testing import CliRunner

from whymask.export import build_cli
from whymask.export.build_config import BuildConfig
from whymask.export.engine_from_onnx import engine_from_onnx
from whymask.runtime.cli import guarded
from whymask.runtime.engine_card import EngineCard, read_sidecar
from whymask.runtime.errors import ArtefactError, BackendError
from whymask.runtime.files import sha256_of

Export = Callable[[str, str], Exported]
pytest.importorskip("tensorrt_rtx", reason='needs TensorRT-RTX: pip install "whymask[tensorrt-rtx]"')
FOR_ALL = BuildConfig(compute_capabilities=("8.6",))


def test_the_half_graph_and_its_classifier_are_built_by_the_command(exported: Export, tmp_path: Path) -> None:
    made, out = exported("tapped", "fp16"), tmp_path / "fused.plan"
    app = typer.Typer()
    app.command()(guarded(build_cli.build))
    words = [str(made.path), "-o", str(out), "--rtx", "--compute-capability", "8.6", "--classifier", "--json"]
    result = CliRunner().invoke(app, [*words, "--max-batch", "4", "--opt-batch", "2"])
    assert result.exit_code == 0, result.output
    records = {Path(one["out"]).name: one["engine"] for one in json.loads(result.stdout)["engines"]}
    cards = {name: EngineCard.from_json(json.dumps(engine)) for name, engine in records.items()}
    assert {path.name for path in tmp_path.iterdir()} == {
        "fused.plan",
        "fused.plan.json",
        "fused.classifier.plan",
        "fused.classifier.plan.json",
    }
    for name, card in cards.items():
        engine = tmp_path / name
        assert read_sidecar(engine) == card
        assert (card.engine_sha256, card.engine_bytes) == (sha256_of(engine), engine.stat().st_size)
        assert card.flags["products"]["fp16"] > 0 and card.flags["products"]["fp32"] == 0
        assert card.flags["layers_from"] == "network" and card.flags["precision_verified"] is False
        assert (card.min_batch, card.opt_batch, card.max_batch) == (1, 2, 4)
        assert card.card == made.card
        assert card.built_for().startswith("TensorRT-RTX 1.") and card.built_for().endswith("compute capability 8.6")
    fused, alone = cards["fused.plan"], cards["fused.classifier.plan"]
    assert (fused.role, alone.role) == ("fused", "classifier")
    assert fused.layers["fp16"] > alone.layers["fp16"] > 0 and fused.layers["fp32"] > 0
    assert fused.onnx_sha256 == sha256_of(made.path)
    assert alone.build_command == (
        "whymask build fused.onnx -o fused.plan --precision fp16 --opt-batch 2 --max-batch 4 "
        "--compute-capability 8.6 --rtx --classifier"
    )


def test_a_fixed_batch_in_fp32_for_two_gpus(exported: Export, tmp_path: Path) -> None:
    model = onnx.load(exported("autoencoder", "fp32").path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / "fixed.onnx")
    told: list[float] = []
    card = engine_from_onnx(
        tmp_path / "fixed.onnx",
        tmp_path / "fixed.engine",
        BuildConfig("fp32", compute_capabilities=("8.6", "8.9"), workspace_mib=1024, optimization_level=2),
        rtx=True,
        on_progress=lambda percent, phase: told.append(percent),
    )
    assert (card.min_batch, card.opt_batch, card.max_batch) == (2, 2, 2)
    assert card.precision == "fp32" and card.layers["fp16"] == 0 and card.flags["products"]["fp32"] > 0
    assert card.compute_capability == "8.6, 8.9"
    assert sum(told) == 100 and len(told) > 10


def test_ctrl_c_stops_the_real_builder_and_leaves_nothing(exported: Export, tmp_path: Path) -> None:
    def interrupt(percent: float, phase: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        engine_from_onnx(exported("tapped", "fp16").path, tmp_path / "x.plan", FOR_ALL, rtx=True, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_too_small_a_workspace_is_said_in_tensorrts_words(exported: Export, tmp_path: Path) -> None:
    config = BuildConfig(compute_capabilities=("8.6",), workspace_mib=1)
    with pytest.raises(ArtefactError, match=r"parses .*fused\.onnx but does not build it: .*workspace"):
        engine_from_onnx(exported("tapped", "fp16").path, tmp_path / "x.plan", config, rtx=True)
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_tensorrt_rtx_does_not_know_is_named_with_those_that_it_knows(
    exported: Export, tmp_path: Path
) -> None:
    config = BuildConfig(compute_capabilities=("8.7",))
    with pytest.raises(BackendError, match=r"does not build for compute capability 8\.7, only for 7\.5, 8\.0, 8\.6"):
        engine_from_onnx(exported("tapped", "fp16").path, tmp_path / "x.plan", config, rtx=True)
