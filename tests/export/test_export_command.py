"""`whymask export` as a person meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import typer
from PIL import Image
from tiny_run import SIZE, TOP, Exported
from typer.testing import CliRunner, Result

from whymask.export import cli, onnx_from_run
from whymask.export.config import classifier_path
from whymask.runtime.card import GuaranteeCard
from whymask.runtime.cli import guarded, help_text
from whymask.runtime.errors import ParityError
from whymask.runtime.explainer import load
from whymask.runtime.golden import read_golden, verify_golden
from whymask.runtime.parity import TOLERANCES, check
from whymask.train import run as train_run

Command = Callable[..., Result]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, exported: Callable[[str, str], Exported]) -> Command:
    """The command on a tiny run, with its graph at hand."""
    made = exported("tapped", "fp32")
    models = onnx_from_run._Models(made.model, onnx.load(classifier_path(made.path)))
    monkeypatch.setattr(onnx_from_run, "_models", lambda run, config: models)
    monkeypatch.setattr(train_run, "load_run", lambda path, model, weights: replace(made.run, path=path))
    app = typer.Typer()
    app.command(help=help_text(cli.export))(guarded(cli.export))

    def call(*arguments: object) -> Result:
        every = ("--with", "explanation", "--certify", "both", "--target", "--top", TOP, "--contrast")
        return CliRunner().invoke(app, [str(argument) for argument in (*every, *arguments)])

    return call


def test_export_states_cost_checks_and_the_next_step(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "fused.onnx"
    result = command("run", "-o", out)
    assert result.exit_code == 0, result.output
    assert f"{out}: fp32, opset 17; the classifier alone: fused.classifier.onnx" in result.stdout
    assert "top-1 100.0%, mask IoU 1.0000" in result.stdout
    assert "on 64 synthetic images, give real ones with --data" in result.stdout
    assert "TensorRT-RTX parser and builder: accepted by 1." in result.stdout
    assert f"next: whymask explain {out}" in result.stdout
    assert "exporting: 5/5" in result.stderr
    assert out.is_file() and classifier_path(out).is_file()


@pytest.mark.parametrize(
    ("met", "words"),
    [(True, "promise: Shown only what the mask keeps"), (False, "promise: NOT met: 90 % was asked for, and with")],
    ids=["met", "not met"],
)
def test_export_says_whether_the_promise_is_met(
    exported: Callable[[str, str], Exported], met: bool, words: str
) -> None:
    card = exported("tapped", "fp32").card
    guarantee = GuaranteeCard(0.1, 0.05, n=500, retention=0.934, mean_area=0.21, met=met, lower_bound=0.912)
    said = cli.summary(Path("fused.onnx"), replace(card, guarantee=guarantee))
    assert any(line.startswith(words) for line in said)


def test_json_is_all_that_stands_on_standard_output(command: Command, tmp_path: Path) -> None:
    result = command("run", "-o", tmp_path / "fused.onnx", "--json")
    record = json.loads(result.stdout)
    assert record["card"]["precision"] == "fp32"
    assert record["card"]["metrics"]["parity_top1_agreement"] == 1.0


def test_gate_that_fails_exits_with_1_and_leaves_nothing(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise ParityError("the graph disagrees")

    monkeypatch.setattr(onnx_from_run, "check", refuse)
    result = command("run", "-o", tmp_path / "fused.onnx", "--golden", 2)
    assert result.exit_code == 1
    assert "the graph disagrees" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_golden_bundle_holds_the_modules_answers_and_the_graphs_own_card(command: Command, tmp_path: Path) -> None:
    result = command("run", "-o", tmp_path / "fused.onnx", "--golden", 6)
    assert result.exit_code == 0, result.output
    assert "golden bundle: fused.golden.npz, 6 synthetic images; on the device: whymask verify ENGINE" in result.stdout
    golden = read_golden(tmp_path / "fused.golden.npz")
    assert (len(golden.images), golden.is_synthetic) == (6, True)
    assert golden.source.startswith("FP32 modules in torch ")
    with load(tmp_path / "fused.onnx", "cpu") as explainer:
        assert golden.card == explainer.card
        check(verify_golden(explainer.backend, golden), TOLERANCES["fp32"])


def test_golden_bundle_of_real_images_is_spread_over_them_and_no_larger(command: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(5):
        Image.new("RGB", (SIZE, SIZE), (number * 40, 0, 0)).save(tmp_path / "data" / f"{number}.png")
    options = ("run", "-o", tmp_path / "fused.onnx", "--data", tmp_path / "data", "--golden")
    refused = command(*options, 6)
    assert refused.exit_code == 1
    assert "golden bundle: 6 images were asked for, and there are 5; ask for 0 to 5, or give a folder" in refused.stderr
    assert command(*options, 3).exit_code == 0
    golden = read_golden(tmp_path / "fused.golden.npz")
    assert not golden.is_synthetic
    assert golden.images[:, 0, 0, 0].tolist() == [0, 80, 160]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--with", "kept_logits"),
            "--with kept_logits: expected explanation; kept_logits comes with --certify kept",
        ),
        (("--certify", "lost"), "certify is 'lost', expected kept or both"),
        (("--precision", "fp8"), "precision is 'fp8', expected one of fp32, fp16"),
        (("--top", "-1"), "top is -1, expected 1 or more classes, or 0"),
        (("--top", "6"), "top: 6 classes at once were asked for, and the classifier has 5"),
        (("--data", "nowhere"), "--data nowhere: no image there can be read"),
    ],
    ids=["output", "certify", "precision", "negative top", "large top", "data"],
)
def test_wrong_option_is_one_clear_line(
    command: Command, tmp_path: Path, options: tuple[str, str], message: str
) -> None:
    result = command("run", "-o", tmp_path / "fused.onnx", *options)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_help_has_an_example_and_units(command: Command) -> None:
    result = command("--help")
    text = " ".join(result.output.replace("│", " ").split())
    assert "whymask export runs/resnet18 -o fused.onnx" in text
    assert "Largest batch in images" in text
