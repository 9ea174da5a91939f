"""`whymask compare` on records of `whymask evaluate` of `kind: evaluation`, and on sweeps of `whymask bench`."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("scipy")
import suite_fakes
from onnx_models import write_classifier, write_fused

from whymask.benchmarks.bench_pair import RunOptions
from whymask.benchmarks.bench_scenarios import Point
from whymask.benchmarks.bench_sweep import SweepOptions, run_sweep
from whymask.benchmarks.compare import compare_files
from whymask.benchmarks.latency import BenchSettings
from whymask.runtime.errors import ArtefactError, InputError

COUNT = 200
QUICK = BenchSettings(seconds=0.2, pictures=4, warmup_seconds=0.0, warmup_pairs=1, min_pairs=10, resamples=50)


@pytest.fixture(scope="module")
def suite_base(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return suite_fakes.record(tmp_path_factory.mktemp("suite"), count=4)


@pytest.fixture
def evaluation(suite_base: dict, tmp_path: Path):
    """Writes a record of 200 pictures with one judged column at a given mean, and a given area."""

    def write(name: str, mean: float, area: float = 0.3, column: str = "retention_auc", better: str = "higher", **set_):
        made = copy.deepcopy(suite_base)
        random = np.random.default_rng(len(name))
        noise = random.normal(0, 0.05, COUNT)
        values = np.clip(mean + noise - noise.mean(), 0, 1).round(5).tolist()
        made["method"]["columns"] = {column: {"metric": "sweep", "better": better, "stated": "a share"}}
        files = [f"{i}.png" for i in range(COUNT)]
        own = {key: [area] * COUNT for key in made["sets"][0]["own"]}
        made["sets"][0] |= {"files": files, "own": own, "cells": {"explainer": {column: values}}, **set_}
        (tmp_path / name).write_text(json.dumps(made), encoding="utf-8")
        return tmp_path / name

    return write


def verdicts(*files: Path, allow: tuple[str, ...] = ()) -> dict[str, str]:
    return {each.figure: each.verdict for each in compare_files(files, 0.05, allow).pairs[0].findings}


@pytest.mark.parametrize(
    ("better", "after", "expected"),
    [
        ("higher", 0.5, "held"),
        ("higher", 0.4, "regressed"),
        ("higher", 0.45, "cannot tell"),
        ("lower", 0.6, "regressed"),
    ],
)
def test_a_column_regresses_towards_its_worse_side_only_where_the_interval_says_so(
    evaluation, better: str, after: float, expected: str
):
    found = verdicts(evaluation("a.json", 0.5, better=better), evaluation("after.json", after, better=better))
    assert found == {"planted: retention_auc": expected, "planted: area at the threshold": "held"}


def test_a_mask_that_grew_is_a_regression_whatever_it_keeps(evaluation):
    found = verdicts(evaluation("a.json", 0.5), evaluation("after.json", 0.9, area=0.5))
    assert found == {"planted: retention_auc": "held", "planted: area at the threshold": "regressed"}


def test_a_column_that_lost_every_value_is_not_said_to_hold(evaluation):
    before, after = evaluation("a.json", 0.5), evaluation("after.json", 0.5)
    read = json.loads(after.read_text())
    read["sets"][0]["cells"]["explainer"]["retention_auc"] = [None] * COUNT
    after.write_text(json.dumps(read))
    found = verdicts(before, after)
    assert found == {"planted: retention_auc": "cannot tell", "planted: area at the threshold": "held"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda read: read["sets"][0]["own"].update(area=["wide"] * COUNT), "'wide' among the figures of area, no num"),
        (lambda read: read.update(graph=None), "lacks or garbles 'NoneType' object is not subscriptable"),
        (lambda read: read["method"].update(columns={"retention_auc": "higher"}), "lacks or garbles string indices"),
    ],
    ids=["figure", "graph", "columns"],
)
def test_a_damaged_evaluation_is_one_clear_error(evaluation, damage, message: str):
    before, after = evaluation("a.json", 0.5), evaluation("after.json", 0.5)
    read = json.loads(after.read_text())
    damage(read)
    after.write_text(json.dumps(read))
    with pytest.raises(ArtefactError, match=rf"after\.json: .*{message}"):
        compare_files([before, after], 0.05)


def test_pictures_without_a_value_are_left_out_in_pairs(evaluation):
    before, after = evaluation("a.json", 0.5), evaluation("after.json", 0.5)
    read = json.loads(after.read_text())
    read["sets"][0]["cells"]["explainer"]["retention_auc"][:100] = [None] * 100
    after.write_text(json.dumps(read))
    finding = compare_files([before, after], 0.05).pairs[0].findings[0]
    known = json.loads(before.read_text())["sets"][0]["cells"]["explainer"]["retention_auc"][100:]
    assert finding.before == pytest.approx(np.mean(known))


def test_columns_that_are_not_the_same_are_not_judged(evaluation):
    before, after = evaluation("a.json", 0.5), evaluation("after.json", 0.5, column="insertion")
    with pytest.raises(ArtefactError, match=r"none of the columns kept_at_threshold, .* is in both; evaluate both"):
        compare_files([before, after], 0.05)


def test_other_pictures_are_refused(evaluation):
    files = [f"other {i}.png" for i in range(COUNT)]
    with pytest.raises(ArtefactError, match=r"planted: 200 and 200 pictures, and not the same ones"):
        compare_files([evaluation("a.json", 0.5), evaluation("after.json", 0.5, files=files)], 0.05)


def test_another_schema_is_refused_by_its_number(evaluation):
    file = evaluation("a.json", 0.5)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema": 99}))
    with pytest.raises(ArtefactError, match=r"a\.json: schema 99, expected 1; evaluate again with this whymask"):
        compare_files([file, file], 0.05)


@pytest.fixture(scope="module")
def sweep_base(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("sweep")
    write_classifier(folder / "tiny.classifier.onnx")
    file = write_fused(folder / "tiny.onnx")
    options = SweepOptions(run_options=RunOptions(threads=1), against=("rise",))
    return json.loads(run_sweep([file], [Point("single-stream", 1)], options, QUICK).to_json())


@pytest.fixture
def sweep(sweep_base: dict, tmp_path: Path):
    """Writes a valid sweep in which the classifier took 10 ms."""

    def write(name: str, ratio: float = 1.1, nodes: float = 100.0, **changes) -> Path:
        made, random = copy.deepcopy(sweep_base), np.random.default_rng(len(name))
        alone, fused = made["points"][0]["rows"][:2]
        for row, took in ((alone, 10.0), (fused, 10.0 * ratio)):
            row |= {"samples_ms": (took * random.normal(1, 0.02, 400)).tolist(), "rounds": list(range(400))}
        fused["ratio"]["value"] = ratio
        fused["cost"] = {"nodes": nodes}
        made |= {"verdict": {"valid": True, "reasons": []}, **changes}
        (tmp_path / name).write_text(json.dumps(made), encoding="utf-8")
        return tmp_path / name

    return write


@pytest.mark.parametrize(("after", "expected"), [(1.1, "held"), (1.3, "regressed"), (1.155, "cannot tell")])
def test_a_file_of_a_sweep_is_judged_by_its_ratio_at_each_point(sweep, after: float, expected: str):
    found = verdicts(sweep("a.json"), sweep("after.json", after))
    where = "single-stream, batch 1, tiny.onnx"
    assert found == {f"{where}: fused / classifier, p50": expected, f"{where}: nodes": "held"}


def test_counted_cost_of_a_sweep_has_no_noise_and_other_methods_are_not_judged(sweep):
    (pair,) = compare_files([sweep("a.json"), sweep("after.json", nodes=120.0)], 0.05).pairs
    assert pair.findings[1].verdict == "regressed"
    assert pair.notes == ("not judged: other methods, whose cost is not this graph's",)


def test_sweeps_that_are_not_valid_or_not_alike_are_refused(sweep, sweep_base: dict):
    invalid = {"valid": False, "reasons": ["too noisy"]}
    with pytest.raises(ArtefactError, match=r"after\.json: not valid, so it proves nothing: too noisy"):
        compare_files([sweep("a.json"), sweep("after.json", verdict=invalid)], 0.05)
    machine = sweep_base["machine"] | {"cpu": "abacus"}
    with pytest.raises(ArtefactError, match=r"cpu .* and abacus"):
        compare_files([sweep("a.json"), sweep("after.json", machine=machine)], 0.05)


def test_a_sweep_and_an_evaluation_are_no_pair(sweep, evaluation):
    with pytest.raises(InputError, match=r"is of whymask\.bench_sweep and .* of evaluation; give two of a kind"):
        compare_files([sweep("a.json"), evaluation("b.json", 0.5)], 0.05)
