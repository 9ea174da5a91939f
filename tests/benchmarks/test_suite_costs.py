"""What the suite spares: pictures asked twice, explaining masked pictures, costly maps everywhere, idle cores."""

from __future__ import annotations

import csv
import dataclasses
import io
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
from onnx_models import SIZE as TINY  # noqa: E402
from onnx_models import write_fused  # noqa: E402
from quadrant import pictures  # noqa: E402
from suite_fakes import KEPT, RIGHT, picture_set, quadrant, suite  # noqa: E402
from suite_samples import quadrant_sample  # noqa: E402

from whymask.benchmarks.asked_graph import AskedGraph  # noqa: E402
from whymask.benchmarks.logits_alone import LOGITS_ONLY, logits_backend, write_logits_graph  # noqa: E402
from whymask.benchmarks.rivals.rival import COSTLY_PASSES, Rival  # noqa: E402
from whymask.benchmarks.suite import chunk as chunk_module  # noqa: E402
from whymask.benchmarks.suite import road  # noqa: E402
from whymask.benchmarks.suite.asked_once import AskedOnce  # noqa: E402
from whymask.benchmarks.suite.asking import first_pixels, ranks  # noqa: E402
from whymask.benchmarks.suite.chunk import Chunk, Judged  # noqa: E402
from whymask.benchmarks.suite.evaluate import EvaluateSettings  # noqa: E402
from whymask.benchmarks.suite.measured import Cost, Measured  # noqa: E402
from whymask.benchmarks.suite.pace import estimate_in_words, estimated_seconds  # noqa: E402
from whymask.benchmarks.suite.record import record_from_measurements  # noqa: E402
from whymask.benchmarks.suite.registry import METRICS  # noqa: E402
from whymask.benchmarks.suite.sample import Cell  # noqa: E402
from whymask.benchmarks.suite.sharing import Sharing, available_cores  # noqa: E402
from whymask.benchmarks.suite.suite_report import page_from_evaluation  # noqa: E402
from whymask.benchmarks.suite.suite_tables import csv_from_record, page_from_record, speed_lines  # noqa: E402
from whymask.benchmarks.suite.summary import sentence, summaries  # noqa: E402
from whymask.runtime.errors import InputError  # noqa: E402
from whymask.runtime.explainer import load  # noqa: E402

WITHOUT_TRUTH = [metric for metric in METRICS if not metric.needs_truth]


def test_a_picture_is_asked_once_and_answers_keep_their_places():
    asked = []

    def ask(shown):
        asked.extend(shown[:, 0, 0, 0].tolist())
        return shown[:, 0, 0, :2].astype(np.float32)

    once = AskedOnce(ask)
    shown = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    once.know(shown[:1], np.array([[7.0, 7.0]], np.float32))
    first = once(shown[[3, 1, 3, 0]])
    again = once(shown[[1, 4]])
    assert asked == [3, 1, 4]
    assert first.tolist() == [[3, 3], [1, 1], [3, 3], [7, 7]]
    assert again.tolist() == [[1, 1], [4, 4]]


def test_what_is_remembered_changes_no_number(monkeypatch: pytest.MonkeyPatch):
    class Forgetful(AskedOnce):
        def __call__(self, shown):
            return self._ask(shown)

    def measured():
        return suite([RIGHT, dataclasses.replace(RIGHT, name="again")], WITHOUT_TRUTH).measure(picture_set(6))

    remembered = measured()
    monkeypatch.setattr(chunk_module, "AskedOnce", Forgetful)
    anew = measured()
    assert remembered.passes < 0.6 * anew.passes
    for cell, values in anew.cells.items():
        np.testing.assert_array_equal(remembered.cells[cell], values, str(cell))


def test_maps_that_rank_alike_are_imputed_once(monkeypatch: pytest.MonkeyPatch):
    imputed, impute = [], road.impute
    monkeypatch.setattr(road, "impute", lambda images, known: imputed.append(len(images)) or impute(images, known))
    ask, sample = quadrant_sample()
    cells = road.measure_road(ask, sample, 0)
    # Three maps, six cuts of four pictures; the third map is the first, and their reverse removes other pixels.
    assert sum(imputed) == 2 * 6 * 4
    noise = np.zeros((1, *sample.images.shape[1:]), np.float32)
    for row, mask in enumerate(first_pixels(ranks(sample.orders["reversed"]), 51, sample.mask.shape)):
        alone = road.removed(sample.images[[row]], mask[None], noise)
        together = road.removed(sample.images, np.broadcast_to(mask, sample.mask.shape), noise)
        np.testing.assert_array_equal(alone[0], together[row])
    np.testing.assert_array_equal(cells[Cell("perfect", "road")], cells[Cell("again", "road")])


@pytest.mark.parametrize("batch", ["B", 3])
def test_the_nodes_that_lead_to_the_logits_answer_as_the_whole_graph(tmp_path: Path, batch: int | str):
    file = write_fused(tmp_path / "fused.onnx", batch)
    shown = np.random.default_rng(0).integers(0, 256, (7, TINY, TINY, 3), dtype=np.uint8)
    with load(file, "cpu") as explainer, logits_backend(file, explainer) as (alone, words):
        assert words == LOGITS_ONLY and list(alone.outputs) == ["logits"]
        np.testing.assert_array_equal(
            AskedGraph(explainer, logits_alone=alone).logits(shown), AskedGraph(explainer).logits(shown)
        )


def test_the_part_that_explains_is_left_out_of_the_logits(tmp_path: Path):
    part = onnx.load(write_logits_graph(write_fused(tmp_path / "fused.onnx"), tmp_path / "logits.onnx"))
    assert {node.op_type for node in part.graph.node} == {"Cast", "Div", "ReduceMean", "Identity"}


def test_without_onnx_the_whole_graph_is_asked_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = write_fused(tmp_path / "fused.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with load(file, "cpu") as explainer, logits_backend(file, explainer) as (alone, words):
        assert alone is None
        assert "the whole graph" in words and "pip install" in words


def slow(passes: float = COSTLY_PASSES) -> Rival:
    """Costly, and right about the classifier; notes the places that it was asked for."""

    def maps(images, target, places):
        slow_places.extend(places.tolist())
        return quadrant(images, 0, 0)

    slow_places.clear()
    return Rival("slow", "the quadrant that decides, slowly", maps, passes)


slow_places: list[int] = []


def measured_with(costly: int | None, count: int = 20, **options) -> Measured:
    judge = suite([RIGHT, slow()], [*WITHOUT_TRUTH, KEPT])
    return type(judge)(**{**vars(judge), "costly": costly, **options}).measure(picture_set(count))


def test_costly_maps_are_made_for_evenly_spread_pictures_and_judged_there_as_ever():
    whole, some = measured_with(None), measured_with(5)
    assert slow_places == [0, 4, 8, 12, 16]
    assert set(whole.cells) == set(some.cells)
    for cell, values in whole.cells.items():
        rows = slow_places if cell.map == "slow" else range(20)
        np.testing.assert_allclose(some.cells[cell][rows], values[rows], atol=1e-6, err_msg=str(cell))
        assert np.isnan(some.cells[cell]).sum() == 20 - len(rows)
    assert (some.map_costs["slow"].pictures, some.map_costs["right"].pictures) == (5, 20)


def test_cheap_maps_are_made_for_all_pictures_whatever_the_limit():
    judge = suite([RIGHT, slow(COSTLY_PASSES - 1)], [KEPT])
    found = type(judge)(**{**vars(judge), "costly": 2}).measure(picture_set(6))
    assert not np.isnan(found.cells[Cell("slow", "kept")]).any()


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_no_number(threads: int):
    one, several = measured_with(5, 70), measured_with(5, 70, threads=threads)
    assert one.files == several.files
    for cell, values in one.cells.items():
        np.testing.assert_array_equal(several.cells[cell], values, str(cell))
    np.testing.assert_array_equal(one.own.kept, several.own.kept)
    assert several.passes == one.passes and several.threads == threads


def test_maps_that_hook_into_one_classifier_are_never_made_side_by_side():
    inside, most, lock = [0], [0], threading.Lock()

    def maps(images, target, places):
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        time.sleep(0.02)
        with lock:
            inside[0] -= 1
        return quadrant(images, 1, 1)

    for shareable, expected in ((False, 1), (True, 2)):
        most[0] = 0
        judge = suite([Rival("hooked", "", maps, 1.0, shareable)], [KEPT])
        type(judge)(**{**vars(judge), "threads": 2}).measure(picture_set(64))
        assert most[0] == expected


def test_a_map_that_fails_in_a_thread_ends_the_judging_with_its_error():
    def broken(images, target, places):
        raise InputError("no map today")

    judge = suite([Rival("broken", "", broken, 1.0)], [KEPT])
    with pytest.raises(InputError, match="no map today"):
        type(judge)(**{**vars(judge), "threads": 2}).measure(picture_set(64))


def test_torch_has_one_thread_while_chunks_share_the_cores_and_its_own_afterwards():
    torch = pytest.importorskip("torch")
    before, seen = torch.get_num_threads(), []

    def maps(images, target, places):
        seen.append(torch.get_num_threads())
        return quadrant(images, 1, 1)

    torch.set_num_threads(3)
    try:
        judge = suite([Rival("watching", "", maps, 1.0)], [KEPT])
        type(judge)(**{**vars(judge), "threads": 2}).measure(picture_set(20))
        assert set(seen) == {1} and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_the_first_chunk_tells_how_long_all_will_take():
    said: list[str] = []
    measured_with(5, 40, say=said.append)
    (words,) = said
    assert words.startswith("planted: about ") and words.endswith(" for 40 pictures")
    chunk = Chunk(("a", "b", "c", "d"), np.arange(4), np.stack(pictures(4)), np.array([1]), None)
    costs = {"explainer": Cost(2.0, 4, 4), "slow": Cost(3.0, 90, 1)}
    judged = Judged(None, {}, costs, {"sweep": Cost(8.0, 0, 4)})
    # 40 pictures: ten chunks like this one, but six costly pictures.
    assert estimated_seconds(judged, chunk, 40, 6, threads=2) == pytest.approx((20 + 3 * 6 + 80) / 2)
    assert estimate_in_words("photos", 12.4 * 60, 500) == "photos: about 12 min for 500 pictures"


def test_cores_go_to_chunks_and_what_is_left_over_into_operators():
    assert Sharing.of(2, 500) == Sharing(2, 1)
    assert Sharing.of(8, 40) == Sharing(3, 2)
    assert Sharing.of(4, 1) == Sharing(1, 4)
    assert available_cores() >= 1


@pytest.mark.parametrize("settings", [{"costly": 0}, {"threads": 0}])
def test_settings_that_judge_nothing_are_refused(settings: dict):
    with pytest.raises(InputError, match=f"{next(iter(settings))}: 0, expected at least 1"):
        EvaluateSettings(**settings)


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory):
    """A record in which one map was made for 5 of 20 pictures."""
    file = tmp_path_factory.mktemp("graph") / "fused.onnx"
    file.write_bytes(b"graph")
    judge = suite([RIGHT, slow()], [*WITHOUT_TRUTH, KEPT])
    judge = type(judge)(**{**vars(judge), "costly": 5})
    measured = judge.measure(picture_set(20))
    record = record_from_measurements(file, judge, [measured], {}, "whymask evaluate", LOGITS_ONLY)
    return record, summaries(record)


def test_every_form_says_how_many_pictures_a_costly_map_has(partial):
    record, found = partial
    (summary,) = found
    assert summary.fewer == {"slow": 5}
    assert sentence(summary).startswith("planted, n = 20 (5 for slow): explainer better")
    page, html = page_from_record(found, record), page_from_evaluation(found, record)
    for text in (page, html):
        assert "slow (n = 5)" in text and "right (n" not in text
        assert "Made for at most 5 pictures a set, evenly spread, and compared on these: slow." in text
        assert LOGITS_ONLY in text
    rows = list(csv.DictReader(io.StringIO(csv_from_record(found, record))))
    assert {row["n"] for row in rows if row["map"] == "slow"} == {"5"}
    assert {row["n"] for row in rows if row["map"] == "right"} == {"20"}
    speed = record["sets"][0]["speed"]
    assert speed["maps"]["slow"]["pictures"] == 5 and speed["threads"] == 1
    whole, by_map, by_metric = speed_lines(record["sets"][0])
    assert "20 images on 1 threads" in whole and "slow" in by_map and "sweep" in by_metric


def test_a_costly_map_is_compared_with_the_explainer_in_its_own_pictures(partial):
    record, (summary,) = partial
    kept = np.array([1.0] * 15 + [0.0] * 5)
    cells = record["sets"][0]["cells"]
    rows = [i for i, value in enumerate(cells["slow"]["kept"]) if value is not None]
    column = next(column for column in summary.columns if column.name == "kept")
    changed = {**record["sets"][0], "cells": {name: {**row} for name, row in cells.items()}}
    changed["cells"]["explainer"]["kept"] = kept.tolist()
    from whymask.benchmarks.suite.record import columns_from_record
    from whymask.benchmarks.suite.summary import summarise

    again = summarise(changed, columns_from_record(record), tuple(record["method"]["maps"]), 0)
    figure = again.figures[Cell("slow", "kept")]
    assert figure.n == 5 and figure.own is not None
    assert figure.own.value == pytest.approx(kept[rows].mean())
    assert figure.difference is not None and figure.difference.value == pytest.approx(kept[rows].mean() - 1.0)
    assert again.figures[Cell("right", "kept")].own.value == pytest.approx(0.75)
    # On all 20 pictures `right` leads by a quarter; on its five `slow` leads by a fifth.
    assert again.best_rival(column).cell.map == "right"


def test_ratios_with_costly_maps_are_of_the_pictures_that_all_have(partial):
    _, (summary,) = partial
    ratios = {ratio.name: ratio for ratio in summary.ratios}
    assert ratios["retention_auc, explainer / best other"].n == 20
    assert ratios["retention_auc, explainer / best other, on the pictures that all maps were made for"].n == 5
