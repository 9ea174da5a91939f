"""Figures of costly maps that are taken over from an earlier evaluation, and all that forbids it."""

from __future__ import annotations

import copy
import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from suite_fakes import KEPT, RIGHT, picture_set, quadrant, suite

from whymask.benchmarks.card_summary import card_summary
from whymask.benchmarks.rivals.rival import COSTLY_PASSES, Rival
from whymask.benchmarks.suite.earlier import MOST_APART, check_earlier, filled_from, words_of_earlier
from whymask.benchmarks.suite.record import cells_from_record, read_record, record_from_measurements
from whymask.benchmarks.suite.registry import METRICS
from whymask.benchmarks.suite.sample import Cell
from whymask.benchmarks.suite.suite_tables import csv_from_record, page_from_record
from whymask.benchmarks.suite.summary import summaries
from whymask.runtime.errors import ArtefactError

COUNT, FEW = 20, 5
SLOW = Rival("slow", "the quadrant at the upper right", lambda images, *_: quadrant(images, 0, 1), COSTLY_PASSES)
JUDGED = [*[metric for metric in METRICS if not metric.needs_truth], KEPT]
OWN_AREA = {column.name for metric in JUDGED for column in metric.columns if column.at_own_area}


def evaluated(folder: Path, costly: int | None, rival: Rival = SLOW, pictures: int = COUNT) -> dict:
    """A record as JSON gives it back."""
    file = folder / "fused.onnx"
    file.write_bytes(b"graph")
    judge = replace(suite([RIGHT, rival], JUDGED), costly=costly)
    record = record_from_measurements(file, judge, [judge.measure(picture_set(pictures))], {}, "whymask evaluate")
    return json.loads(json.dumps(record))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return evaluated(tmp_path_factory.mktemp("whole"), None)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return evaluated(tmp_path_factory.mktemp("few"), FEW)


def test_gaps_are_filled_as_if_every_map_had_been_made_for_every_picture(whole: dict, few: dict):
    filled = filled_from(copy.deepcopy(few), whole, "before.json")
    before, after = (cells_from_record(each["sets"][0]) for each in (whole, filled))
    taken = {cell for cell in after if cell.map == "slow" and cell.column not in OWN_AREA}
    assert {cell.column for cell in taken} >= {"retention_auc", "deletion", "road", "robust_retention"}
    for cell in set(after) - {cell for cell in after if cell.map == "slow" and cell.column in OWN_AREA}:
        np.testing.assert_allclose(after[cell], before[cell], atol=MOST_APART, err_msg=str(cell))


def test_columns_at_the_own_masks_area_are_never_taken_over(whole: dict, few: dict):
    assert {"kept_at_threshold", "average_drop", "robust_own"} <= OWN_AREA
    filled = cells_from_record(filled_from(copy.deepcopy(few), whole, "before.json")["sets"][0])
    for column in OWN_AREA:
        assert np.isnan(filled[Cell("slow", column)]).sum() == COUNT - FEW, column


def test_what_was_measured_here_stays(whole: dict, few: dict):
    other = copy.deepcopy(whole)
    other["sets"][0]["cells"]["explainer"]["deletion"] = [0.9] * COUNT
    other["sets"][0]["cells"]["right"]["deletion"] = [0.9] * COUNT
    filled = filled_from(copy.deepcopy(few), other, "before.json")["sets"][0]["cells"]
    for name in ("explainer", "right"):
        assert filled[name] == few["sets"][0]["cells"][name]


def test_the_record_and_its_pages_say_what_was_taken(whole: dict, few: dict):
    filled = filled_from(copy.deepcopy(few), whole, "before.json")
    told = filled["method"]["earlier"]
    assert told["graph"] == whole["graph"]["sha256"] and told["earlier"] is None
    (row,) = told["taken"]["planted"]
    assert (row["map"], row["pictures"], row["shared"]) == ("slow", COUNT - FEW, FEW) and row["apart"] <= MOST_APART
    words = words_of_earlier(filled)
    assert "Costly maps (slow) were made for 5 pictures a set" in words and words_of_earlier(few) == ""
    found = summaries(filled)
    page = page_from_record(found, filled)
    assert words in page and ", n = 5 |" in page and "slow (n" not in page
    rows = csv.DictReader(io.StringIO(csv_from_record(found, filled)))
    counts = {row["column"]: row["n"] for row in rows if row["map"] == "slow"}
    assert counts["retention_auc"] == str(COUNT) and counts["average_drop"] == str(FEW)


def test_a_set_without_truth_is_filled_beside_one_that_has_it(whole: dict, few: dict):
    now, before = copy.deepcopy(few), copy.deepcopy(whole)
    for record in (now, before):
        record["method"]["columns"]["pointing"] = {"metric": "truth", "better": "higher", "stated": "on the object"}
        record["method"]["columns"]["pointing"]["at_own_area"] = False
    (row,) = filled_from(now, before, "before.json")["method"]["earlier"]["taken"]["planted"]
    assert row["pictures"] == COUNT - FEW
    assert now["sets"][0]["cells"]["slow"]["deletion"] == pytest.approx(
        whole["sets"][0]["cells"]["slow"]["deletion"], abs=MOST_APART
    )


def test_an_earlier_record_that_took_over_itself_is_told_too(whole: dict, few: dict):
    once = filled_from(copy.deepcopy(few), whole, "before.json")
    twice = filled_from(copy.deepcopy(few), once, "once.json")
    assert twice["method"]["earlier"]["earlier"] == once["method"]["earlier"]


def test_maps_that_disagree_where_both_were_made_are_refused(tmp_path: Path, few: dict):
    wrong = replace(SLOW, maps=lambda images, *_: quadrant(images, 0, 0))
    with pytest.raises(ArtefactError, match=r"before.json: planted, slow: differs by 0\.\d+ on average"):
        filled_from(copy.deepcopy(few), evaluated(tmp_path, None, wrong), "before.json")


def test_a_map_of_other_words_is_not_taken(tmp_path: Path, few: dict):
    other = evaluated(tmp_path, None, replace(SLOW, stated="the same with twice the masks"))
    with pytest.raises(ArtefactError, match="holds nothing that was not measured here; evaluate without --earlier"):
        filled_from(copy.deepcopy(few), other, "before.json")


def test_columns_of_other_words_are_not_taken(whole: dict, few: dict):
    other = copy.deepcopy(whole)
    other["method"]["columns"]["deletion"]["stated"] = "over black"
    filled = cells_from_record(filled_from(copy.deepcopy(few), other, "before.json")["sets"][0])
    assert np.isnan(filled[Cell("slow", "deletion")]).sum() == COUNT - FEW
    assert not np.isnan(filled[Cell("slow", "insertion")]).any()


def test_other_pictures_are_refused(tmp_path: Path, few: dict):
    with pytest.raises(ArtefactError, match=r"before.json: planted is of other pictures there"):
        filled_from(copy.deepcopy(few), evaluated(tmp_path, None, pictures=COUNT + 1), "before.json")


def test_an_earlier_record_without_gaps_to_fill_is_refused(whole: dict):
    with pytest.raises(ArtefactError, match="holds nothing that was not measured here"):
        filled_from(copy.deepcopy(whole), whole, "before.json")


def test_an_earlier_record_that_made_other_pictures_cannot_be_checked(whole: dict, few: dict):
    other = copy.deepcopy(whole)
    rows = other["sets"][0]["cells"]["slow"]
    measured = [place for place, value in enumerate(few["sets"][0]["cells"]["slow"]["kept"]) if value is not None]
    for row in rows.values():
        for place in measured:
            row[place] = None
    with pytest.raises(ArtefactError, match="planted, slow: no picture was measured in both"):
        filled_from(copy.deepcopy(few), other, "before.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classifier_sha256": "other"}, "another classifier_sha256"),
        ({"fill": [0.0, 0.0, 0.0]}, "another fill"),
        ({"height": 7, "resize": "crop"}, "another height, resize"),
    ],
)
def test_records_of_other_work_are_refused_before_anything_is_measured(whole: dict, change: dict, words: str):
    other = copy.deepcopy(whole)
    other["graph"]["card"] |= change
    card = card_summary(suite().explainer.card)
    check_earlier(whole, card, 3, ["planted"], "before.json")
    with pytest.raises(ArtefactError, match=f"before.json: an evaluation with {words}; expected one of the same"):
        check_earlier(other, card, 3, ["planted"], "before.json")


def test_another_seed_or_an_absent_set_is_refused_before_anything_is_measured(whole: dict):
    card = card_summary(suite().explainer.card)
    with pytest.raises(ArtefactError, match="another seed"):
        check_earlier(whole, card, 4, ["planted"], "before.json")
    with pytest.raises(ArtefactError, match="has no set boxes; evaluate without --earlier"):
        check_earlier(whole, card, 3, ["planted", "boxes"], "before.json")


def test_records_from_before_the_columns_said_what_they_depend_on_can_be_read(tmp_path: Path, whole: dict, few: dict):
    older = copy.deepcopy(whole)
    for column in older["method"]["columns"].values():
        del column["at_own_area"]
    file = tmp_path / "older.json"
    file.write_text(json.dumps(older), "utf-8")
    filled = cells_from_record(filled_from(copy.deepcopy(few), read_record(file), file.name)["sets"][0])
    assert not np.isnan(filled[Cell("slow", "deletion")]).any()
    assert np.isnan(filled[Cell("slow", "average_drop")]).any()
