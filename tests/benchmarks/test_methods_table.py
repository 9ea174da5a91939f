"""The table of methods: rows judged alike, resumed where they stopped, and told apart picture by picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import quadrant
from PIL import Image
from suite_fakes import RIGHT, WRONG, picture_set, suite
from tiny_run import make_run
from typer.testing import CliRunner

from whymask.benchmarks import methods_table
from whymask.benchmarks.baselines import EXPLAINER
from whymask.benchmarks.methods_page import COLUMNS, KIND, ROWS, common_pictures, page_from_records, read_record
from whymask.benchmarks.methods_rows import Judged, judged_row, measure_row, method_rival
from whymask.benchmarks.methods_suite import records_from_suite
from whymask.benchmarks.methods_table import record_from
from whymask.benchmarks.rivals.rival import COSTLY_PASSES
from whymask.benchmarks.suite.record import cells_from_record, record_from_measurements
from whymask.benchmarks.suite.sweeps import SWEEP
from whymask.runtime.errors import ArtefactError, InputError
from whymask.train.methods import METHODS

SETTINGS = {"row": "cam", "graph_sha256": "ab", "steps": 0, "seed": 0, "set": "x"}


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, picture in enumerate(quadrant.pictures(3)):
        Image.fromarray(picture).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


def record(row: str, aucs: list[float], *, steps: int = 0, own_steps: int = 0) -> dict:
    figures = [{"picture": f"p{i}", "seconds": 0.5, **dict.fromkeys(COLUMNS, auc)} for i, auc in enumerate(aucs)]
    return {
        "kind": KIND,
        "schema": 2,
        "classifier": "tiny",
        "row": row,
        "steps": steps,
        "own_steps": own_steps,
        "stated": "what it is",
        "clock": "a clock",
        "graph_sha256": "ab",
        "classifier_sha256": "ef",
        "input": [32, 32],
        "set": "photos",
        "machine": {"cpu": "a processor"},
        "versions": {},
        "pictures": figures,
    }


def test_a_map_that_knows_keeps_more_and_both_are_judged_on_every_picture(photos: list[Path], tmp_path: Path):
    explainer = quadrant.explainer(quadrant.oracle())
    found = {
        name: measure_row(explainer, Judged(rival), photos, SETTINGS, 2, tmp_path / f"{name}.jsonl")
        for name, rival in {"ours": None, "right": RIGHT, "wrong": WRONG}.items()
    }
    assert [each["picture"] for each in found["right"]] == ["photos/0.png", "photos/1.png", "photos/2.png"]
    aucs = {name: np.mean([each["retention_auc"] for each in rows]) for name, rows in found.items()}
    assert aucs["wrong"] < aucs["right"] == aucs["ours"]
    assert all(each["seconds"] >= 0.0 for rows in found.values() for each in rows)


def test_a_map_of_many_passes_is_judged_as_any_other(photos: list[Path], tmp_path: Path):
    explainer = quadrant.explainer(quadrant.oracle())
    cheap, costly = (
        measure_row(explainer, Judged(replace(RIGHT, passes=passes)), photos, SETTINGS, 2, tmp_path / f"{passes}.jsonl")
        for passes in (0.0, COSTLY_PASSES)
    )
    for a, b in zip(cheap, costly, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


def test_a_row_goes_on_where_it_stopped_and_refuses_other_settings(photos: list[Path], tmp_path: Path):
    explainer, work = quadrant.explainer(quadrant.oracle()), tmp_path / "work.jsonl"
    first = measure_row(explainer, Judged(RIGHT), photos[:2], SETTINGS, 1, work)
    before = work.read_text().splitlines()
    whole = measure_row(explainer, Judged(RIGHT), photos, SETTINGS, 1, work)
    assert whole[:2] == first
    assert work.read_text().splitlines()[:3] == before
    with pytest.raises(ArtefactError, match="pictures done with other settings"):
        measure_row(explainer, Judged(RIGHT), photos, {**SETTINGS, "steps": 5}, 1, work)


def test_a_picture_that_cannot_be_read_stops_the_row(photos: list[Path], tmp_path: Path):
    (tmp_path / "photos" / "9.png").write_bytes(b"no picture")
    explainer = quadrant.explainer(quadrant.oracle())
    with pytest.raises(InputError, match="every picture of the set has to be readable"):
        broken = [*photos, tmp_path / "photos" / "9.png"]
        measure_row(explainer, Judged(RIGHT), broken, SETTINGS, 4, tmp_path / "work.jsonl")


@pytest.mark.parametrize(("name", "spent"), [("optimise", "2 steps"), ("marc", "at most 2 steps")])
def test_a_method_is_a_rival(tmp_path: Path, name: str, spent: str):
    classifier = make_run(tmp_path / "run", "tapped").classifier
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    rival = method_rival(name, classifier, 2)
    maps = rival.maps(images, np.array([0, 1]), 0)
    assert (maps.shape, maps.dtype) == ((2, 32, 32), np.float32)
    assert (rival.name, rival.stated) == (name, f"{METHODS[name].about}; {spent}")


@pytest.mark.parametrize(("name", "said"), [("flint", "has no map to judge"), ("lime", "is unknown")])
def test_a_row_that_cannot_be_judged_says_why(name: str, said: str, tmp_path: Path):
    explainer = quadrant.explainer(quadrant.oracle())
    with pytest.raises(InputError, match=f"--row '{name}' {said}; expected one of explainer, optimise"):
        judged_row(name, explainer, tmp_path, 0)
    assert judged_row(EXPLAINER, explainer, tmp_path, 0) == Judged(None)


def test_every_row_of_a_method_is_one():
    methods = {name for name, row in ROWS.items() if row.per_image}
    assert methods <= set(METHODS)
    assert all(ROWS[name].settles == METHODS[name].settles for name in methods)


def test_the_page_pairs_pictures_marks_reduced_steps_and_says_what_is_missing():
    ours, its = record(EXPLAINER, [0.5, 0.7, 0.6]), record("marc", [0.3, 0.5, 0.4], steps=60, own_steps=200)
    page = page_from_records([ours, its])
    assert "| MaRC | no: gradients, step after step | 60 of 200, **reduced** | 0.5 cpu |" in page
    assert "| +0.200 (+0.200 to +0.200) |" in page  # no win over a method that was cut short
    full = page_from_records([ours, record("marc", [0.3, 0.5, 0.4], steps=200, own_steps=200)])
    assert "| **+0.200 (+0.200 to +0.200)** |" in full and "reduced** |" not in full
    assert "| MaRC | no: gradients, step after step | ≤ 200 | 0.5 cpu |" in full
    assert "| FLINT | yes, as attributes (`export --attributes`) |  |  | – |" in page
    assert "Not measured here: per-image optimum of our objective" in page
    assert "3 pictures of photos" in page
    assert "- MaRC: what it is. Time: a clock, a processor." in page
    timed = page_from_records([ours, its | {"clock": "wall clock on 2 core(s)"}])
    assert "| 60 of 200, **reduced** | 0.5 wall |" in timed
    tied = page_from_records([ours, record("cam", [0.5, 0.7, 0.6])])
    assert "| +0.000 (+0.000 to +0.000) |" in tied


def test_one_command_makes_the_whole_table(monkeypatch: pytest.MonkeyPatch):
    called: list[tuple[object, ...]] = []
    for name in ("suite", "run", "page"):
        monkeypatch.setattr(methods_table, name, lambda *words, name=name: called.append((name, *words[:2])))
    done = CliRunner().invoke(methods_table.app, ["all", "--pictures", "3"])
    assert done.exit_code == 0, done.output
    assert called[0] == ("suite", "mobilenet_v2_tf", None)
    assert called[-1] == ("page", methods_table.FOLDER)
    judged = [words for words in called if words[0] == "run"]
    assert [classifier for _, classifier, _ in judged] == list(methods_table.CLASSIFIERS)
    assert all(
        {*rows, *methods_table.MAPS} == {name for name, row in ROWS.items() if row.has_map} for _, _, rows in judged
    )


def test_rows_share_pictures_and_a_classifier_and_may_come_from_graphs_of_several_explainers():
    ours, its = record(EXPLAINER, [0.5, 0.7, 0.6]), record("cam", [0.3, 0.5])
    assert common_pictures({"explainer": ours, "cam": its}) == ["p0", "p1"]
    its["graph_sha256"] = "cd"
    assert common_pictures({"explainer": ours, "cam": its}) == ["p0", "p1"]
    its["classifier_sha256"] = "gh"
    with pytest.raises(ArtefactError, match="judged by different classifiers"):
        common_pictures({"explainer": ours, "cam": its})
    its = record("cam", [])
    with pytest.raises(ArtefactError, match="no picture in common"):
        common_pictures({"explainer": ours, "cam": its})


def test_a_record_is_read_back_and_another_file_refused(photos: list[Path], tmp_path: Path):
    explainer = quadrant.explainer(quadrant.oracle())
    pictures = measure_row(explainer, Judged(RIGHT), photos, SETTINGS, 2, tmp_path / "work.jsonl")
    path = tmp_path / "tiny.cam.json"
    path.write_text(json.dumps(record_from("tiny", explainer, "cam", Judged(RIGHT), SETTINGS, pictures)))
    assert read_record(path)["pictures"] == pictures
    path.write_text(json.dumps({**read_record(path), "row": "lime"}))
    with pytest.raises(ArtefactError, match="row 'lime' is unknown"):
        read_record(path)
    path.write_text("{}")
    with pytest.raises(ArtefactError, match=f"no {KIND} record of schema 2"):
        read_record(path)


def test_rows_with_more_pictures_are_shown_on_them_too():
    three, two = [record(name, [0.5, 0.7, 0.6]) for name in (EXPLAINER, "cam")], record("marc", [0.3, 0.5])
    page = page_from_records([*three, two])
    narrow, wide = page.split("### The rows that have more pictures")
    assert "2 pictures of photos" in narrow and "| MaRC |" in narrow
    assert "3 pictures of photos" in wide and "| MaRC |" not in wide


def test_rows_of_an_evaluation_are_taken_as_they_stand(tmp_path: Path):
    evaluation = evaluated_suite(tmp_path)
    found = records_from_suite("tiny", evaluation, "planted", 100, 300)
    assert [each["row"] for each in found] == [EXPLAINER, "cam"]
    cells = cells_from_record(evaluation["sets"][0])
    for each in found:
        assert [p["retention_auc"] for p in each["pictures"]] == pytest.approx(cells[(each["row"], "retention_auc")])
        assert each["graph_sha256"] == evaluation["graph"]["sha256"]
        assert each["classifier_sha256"] == evaluation["graph"]["card"]["classifier_sha256"]
        assert each["steps"] == 0
    assert "2 pictures of planted" in page_from_records(found)
    with pytest.raises(ArtefactError, match="the evaluation has no set photos, only planted"):
        records_from_suite("tiny", evaluation, "photos", 100, 300)


def test_a_map_of_fewer_pictures_has_rows_and_seconds_of_these_alone(tmp_path: Path):
    evaluation = evaluated_suite(tmp_path, pictures=6, costly=2)
    (every,) = evaluation["sets"]
    found = {each["row"]: each["pictures"] for each in records_from_suite("tiny", evaluation, "planted", 100, 300)}
    assert [each["picture"] for each in found[EXPLAINER]] == every["files"]
    assert [each["picture"] for each in found["cam"]] == every["files"][::3]
    every["speed"]["maps"]["cam"]["seconds"] = 3.0
    again = {each["row"]: each["pictures"] for each in records_from_suite("tiny", evaluation, "planted", 100, 300)}
    assert [each["seconds"] for each in again["cam"]] == [1.5, 1.5]
    assert all(np.isfinite(each[column]) for each in again["cam"] for column in COLUMNS)


def test_later_rows_are_judged_on_the_pictures_of_the_first(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(methods_table, "data_root", lambda: tmp_path)
    monkeypatch.setattr(methods_table, "evaluation_sets", lambda root: {methods_table.SET: photos})
    path = tmp_path / "tiny.explainer.json"
    assert methods_table.pictures_of(path) == photos
    rows = [{"picture": f"photos/{index}.png"} for index in (0, 2)]
    path.write_text(json.dumps({**record(EXPLAINER, []), "pictures": rows}))
    assert methods_table.pictures_of(path) == [photos[0], photos[2]]


def evaluated_suite(folder: Path, pictures: int = 2, costly: int | None = None) -> dict:
    judge = replace(suite((replace(RIGHT, name="cam", passes=COSTLY_PASSES),), (SWEEP,)), costly=costly)
    (folder / "fused.onnx").write_bytes(b"graph")
    measured = [judge.measure(picture_set(pictures))]
    return record_from_measurements(folder / "fused.onnx", judge, measured, {}, "whymask evaluate")


def test_a_folder_without_results_says_how_to_make_them(tmp_path: Path):
    with pytest.raises(
        InputError, match=r"make them with: python -m whymask\.benchmarks\.methods_table run CLASSIFIER"
    ):
        methods_table.page(tmp_path)
