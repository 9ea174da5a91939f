"""Attributes of FLINT in the fused graph, and what the runtime says of them."""

from __future__ import annotations

import base64
import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import typer
from numpy.typing import NDArray
from tiny_run import _settle, make_run
from typer.testing import CliRunner

from whymask.export import cli, onnx_from_run
from whymask.export.attributes import with_attributes
from whymask.export.onnx_from_run import export_run
from whymask.runtime.attributes import Attributes
from whymask.runtime.card import AttributesCard, Card
from whymask.runtime.cli import guarded
from whymask.runtime.errors import ArtefactError, InputError, ParityError
from whymask.runtime.explainer import load
from whymask.runtime.explanation import Explanation
from whymask.runtime.parity import TOLERANCES, check, compare
from whymask.train import run as train_run
from whymask.train.flint import run as flint_run
from whymask.train.flint.config import FlintConfig
from whymask.train.flint.fit import judge
from whymask.train.flint.interpreter import Interpreter
from whymask.train.flint.relevance import local_relevance
from whymask.train.flint.run import FlintCard, FlintRun
from whymask.train.run import Run

PICTURE = base64.b64encode(b"a picture").decode()


def make_flint(run: Run, attributes: int = 6) -> FlintRun:
    """Random attributes of a run's classifier, read from two of its layers."""
    torch.manual_seed(1)
    classifier = run.classifier
    interpreter = Interpreter(classifier.tap_specs[-2:], classifier.num_classes, attributes, 32, 32).eval()
    _settle(interpreter)
    names = tuple(f"attribute {j}" for j in range(attributes))
    layers = tuple(tap.name for tap in interpreter.taps)
    card = FlintCard(
        *(classifier.card(), classifier.rule.to_card(), layers, names, False, 9),
        figures={"fidelity": 0.9},
        pictures=(PICTURE,) * attributes,
    )
    return FlintRun(classifier, interpreter.requires_grad_(False), card, FlintConfig("tiny.py:build", ("x",)), run.path)


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run, FlintRun, Card]:
    folder = tmp_path_factory.mktemp("attributes")
    run = make_run(folder, "tapped")
    flint = make_flint(run)
    card = export_run(
        run, folder / "fused.onnx", precision=request.param, max_batch=4, target=True, certify="both", attributes=flint
    )
    return folder / "fused.onnx", run, flint, card


def test_the_file_gives_what_the_modules_give(
    made: tuple[Path, Run, FlintRun, Card], pictures: NDArray[np.uint8]
) -> None:
    path, run, flint, card = made
    asked = 2
    with load(path, provider="cpu") as explainer:
        results = [explainer.explain(picture, target=asked) for picture in pictures]
    judged = judge(run.classifier, flint.interpreter, torch.from_numpy(pictures).permute(0, 3, 1, 2))
    expected = local_relevance(judged.phi, flint.interpreter.weight, torch.full((len(pictures),), asked))
    allowed = TOLERANCES[card.precision]
    values = np.stack([result.attributes.values for result in results])
    relevance = np.stack([result.attributes.relevance for result in results])
    assert np.abs(values - judged.phi.numpy()).max() <= allowed.logits_max * values.max()
    np.testing.assert_allclose(relevance, expected.numpy(), atol=allowed.saliency_max)
    np.testing.assert_allclose(np.abs(relevance).max(1), 1.0, atol=1e-6)
    assert np.ptp(values, axis=0).max() > 0.01


def test_unasked_the_relevance_is_of_the_predicted_class(
    made: tuple[Path, Run, FlintRun, Card], pictures: NDArray[np.uint8]
) -> None:
    with load(made[0], provider="cpu") as explainer:
        free = explainer.explain(pictures[0])
        itself = explainer.explain(pictures[0], target=free.index)
    np.testing.assert_array_equal(free.attributes.relevance, itself.attributes.relevance)


def test_opset_contract_and_gates(made: tuple[Path, Run, FlintRun, Card]) -> None:
    path, _, flint, card = made
    model = onnx.load(path)
    assert [each.version for each in model.opset_import if each.domain == ""] == [17]
    assert [output.name for output in model.graph.output][-2:] == ["attributes", "relevance"]
    assert {"parity_attributes_max", "parity_relevance_max"} <= set(card.metrics)
    assert card.attributes == AttributesCard(flint.card.names, flint.card.layers, 0.9, False, (PICTURE,) * 6, 0)
    assert "tensorrt_rtx" in card.versions


def test_attributes_that_disagree_break_a_gate() -> None:
    rows, cells = np.eye(2, dtype=np.float32), np.ones((2, 2, 2), np.float32)
    truth = {"logits": rows, "saliency": cells, "mask": cells.astype(np.uint8), "attributes": rows, "relevance": rows}
    other = truth | {"attributes": rows * 1.01}
    figures = compare(truth, other, TOLERANCES["fp32"])
    assert figures["attributes_max"] == pytest.approx(0.01, rel=1e-3) and figures["relevance_max"] == 0
    with pytest.raises(ParityError, match=r"attributes_max is 0\.00999\d+, allowed ≤ 0\.0001"):
        check(figures, TOLERANCES["fp32"])


def test_the_top_attributes_have_names_and_pictures() -> None:
    values, relevance = np.array([1, 2, 3], np.float32), np.array([-1, 0.5, 0.75], np.float32)
    attributes = Attributes(values, relevance, AttributesCard(("a", "b", "c"), ("x",), 0.9, pictures=(PICTURE,) * 3))
    assert [(each.name, each.index, each.value) for each in attributes.top(5)] == [("c", 2, 3.0), ("b", 1, 2.0)]
    assert attributes.top(1)[0].picture == b"a picture"
    assert repr(attributes) == "Attributes(c +0.75, b +0.50 of 3)"
    with pytest.raises(ArtefactError, match="1 pictures for 2 names"):
        AttributesCard(("a", "b"), (), 0.5, pictures=("x",))


def test_a_card_keeps_its_attributes_and_one_without_reads_as_ever(made: tuple[Path, Run, FlintRun, Card]) -> None:
    card = made[3]
    assert Card.from_json(card.to_json()) == card
    assert '"attributes"' not in dataclasses.replace(card, attributes=None, metrics={}, tolerances={}).to_json()


def test_a_graph_without_attributes_has_none(tiny_run: Run, pictures: NDArray[np.uint8]) -> None:
    assert Explanation({"logits": np.zeros(5, np.float32)}, tiny_run.card, pictures[0]).attributes is None


def test_another_classifier_input_or_precision_is_refused(tiny_run: Run, tmp_path: Path) -> None:
    flint = make_flint(tiny_run)
    other = make_flint(make_run(tmp_path, "tapped", seed=5))
    with pytest.raises(InputError, match=r"interprets a classifier of sha256 .* train both on one classifier"):
        with_attributes(tiny_run, other)
    small = dataclasses.replace(flint.card, input=dataclasses.replace(flint.card.input, height=16))
    with pytest.raises(InputError, match="give both the same --size"):
        with_attributes(tiny_run, dataclasses.replace(flint, card=small))
    with pytest.raises(InputError, match="attributes are exported in fp32 or fp16"):
        export_run(tiny_run, tmp_path / "fused.onnx", precision="int8", attributes=flint)


def test_the_command_hands_over_the_run_of_attributes(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flint, given = make_flint(tiny_run), {}

    def record(run: Run, out: Path, **options: object) -> Card:
        given.update(options)
        return run.card

    monkeypatch.setattr(onnx_from_run, "export_run", record)
    monkeypatch.setattr(train_run, "load_run", lambda path, model, weights: tiny_run)
    monkeypatch.setattr(flint_run, "load_run", lambda path, model, weights: {tmp_path / "flint": flint}[path])
    app = typer.Typer()
    app.command()(guarded(cli.export))
    command = ["run", "-o", str(tmp_path / "fused.onnx"), "--attributes", str(tmp_path / "flint"), "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert given["attributes"] is flint and given["precision"] == "fp32"


def test_a_flint_run_alone_is_no_mask_and_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "flint.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"holds attributes alone.*whymask export MASK_RUN --attributes"):
        train_run.load_run(tmp_path)
