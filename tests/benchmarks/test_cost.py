"""The cost study: its graphs, its record of a tiny classifier, its page and its bars."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_base

from whymask.benchmarks import cost
from whymask.benchmarks.cost_page import BARS, CERTIFIED_BAR, cost_page, recipro_factor, verdict_of
from whymask.benchmarks.latency import BenchSettings
from whymask.benchmarks.latency_stats import median_of_ratios
from whymask.benchmarks.program import chosen
from whymask.runtime.errors import ArtefactError, InputError


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.py").write_text(tiny_base.MODEL_FILE)
    settings = cost.CostSettings(seconds=0.2, threads=1, side=32, channels=8, min_pairs=4)
    return cost.measure(f"{folder / 'tiny.py'}:build", settings, weights=None)


def test_the_record_holds_what_a_reader_computes_it_anew_from(record: dict[str, Any]) -> None:
    again = json.loads(json.dumps(record, allow_nan=False))
    for name in cost.PAIRS:
        samples = again["pairs"][name]["samples"]
        ratios = np.array(samples["ms"]) / np.array(samples["alone_ms"])
        assert len(ratios) >= 4
        assert again["pairs"][name]["ratio"]["value"] == pytest.approx(float(np.median(ratios)))


def test_the_counts_tell_the_graphs_apart(record: dict[str, Any]) -> None:
    costs = record["costs"]
    assert costs["alone"]["multiply_adds"] < costs["fused"]["multiply_adds"] < costs["kept"]["multiply_adds"]
    assert costs["both"]["multiply_adds"] - costs["kept"]["multiply_adds"] == costs["alone"]["multiply_adds"]
    assert costs["alone"]["multiply_adds"] < costs["recipro"]["multiply_adds"]
    assert costs["alone"]["run_nodes"] < costs["fused"]["run_nodes"]
    assert costs["alone"]["parameter_bytes"] < costs["fused"]["parameter_bytes"]


def judged(record: dict[str, Any], value: float, *, valid: bool = True) -> dict[str, Any]:
    """The record as one of ResNet-50 at the bar's settings."""
    made = copy.deepcopy(record)
    made |= {"classifier": "resnet50", "height": 224, "width": 224}
    made["settings"]["threads"] = 2
    made["pairs"]["fused"]["ratio"]["value"] = value
    made["pairs"]["fused"]["verdict"] = {"valid": valid, "reasons": [] if valid else ["others were busy"]}
    return made


def test_a_bar_is_met_by_a_valid_figure_at_its_own_settings_alone(record: dict[str, Any]) -> None:
    bar = BARS["resnet50"]
    assert verdict_of(judged(record, bar), "fused", bar) == "met"
    assert verdict_of(judged(record, bar + 0.01), "fused", bar) == "not met"
    assert verdict_of(judged(record, bar, valid=False), "fused", bar) == "invalid"
    assert verdict_of(record, "fused", bar) == "–"
    assert verdict_of(judged(record, bar), "fused", None) == "–"


def test_the_bar_of_a_certificate_is_of_the_one_that_asks_twice(record: dict[str, Any]) -> None:
    made = judged(record, 1.0)
    made["pairs"]["kept"] |= {"verdict": {"valid": True, "reasons": []}}
    for value, verdict in ((2.1, "met"), (2.11, "not met")):
        made["pairs"]["kept"]["ratio"]["value"] = value
        assert verdict_of(made, "kept", CERTIFIED_BAR) == verdict
        assert f"2.10 | {verdict} | {made['pairs']['both']['ratio']['value']:.3f}" in cost_page([made])


def test_a_record_of_the_first_schema_is_of_both_and_has_no_verdict_on_kept(
    record: dict[str, Any], tmp_path: Path
) -> None:
    old = judged(record, 1.0) | {"schema": 1}
    for parts in (old["costs"], old["pairs"]):
        parts["certified"] = parts.pop("both")
        del parts["kept"]
    (tmp_path / "resnet50.json").write_text(json.dumps(old))
    page = cost.write_page(tmp_path).read_text()
    assert f"| not measured | 2.10 | – | {old['pairs']['certified']['ratio']['value']:.3f}" in page
    assert "certified" not in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 3}, "schema 3 is newer than schema 2"),
        ({"kind": "whymask.bench"}, "kind is 'whymask.bench', expected"),
    ],
    ids=["newer", "other"],
)
def test_what_is_no_record_of_the_study_is_refused(
    record: dict[str, Any], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "other.json").write_text(json.dumps(record | changes))
    with pytest.raises(ArtefactError, match=rf"other\.json: .*{message}"):
        cost.write_page(tmp_path)


def test_the_page_says_what_is_invalid_and_why(record: dict[str, Any]) -> None:
    made = judged(record, 1.5, valid=False)
    made["pairs"]["recipro"]["ratio"]["value"] = 3.0
    assert recipro_factor(made) == pytest.approx(2.0)
    page = cost_page([made])
    assert "2.00 ×" in page and "fused is invalid: others were busy" in page


def test_the_ratio_is_the_median_of_paired_ratios() -> None:
    settings = BenchSettings()
    pair = np.array([1.0, 2.2, 15.0]), np.array([1.0, 2.0, 3.0])
    found = median_of_ratios(*pair, settings.confidence, settings.resamples, settings.seed)
    assert found.value == 1.1 and found.low >= 1.0 and found.high <= 5.0


def test_an_unknown_classifier_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    known = list(cost.CLASSIFIERS)
    assert chosen((), known) == known and chosen(["resnet18"], known) == ["resnet18"]
    with pytest.raises(InputError, match="--only resnet81: not in the study; expected one of resnet18"):
        chosen(["resnet81"], known)
    with pytest.raises(InputError, match="no record of the study"):
        cost.write_page(tmp_path)


def test_the_page_is_written_from_the_records_of_a_folder(record: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps(record))
    assert cost.write_page(tmp_path).read_text().count("| tiny.py:build") == 0
    assert "| build |" in (tmp_path / "README.md").read_text()
