"""A real method behind `whymask explain --method`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from whymask.runtime import cli
from whymask.runtime.errors import InputError
from whymask.runtime.methods import MethodOptions
from whymask.train.method_session import method_for_model


def whymask(*arguments: object) -> Result:
    return CliRunner().invoke(cli.build_app(), [str(argument) for argument in arguments])


def test_pictures_are_explained_by_a_registered_method(model_file: Path, pictures: Path, tmp_path: Path):
    files = sorted(pictures.iterdir())[:2]
    options = ("--method", "activation-matching-plain", "--model", f"{model_file}:build", "--size", "32")
    done = whymask("explain", *files, *options, "--steps", "2", "--seed", "7", "--circuit", "2", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    records = [json.loads(line) for line in (tmp_path / "explanations.jsonl").read_text("utf-8").splitlines()]
    assert [record["overlay"] for record in records] == ["00.png", "01.png"]
    for record in records:
        assert (record["method"], record["steps"], record["seed"]) == ("activation-matching-plain", 2, 7)
        assert {"kept", "necessary", "confidence_kept", "seconds"} <= set(record)
        circuit = json.loads((tmp_path / record["circuit"]).read_text("utf-8"))
        assert circuit["target"] == record["index"]
        assert all(len(layer["nodes"]) == 2 for layer in circuit["layers"][:-1])
        assert "<svg" in (tmp_path / record["overlay"]).with_suffix(".circuit.svg").read_text("utf-8")


def test_the_card_of_a_session_says_what_explains(model_file: Path):
    session = method_for_model(MethodOptions("optimise", f"{model_file}:build", size="32", seed=3))
    assert (session.steps, session.seed, session.card.explainer.kind) == (300, 3, "optimise")
    assert (session.card.threshold, session.card.input.height) == (0.5, 32)
    logits = session.classify(np.zeros((2, 32, 32, 3), np.uint8))
    assert (logits.shape, logits.dtype) == ((2, 5), np.float32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "activation-machine"}, "--method: there is no 'activation-machine'; did you mean activation-mat"),
        ({"method": "zzz"}, "--method: there is no 'zzz'; expected one of activation-matching, "),
        ({"method": "optimise", "steps": 0}, "--steps: got 0, expected at least 1"),
    ],
)
def test_wrong_wishes_are_one_message(model_file: Path, options: dict[str, object], message: str):
    with pytest.raises(InputError) as raised:
        method_for_model(MethodOptions(**{"model": f"{model_file}:build", "size": "32", **options}))  # type: ignore[arg-type]
    assert message in str(raised.value)
    session = method_for_model(MethodOptions("optimise", f"{model_file}:build", size="32"))
    with pytest.raises(InputError, match="--circuit: got 0 channels a layer, expected at least 1"):
        session.circuit(np.zeros((32, 32, 3), np.uint8), np.ones((32, 32), np.uint8), 0, 0)
