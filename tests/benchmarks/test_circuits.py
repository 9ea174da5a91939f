"""The study of circuits: equal masks, overlaps by layer, and a page of the committed records."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import make_run
from typer.testing import CliRunner

from whymask.benchmarks import circuits
from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.baselines import CENTRE, EXPLAINER, RANDOM
from whymask.benchmarks.circuits import asked, circuit_of, matched_classifier, measure, record_from
from whymask.benchmarks.circuits_page import CIRCUIT, KIND, page_from_records, read_record
from whymask.export.onnx_from_run import export_run
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.explainer import Explainer, load
from whymask.train.classifier import FrozenClassifier

SIZE = 32


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("circuits")
    export_run(make_run(folder / "run", "tapped"), folder / "fused.onnx")
    return folder / "fused.onnx"


@pytest.fixture
def explainer(graph: Path) -> Explainer:
    return load(graph, threads=1)


@pytest.fixture
def classifier(tmp_path: Path) -> FrozenClassifier:
    return make_run(tmp_path / "again", "tapped").classifier


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    (tmp_path / "photos").mkdir()
    for index, picture in enumerate(np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)):
        Image.fromarray(picture).save(tmp_path / "photos" / f"{index}.png")
    return sorted((tmp_path / "photos").iterdir())


def test_masks_are_of_the_same_area_and_by_the_pictures_names_alone(explainer: Explainer):
    pictures = np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    graph = AskedGraph(explainer)
    _, masks = asked(graph, ["a", "b"], pictures, 0.25)
    assert {name: each.sum(axis=(1, 2)).tolist() for name, each in masks.items()} == {key: [256, 256] for key in masks}
    _, other = asked(graph, ["b"], pictures[1:], 0.25)
    assert all(np.array_equal(masks[name][1:], other[name]) for name in masks)
    assert masks[CENTRE][0, SIZE // 2, SIZE // 2] and not masks[CENTRE][0, 0, 0]


def test_a_mask_that_keeps_everything_runs_on_the_same_channels(
    explainer: Explainer, classifier: FrozenClassifier, photos: list[Path]
):
    whole, some = (measure(explainer, classifier, photos, area, 2) for area in (1.0, 0.1))
    for each in whole:
        for mask in each["masks"].values():
            assert mask["kept"] and set(mask["overlap"].values()) == {1.0}
    assert any(min(mask["overlap"].values()) < 1.0 for each in some for mask in each["masks"].values())
    assert list(some[0]["masks"]) == [EXPLAINER, CENTRE, RANDOM]


def test_an_example_is_the_circuit_of_the_explainers_own_mask(
    explainer: Explainer, classifier: FrozenClassifier, photos: list[Path]
):
    circuit, drawing = circuit_of(explainer, classifier, photos[0], 1.0, 2)
    assert [layer["overlap"] for layer in circuit["layers"][:-1]] == [1.0] * (len(circuit["layers"]) - 1)
    assert "photos/0.png" in drawing


def test_a_record_is_written_read_and_told(
    graph: Path, explainer: Explainer, classifier: FrozenClassifier, photos: list[Path], tmp_path: Path
):
    made = record_from(explainer, "tiny", graph, 0.5, 2, measure(explainer, classifier, photos, 0.5, 2))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tiny.json").write_text(json.dumps(made), "utf-8")
    (tmp_path / "out" / f"tiny{CIRCUIT}.json").write_text("{}", "utf-8")
    done = CliRunner().invoke(circuits.app, ["page", "--folder", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "3 pictures of photos_ccby, 32 × 32 px, masks of 50% of the pixels, K = 2" in text
    assert "tiny.circuit.svg" not in text and "pictures) |" in text
    assert "tiny.circuit.svg" in page_from_records([made | {"example": "photos/0.png"}])
    with pytest.raises(ArtefactError, match=f"no {KIND} record of schema 1"):
        read_record(tmp_path / "out" / f"tiny{CIRCUIT}.json")


def test_a_difference_to_random_is_bold_where_its_interval_leaves_zero_out():
    def masks(i: int) -> dict[str, object]:
        overlap = {EXPLAINER: 0.8, CENTRE: 0.3 + 0.2 * (i % 2), RANDOM: 0.4}
        return {name: {"kept": i % 2 == 0, "overlap": {"deep": value}} for name, value in overlap.items()}

    pictures = [{"picture": str(i), "masks": masks(i)} for i in range(20)]
    facts = {"classifier": "c", "input": [8, 8], "set": "s", "area": 0.5, "top": 8, "example": None}
    line = next(row for row in page_from_records([{**facts, "pictures": pictures}]).splitlines() if "| deep" in row)
    assert line.startswith("| deep | **0.80 (0.80–0.80)** | 0.40 (")
    assert line.endswith("| 0.40 (0.40–0.40) | 0.80 (0.80–0.80) | 0.80 (0.80–0.80) |")


def test_the_committed_page_is_of_the_committed_records():
    paths = [path for path in sorted(circuits.FOLDER.glob("*.json")) if not path.stem.endswith(CIRCUIT)]
    assert page_from_records([read_record(path) for path in paths]) == (circuits.FOLDER / "README.md").read_text(
        "utf-8"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [(["squeezenet1_1", "--runs", "absent"], "fused.onnx is absent; make it with"), (["vgg"], "is not in this study")],
)
def test_what_is_not_there_is_said(words: list[str], message: str):
    done = CliRunner().invoke(circuits.app, ["run", *words])
    assert isinstance(done.exception, (ArtefactError, InputError))
    assert message in str(done.exception)


@pytest.mark.data
def test_a_graph_of_another_classifier_is_refused(explainer: Explainer):
    with pytest.raises(ArtefactError, match="squeezenet1_1: the graph explains another classifier of this name"):
        matched_classifier("squeezenet1_1", explainer)
