"""The study on a GPU, without one: its plan, how steps run, fail and are taken up again, its bars, its page."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

typer = pytest.importorskip("typer")
pytest.importorskip("torch")
from typer.testing import CliRunner  # noqa: E402

from whymask.benchmarks.gpu import __main__ as command_line  # noqa: E402
from whymask.benchmarks.gpu.bars import judge, overhead_ms  # noqa: E402
from whymask.benchmarks.gpu.page import study_page  # noqa: E402
from whymask.benchmarks.gpu.plan import CLASSIFIERS, Study, planned_steps, read_test_counts  # noqa: E402
from whymask.benchmarks.gpu.steps import (  # noqa: E402
    ABSENT,
    FAILED,
    NOT_RUN,
    OK,
    Outcome,
    Step,
    outcome_path,
    run_command,
    run_steps,
    shown,
)
from whymask.benchmarks.gpu.study import run_study  # noqa: E402
from whymask.benchmarks.program import run_program  # noqa: E402
from whymask.runtime.cuda import CudaDriver, Device  # noqa: E402
from whymask.runtime.errors import ArtefactError, BackendError  # noqa: E402

Commands = list[str]


class Machine:
    """Answers commands in the place of a machine: by the last word, an exit code and what it writes."""

    def __init__(self, **answers: tuple[int, str]) -> None:
        self.answers, self.ran = answers, []

    def __call__(self, command, seconds: float) -> subprocess.CompletedProcess[str]:
        self.ran.append(command[-1])
        code, text = self.answers.get(command[-1], (0, '{"value": 1}'))
        return subprocess.CompletedProcess(command, code, text if code == 0 else "", text if code else "")


def step(name: str, *needs: str, **options: Any) -> Step:
    return Step(name, ("do", name), needs, read=json.loads, **options)


def test_steps_run_in_order_and_keep_what_they_told(tmp_path: Path):
    machine = Machine()
    outcomes = run_steps([step("build"), step("bench", "build")], tmp_path, run=machine)
    assert machine.ran == ["build", "bench"]
    assert [done.state for done in outcomes.values()] == [OK, OK]
    assert json.loads(outcome_path(tmp_path, "bench").read_text())["result"] == {"value": 1}


def test_a_step_that_fails_is_an_outcome_with_its_last_words_and_the_others_go_on(tmp_path: Path):
    machine = Machine(build=(1, "Traceback\n  line 3\nArtefactError: /opt/site/x.plan: refused"))
    steps = [step("build"), step("bench", "build"), step("verify", "bench"), step("other")]
    outcomes = run_steps(steps, tmp_path, run=machine)
    assert machine.ran == ["build", "other"]
    assert [done.state for done in outcomes.values()] == [FAILED, NOT_RUN, NOT_RUN, OK]
    assert outcomes["build"].reason == "exit 1: Traceback line 3 ArtefactError: x.plan: refused"
    assert outcomes["bench"].reason == "needs build, which is failed"


def test_an_optional_step_that_fails_is_absent_and_so_is_what_needs_it(tmp_path: Path):
    machine = Machine(build=(1, "does not build for compute capability 9.0"))
    outcomes = run_steps([step("build", optional=True), step("bench", "build")], tmp_path, run=machine)
    assert [done.state for done in outcomes.values()] == [ABSENT, ABSENT]
    assert outcomes["build"].reason == "exit 1: does not build for compute capability 9.0"


def test_an_optional_step_that_crashes_is_a_failure(tmp_path: Path):
    outcomes = run_steps([step("build", optional=True)], tmp_path, run=Machine(build=(-11, "")))
    assert (outcomes["build"].state, outcomes["build"].reason) == (FAILED, "ended by SIGSEGV")


def test_figures_that_a_failed_step_told_are_kept(tmp_path: Path):
    def out_of_bounds(command, seconds: float) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, '{"passed": false}', "ParityError: mask IoU 0.9, allowed 0.98")

    outcome = run_steps([step("verify")], tmp_path, run=out_of_bounds)["verify"]
    assert (outcome.state, outcome.result) == (FAILED, {"passed": False})
    assert outcome.reason == "exit 1: ParityError: mask IoU 0.9, allowed 0.98"


def test_output_that_is_no_result_is_a_failure(tmp_path: Path):
    outcomes = run_steps([step("bench")], tmp_path, run=Machine(bench=(0, "no JSON")))
    assert outcomes["bench"].state == FAILED
    assert outcomes["bench"].reason.startswith("its result cannot be read: JSONDecodeError")


def test_only_what_is_not_done_runs_the_next_time(tmp_path: Path):
    steps = [step("build"), step("bench", "build"), step("other")]
    run_steps(steps, tmp_path, run=Machine(bench=(1, "refused")))
    machine = Machine()
    outcomes = run_steps(steps, tmp_path, run=machine)
    assert machine.ran == ["bench"]
    assert [done.state for done in outcomes.values()] == [OK, OK, OK]
    everything = Machine()
    run_steps(steps, tmp_path, again=True, run=everything)
    assert everything.ran == ["build", "bench", "other"]


def test_files_that_are_gone_are_made_again_only_where_a_step_to_run_needs_them(tmp_path: Path):
    engine = tmp_path / "x.plan"
    steps = [
        step("export", makes=(tmp_path / "x.onnx",)),
        step("build", "export", makes=(engine,)),
        step("bench", "build"),
    ]
    run_steps(steps, tmp_path / "steps", run=Machine())
    done = Machine()
    run_steps(steps, tmp_path / "steps", run=done)
    assert done.ran == []
    outcome_path(tmp_path / "steps", "bench").unlink()
    (tmp_path / "x.onnx").touch()
    engine_gone = Machine()
    run_steps(steps, tmp_path / "steps", run=engine_gone)
    assert engine_gone.ran == ["build", "bench"]


def test_a_broken_outcome_says_what_to_remove(tmp_path: Path):
    outcome_path(tmp_path, "build").write_text("{")
    with pytest.raises(ArtefactError, match=r"build\.json: .*remove this file, and its step is run again"):
        run_steps([step("build")], tmp_path, run=Machine())


def test_a_crash_and_a_step_without_end_are_told_apart(tmp_path: Path):
    def script(code: str, **options: Any) -> Step:
        return Step("x", (sys.executable, "-c", code), **options)

    crash = run_steps([script("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")], tmp_path / "a")
    assert crash["x"].reason == "ended by SIGSEGV"
    endless = run_steps([script("import time; time.sleep(60)", seconds=0.5)], tmp_path / "b")
    assert endless["x"].reason == "exit 124: stopped after 0.5 s"
    assert run_command((sys.executable, "-c", "print(3)"), 30).stdout == "3\n"


def test_a_command_is_shown_without_the_folders_of_this_machine():
    assert shown(("/opt/venv/bin/python", "-m", "x", "runs/a.plan", "--data", "/data/images/val")) == (
        "bin/python -m x runs/a.plan --data images/val"
    )


@pytest.mark.parametrize("quick", [False, True])
def test_each_step_comes_after_those_that_it_needs_and_bears_a_name_of_its_own(tmp_path: Path, quick: bool):
    steps = planned_steps(Study(tmp_path, quick=quick))
    names = [each.name for each in steps]
    assert len(set(names)) == len(names)
    for number, each in enumerate(steps):
        assert set(each.needs) <= set(names[:number]), each.name


def test_the_plan_is_the_issues_list(tmp_path: Path):
    steps = {each.name: each.command for each in planned_steps(Study(tmp_path))}
    for name in ("resnet18", "mobilenet_v2"):
        timed = {f"{p}-b{b}-{m}" for p in ("fp16", "fp32") for b in (1, 8, 32) for m in ("graph", "plain")}
        assert {each.removeprefix(f"{name}.bench-") for each in steps if each.startswith(f"{name}.bench-")} == timed
        assert {f"{name}.verify-fp16-{other}" for other in ("torch", "onnx", "golden")} <= set(steps)
        assert "--classifier" in steps[f"{name}.build-fp16"]
        assert ("--provider", "cuda") == steps[f"{name}.ort-cuda-b1"][-3:-1]
        assert "--rtx" in steps[f"{name}.rtx-build"]
    assert "--cuda-graph" in steps["resnet18.bench-fp16-b8-graph"]
    assert "--cuda-graph" not in steps["resnet18.bench-fp16-b8-plain"]
    assert "random" in steps["resnet18.train"]


def test_a_trained_run_takes_the_place_of_the_training(tmp_path: Path):
    steps = {each.name: each for each in planned_steps(Study(tmp_path, runs={"resnet18": Path("runs/mine")}))}
    assert "resnet18.train" not in steps
    assert "mobilenet_v2.train" in steps
    assert str(Path("runs/mine")) in steps["resnet18.export-fp32"].command


def test_every_command_of_the_plan_is_one_that_whymask_has(tmp_path: Path):
    from repository import project

    commands = {*project()["project"]["entry-points"]["whymask.commands"]}
    used = {each.command[3] for each in planned_steps(Study(tmp_path)) if "whymask.runtime.cli" in each.command}
    assert used == {"train", "export", "build", "verify", "bench"} <= commands


def test_pytests_last_line_is_counted_and_skipping_everything_is_a_failure():
    text = "SKIPPED [1] tests/gpu/test_x.py:3: needs TensorRT\n5 passed, 1 skipped in 2.00s\n"
    assert read_test_counts(text) == {"passed": 5, "skipped": 1, "skips": ["needs TensorRT"]}
    with pytest.raises(ValueError, match="no test passed; skipped: needs TensorRT"):
        read_test_counts("SKIPPED [2] tests/gpu/test_x.py:3: needs TensorRT\n2 skipped in 0.01s\n")


def bench_record(ratio: float = 1.1, overhead_ms: float = 0.02, valid: bool = True) -> dict[str, Any]:
    summary = {f"p{p}_ms": 1.0 for p in (50, 90, 99)}
    return {
        "kind": "whymask.bench",
        "ratio": {"value": ratio, "low": ratio - 0.01, "high": ratio + 0.01},
        "fused": summary,
        "classifier": summary,
        "device_phases": {"fused": {}},
        "verdict": {"valid": valid, "reasons": [] if valid else ["the GPU's clocks were held back"]},
        "samples": {
            "fused_total_ms": [0.5 + overhead_ms, 0.6 + overhead_ms, 9.0],
            "fused_enqueue_to_sync_ms": [0.5, 0.6, 0.7],
        },
    }


def outcomes_of(record: dict[str, Any] | None = None, **figures: float) -> dict[str, Outcome]:
    """Every step of the plan done, with these figures."""
    good = {"top1_agreement_min": 1.0, "mask_iou_min": 0.995, "logits_max": 0.01, "logits_p99": 0.001} | figures
    results = {"bench": record or bench_record(), "ort": record or bench_record()}
    measured = good | {"saliency_rank_min": 0.999}
    verified = {"passed": True, "figures": [{"name": name, "measured": value} for name, value in measured.items()]}
    found = {}
    for each in planned_steps(Study(Path("work"))):
        kind = each.name.partition(".")[2].partition("-")[0]
        result = verified if ".verify-" in each.name else results.get(kind)
        found[each.name] = Outcome(each.name, OK, "", shown(each.command), 1.0, result)
    return found


def unmet(outcomes: dict[str, Outcome]) -> list[tuple[str, str]]:
    return [(bar.name, bar.got) for bar in judge(outcomes) if not bar.met and bar.classifier == "resnet18"]


def test_all_bars_are_met_by_good_figures():
    bars = judge(outcomes_of())
    assert len(bars) == 4 * len(CLASSIFIERS)
    assert all(bar.met for bar in bars)


@pytest.mark.parametrize(
    ("outcomes", "name", "got"),
    [
        (outcomes_of(top1_agreement_min=0.99), "top-1 agreement, FP16 engine and torch", "99.00%"),
        (outcomes_of(mask_iou_min=0.97), "mask IoU, FP32 graph and FP16 engine", "0.9700"),
        (
            outcomes_of(bench_record(ratio=1.2)),
            "fused p50 over classifier alone, batch 1, CUDA graph",
            "1.200 (1.190 to 1.210)",
        ),
        (outcomes_of(bench_record(overhead_ms=0.031)), "Python's overhead, batch 1", "31.0 µs"),
        (
            outcomes_of(bench_record(valid=False)),
            "fused p50 over classifier alone, batch 1, CUDA graph",
            "1.100 (1.090 to 1.110), not valid: the GPU's clocks were held back",
        ),
    ],
    ids=["agreement", "iou", "ratio", "overhead", "not-valid"],
)
def test_a_bar_that_is_not_met_says_what_came(outcomes: dict[str, Outcome], name: str, got: str):
    assert unmet(outcomes) == [(name, got)]


def test_a_bar_whose_step_is_not_done_is_not_met():
    outcomes = outcomes_of()
    timing = "resnet18.bench-fp16-b1-graph"
    outcomes[timing] = dataclasses.replace(outcomes[timing], state=FAILED, result=None)
    assert [got for _, got in unmet(outcomes)] == [f"{timing} is failed"] * 2


def test_a_figure_that_is_not_finite_meets_no_bar():
    outcomes = outcomes_of()
    outcomes["resnet18.verify-fp16-onnx"].result["figures"][1]["measured"] = None
    assert ("mask IoU, FP32 graph and FP16 engine", "nan") in unmet(outcomes)


def test_the_overhead_is_the_median_of_the_differences():
    assert overhead_ms(bench_record(overhead_ms=0.02)) == pytest.approx(0.02)


PLACE = {
    "devices": ["A GPU (8.6)"],
    "cuda": "12.6",
    "gpu": {"driver": "560.1", "absent": "", "max_clock_mhz": 1900},
    "machine": {"device": "", "cpu": "A CPU", "cores": 8, "system": "Linux 6"},
    "versions": {"tensorrt": "10.3.0"},
    "weights": "pretrained weights",
    "quick": False,
    "created": "2026-01-01T00:00:00+00:00",
}


def test_the_page_has_the_machine_every_bar_and_every_step_with_its_reason():
    outcomes = outcomes_of()
    outcomes["tests"] = dataclasses.replace(outcomes["tests"], state=FAILED, reason="exit 1: a | b")
    page = study_page(PLACE, outcomes, judge(outcomes))
    assert "A GPU (8.6); driver 560.1 for CUDA 12.6; clock 1900 MHz at most; A CPU, 8 cores, Linux 6." in page
    assert "| resnet18 | Python's overhead, batch 1 | ≤ 30 µs | 20.0 µs | met |" in page
    assert "| tests | failed | 1.0 | exit 1: a \\| b |" in page
    assert all(f"| {name} | " in page for name in outcomes)
    assert "A quick run" not in page
    assert "A quick run, not to be quoted" in study_page(PLACE | {"quick": True}, outcomes, [])


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "whymask.benchmarks.gpu.study.cuda_driver", lambda: CudaDriver("12.6", (Device(0, "A GPU", "8.6"),))
    )


def test_without_a_gpu_one_line_says_so_and_nothing_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("whymask.benchmarks.gpu.study.cuda_driver", lambda: CudaDriver(problem="no NVIDIA driver"))
    machine = Machine()
    with pytest.raises(BackendError, match=r"^this study needs a CUDA device: no NVIDIA driver$"):
        run_study(Study(tmp_path / "work"), tmp_path / "out", run=machine)
    assert machine.ran == []
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("sys.argv", ["gpu", "run", "-o", str(tmp_path / "out"), "--work", str(tmp_path / "work")])
    with pytest.raises(SystemExit) as ended:
        run_program(command_line.app)
    assert ended.value.code == 1


def test_a_study_writes_page_bars_and_machine_and_names_what_went_wrong(gpu: None, tmp_path: Path):
    report = run_study(Study(tmp_path / "work", quick=True), tmp_path / "out", run=Machine())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"README.md", "bars.json", "machine.json", "steps"}
    assert any(line.startswith("tests failed: its result cannot be read: ValueError") for line in report.problems)
    assert any("expected ≤ 30 µs" in line for line in report.problems)
    assert json.loads((tmp_path / "out" / "machine.json").read_text())["devices"] == ["A GPU (8.6)"]


def test_results_of_two_machines_are_not_mixed(gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    study = Study(tmp_path / "work", quick=True)
    run_study(study, tmp_path / "out", run=Machine())
    monkeypatch.setattr(
        "whymask.benchmarks.gpu.study.cuda_driver", lambda: CudaDriver("12.6", (Device(0, "Another", "9.0"),))
    )
    with pytest.raises(ArtefactError, match=r"results are of devices \['A GPU \(8\.6\)'\], and this is \['Another"):
        run_study(study, tmp_path / "out", run=Machine())
    run_study(study, tmp_path / "out", again=True, run=Machine())


def test_a_run_directory_of_an_unknown_classifier_is_refused(tmp_path: Path):
    done = CliRunner().invoke(command_line.app, ["run", "--run", f"resnet50={tmp_path}"])
    assert done.exit_code == 1
    assert "expected NAME=DIR, NAME being resnet18 or mobilenet_v2" in str(done.exception)


def test_drawn_pictures_are_two_sets_that_share_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    image = pytest.importorskip("PIL.Image")
    monkeypatch.setattr("whymask.benchmarks.gpu.study.DRAWN", {"train": 2, "val": 2})
    monkeypatch.setattr("whymask.benchmarks.gpu.study.SIDE", 32)
    from whymask.benchmarks.gpu.study import draw_pictures

    draw_pictures(tmp_path)
    drawn = {image.open(path).tobytes() for path in tmp_path.rglob("*.png")}
    assert len(drawn) == 4
