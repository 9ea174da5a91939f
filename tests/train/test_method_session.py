"""A real method behind `whymask explain --method`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from whymask.runtime import cli
from whymask.runtime.errors import BackendError, InputError
from whymask.runtime.methods import MethodOptions
from whymask.train.device import device_from_name
from whymask.train.method_session import method_for_model
from whymask.train.methods import METHODS


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
        ({"method": "optimise", "device": "tpu"}, "--device: got 'tpu', expected cpu, cuda, cuda:N or mps"),
        ({"method": "optimise", "device": "cuda:"}, "--device: got 'cuda:', expected cpu, cuda, cuda:N or mps"),
        ({"method": "optimise", "device": "cpu:3"}, "--device cpu:3: torch"),
    ],
)
def test_wrong_wishes_are_one_message(model_file: Path, options: dict[str, object], message: str):
    with pytest.raises(InputError) as raised:
        method_for_model(MethodOptions(**{"model": f"{model_file}:build", "size": "32", **options}))  # type: ignore[arg-type]
    assert message in str(raised.value)
    session = method_for_model(MethodOptions("optimise", f"{model_file}:build", size="32"))
    with pytest.raises(InputError, match="--circuit: got 0 channels a layer, expected at least 1"):
        session.circuit(np.zeros((32, 32, 3), np.uint8), np.ones((32, 32), np.uint8), 0, 0)


@pytest.mark.parametrize(("count", "name", "expected"), [(0, None, "cpu"), (2, None, "cuda"), (2, "cuda:1", "cuda:1")])
def test_a_gpu_is_taken_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, count: int, name: str | None, expected: str
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert str(device_from_name(name)) == expected


@pytest.mark.parametrize(("count", "said"), [(0, "none of that kind"), (1, "1 of that kind")])
def test_no_other_device_takes_the_place_of_one_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, count: int, said: str
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(InputError, match=rf"--device cuda:1: torch \S+ sees {said} here; name another"):
        device_from_name("cuda:1")


def test_too_many_pictures_for_a_gpu_are_one_message(model_file: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*asked: object, **options: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    session = method_for_model(MethodOptions("optimise", f"{model_file}:build", size="32"))
    monkeypatch.setitem(METHODS, "optimise", replace(METHODS["optimise"], explain=full))
    with pytest.raises(BackendError, match="optimise: 3 pictures at once do not fit in the memory of cpu; give fewer"):
        session.explain(np.zeros((3, 32, 32, 3), np.uint8), np.zeros(3, np.int64), lambda step: None)
