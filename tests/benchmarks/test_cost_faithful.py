"""Both forms of one explainer on the same pictures: what is counted, compared, written and refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_run import SIZE, make_run
from typer.testing import CliRunner

from whymask.benchmarks import cost
from whymask.benchmarks.cost_faithful import Judged, between, measure
from whymask.benchmarks.cost_faithful_page import faithful_page, has_fallen, read_faithful, write_faithful
from whymask.benchmarks.refinement import AREAS
from whymask.runtime.errors import ArtefactError, InputError
from whymask.train import run as train_run

COUNT = 6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for i in range(COUNT):
        cells = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        cells.resize((SIZE, SIZE), Image.Resampling.NEAREST).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def found(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command measured, through its own files."""
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_run, "load_run", lambda path: make_run(path, "tapped"))
        arguments = ["faithful", str(out / "run"), "--data", str(pictures), "-n", str(COUNT), "-o", str(out)]
        done = CliRunner().invoke(cost.app, arguments)
    assert done.exit_code == 0, done.output
    assert f"Written: {out / 'faithful.md'}" in done.stdout
    (only,) = read_faithful(out / "faithful.json")["classifiers"]
    return only


def test_the_deployed_form_is_smaller_and_the_same_but_for_rounding(found: dict[str, Any]) -> None:
    trained, deployed = found["forms"]["trained"], found["forms"]["deployed"]
    assert deployed["nodes"] < trained["nodes"] and deployed["multiply_adds"] <= trained["multiply_adds"]
    assert found["between"]["mask_iou"] >= 0.999 and found["between"]["same_top1"] == 1.0
    assert 0.0 < found["between"]["saliency_max"] < 1e-4
    assert found["between"]["decisions"] == COUNT * (len(AREAS) + 1)
    assert not has_fallen(found)


def test_retention_is_what_the_recorded_decisions_say(found: dict[str, Any]) -> None:
    for figures in found["forms"].values():
        kept = np.array([[digit == "1" for digit in row] for row in figures["kept"]])
        assert kept.shape == (COUNT, len(AREAS) + 1)
        assert figures["retention"] == pytest.approx(kept[:, :-1].mean(axis=0))
        assert figures["retention_at_threshold"] == pytest.approx(kept[:, -1].mean())


def judged(kept: list[list[int]], mask: list[int]) -> Judged:
    cuts = np.array(kept, bool)
    logits = np.eye(3, dtype=np.float32)[: len(cuts)]
    saliency = np.arange(4.0, dtype=np.float32).reshape(1, 2, 2).repeat(len(cuts), 0)
    masks = np.array(mask, np.uint8).reshape(1, 2, 2).repeat(len(cuts), 0)
    return Judged({"logits": logits, "saliency": saliency, "mask": masks}, cuts[:, :-1], cuts[:, -1])


def test_what_the_forms_differ_in_is_counted() -> None:
    figures = between(judged([[1, 0, 1], [1, 1, 0]], [1, 1, 0, 0]), judged([[0, 1, 1], [0, 1, 0]], [1, 1, 1, 0]))
    assert (figures["decisions"], figures["gained"], figures["lost"]) == (6, 1, 2)
    assert figures["mask_iou"] == figures["mask_iou_min"] == pytest.approx(2 / 3)
    empty = judged([[1, 1, 1]], [0, 0, 0, 0])
    assert between(empty, empty)["mask_iou"] == between(empty, empty)["mask_iou_min"] == 1.0


@pytest.mark.parametrize(
    ("changes", "fell"),
    [
        ({}, False),
        ({"gained": 2.0, "lost": 5.0}, False),  # like forms differ so in 45 of 100 cases
        ({"gained": 0.0, "lost": 6.0}, True),
        ({"gained": 6.0, "lost": 0.0}, False),
        ({"mask_iou": 0.99}, True),
        ({"same_top1": 0.98}, True),
    ],
)
def test_faithfulness_has_fallen_where_chance_does_not_explain_it(
    found: dict[str, Any], changes: dict[str, float], fell: bool
) -> None:
    made = copy.deepcopy(found)
    made["between"] |= changes
    assert has_fallen(made) == fell
    page = faithful_page({"areas": AREAS, "classifiers": [made]})
    assert ("**faithfulness fell**" in page, "**faithfulness has not fallen**" in page) == (fell, not fell)


def test_a_classifier_takes_the_place_of_its_older_record_beside_the_others(
    found: dict[str, Any], tmp_path: Path
) -> None:
    for name, seed in (("b", 0), ("a", 0), ("b", 7)):
        page = write_faithful(tmp_path, found | {"classifier": name, "seed": seed})
    read = read_faithful(tmp_path / "faithful.json")
    assert [(each["classifier"], each["seed"]) for each in read["classifiers"]] == [("a", 0), ("b", 7)]
    assert page.read_text().count("| trained |") == 2
    with pytest.raises(InputError, match="no record of the study"):  # the cost study's page passes it over
        cost.write_page(tmp_path)


def test_what_cannot_be_compared_is_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"exported as it was trained \(autoencoder\).*give a run with the tapped"):
        measure(make_run(tmp_path, "autoencoder"), sorted(pictures.iterdir()), "pictures")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="photos: none of 1 pictures can be read"):
        measure(make_run(tmp_path, "tapped"), [tmp_path / "broken.png"], "photos")
    (tmp_path / "faithful.json").write_text(json.dumps({"schema": 1, "kind": "whymask.cost"}))
    with pytest.raises(ArtefactError, match=r"faithful\.json: kind is 'whymask\.cost', expected 'whymask\.cost_fa"):
        read_faithful(tmp_path / "faithful.json")
