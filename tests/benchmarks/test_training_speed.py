"""The speed of training beside the classifier's own passes, on a classifier that trains in a second."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_base import make_base
from typer.testing import CliRunner

from whymask.benchmarks import training_speed
from whymask.benchmarks.imagenet import data_root
from whymask.benchmarks.training_speed import (
    BAR,
    MARGIN,
    MOST_ROUNDS,
    OF_THE_EXPLAINER,
    PHASES,
    SETTINGS,
    WARM_UP,
    Speed,
    app,
    classifier_passes,
    config_of,
    measure,
    page,
    prepared_loop,
    record_from_speeds,
)
from whymask.runtime.errors import InputError
from whymask.train.classifier import FrozenClassifier
from whymask.train.config import TrainConfig
from whymask.train.loop import Loop


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    return prepared_loop(make_base(tmp_path).config, tmp_path / "run")


def passes_of(classifier: FrozenClassifier, call: Callable[[], object]) -> list[tuple[int, bool]]:
    """Pictures of each pass of a classifier, and whether it takes a gradient."""
    called: list[tuple[int, bool]] = []
    handle = classifier.model.register_forward_hook(
        lambda _module, inputs, _logits: called.append((len(inputs[0]), torch.is_grad_enabled()))
    )
    call()
    handle.remove()
    return called


@pytest.mark.parametrize("asks_levels", [False, True])
@pytest.mark.parametrize(("others", "pasted"), [(0.0, []), (0.3, [(1, False)])])
def test_the_floor_is_the_classifiers_passes_of_a_step(
    tmp_path: Path, asks_levels: bool, others: float, pasted: list[tuple[int, bool]]
):
    config = dataclasses.replace(make_base(tmp_path).config, others=others)
    loop = prepared_loop(config, tmp_path / "run")
    loop.progress.step = config.steps - 1 if asks_levels else 0
    before = loop.classifier.sha256()
    pixels = loop.batch(loop.generator())[0]
    floor = passes_of(loop.classifier, lambda: classifier_passes(loop, pixels, asks_levels=asks_levels))
    assert sorted(floor) == sorted([(4, False), (4, True), *pasted, *[(4, False)] * asks_levels])
    assert sorted(floor) == sorted(passes_of(loop.objective.classifier, loop.step))
    assert loop.classifier.sha256() == before
    assert all(each.grad is None for each in loop.classifier.parameters())


def test_step_and_floor_are_in_the_precision_of_the_run(tmp_path: Path):
    config = dataclasses.replace(make_base(tmp_path).config, precision="bf16-mixed")
    loop = prepared_loop(config, tmp_path / "run")
    seen: set[torch.dtype] = set()
    handle = loop.classifier.model.register_forward_hook(lambda _module, _inputs, logits: seen.add(logits.dtype))
    each = measure("tiny", "study", "map and level", loop, 10)
    handle.remove()
    assert seen == {torch.bfloat16}
    lines = page(record_from_speeds([each], "command"), [each]).splitlines()
    (row,) = (line for line in lines if line.startswith("| tiny"))
    assert [cell.strip() for cell in row.split("|")[1:5]] == ["tiny", "study", "bf16-mixed", "map and level"]


def test_a_compiled_step_is_told_from_a_plain_one(loop: Loop):
    plain = measure("tiny", "study", "map", loop, 10)
    assert plain.compiled is False
    each = dataclasses.replace(plain, compiled=True)
    rows = page(record_from_speeds([plain, each], "command"), [plain, each]).splitlines()
    told = [row.split("|")[3].strip() for row in rows if row.startswith("| tiny")]
    assert told == ["32-true", "32-true, compiled"]


def test_each_phase_times_steps_of_its_own_half(loop: Loop):
    speeds = {phase: measure("tiny", "study", phase, loop, 10) for phase in PHASES}
    for each in speeds.values():
        assert len(each.step_ms) == len(each.floor_ms) == len(each.loader_ms) in range(10, 10 * MOST_ROUNDS + 1, 10)
        assert (each.precision, each.batch, each.size) == ("32-true", 4, (32, 32))
        assert min(each.step_ms) > 0
    assert torch.tensor(speeds["map and level"].floor_ms).median() > 0


@pytest.mark.parametrize(("spread", "batches"), [(0.0, 1), (1.0, MOST_ROUNDS)])
def test_rounds_are_added_until_the_ratio_is_narrow_enough(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, spread: float, batches: int
):
    asked: list[int] = []
    random = np.random.default_rng(0)

    def rounds(calls: Mapping[str, object], count: int, words: str) -> dict[str, list[float]]:
        asked.append(count)
        return {part: list(100.0 + 90.0 * spread * random.uniform(-1, 1, count)) for part in calls}

    monkeypatch.setattr(training_speed, "time_rounds", rounds)
    each = measure("tiny", "study", "map", loop, 10)
    assert asked == [WARM_UP, *[10] * batches]
    assert len(each.step_ms) == len(each.floor_ms) == 10 * batches
    assert (each.ratio.half_width <= MARGIN) is (spread == 0.0)


def test_an_invalid_measurement_meets_no_bar(loop: Loop):
    each = measure("tiny", "study", "map", loop, 10)
    ratio = dataclasses.replace(each.ratio, value=BAR - 0.1)
    bad = dataclasses.replace(each, ratio=ratio, verdict=dataclasses.replace(each.verdict, valid=False, reasons=("x",)))
    good = dataclasses.replace(bad, verdict=dataclasses.replace(each.verdict, valid=True, reasons=()))
    slow = dataclasses.replace(good, ratio=dataclasses.replace(ratio, value=BAR + 0.1))
    record = record_from_speeds([bad, good, slow], "command")
    assert [entry["met"] for entry in record["speeds"]] == [False, True, False]
    rows = page(record, [bad, good, slow]).splitlines()
    assert [row.split("|")[-2].strip() for row in rows if row.startswith("| tiny")] == ["not valid", "yes", "**no**"]
    assert "- tiny, study, 32-true, map: x" in rows
    json.dumps(record)


def test_rates_are_of_whole_steps(loop: Loop):
    each: Speed = dataclasses.replace(measure("tiny", "study", "map", loop, 10), step_ms=(100.0, 200.0, 300.0))
    assert each.images_per_second == pytest.approx(4 / 0.2)


def test_unknown_settings_are_one_message_before_the_first_step(tmp_path: Path):
    out = tmp_path / "speed.json"
    result = CliRunner().invoke(app, ["--settings", "tuned", "-o", str(out)])
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == "--settings tuned: expected one of study, default"
    assert not out.exists()


@pytest.mark.data
def test_default_settings_are_those_of_a_user_who_names_none():
    try:
        data_root()
    except InputError as error:
        pytest.skip(f"no real data: {error}")
    study, default = (config_of("squeezenet1_1", each, "bf16-mixed", False) for each in SETTINGS)
    plain = TrainConfig(model="m", data=("d",))
    for name in OF_THE_EXPLAINER:
        assert getattr(default, name) == getattr(plain, name) != getattr(study, name)
    same = {name: getattr(study, name) for name in OF_THE_EXPLAINER}
    assert dataclasses.replace(default, **same) == study
