"""The speed of training beside the classifier's own passes, on a classifier that trains in a second."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from tiny_base import make_base

from whymask.benchmarks.training_speed import (
    BAR,
    PHASES,
    Speed,
    classifier_passes,
    measure,
    page,
    prepared_loop,
    record_from_speeds,
)
from whymask.train.loop import Loop


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    return prepared_loop(make_base(tmp_path).config, tmp_path / "run")


@pytest.mark.parametrize(("asks_levels", "passes"), [(False, 2), (True, 3)])
def test_the_floor_is_the_classifiers_passes_alone(loop: Loop, asks_levels: bool, passes: int):
    called: list[bool] = []
    handle = loop.classifier.model.register_forward_hook(lambda *_: called.append(torch.is_grad_enabled()))
    before = loop.classifier.sha256()
    classifier_passes(loop, loop.batch(loop.generator())[0], asks_levels=asks_levels)
    handle.remove()
    assert len(called) == passes
    assert called.count(True) == 1, "one pass alone needs a gradient"
    assert loop.classifier.sha256() == before
    assert all(each.grad is None for each in loop.classifier.parameters())


def test_step_and_floor_are_in_the_precision_of_the_run(tmp_path: Path):
    config = dataclasses.replace(make_base(tmp_path).config, precision="bf16-mixed")
    loop = prepared_loop(config, tmp_path / "run")
    seen: set[torch.dtype] = set()
    handle = loop.classifier.model.register_forward_hook(lambda _module, _inputs, logits: seen.add(logits.dtype))
    each = measure("tiny", "map and level", loop, 10)
    handle.remove()
    assert seen == {torch.bfloat16}
    lines = page(record_from_speeds([each], "command"), [each]).splitlines()
    (row,) = (line for line in lines if line.startswith("| tiny"))
    assert [cell.strip() for cell in row.split("|")[1:4]] == ["tiny", "bf16-mixed", "map and level"]


def test_a_compiled_step_is_told_from_a_plain_one(loop: Loop):
    plain = measure("tiny", "map", loop, 10)
    assert plain.compiled is False
    each = dataclasses.replace(plain, compiled=True)
    rows = page(record_from_speeds([plain, each], "command"), [plain, each]).splitlines()
    told = [row.split("|")[2].strip() for row in rows if row.startswith("| tiny")]
    assert told == ["32-true", "32-true, compiled"]


def test_each_phase_times_steps_of_its_own_half(loop: Loop):
    speeds = {phase: measure("tiny", phase, loop, 10) for phase in PHASES}
    for each in speeds.values():
        assert len(each.step_ms) == len(each.floor_ms) == len(each.loader_ms) == 10
        assert (each.precision, each.batch, each.size) == ("32-true", 4, (32, 32))
        assert min(each.step_ms) > 0
    assert torch.tensor(speeds["map and level"].floor_ms).median() > 0


def test_an_invalid_measurement_meets_no_bar(loop: Loop):
    each = measure("tiny", "map", loop, 10)
    ratio = dataclasses.replace(each.ratio, value=BAR - 0.1)
    bad = dataclasses.replace(each, ratio=ratio, verdict=dataclasses.replace(each.verdict, valid=False, reasons=("x",)))
    good = dataclasses.replace(bad, verdict=dataclasses.replace(each.verdict, valid=True, reasons=()))
    slow = dataclasses.replace(good, ratio=dataclasses.replace(ratio, value=BAR + 0.1))
    record = record_from_speeds([bad, good, slow], "command")
    assert [entry["met"] for entry in record["speeds"]] == [False, True, False]
    rows = page(record, [bad, good, slow]).splitlines()
    assert [row.split("|")[-2].strip() for row in rows if row.startswith("| tiny")] == ["not valid", "yes", "**no**"]
    assert "- not valid: x" in rows
    json.dumps(record)


def test_rates_are_of_whole_steps(loop: Loop):
    each: Speed = dataclasses.replace(measure("tiny", "map", loop, 10), step_ms=(100.0, 200.0, 300.0))
    assert each.images_per_second == pytest.approx(4 / 0.2)
