"""Students beside direct training: equal time, the same pictures, and a study that goes on where it stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from colour_graph import write_graph
from tiny_base import make_base

from whymask.benchmarks import teachers, variants
from whymask.benchmarks.teachers import (
    COLUMNS,
    DIRECT,
    Costs,
    Lecture,
    lectures_named,
    measured_costs,
    variants_of,
)
from whymask.benchmarks.teachers_page import verdict_table
from whymask.benchmarks.variants import Row, Study, Variant
from whymask.runtime.errors import InputError

LECTURE = Lecture("optimise", 2, 6)


def row(name: str, retention: float, **facts: object) -> Row:
    spread = np.linspace(-0.01, 0.01, 30)
    return Row(Variant(name, {}), {c.name: retention + spread[None] for c in COLUMNS}, ({"cpu_seconds": 9.0, **facts},))


def test_a_student_gets_what_the_teacher_leaves_of_the_budget():
    costs = Costs(direct=2.0, taught=1.0, teacher=60.0)
    assert costs.student_steps(100, counted=True) == 140
    assert costs.student_steps(100, counted=False) == 200
    assert costs.mixed_steps(100) == 93  # (200 − 60) s at 1.5 s a step
    greedy = Costs(direct=2.0, taught=1.0, teacher=250.0)
    names = [each.name for each in variants_of([(LECTURE, greedy)], Path("x"), 100)]
    assert names == [DIRECT, "optimise not counted"]


def test_rows_differ_from_direct_in_the_teacher_and_the_steps_alone(tmp_path: Path):
    base = make_base(tmp_path, others=0.0, presence=0.0)
    found = variants_of([(LECTURE, Costs(2.0, 1.0, 6.0))], tmp_path, 6)
    configs = {variant.name: variant.config(base.config, 0) for variant in found}
    assert configs[DIRECT] == replace(base.config, steps=6)
    student = configs["optimise"]
    assert (student.teacher, student.teacher_steps, student.teacher_images) == ("optimise", 2, 6)
    assert student.steps == 6
    assert configs["optimise then direct"].teacher_until == 0.5
    fields = ("teacher", "teacher_steps", "teacher_images", "teacher_cache", "steps")
    default = {name: getattr(configs[DIRECT], name) for name in fields}
    assert replace(student, **default) == configs[DIRECT]


def test_costs_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base = make_base(tmp_path, others=0.0, presence=0.0)
    costs = measured_costs(base, LECTURE, tmp_path / "runs", 6)
    assert min(costs.direct, costs.taught, costs.teacher) > 0.0
    monkeypatch.setattr(teachers, "_measure", lambda *_: pytest.fail("measured again"))
    assert measured_costs(base, LECTURE, tmp_path / "runs", 6) == costs


def test_the_table_says_what_was_taught_and_who_is_better():
    taught = {"teacher_images": 6, "teacher_steps": 2, "teacher_cpu_seconds": 4.0, "steps": 8}
    rows = (row(DIRECT, 0.5, steps=6), row("optimise", 0.3, **taught), row("marc", 0.5, **taught))
    text = verdict_table(Study("teachers", "shapes", ("",) * 30, COLUMNS, rows))
    assert "| direct |  | 6 |  | 9 |  |  |" in text
    assert "| optimise | 6 × 2 | 8 | 4 | 9 | -0.200 (-0.200 to -0.200) | **worse than direct** |" in text
    assert "| marc | 6 × 2 | 8 | 4 | 9 | 0.000 (0.000 to 0.000) | not told apart |" in text


def test_lectures_are_read_and_bad_ones_refused():
    assert lectures_named(["marc:3:4"]) == (Lecture("marc", 3, 4),)
    assert lectures_named([]) == teachers.LECTURES
    for text in ("marc", "marc:3", "marc:0:4", "marc:a:4"):
        with pytest.raises(InputError, match="expected NAME:STEPS:PICTURES like optimise:15:240"):
            lectures_named([text])


def test_from_the_graphs_to_the_page_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base = make_base(tmp_path)
    monkeypatch.setattr(teachers, "base_named", lambda name, folder: base)
    monkeypatch.setattr(teachers, "measured_costs", lambda *_: Costs(2.0, 1.0, 6.0))
    # tests/train/test_teachers.py trains; here any graph of this size will do.
    monkeypatch.setattr(variants, "train_variant", lambda *_: write_graph(tmp_path / "fused.onnx"))
    told = {"steps": 6, "cpu_seconds": 1.0}
    judged = variants.judge_graph
    monkeypatch.setattr(variants, "judge_graph", lambda *a: (judged(*a)[0], told))
    out = tmp_path / "teachers.json"
    teachers.teachers(["shapes"], ["optimise:2:6"], steps=12, limit=4, folder=tmp_path / "runs", out=out)
    (record,) = json.loads(out.read_text())
    names = [each["variant"] for each in record["rows"]]
    assert names == [DIRECT, "optimise", "optimise then direct", "optimise not counted"]
    assert record["costs"] == [{"direct": 2.0, "taught": 1.0, "teacher": 6.0}]
    assert str(tmp_path) not in out.read_text()
    assert "--base shapes --teacher optimise:2:6 --steps 12 --limit 4" in record["command"]
    assert "| optimise then direct |" in out.with_suffix(".md").read_text()
