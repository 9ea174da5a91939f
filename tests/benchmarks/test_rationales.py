"""The study of rationales: its texts, what it measures, and what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from whymask.benchmarks.amortized_texts import study as amortized_study
from whymask.benchmarks.film_reviews import study as film_study
from whymask.benchmarks.rationale_texts import (
    AFFIRMING,
    BAD,
    COMPLAINT,
    DENYING,
    GOOD,
    LABELS,
    PRAISE,
    REPORT,
    make_texts,
)
from whymask.benchmarks.rationales import METHODS, measure, study
from whymask.benchmarks.rationales_page import cell
from whymask.runtime.errors import ArtefactError, InputError


def test_texts_repeat_and_their_reasons_make_the_class():
    texts = make_texts(90, seed=3)
    assert texts == make_texts(90, seed=3) != make_texts(90, seed=4)
    for each in texts:
        for start, end in each.spans:
            adverb, adjective = each.text[start:end].split()
            good = (adjective in GOOD) != (adverb in DENYING)
            assert adjective in GOOD + BAD
            assert adverb in AFFIRMING + DENYING
            assert each.label == (PRAISE if good else COMPLAINT)
    assert [each.label for each in texts[:3]] == [COMPLAINT, PRAISE, REPORT]
    assert all(bool(each.spans) == (each.label != REPORT) for each in texts)


def test_no_text_is_refused():
    with pytest.raises(InputError, match="texts: 0 asked for, expected at least 1"):
        make_texts(0, seed=0)


def test_a_mean_is_told_in_points_with_its_interval():
    assert cell([0.5, 0.5], 100.0) == "50.0 [50.0, 50.0]"
    assert cell([2.0, 2.0], 1.0) == "2.0 [2.0, 2.0]"


def test_the_study_is_written_as_record_and_page_and_its_classifier_kept(tmp_path: Path):
    out = tmp_path / "rationales.json"
    study(count=3, steps=3, training_steps=60, seed=0, save=tmp_path / "clf", out=out)
    record = json.loads(out.read_text())
    assert record["kind"] == "whymask.rationales"
    assert tuple(record["methods"]) == METHODS
    assert 1 <= record["texts"] <= 3
    assert {name: each["steps"] for name, each in record["marc"].items()} == dict.fromkeys(METHODS[:2], 3)
    assert {name: each["settles"] for name, each in record["marc"].items()} == dict(
        zip(METHODS[:2], (False, True), strict=True)
    )
    assert tuple(record["cuts"]) == METHODS[:2]
    for figures in record["methods"].values():
        assert {len(values) for values in figures.values()} == {record["texts"]}
        assert all(0.0 <= value <= 1.0 for value in figures["f1"] + figures["iou"])
    page = out.with_suffix(".md").read_text()
    assert "MaRC less gradient × input: token F1" in page
    assert "MaRC less MaRC, as published: token F1" in page
    assert "MaRC: 3 steps, draws a step: 4, smoothness 0.1" in page
    assert "MaRC, as published: at most 3 steps, draws a step: 1, smoothness 1.2" in page
    assert f"{record['texts']} held-out generated texts" in page
    study(count=1, steps=2, kept=tmp_path / "clf", out=tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text())["classifier"] == record["classifier"]
    assert json.loads((tmp_path / "clf" / "text-classifier.json").read_text())["labels"] == list(LABELS)


def test_a_folder_that_keeps_no_classifier_is_one_message(tmp_path: Path):
    with pytest.raises(ArtefactError, match=r"cannot be read .*give a folder that --save wrote"):
        study(kept=tmp_path)


@pytest.mark.parametrize("of", [study, amortized_study, partial(film_study, Path("absent.whl"), Path("work"))])
def test_an_output_that_is_no_json_is_refused_before_the_work(of: Callable[..., None], tmp_path: Path):
    with pytest.raises(InputError, match=r"page\.md"):
        of(out=tmp_path / "page.md")
    assert not list(tmp_path.iterdir())


def test_nothing_to_explain_is_one_message():
    with pytest.raises(InputError, match="no held-out text with an opinion is classified right; train for longer"):
        measure(None, [], {}, 0)  # type: ignore[arg-type]
