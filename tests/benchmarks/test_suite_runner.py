"""The runner, its record and the summary, on a classifier whose evidence is known."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from quadrant import SIZE, pictures
from suite_fakes import KEPT, QUARTER, RIGHT, WRONG, picture_set, record, suite

from whymask.benchmarks.intervals import Interval, clopper_pearson
from whymask.benchmarks.masking import pixel_order
from whymask.benchmarks.overlap import mean_interval
from whymask.benchmarks.rivals.rival import Rival
from whymask.benchmarks.suite.evaluate import limited
from whymask.benchmarks.suite.measured import PictureSet
from whymask.benchmarks.suite.orders import orders_from_maps
from whymask.benchmarks.suite.record import cells_from_record, read_record
from whymask.benchmarks.suite.runner import CHUNK
from whymask.benchmarks.suite.sample import Cell, Column, Metric
from whymask.benchmarks.suite.summary import sentence, summaries, summarise
from whymask.benchmarks.suite.verdicts import verdict
from whymask.runtime.errors import ArtefactError, InputError


def test_orders_are_those_of_the_earlier_study():
    rng = np.random.default_rng(0)
    maps = {
        "ties": np.round(rng.standard_normal((3, 9, 7)), 1).astype(np.float32),
        "zeros": np.where(rng.random((3, 9, 7)) < 0.5, 0.0, -0.0).astype(np.float32),
        "huge": (1e37 * rng.standard_normal((3, 9, 7))).astype(np.float32),
    }
    orders = orders_from_maps(maps, np.arange(5, 8), seed=2)
    for name, values in maps.items():
        expected = [pixel_order(each, np.random.default_rng([2, 5 + i, 1])) for i, each in enumerate(values)]
        assert (orders[name] == np.stack(expected)).all(), name


def test_a_map_that_cannot_be_ranked_is_named():
    broken = Rival("broken", "", lambda images, target, places: np.full((len(images), 2, 2), np.nan, np.float32), 1.0)
    with pytest.raises(InputError, match="map broken: holds NaN"):
        suite([broken]).measure(picture_set(2))


def test_every_map_is_judged_by_every_metric_on_every_picture():
    measured = suite([WRONG, RIGHT]).measure(picture_set(2 * CHUNK + 1, truth=True))
    n = 2 * CHUNK + 1
    assert len(measured.files) == n
    for name, value in {"explainer": 1.0, "right": 1.0, "wrong": 0.0}.items():
        assert measured.cells[Cell(name, "kept")].tolist() == [value] * n
        assert measured.cells[Cell(name, "inside")].tolist() == [value] * n
    assert measured.cells[Cell("explainer", "first")].tolist() == list(range(n))
    assert measured.own.area.tolist() == [QUARTER / SIZE**2] * n
    assert measured.own.stays.all()
    assert measured.own.kept == pytest.approx(measured.own.whole)


def test_without_truth_the_metrics_that_need_it_do_not_run():
    measured = suite().measure(picture_set(3))
    assert {cell.column for cell in measured.cells} == {"kept", "first"}
    assert set(measured.metric_costs) == {"kept", "first"}


def test_chunks_are_of_like_size_so_that_no_picture_stands_alone():
    sizes = []

    def note(ask, sample, seed):
        sizes.append(len(sample.images))
        return {}

    suite([], [Metric("note", (), note)]).measure(picture_set(CHUNK + 1))
    assert sorted(sizes) == [CHUNK // 2, CHUNK // 2 + 1]


def test_time_and_passes_are_counted_where_they_arise():
    def slow(images, target, places):
        time.sleep(0.02)
        return WRONG.maps(images, target, places)

    judge = suite([Rival("slow", "", slow, 7.0)], [KEPT])
    measured = judge.measure(picture_set(4))
    assert measured.map_costs["slow"].seconds >= 0.02
    assert measured.map_costs["slow"].passes == 28
    assert measured.map_costs["explainer"].passes == 4
    # The explainer's quarter is its own mask, which was asked about before.
    assert measured.metric_costs["kept"].passes == 4
    # Filled outside the quadrant, the four pictures are but two.
    assert measured.passes == 4 + 2 + 4 == judge.graph.passes
    assert [cost.pictures for cost in (*measured.map_costs.values(), *measured.metric_costs.values())] == [4, 4, 4]
    assert measured.seconds >= measured.graph_seconds > 0


def test_files_that_cannot_be_read_are_named_and_the_truth_stays_with_its_picture(tmp_path: Path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    images = [broken, *pictures(3)]
    seen = []

    def truth(position, rule):
        seen.append(position)
        return np.ones((SIZE, SIZE), bool)

    measured = suite().measure(PictureSet("mixed", images, truth))
    assert len(measured.unreadable) == 1 and "broken.jpg" in measured.unreadable[0]
    assert str(tmp_path) not in measured.unreadable[0]
    assert measured.positions == (1, 2, 3) and seen == [1, 2, 3]
    assert measured.files == ("image 1", "image 2", "image 3")


def test_a_set_without_a_readable_picture_is_refused(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"evaluate empty: none of 1 pictures could be read \(.*a.jpg"):
        suite().measure(PictureSet("empty", [tmp_path / "a.jpg"]))


def test_a_graph_of_a_fixed_batch_is_judged_alike():
    free, fixed = (suite(**options).measure(picture_set(5)) for options in ({}, {"batch": 3}))
    assert all((free.cells[cell] == fixed.cells[cell]).all() for cell in free.cells)


def test_a_limit_takes_pictures_from_everywhere_with_their_truth():
    rows = lambda position, rule: np.full((SIZE, SIZE), position % 2 == 0)  # noqa: E731
    images = pictures(10)
    few = limited(PictureSet("all", images, rows, "stated"), 5)
    assert [next(i for i, image in enumerate(images) if image is each) for each in few.images] == [0, 2, 4, 6, 8]
    assert few.truth is not None and all(few.truth(i, None).all() for i in range(5))
    with pytest.raises(InputError, match="limit: 0 pictures"):
        limited(few, 0)


def test_a_record_goes_to_a_file_and_back_with_every_number(tmp_path: Path):
    written = record(tmp_path)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(written))
    read = read_record(path)
    assert read == json.loads(json.dumps(written))
    measured = suite().measure(picture_set(20, truth=True))
    cells = cells_from_record(read["sets"][0])
    assert set(cells) == set(measured.cells)
    assert all(cells[cell] == pytest.approx(measured.cells[cell], abs=1e-5) for cell in cells)
    assert read["method"]["left_out"] == {"cam": "needs the classifier"}
    assert str(tmp_path) not in path.read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "bench"}, "a record of kind 'bench', expected 'evaluation'"),
        ({"schema": 99}, "schema 99, expected 1"),
        ({"sets": [{"name": "x"}]}, "lacks or garbles 'files'"),
    ],
    ids=["another kind", "another schema", "a broken set"],
)
def test_a_record_that_is_none_is_refused(tmp_path: Path, change: dict, message: str):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**record(tmp_path, 2), **change}))
    with pytest.raises(ArtefactError, match=message):
        read_record(path)


def test_a_record_with_a_figure_too_few_is_refused(tmp_path: Path):
    broken = record(tmp_path, 3)
    broken["sets"][0]["cells"]["wrong"]["kept"].pop()
    path = tmp_path / "record.json"
    path.write_text(json.dumps(broken))
    with pytest.raises(ArtefactError, match="planted: 2 figures of wrong, kept for 3 pictures"):
        read_record(path)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}'])
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(ArtefactError, match="no record of an evaluation"):
        read_record(path)


COLUMNS = {name: Column(name, better, "") for name, better in (("up", "higher"), ("down", "lower"), ("flat", ""))}


def set_of(cells: dict[str, dict[str, np.ndarray]]) -> dict:
    n = len(next(iter(next(iter(cells.values())).values())))
    lists = {
        name: {column: [None if np.isnan(v) else v for v in values] for column, values in row.items()}
        for name, row in cells.items()
    }
    return {"name": "set", "files": [str(i) for i in range(n)], "cells": lists}


def test_means_have_the_intervals_of_one_alone():
    rng = np.random.default_rng(0)
    values = {name: {"up": rng.normal(size=50)} for name in ("explainer", "a", "b")}
    summary = summarise(set_of(values), COLUMNS, ("explainer", "a", "b"), seed=4)
    for name, row in values.items():
        expected = mean_interval(row["up"], seed=4)
        figure = summary.figures[Cell(name, "up")]
        assert (figure.mean.value, figure.mean.low, figure.mean.high) == pytest.approx(
            (expected.value, expected.low, expected.high), abs=1e-12
        )
        if name != "explainer":
            difference = mean_interval(values["explainer"]["up"] - row["up"], seed=4)
            assert figure.difference is not None
            assert (figure.difference.low, figure.difference.high) == pytest.approx((difference.low, difference.high))


def test_shares_have_exact_intervals_that_are_never_empty():
    kept = {"explainer": {"up": np.ones(30)}, "a": {"up": np.repeat([0.0, 1.0], 15)}}
    summary = summarise(set_of(kept), COLUMNS, ("explainer", "a"), seed=0)
    assert summary.figures[Cell("explainer", "up")].mean == clopper_pearson(30, 30)
    assert summary.figures[Cell("a", "up")].mean == clopper_pearson(15, 30)


def test_pictures_without_a_value_count_in_no_mean():
    values = np.arange(40.0)
    values[::2] = np.nan
    summary = summarise(
        set_of({"explainer": {"up": np.arange(40.0)}, "a": {"up": values}}), COLUMNS, ("explainer", "a"), 0
    )
    figure = summary.figures[Cell("a", "up")]
    assert figure.n == 20 and figure.mean.value == pytest.approx(20.0)
    assert figure.difference is not None and figure.difference.value == pytest.approx(0.0)
    assert figure.mean.low < 20 < figure.mean.high


@pytest.mark.parametrize(
    ("better", "own", "other", "difference", "expected"),
    [
        ("higher", (0.7, 0.9), (0.4, 0.6), (0.1, 0.4), "apart"),
        ("higher", (0.5, 0.9), (0.4, 0.6), (0.1, 0.4), "better"),
        ("higher", (0.5, 0.9), (0.4, 0.6), (-0.1, 0.4), "within"),
        ("higher", (0.1, 0.2), (0.4, 0.6), (-0.5, -0.1), "worse"),
        ("lower", (0.1, 0.2), (0.4, 0.6), (-0.5, -0.1), "apart"),
        ("lower", (0.1, 0.5), (0.4, 0.6), (-0.5, -0.1), "better"),
        ("lower", (0.7, 0.9), (0.4, 0.6), (0.1, 0.4), "worse"),
        ("", (0.7, 0.9), (0.4, 0.6), (0.1, 0.4), ""),
    ],
)
def test_a_verdict_follows_the_intervals(better, own, other, difference, expected):
    own, other, difference = (Interval(sum(pair) / 2, *pair) for pair in (own, other, difference))
    assert verdict(better, own, other, difference) == expected


@pytest.mark.parametrize(("count", "expected"), [(1, "within"), (5, "within"), (6, "apart")])
def test_so_few_pictures_that_chance_explains_them_tell_no_map_from_another(count: int, expected: str):
    cells = {"explainer": {"up": np.full(count, 0.9)}, "a": {"up": np.full(count, 0.1)}}
    summary = summarise(set_of(cells), COLUMNS, ("explainer", "a"), 0)
    assert summary.worst_verdict(COLUMNS["up"]) == expected


def test_the_sentence_counts_columns_and_names_those_that_are_missed():
    rng = np.random.default_rng(1)
    noise = lambda: 0.01 * rng.normal(size=60)  # noqa: E731
    cells = {
        "explainer": {"up": 1 + noise(), "down": 1 + noise(), "flat": noise()},
        "a": {"up": noise(), "down": 1 + noise(), "flat": 5 + noise()},
        "b": {"up": noise(), "down": noise(), "flat": noise()},
        "all_ones": {"up": 9 + noise()},
    }
    summary = summarise(set_of(cells), COLUMNS, ("explainer", "a", "b"), 0)
    assert summary.references == ("all_ones",)
    assert [column.name for column in summary.judged()] == ["up", "down"]
    assert summary.best_rival(COLUMNS["down"]).cell.map == "b"
    assert sentence(summary) == (
        "set, n = 60: explainer better than every other map in 1 of 2 columns with intervals apart; "
        "not in: down (worse: b)."
    )


def test_the_planted_explainer_wins_where_it_can_and_the_rest_is_not_judged(tmp_path: Path):
    (summary,) = summaries(record(tmp_path))
    assert [column.name for column in summary.apart()] == ["kept", "inside"]
    assert [column.name for column in summary.judged()] == ["kept", "inside"]
    assert summary.figures[Cell("explainer", "first")].verdict == ""


def test_ratios_are_of_means_over_the_same_pictures():
    rng = np.random.default_rng(2)
    base = rng.uniform(0.2, 0.8, 80)
    columns = {
        name: Column(name, "higher", "") for name in ("retention_auc", "robust_retention", "fill_retention_same_areas")
    }
    cells = {
        "explainer": {"retention_auc": 1.5 * base, "robust_retention": 0.8 * base, "fill_retention_same_areas": base},
        "a": {"retention_auc": base},
        "b": {"retention_auc": 0.5 * base},
    }
    first, second = summarise(set_of(cells), columns, ("explainer", "a", "b"), 0).ratios
    assert first.name == "retention_auc, explainer / best other"
    assert (first.interval.value, first.interval.low, first.interval.high) == pytest.approx((1.5, 1.5, 1.5))
    assert second.name.endswith("explainer") and second.interval.value == pytest.approx(0.8)


def test_a_whole_study_is_summarised_in_seconds():
    rng = np.random.default_rng(0)
    columns = {f"c{i}": Column(f"c{i}", "higher", "") for i in range(45)}
    names = ("explainer", *[f"m{i}" for i in range(12)])
    cells = {name: {column: rng.random(500) for column in columns} for name in names}
    start = time.process_time()
    summarise(set_of(cells), columns, names, 0)
    assert time.process_time() - start < 5.0
