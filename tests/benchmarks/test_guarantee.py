"""The study of the calibration's promise: what it asks a graph, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from colour_graph import write_graph
from PIL import Image
from quadrant import SIZE, explainer, oracle, pictures
from typer.testing import CliRunner

from whymask.benchmarks.guarantee import app, guarantee, kept_over_thresholds
from whymask.benchmarks.program import publish
from whymask.runtime.errors import InputError

THRESHOLDS = (0.0, 0.2, 0.4, 0.6, 0.8)


def test_each_picture_is_asked_with_its_own_mask_at_every_threshold():
    saliency = 0.3 + 0.2 * oracle()  # all of the picture, then the quadrant, then nothing
    judged = explainer(saliency)
    kept = kept_over_thresholds(judged, pictures(24), THRESHOLDS)
    assert kept.shape == (5, 24)
    assert kept.all(axis=1).tolist() == [True, True, True, False, False]
    assert not kept[3:].any()


def test_a_mask_that_did_not_change_is_not_asked_about_again():
    judged = explainer(0.3 + 0.2 * oracle())
    kept_over_thresholds(judged, pictures(24), THRESHOLDS)
    assert len(judged.backend.seen) == 3  # the pictures, the quadrants, the empty masks


def test_too_few_pictures_are_refused():
    with pytest.raises(InputError, match="4 pictures can be read, expected at least 20"):
        kept_over_thresholds(explainer(oracle()), pictures(4), THRESHOLDS)


def test_the_simulation_alone_is_written_as_record_and_page(tmp_path: Path):
    guarantee(None, None, rounds=200, pictures=200, out=tmp_path / "guarantee.json")
    record = json.loads((tmp_path / "guarantee.json").read_text())
    refused = {(each["population"], each["procedure"]): each["refused"] for each in record["simulation"]}
    assert not any(value for (_, procedure), value in refused.items() if procedure == "calibrated")
    assert refused["breaking points", "by share (wrong)"]
    assert refused["just below, restless", "any that passes (wrong)"]
    page = (tmp_path / "guarantee.md").read_text()
    assert "promise 90% with confidence 95%" in page
    assert "Splits" not in page


def test_splits_of_pictures_are_written_with_every_answer(tmp_path: Path):
    random, folder = np.random.default_rng(0), tmp_path / "photos"
    folder.mkdir()
    for index in range(30):
        picture = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = Image.fromarray(picture).resize((2 * SIZE, 2 * SIZE), Image.Resampling.NEAREST)
        image.save(folder / f"{index}.png")
    graph = write_graph(tmp_path / "fused.onnx", target=False)
    out = tmp_path / "guarantee.json"
    guarantee(graph, folder, alpha=0.4, delta=0.1, rounds=50, pictures=50, out=out)
    splits = json.loads(out.read_text())["splits"]
    assert (splits["calibration_pictures"], splits["test_pictures"], splits["rounds"]) == (15, 15, 50)
    assert {len(each) for each in splits["kept_by_picture"]} == {len(splits["thresholds"])}
    assert all(each.startswith("1") for each in splits["kept_by_picture"])
    assert splits["allowed"] == pytest.approx(0.15)
    assert splits["broken"] <= splits["below"]
    assert "50 random halvings of 30 pictures (photos)" in out.with_suffix(".md").read_text()


def test_a_graph_without_pictures_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="a graph and --data belong together"):
        guarantee(tmp_path / "fused.onnx", None)


def test_a_page_never_falls_on_its_record(tmp_path: Path):
    with pytest.raises(InputError, match=r"guarantee\.md: expected a name ending in \.json; the page goes beside it"):
        guarantee(None, None, rounds=2, pictures=20, out=tmp_path / "guarantee.md")
    with pytest.raises(InputError, match=r"study\.md: expected a name ending in \.json"):
        publish(tmp_path / "study.md", {"kind": "study"}, "# Page\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [("--alpha", "2"), ("--delta", "-1"), ("--alpha", "nan"), ("--seed", "-1")])
def test_a_promise_of_less_than_nothing_is_a_usage_error(tmp_path: Path, option: tuple[str, str]):
    given = [*option, "--rounds", "2", "-o", str(tmp_path / "guarantee.json")]
    assert CliRunner().invoke(app, given).exit_code == 2
    assert not list(tmp_path.iterdir())
