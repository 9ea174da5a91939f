"""`whymask evaluate` on a real ONNX file, and what the studies take from its parts."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx_models import SIZE, write_fused
from PIL import Image
from typer.testing import CliRunner

from whymask.benchmarks.baselines import class_maps_from_classifier
from whymask.benchmarks.evaluate_cli import evaluate as command
from whymask.benchmarks.evaluation import class_maps_from_run, pictures_in, spread, write_report
from whymask.benchmarks.forms import targets
from whymask.benchmarks.suite.evaluate import WRITERS, picture_sets
from whymask.benchmarks.suite.record import read_record
from whymask.runtime.cli import guarded
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.explainer import load


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_fused(tmp_path / "fused.onnx")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "photos", 6)


def write_pictures(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def evaluate(*arguments: object):
    import typer

    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(guarded(command))
    return CliRunner().invoke(app, [*map(str, arguments)])


QUICK = ("--maps", "random", "--metrics", "sweep")


def test_per_image_optimisation_without_the_run_says_what_it_needs(graph: Path, photos: Path):
    result = evaluate(graph, "--data", photos, *QUICK, "--optimise-steps", 3)
    assert result.exit_code == 1
    assert "3 steps a picture were asked for" in result.output
    assert "--run" in result.output


def test_json_prints_only_a_record_that_names_its_command(graph: Path, photos: Path):
    result = evaluate(graph, "--data", photos, "--limit", 4, *QUICK, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert (record["kind"], record["schema"]) == ("evaluation", 1)
    assert [(each["name"], each["images"]) for each in record["sets"]] == [("photos", 4)]
    assert record["graph"]["provider"] == "CPUExecutionProvider"
    assert f"--data {photos} --maps random --metrics sweep --limit 4" in record["command"]
    assert list(record["method"]["maps"]) == ["explainer", "random", "centre"]


def test_without_a_run_the_maps_that_need_torch_are_left_out_and_that_is_said(graph: Path, photos: Path):
    result = evaluate(graph, "--data", photos, "--limit", 2, "--metrics", "sweep", "--rise-masks", 5)
    assert result.exit_code == 0, result.output
    assert "left out: grad_cam: needs the classifier in torch" in result.stdout
    assert "photos, n = 2: explainer better than every other map in" in result.stdout
    assert "rise" in result.stdout


def test_an_earlier_evaluation_stands_for_costly_maps_that_are_not_made_again(
    graph: Path, photos: Path, tmp_path: Path
):
    rise = ("--maps", "rise", "--rise-masks", 30, "--metrics", "sweep")
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    assert evaluate(graph, "--data", photos, *rise, "-o", before).exit_code == 0
    result = evaluate(graph, "--data", photos, *rise, "--costly", 2, "--earlier", before, "-o", after)
    assert result.exit_code == 0, result.output
    record = read_record(after)
    assert record["sets"][0]["cells"]["rise"] == read_record(before)["sets"][0]["cells"]["rise"]
    assert record["sets"][0]["speed"]["maps"]["rise"]["pictures"] == 2
    assert f"--costly 2 --earlier {before}" in record["command"]


def test_an_earlier_evaluation_of_another_seed_is_refused_and_nothing_is_written(
    graph: Path, photos: Path, tmp_path: Path
):
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    assert evaluate(graph, "--data", photos, *QUICK, "-o", before).exit_code == 0
    result = evaluate(graph, "--data", photos, *QUICK, "--seed", 1, "--earlier", before, "-o", after)
    assert result.exit_code == 1 and "an evaluation with another seed" in result.output
    assert "Traceback" not in result.output and not after.exists()


def test_a_folder_gets_all_four_forms_of_one_evaluation(graph: Path, photos: Path, tmp_path: Path):
    out = tmp_path / "out"
    result = evaluate(graph, "--data", photos, *QUICK, "-o", out)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [f"evaluation.{e}" for e in ("csv", "html", "json", "md")]
    record = read_record(out / "evaluation.json")
    rows = list(csv.DictReader((out / "evaluation.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == len(record["sets"][0]["figures"])
    assert (out / "evaluation.md").read_text(encoding="utf-8").startswith("# Evaluation of fused.onnx")
    assert (out / "evaluation.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("name", ["report.json", "report.CSV", "report.md", "report.html"])
def test_an_ending_names_one_form(name: str, tmp_path: Path):
    assert targets(tmp_path / name, "report", WRITERS) == [tmp_path / name]


def test_an_ending_that_cannot_be_written_is_refused_before_anything_is_measured(photos: Path):
    result = evaluate("absent.onnx", "--data", photos, "-o", "report.xlsx")
    assert result.exit_code == 1
    assert "report.xlsx: ending '.xlsx', expected one of .json, .csv, .md, .html, or none for a folder" in result.stderr


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--maps", "grad_cm"), "did you mean grad_cam?"),
        (("--maps", "grad_cam"), "needs the classifier in torch"),
        (("--metrics", "sweeps"), "sweep"),
        (("--truth", "dots:x"), "expected masks:DIR"),
        (("--data", "absent"), "absent: no such folder"),
    ],
    ids=["unknown map", "map without a run", "unknown metric", "unknown truth", "no such folder"],
)
def test_what_cannot_be_done_is_one_message(graph: Path, photos: Path, option: tuple[str, str], message: str):
    result = evaluate(graph, "--data", photos, *option)
    assert result.exit_code == 1
    assert message in result.stderr and "Traceback" not in result.stderr


def test_boxes_bring_the_metrics_that_need_truth_for_the_pictures_that_have_some(graph: Path, photos: Path):
    boxes = photos.parent / "boxes.csv"
    boxes.write_text("file,left,top,right,bottom\n1.png,0,0,4,4\n3.png,0,0,8,4\n", encoding="utf-8")
    result = evaluate(graph, "--data", photos, "--maps", "random", "--truth", f"boxes:{boxes}", "--json")
    assert result.exit_code == 0, result.output
    (each,) = json.loads(result.stdout)["sets"]
    assert each["files"] == ["photos/1.png", "photos/3.png"]
    assert each["cells"]["explainer"]["truth_area"] == [0.25, 0.5]


def test_sets_of_one_name_are_told_apart_and_one_folder_stands_once(tmp_path: Path):
    folders = [write_pictures(tmp_path / parent / "val", 1) for parent in ("a", "b")]
    assert [each.name for each in picture_sets(folders)] == ["a/val", "b/val"]
    with pytest.raises(InputError, match="a folder stands once"):
        picture_sets([folders[0], folders[0]])


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


def test_a_report_of_the_study_has_the_forms_that_its_page_knows(tmp_path: Path):
    with pytest.raises(InputError, match=r"report.xlsx: ending '.xlsx', expected one of .json, .csv, .md"):
        write_report(tmp_path / "report.xlsx", {})


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


def test_the_run_of_the_same_classifier_adds_its_maps(graph: Path, photos: Path, monkeypatch: pytest.MonkeyPatch):
    from whymask.benchmarks.suite import evaluate as suite

    classifier = tiny_classifier()
    monkeypatch.setattr(suite, "classifier_from_run", lambda run, explainer: classifier)
    result = evaluate(graph, "--data", photos, "--run", "run", "--maps", "cam", "--metrics", "sweep", "--json")
    assert result.exit_code == 0, result.output
    assert "cam" in json.loads(result.stdout)["sets"][0]["cells"]


NET = """
import torch
from torch import nn


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 4, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


def other():
    return net(1)
"""


def optimised_map(
    graph: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, sharpen: int, asked: tuple[str, tuple[str, ...]] | None
) -> str:
    """What the optimised map of a run on NET says of itself; `asked` names a factory and taps for it."""
    import whymask.train.run as runs
    from whymask.benchmarks.asked_graph import AskedGraph
    from whymask.benchmarks.suite.evaluate import EvaluateSettings, suite_from_settings
    from whymask.train.config import TrainConfig
    from whymask.train.model_spec import classifier_from_config

    (folder / "net.py").write_text(NET)
    config = TrainConfig(f"{folder / 'net.py'}:net", ("photos",), sharpen=sharpen, size=(32, 32), taps=("0",))
    monkeypatch.setattr(runs, "load_run", lambda path: SimpleNamespace(config=config))
    like = asked and replace(config, model=f"{folder / 'net.py'}:{asked[0]}", taps=asked[1])
    settings = EvaluateSettings(Path("run"), ("cam",), ("sweep",), optimise_steps=1, optimise_as=like)
    with load(graph, "cpu") as explainer:
        of_run = classifier_from_config(config)
        suite, _ = suite_from_settings(explainer, AskedGraph(explainer), settings, False, of_run)
    return suite.rivals[-1].stated


@pytest.mark.parametrize(
    ("sharpen", "asked", "cells"), [(0, None, None), (2, None, 8), (2, ("net", ("1",)), 4), (0, ("net", ("0",)), 8)]
)
def test_an_optimised_map_has_the_cells_in_front_of_the_filter_or_those_that_are_asked_for(
    graph: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sharpen: int,
    asked: tuple[str, tuple[str, ...]] | None,
    cells: int | None,
):
    with load(graph, "cpu") as explainer:
        own = explainer.card.explainer.height
    stated = optimised_map(graph, tmp_path, monkeypatch, sharpen, asked)
    assert f"a free map of {cells or own} × {cells or own} cells" in stated


def test_an_optimised_map_of_other_weights_is_refused(graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match=r"'net\.py:other' has other weights than the run's 'net\.py:net'"):
        optimised_map(graph, tmp_path, monkeypatch, 0, ("other", ("0",)))
