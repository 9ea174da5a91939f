"""The study's lists of pictures, its settings, and what it says where the data or the results are absent."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from quadrant import explainer, oracle, pictures
from typer.testing import CliRunner

from whymask.benchmarks import imagenet
from whymask.benchmarks.faithfulness import FaithfulnessConfig, measure_faithfulness
from whymask.benchmarks.records import report_from_measurements
from whymask.benchmarks.tables import BEGIN, END
from whymask.runtime.errors import ArtefactError, InputError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_training_takes_the_training_folder_and_every_second_boxed_picture(tmp_path: Path):
    images = tmp_path / "images"
    boxed = [images / "imagenet_val_boxes" / f"{i}.jpg" for i in range(5)]
    own = [
        images / "imagenette10_128" / "train" / "n01" / "a.jpg",
        images / "imagenette10_128" / "train" / "n02" / "a.jpg",
    ]
    reported = [images / "imagenette10_128" / "val" / "n01" / "b.jpg", images / "photos_ccby" / "c.jpg"]
    touch(*boxed, *own, *reported)
    assert imagenet.training_images(tmp_path) == [*own, boxed[0], boxed[2], boxed[4]]
    assert imagenet.calibration_images(tmp_path) == [boxed[1], boxed[3]]
    assert imagenet.evaluation_sets(tmp_path) == {"imagenette10_128/val": reported[:1], "photos_ccby": reported[1:]}


def test_an_absent_data_folder_is_named_with_the_variable_that_sets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(imagenet.DATA_VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match=r"holds no classifiers\.py; .* set WHYMASK_DATA to it"):
        imagenet.data_root()


def test_an_unknown_classifier_is_refused_with_the_studys_own():
    with pytest.raises(InputError, match="'resnet50' is not in this study; expected one of mobilenet_v2_tf, resnet18"):
        imagenet.known("resnet50")


def test_a_folder_without_results_says_how_to_make_them(tmp_path: Path):
    with pytest.raises(
        InputError, match=r"holds no results; make them with: python -m whymask\.benchmarks\.imagenet all"
    ):
        imagenet.committed_reports(tmp_path)


def test_committed_results_come_in_the_studys_order(tmp_path: Path):
    for name in ("squeezenet1_1", "mobilenet_v2_tf", "other"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"schema": 1, "name": name}), encoding="utf-8")
    assert [report["name"] for report in imagenet.committed_reports(tmp_path)] == ["mobilenet_v2_tf", "squeezenet1_1"]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own, with data, an exported graph, and a judge that answers at once."""
    monkeypatch.setattr(imagenet, "REPOSITORY", tmp_path)
    monkeypatch.setattr(imagenet, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(imagenet, "RUNS", tmp_path / "runs")
    monkeypatch.setenv(imagenet.DATA_VARIABLE, str(tmp_path))
    touch(tmp_path / "classifiers.py", tmp_path / "runs" / "squeezenet1_1" / imagenet.GRAPH_FILE)

    def judged(file: Path, sets: dict[str, list[Path]], *, command: str, run: Path, limit: int | None) -> dict:
        assert (file.parent, list(sets)) == (run, ["imagenette10_128/val", "photos_ccby"])
        measured = measure_faithfulness(explainer(oracle()), pictures(limit or 4), FaithfulnessConfig(areas=(0.2,)))
        return report_from_measurements(file, explainer(oracle()), FaithfulnessConfig(), [measured], command)

    monkeypatch.setattr(imagenet, "evaluate_file", judged)
    return tmp_path


def test_a_result_is_kept_with_its_command_and_fills_both_tables(workplace: Path):
    (workplace / "README.md").write_text(f"# Title\n{BEGIN}\n{END}\n", encoding="utf-8")
    runner = CliRunner()
    assert runner.invoke(imagenet.app, ["evaluate", "squeezenet1_1"], catch_exceptions=False).exit_code == 0
    assert runner.invoke(imagenet.app, ["table"], catch_exceptions=False).exit_code == 0
    report = json.loads((workplace / "results" / "squeezenet1_1.json").read_text(encoding="utf-8"))
    assert report["command"] == "python -m whymask.benchmarks.imagenet evaluate squeezenet1_1"
    assert "| explainer | **100.0 (40–100)**" in (workplace / "results" / "README.md").read_text(encoding="utf-8")
    assert "| quadrant | images | explainer | **100**" in (workplace / "README.md").read_text(encoding="utf-8")


def test_a_part_of_the_pictures_never_becomes_a_result(workplace: Path):
    done = CliRunner().invoke(imagenet.app, ["evaluate", "squeezenet1_1", "--limit", "2"], catch_exceptions=False)
    assert done.exit_code == 0
    assert not (workplace / "results").exists()
    assert (workplace / "runs" / "squeezenet1_1" / "squeezenet1_1.json").is_file()


def test_a_classifier_that_was_not_trained_says_how_to(workplace: Path):
    with pytest.raises(ArtefactError, match=r"absent; make it with: .* train mobilenet_v2_tf"):
        CliRunner().invoke(imagenet.app, ["evaluate", "mobilenet_v2_tf"], catch_exceptions=False)


@pytest.fixture
def data() -> Path:
    try:
        return imagenet.data_root()
    except InputError as error:
        pytest.skip(f"no real data: {error}")


@pytest.mark.data
def test_no_picture_that_is_reported_on_is_trained_on(data: Path):
    def digests(paths: list[Path]) -> set[str]:
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    trained = imagenet.training_images(data)
    sets = imagenet.evaluation_sets(data)
    assert {name: len(paths) for name, paths in sets.items()} == {"imagenette10_128/val": 600, "photos_ccby": 500}
    assert len(trained) == 2500 + 325
    calibrated = imagenet.calibration_images(data)
    assert len(calibrated) == 325
    reported = digests([path for paths in sets.values() for path in paths])
    assert reported.isdisjoint(digests(trained))
    assert digests(calibrated).isdisjoint(digests(trained) | reported)


@pytest.mark.data
@pytest.mark.parametrize("classifier", imagenet.SETTINGS)
def test_every_classifier_has_a_valid_configuration_with_its_own_normalisation(data: Path, classifier: str):
    pytest.importorskip("torch")
    config = imagenet.train_config(classifier, data)
    assert config.model.endswith(f"classifiers.py:{classifier}")
    assert (config.mean == (0.5, 0.5, 0.5)) is (classifier == "mobilenet_v2_tf")
