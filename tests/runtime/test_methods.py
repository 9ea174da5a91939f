"""`whymask explain --method`, with a method that needs no torch."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from whymask.runtime import cli, methods
from whymask.runtime.card import Card, ClassifierCard, ExplainerCard, InputCard
from whymask.runtime.images import Picture

SIZE = 32


class RedMethod:
    """Logits are the mean colour; the mask of a class is where its colour is strong."""

    name, steps, seed, device = "colours", 3, 5, "cpu"
    card = Card(
        ClassifierCard("tests:colours", "00" * 32, 3, ("red", "green", "blue")),
        InputCard(SIZE, SIZE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ExplainerCard("colours", 0),
        fill=(0.0, 0.0, 0.0),
    )

    def __init__(self, options: methods.MethodOptions) -> None:
        self.options, self.batches = options, list[int]()

    def classify(self, pictures: np.ndarray) -> np.ndarray:
        return pictures.astype(np.float32).mean(axis=(1, 2)) / 10.0

    def explain(self, pictures: np.ndarray, target: np.ndarray, on_step: Callable[[int], None]) -> np.ndarray:
        self.batches.append(len(pictures))
        for step in range(self.steps):
            on_step(step + 1)
        return np.stack([each[..., t] / np.float32(255) for each, t in zip(pictures, target, strict=True)])

    def circuit(self, picture: np.ndarray, mask: np.ndarray, target: int, top: int) -> tuple[dict[str, object], str]:
        assert mask.shape == picture.shape[:2]
        return {"target": target, "top": top}, "<svg/>"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[RedMethod]:
    """Installs the method; holds those that were made."""
    found: list[RedMethod] = []

    class Entry:
        def load(self) -> Callable[[methods.MethodOptions], RedMethod]:
            return lambda options: found.append(RedMethod(options)) or found[-1]

    ours = {methods.GROUP: [Entry()]}
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: ours.get(group, []))
    return found


@pytest.fixture
def photo(tmp_path: Path, red_square: Picture) -> Path:
    Image.fromarray(red_square).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def whymask(*arguments: object) -> Result:
    return CliRunner().invoke(cli.build_app(), [str(argument) for argument in arguments])


def by_method(photo: Path, out: Path, *options: object) -> Result:
    return whymask("explain", "--method", "colours", "--model", "m:n", photo, "-o", out, *options)


def test_a_method_writes_what_a_graph_does_and_what_it_took(made: list[RedMethod], photo: Path, tmp_path: Path):
    done = by_method(photo, tmp_path / "out", "--circuit", "4", "--size", "64")
    assert done.exit_code == 0, done.output
    names = ["a.circuit.json", "a.circuit.svg", "a.png", "explanations.jsonl"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    (line,) = (tmp_path / "out" / "explanations.jsonl").read_text("utf-8").splitlines()
    record = json.loads(line)
    assert (record["label"], record["area"], record["kept"], record["necessary"]) == ("red", 0.25, True, True)
    assert record["confidence_kept"] > record["confidence"]  # the blue corner is hidden
    assert [record[name] for name in ("method", "steps", "seed", "device")] == ["colours", 3, 5, "cpu"]
    assert record["seconds"] > 0.0
    assert record["box"] == [0, 8, 16, 24]
    assert json.loads((tmp_path / "out" / record["circuit"]).read_text("utf-8")) == {"target": 0, "top": 4}
    assert made[0].options == methods.MethodOptions("colours", "m:n", size="64", circuit=4)
    assert "1 explained on torch by colours on cpu" in done.stdout


def test_another_class_can_be_asked_for(made: list[RedMethod], photo: Path, tmp_path: Path):
    done = by_method(photo, tmp_path / "out", "--target", "blue", "--json")
    (record,) = json.loads(done.stdout)["explanations"]
    assert (record["label"], record["target"], record["box"]) == ("blue", 2, [24, 24, 32, 32])


@pytest.mark.parametrize(("options", "batches"), [((), [4, 2]), (("--batch", "5"), [5, 1]), (("--batch", "20"), [6])])
def test_so_many_pictures_as_are_asked_for_are_explained_together(
    made: list[RedMethod], photo: Path, tmp_path: Path, options: tuple[str, ...], batches: list[int]
):
    more = [tmp_path / f"{number}.png" for number in range(5)]
    for path in more:
        path.write_bytes(photo.read_bytes())
    asked = ("--method", "colours", "--model", "m:n", "-o", tmp_path / "out", "--json", *options)
    done = whymask("explain", photo, *more, *asked)
    assert json.loads(done.stdout)["explained"] == 6
    assert made[0].batches == batches


def test_a_mask_is_divided_into_objects_that_keep_the_class(made: list[RedMethod], tmp_path: Path):
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[4:12, 4:12] = picture[20:28, 20:28] = (255, 0, 0)
    Image.fromarray(picture).save(tmp_path / "two.png")
    done = by_method(tmp_path / "two.png", tmp_path / "out", "--instances", "--json")
    (record,) = json.loads(done.stdout)["explanations"]
    assert [each["box"] for each in record["instances"]] == [[4, 4, 12, 12], [20, 20, 28, 28]]
    assert all(each["kept"] for each in record["instances"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--top", "2"), "--top: only a graph takes it, and --method has none"),
        (("--area", "0.1"), "--area: only a graph takes it"),
        (("--refine", "2"), "--refine: only a graph takes it"),
        (("--cuda-graph",), "--cuda-graph: only a graph takes it"),
        (("--target", "purple"), "target: no class is called 'purple'"),
    ],
)
def test_what_only_a_graph_can_do_is_refused(
    made: list[RedMethod], photo: Path, tmp_path: Path, options: tuple[str, ...], message: str
):
    done = by_method(photo, tmp_path / "out", *options)
    assert done.exit_code == 1
    assert message in done.stderr


def test_methods_and_graphs_are_not_mixed_up(made: list[RedMethod], photo: Path, tmp_path: Path):
    for arguments, message in [
        (("fused.onnx", photo, "--steps", "5"), "--steps: only --method NAME takes it; add that, or leave --steps out"),
        (("fused.onnx", photo, "--device", "cpu"), "--device: only --method NAME takes it"),
        ((photo, "--method", "colours"), "--method colours: no classifier; give --model, such as timm:resnet18"),
        (
            (photo, "--method", "colours", "--model", "m:n", "--batch", "0"),
            "--batch: got 0, expected at least 1 picture",
        ),
        (("fused.onnx",), "fused.onnx: no picture to explain; name pictures or folders after it, or give --method"),
    ]:
        done = whymask("explain", *arguments, "-o", tmp_path / "out")
        assert done.exit_code == 1, arguments
        assert message in done.stderr
    assert made == []


def test_without_a_part_that_brings_methods_the_extra_is_named(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])
    done = by_method(photo, tmp_path / "out")
    assert done.exit_code == 1
    assert (
        'whymask.train is needed to explain by a method (--method) and is not installed. Run: pip install "whymask['
        in (done.stderr)
    )
