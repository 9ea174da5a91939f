"""The timed suite: its record of a tiny classifier, its page, and what it refuses."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("captum")
pytest.importorskip("pytorch_grad_cam")
import tiny_base

from whymask.benchmarks import suite_speed
from whymask.benchmarks.rivals.registry import NAMES
from whymask.benchmarks.suite.registry import METRICS
from whymask.benchmarks.suite_speed import SpeedSettings
from whymask.benchmarks.suite_speed_page import speed_page
from whymask.runtime.errors import InputError

TINY = SpeedSettings(pictures=4, of=40, costly=10, threads=1, rise_masks=20, side=32, channels=8)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.py").write_text(tiny_base.MODEL_FILE)
    return suite_speed.measure(f"{folder / 'tiny.py'}:build", TINY, weights=None, say=lambda words: None)


def test_every_map_and_metric_is_timed_on_its_own_number_of_pictures(record: dict[str, Any]):
    assert list(record["speed"]["maps"]) == ["explainer", *(name for name in NAMES if name not in record["left_out"])]
    assert list(record["speed"]["metrics"]) == [metric.name for metric in METRICS if not metric.needs_truth]
    for name, each in record["speed"]["maps"].items():
        assert each["pictures"] == (1 if record["maps"].get(name, {}).get("costly") else 4), name
        assert each["images_per_second"] > 0
    assert record["maps"]["rise"]["costly"] and not record["maps"]["cam"]["costly"]


def test_the_whole_set_is_the_judged_pictures_times_their_ratio(record: dict[str, Any]):
    assert record["settings"]["costly_judged"] == 1
    assert record["whole_set_seconds"] == pytest.approx(10 * record["speed"]["seconds"], abs=0.1)


def test_the_page_says_that_it_extrapolates_and_what_is_invalid(record: dict[str, Any]):
    busy = copy.deepcopy(record) | {"verdict": {"valid": False, "reasons": ["other processes used 1.0 cores"]}}
    page = speed_page([json.loads(json.dumps(each, allow_nan=False)) for each in (record | {"classifier": "x"}, busy)])
    assert "**extrapolated**" in page and "no: other processes used 1.0 cores" in page
    assert "| 40, 10 with costly maps |" in page
    assert "| metric | sweep | 4 |" in page and "| map | rise | 1 |" in page


def test_a_folder_of_records_gets_its_page_and_an_empty_one_is_refused(record: dict[str, Any], tmp_path: Path):
    with pytest.raises(InputError, match="no record; make one with"):
        suite_speed.write_page(tmp_path)
    (tmp_path / "tiny.json").write_text(json.dumps(record))
    assert suite_speed.write_page(tmp_path).read_text(encoding="utf-8").startswith("# What the whole suite takes")


def test_pictures_are_seeded_and_no_two_alike():
    first, again = (suite_speed.noise_pictures(TINY) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not (first[0] == first[1]).all() and first[0].dtype == np.uint8 and first[0].shape == (32, 32, 3)


@pytest.mark.parametrize("change", [{"pictures": 0}, {"pictures": 50, "of": 40}, {"costly": 1}, {"threads": 0}])
def test_settings_that_cannot_stand_for_the_set_are_refused(change: dict[str, int]):
    with pytest.raises(InputError, match="so many pictures that at least one of them is costly"):
        SpeedSettings(**{"pictures": 4, "of": 40, "costly": 10, **change})
