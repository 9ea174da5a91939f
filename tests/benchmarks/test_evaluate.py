"""`whymask evaluate` on a real ONNX file, and the classifier's own maps."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx_models import SIZE, write_fused
from PIL import Image
from typer.testing import CliRunner

from whymask.benchmarks import evaluation
from whymask.benchmarks.baselines import class_maps_from_classifier
from whymask.benchmarks.evaluation import class_maps_from_run, pictures_in, spread
from whymask.runtime.cli import build_app
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.explainer import load


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_fused(tmp_path / "fused.onnx")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def evaluate(*arguments: object):
    return CliRunner().invoke(build_app(), ["evaluate", *map(str, arguments)])


def test_json_prints_only_a_report_that_names_its_command(graph: Path, photos: Path):
    result = evaluate(graph, "--data", photos, "--limit", 4, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [each["name"] for each in report["sets"]] == ["photos"]
    assert report["sets"][0]["images"] == 4
    assert report["graph"]["provider"] == "CPUExecutionProvider"
    assert report["command"].endswith(f"--data {photos} --limit 4")


@pytest.mark.parametrize(("ending", "start"), [("json", '{\n "schema": 1'), ("csv", "set,map,fill"), ("md", "# Faith")])
def test_a_report_is_written_in_the_form_of_its_ending(graph: Path, photos: Path, ending: str, start: str):
    path = photos.parent / f"report.{ending}"
    result = evaluate(graph, "--data", photos, "-o", path)
    assert result.exit_code == 0, result.output
    assert path.read_text(encoding="utf-8").startswith(start)
    assert "No CAM row: it needs the classifier itself (`--run RUN`) and torch." in result.stdout


def test_an_ending_that_cannot_be_written_is_refused_before_anything_is_measured(photos: Path):
    result = evaluate("absent.onnx", "--data", photos, "-o", "report.xlsx")
    assert result.exit_code == 1
    assert "report.xlsx: ending '.xlsx', expected one of .json, .csv, .md" in result.stderr


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_pictures_is_refused(tmp_path: Path, exists: bool):
    folder = tmp_path / "empty"
    if exists:
        folder.mkdir()
    with pytest.raises(InputError, match="no picture in it or below" if exists else "no such folder"):
        pictures_in(folder)


def test_a_limit_takes_pictures_from_everywhere():
    files = [Path(str(i)) for i in range(10)]
    assert [path.name for path in spread(files, 3)] == ["0", "3", "6"]
    assert spread(files, None) == spread(files, 10) == files
    with pytest.raises(InputError, match="limit: 0 pictures, expected at least 1"):
        spread(files, 0)


def tiny_classifier():
    torch = pytest.importorskip("torch")
    from whymask.train.classifier import FrozenClassifier, InputRule

    torch.manual_seed(0)
    features = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.ReLU())
    model = torch.nn.Sequential(features, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 3))
    return FrozenClassifier(model, "tests:tiny", InputRule(32, 32), taps=("0",))


def test_class_maps_average_to_the_logit_that_they_explain():
    import torch

    classifier = tiny_classifier()
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    targets = np.array([0, 1, 2, 0, 1])
    maps = class_maps_from_classifier(classifier)(images, targets)
    with torch.inference_mode():
        logits = classifier(classifier.normalise(torch.from_numpy(images).permute(0, 3, 1, 2).float()))
    expected = logits.numpy()[np.arange(5), targets] - classifier.model[3].bias.numpy()[targets]
    assert maps.shape == (5, 16, 16)
    assert maps.mean(axis=(1, 2)) == pytest.approx(expected, abs=1e-5)


def test_a_run_of_another_classifier_gives_no_class_maps(graph: Path, monkeypatch: pytest.MonkeyPatch):
    import whymask.train.run as runs

    monkeypatch.setattr(runs, "load_run", lambda path: SimpleNamespace(classifier=tiny_classifier()))
    with pytest.raises(ArtefactError, match="give the run that the graph was exported from"):
        class_maps_from_run(Path("run"), load(graph))


def test_the_run_of_the_same_classifier_adds_the_cam_row(graph: Path, photos: Path, monkeypatch: pytest.MonkeyPatch):
    flat = lambda images, targets: np.zeros((len(images), 2, 2), np.float32)  # noqa: E731
    monkeypatch.setattr(evaluation, "class_maps_from_run", lambda run, explainer: flat)
    result = evaluate(graph, "--data", photos, "--run", "run", "--json")
    maps = {cell["map"] for cell in json.loads(result.stdout)["sets"][0]["cells"]}
    assert "cam" in maps
