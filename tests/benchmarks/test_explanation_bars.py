from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from whymask.benchmarks.explanation_bars import (
    APART_COLUMNS,
    AUC,
    LOCATED_COLUMNS,
    NAMED,
    OPTIMISED,
    Bar,
    bars_from_records,
    ratio_interval,
)
from whymask.benchmarks.explanations import check_one_graph, committed_records
from whymask.benchmarks.explanations_page import explanations_page, readme_bars
from whymask.benchmarks.imagenet import SETTINGS
from whymask.benchmarks.leaks.record import bar, check_record, left_out
from whymask.benchmarks.suite.sample import Cell
from whymask.benchmarks.suite.summary import ROBUST, SAME_AREAS
from whymask.runtime.errors import InputError

MAPS = ("explainer", *NAMED, OPTIMISED)
LOWER_IS_BETTER = ("deletion", "average_drop")
N = 60


def record(values: dict[str, dict[str, float]], set_name: str = "photos") -> dict[str, Any]:
    """A record in which each map scores about the given mean in each column."""
    rng = np.random.default_rng(0)
    columns = {column for row in values.values() for column in row}
    cells = {
        name: {column: (mean + 0.01 * rng.standard_normal(N)).tolist() for column, mean in row.items()}
        for name, row in values.items()
    }
    stated = {c: {"metric": "m", "better": "lower" if c in LOWER_IS_BETTER else "higher", "stated": c} for c in columns}
    card = {"classifier": "tiny", "height": 8, "width": 8, "precision": "fp32", "explainer": "tapped"}
    card |= {"explainer_parameters": 10, "threshold": 0.5}
    speed = {name: {"seconds": 0.1 if name == "explainer" else 100.0, "passes": 1.0} for name in values}
    return {
        "method": {
            "maps": {n: {"stated": n, "passes": 1.0} for n in values},
            "columns": stated,
            "seed": 0,
            "left_out": {},
        },
        "command": "a command",
        "graph": {"file": "fused.onnx", "sha256": "0" * 64, "provider": "CPU", "card": card},
        "machine": {"cpu": "a processor", "cores": 2},
        "sets": [{"name": set_name, "files": [str(i) for i in range(N)], "cells": cells, "speed": {"maps": speed}}],
    }


def suite_record(explainer: float, others: float) -> dict[str, Any]:
    """Every column of the suite: the explainer scores one number, all other maps another; lower ones are mirrored."""
    columns = (AUC, ROBUST, SAME_AREAS, *APART_COLUMNS)

    def row(score: float) -> dict[str, float]:
        return {column: 1.0 - score if column in LOWER_IS_BETTER else score for column in columns}

    return record({name: row(explainer if name == "explainer" else others) for name in MAPS})


def met(bars: list[Bar], words: str) -> bool:
    found = [bar.met for bar in bars if words in bar.asked]
    assert len(found) == 1, words
    return found[0]


def test_an_explainer_far_above_all_meets_every_bar() -> None:
    bars = list(bars_from_records(suite_record(0.8, 0.3), None))
    assert all(bar.met for bar in bars)
    assert len(bars) == 3 + 1 + len(APART_COLUMNS)


def test_an_explainer_like_the_others_misses_what_asks_for_a_lead() -> None:
    bars = list(bars_from_records(suite_record(0.5, 0.5), None))
    assert not met(bars, "at least 1.5 ×")
    assert met(bars, "per-image optimisation")
    assert met(bars, "at most 1% of its time")
    assert met(bars, "robust retention")
    for column in APART_COLUMNS:
        assert not met(bars, f"{column} better than each")
    assert "not apart from cam" in next(bar.measured for bar in bars if "deletion" in bar.asked)


def test_masks_that_hold_on_the_fill_alone_miss_the_robust_bar() -> None:
    fragile = suite_record(0.8, 0.3)
    cells = fragile["sets"][0]["cells"]["explainer"]
    cells[ROBUST] = [0.8 * value for value in cells[SAME_AREAS]]
    assert not met(list(bars_from_records(fragile, None)), "robust retention")


@pytest.mark.parametrize(("share", "shown"), [(0.846, "0.846 ("), (0.852, "0.85 ("), (0.8, "0.80 (")])
def test_a_miss_that_rounds_to_the_bar_shows_a_third_digit(share: float, shown: str) -> None:
    close = suite_record(0.8, 0.3)
    cells = close["sets"][0]["cells"]["explainer"]
    cells[ROBUST] = [share * value for value in cells[SAME_AREAS]]
    measured = next(bar.measured for bar in bars_from_records(close, None) if "robust retention" in bar.asked)
    assert measured.startswith(shown)


@pytest.mark.parametrize(("precision", "expected"), [(0.75, True), (0.65, False)])
def test_planted_objects_are_judged_by_precision(precision: float, expected: bool) -> None:
    located = record({"explainer": {"precision_10": precision, "iou_10": 0.3}}, "planted_objects")
    (bar,) = bars_from_records(None, located)
    assert bar.met is expected
    assert "IoU 0.30" in bar.measured


def test_boxes_are_judged_by_pointing_and_energy_against_the_best_other_map() -> None:
    rows = {name: dict.fromkeys(LOCATED_COLUMNS, 0.9 if name == "rise" else 0.6) for name in MAPS}
    bars = list(bars_from_records(None, record(rows, "imagenet_val_boxes")))
    assert [bar.met for bar in bars] == [False, False]
    assert all("best other rise 0." in bar.measured for bar in bars)


def test_a_leak_check_that_failed_names_its_bars_and_one_that_did_not_run_is_no_bar() -> None:
    bars = [bar("the map changes", False), bar("it is another one", True)]
    checks = [check_record("randomised", "how", 5, {}, bars), left_out("retrained", "no steps")]
    (only,) = bars_from_records(None, None, checks)
    assert not only.met
    assert only.measured == "1 of 2 bars; not: the map changes"


def test_a_ratio_is_that_of_the_means_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(1)
    first, second = 0.6 + 0.1 * rng.standard_normal(200), 0.3 + 0.1 * rng.standard_normal(200)
    cells = {Cell("explainer", AUC): first, Cell("cam", AUC): second, Cell("rise", AUC): 0.5 * second}
    ratio = ratio_interval(cells, Cell("explainer", AUC), [Cell("cam", AUC), Cell("rise", AUC)])
    assert ratio.value == pytest.approx(first.mean() / second.mean())
    assert ratio.low < ratio.value < ratio.high
    assert ratio.high - ratio.low < 0.4


def test_the_page_and_the_front_page_name_each_bar_that_is_not_met() -> None:
    records = {"tiny": {"suite": suite_record(0.5, 0.5)}}
    front, page = readme_bars(records), explanations_page(records)
    assert "**3 of 8 met**" in front
    assert front.count("✗") == 5
    assert "at least 1.5 ×" in front
    assert page.count("**no**") == 5
    assert "### photos, n = 60" in page


def test_a_map_of_fewer_pictures_is_held_against_the_explainer_in_these_and_their_number_is_said() -> None:
    some = suite_record(0.8, 0.3)
    cells, speed = some["sets"][0]["cells"], some["sets"][0]["speed"]["maps"]
    few = 12
    for name in ("rise", OPTIMISED):
        cells[name] = {column: [*values[:few], *[None] * (N - few)] for column, values in cells[name].items()}
        speed[name]["pictures"] = few
    # Where nobody looks, the explainer is no better than the others.
    cells["explainer"][AUC] = [*cells["explainer"][AUC][:few], *[0.3] * (N - few)]
    bars = {bar.asked: bar for bar in bars_from_records(some, None)}
    lead = next(bar for asked, bar in bars.items() if "at least 1.5 ×" in asked)
    assert lead.met and "at n = 12, best is" in lead.measured
    of_optimised = next(bar for asked, bar in bars.items() if "per-image optimisation" in asked)
    assert of_optimised.measured.startswith("2.6") and of_optimised.measured.endswith("at n = 12")
    # A tenth of a second for 60 pictures against 100 s for 12.
    share = next(bar for asked, bar in bars.items() if "of its time" in asked)
    assert share.measured == f"{0.1 / N / (100.0 / few):.2%}"
    page = explanations_page({"tiny": {"suite": some}})
    assert "rise (n = 12)" in page and "### photos, n = 60" in page


def test_a_map_of_fewer_pictures_points_beside_the_explainer_in_these() -> None:
    rows = {name: dict.fromkeys(LOCATED_COLUMNS, 0.6) for name in MAPS}
    located = record(rows, "imagenet_val_boxes")
    cells = located["sets"][0]["cells"]
    for column in LOCATED_COLUMNS:
        cells["rise"][column] = [0.9] * 10 + [None] * (N - 10)
        cells["explainer"][column] = [0.5] * 10 + [0.95] * (N - 10)
    for each in bars_from_records(None, located):
        assert not each.met
        assert each.measured == "0.500 at n = 10, best other rise 0.900"


@pytest.mark.parametrize("classifier", list(SETTINGS))
def test_the_committed_records_of_a_classifier_are_of_one_graph(classifier: str):
    records = committed_records(classifier)
    assert {"suite", "located", "leaks", "refine"} == set(records)
    check_one_graph(classifier, records)


def test_records_of_two_graphs_are_refused():
    records = {kind: {"graph": {"sha256": digest * 64}} for kind, digest in (("suite", "a"), ("located", "b"))}
    with pytest.raises(InputError, match=r"of different graphs \(suite aaaaaaaaaaaa, located bbbb"):
        check_one_graph("squeezenet1_1", {**records, "refine": {}})
