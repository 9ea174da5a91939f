"""The zoo: four families all the way; classifiers that fail, crashes, and rows that have been run already."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import torch
from tiny_run import make_run
from typer.testing import CliRunner

from whymask.benchmarks import zoo, zoo_row
from whymask.benchmarks.zoo_table import (
    FAIL,
    PASS,
    PRECISIONS,
    Case,
    Row,
    csv_text,
    page,
    read_rows,
    row_of,
    write_rows,
)
from whymask.export import rtx
from whymask.export.config import ExportConfig
from whymask.export.fuse import FusedGraph
from whymask.export.samples import synthetic_pictures
from whymask.runtime.errors import ArtefactError, InputError

FAMILIES = [
    ("torchvision", "resnet18", 64, "tapped"),
    ("torchvision", "mobilenet_v3_small", 64, "autoencoder"),
    ("timm", "vit_tiny_patch16_224", 224, "tapped"),
    ("torchvision", "squeezenet1_1", 64, "tapped"),
]
"""Of the zoo, at the smallest input that each takes well."""

MODELS = """
import os
import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


class Undecided(Tiny):
    def forward(self, x):
        out = super().forward(x)
        return out if out.sum() > 1e9 else 2 * out


class TwoFaced(Tiny):
    def forward(self, x):
        out = super().forward(x)
        return 1.1 * out if torch.compiler.is_compiling() else out


def undecided():
    torch.manual_seed(0)
    return Undecided()


def two_faced():
    torch.manual_seed(0)
    return TwoFaced()


def crash():
    os.abort()
"""


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "models.py"
    path.write_text(MODELS, encoding="utf-8")
    return path


def case_of_file(path: Path, factory: str) -> Case:
    return Case(str(path), factory, 32, 32, "tapped", "fp32", weights="own", steps=2, batch_size=2, pictures=6)


def passed(case: Case, versions: str = "torch 2") -> Row:
    return row_of(
        case,
        result=PASS,
        stage="",
        taps="a b",
        classifier_parameters=11_000_000,
        explainer_parameters=150_000,
        classifier_macs=1_800_000_000,
        explainer_macs=20_000_000,
        threshold=0.25,
        top1_agreement=1.0,
        mask_iou=0.9991,
        saliency_rank=0.99999,
        logits_max=0.0001,
        rtx_layers=321,
        engine_bytes=3 << 20,
        train_s=1.0,
        export_s=8.0,
        parity_s=2.0,
        rtx_s=0.5,
        versions=versions,
    )


def failed(case: Case, stage: str = "export", reason: str = "no | way") -> Row:
    return row_of(case, result=FAIL, stage=stage, reason=reason, versions="torch 2")


@pytest.mark.skipif(not rtx.is_installed(), reason="TensorRT-RTX is not installed: no wheel for this machine")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("source", "classifier", "side", "explainer"), FAMILIES)
def test_family_goes_all_the_way(source: str, classifier: str, side: int, explainer: str, precision: str) -> None:
    row = zoo_row.measure(Case(source, classifier, side, side, explainer, precision, pictures=12))
    assert (row.result, row.stage, row.reason) == (PASS, "", "")
    assert row.top1_agreement is not None and row.top1_agreement >= 0.995
    assert row.mask_iou is not None and row.mask_iou >= 0.98
    assert row.saliency_rank is not None and row.saliency_rank >= 0.99
    assert row.rtx_layers is not None and row.rtx_layers > 50
    assert row.engine_bytes is not None and row.classifier_parameters is not None
    assert row.engine_bytes > row.classifier_parameters
    assert bool(row.taps) == (explainer == "tapped")
    assert "tensorrt_rtx" in row.versions


def test_the_families_are_in_the_zoo() -> None:
    assert {(source, classifier) for source, classifier, _, _ in FAMILIES} <= set(zoo.CLASSIFIERS)


def test_the_zoo_has_both_explainers_and_both_precisions_of_every_classifier() -> None:
    cases = zoo.planned_cases()
    assert len(cases) == len(set(cases)) == 4 * len(zoo.CLASSIFIERS) >= 4 * 14


def test_masks_are_cut_where_half_of_the_saliency_lies_on_each_side(tmp_path: Path) -> None:
    run = make_run(tmp_path, "tapped")
    pictures = synthetic_pictures(run.card.input, 9)
    cut = zoo_row.cut_in_the_middle(run, pictures)
    with torch.no_grad():
        saliency = FusedGraph(run.classifier, run.explainer, run.card, ExportConfig()).eval()(
            torch.from_numpy(pictures)
        )[1]
    assert float((saliency >= cut.card.threshold).float().mean()) == pytest.approx(0.5, abs=0.01)


def test_classifier_that_does_not_export_is_a_failing_row_with_stage_and_reason(model_file: Path) -> None:
    stages: list[str] = []
    row = zoo_row.measure(case_of_file(model_file, "undecided"), lambda row: stages.append(row.stage))
    assert (row.result, row.stage) == (FAIL, "export")
    assert row.reason.startswith("torch could not export the graph")
    assert stages == ["train", "export"]
    assert row.train_s is not None and row.export_s is not None and row.rtx_layers is None


def test_failed_gate_is_a_failing_row_with_what_was_measured(model_file: Path) -> None:
    row = zoo_row.measure(case_of_file(model_file, "two_faced"))
    assert (row.result, row.stage) == (FAIL, "parity")
    assert "logits_max is 0.1" in row.reason
    assert row.logits_max == pytest.approx(0.1, abs=0.02)
    assert row.classifier_macs is not None and row.classifier_macs > 0


def test_unknown_classifier_is_a_failing_row() -> None:
    row = zoo_row.measure(Case("timm", "resnet_17", 32, 32, "tapped", "fp32"))
    assert (row.result, row.stage) == (FAIL, "train")
    assert row.reason.startswith("timm has no model 'resnet_17'")


def test_crash_of_the_process_is_a_failing_row_with_its_stage_and_signal(model_file: Path) -> None:
    row = zoo.run_isolated(case_of_file(model_file, "crash"))
    assert (row.result, row.stage, row.reason) == (FAIL, "train", "the process was ended by SIGABRT")
    assert row.case == case_of_file(model_file, "crash")


def test_process_that_takes_too_long_is_a_failing_row(model_file: Path) -> None:
    row = zoo.run_isolated(case_of_file(model_file, "undecided"), timeout_s=0.1)
    assert (row.result, row.stage, row.reason) == (FAIL, "start", "the process was stopped after 0.1 s")


@pytest.mark.parametrize(
    ("code", "stderr", "expected"),
    [
        (-11, "", "the process was ended by SIGSEGV"),
        (-9, "loading\n", "the process was ended by SIGKILL"),
        (1, "Traceback\n  MemoryError: no\n", "the process exited with 1: MemoryError: no"),
        (3, "", "the process exited with 3"),
    ],
)
def test_the_end_of_a_process_is_said_in_words(code: int, stderr: str, expected: str) -> None:
    assert zoo.how_it_ended(code, stderr) == expected


CASES = [Case("timm", name, 64, 64, "tapped", precision) for name in ("one", "two") for precision in PRECISIONS]


class Runner:
    """Runs nothing: notes which cases it was asked for, and answers; `fails` names classifiers that fail."""

    def __init__(self, fails: str = "", stop_at: int | None = None) -> None:
        self.fails, self.stop_at, self.asked = fails, stop_at, list[Case]()

    def __call__(self, case: Case) -> Row:
        if len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(case)
        return failed(case) if case.classifier == self.fails else passed(case)


def run_all(folder: Path, runner: Runner, versions: str = "torch 2", again: bool = False) -> list[Row]:
    return zoo.run_cases(CASES, folder, runner, planned=CASES, versions=versions, again=again)


def test_rows_that_passed_are_kept_and_failed_ones_are_run_again(tmp_path: Path) -> None:
    run_all(tmp_path, Runner(fails="two"))
    second = Runner()
    rows = run_all(tmp_path, second)
    assert second.asked == CASES[2:]
    assert [row.result for row in rows] == [PASS] * 4


@pytest.mark.parametrize(("versions", "again"), [("torch 3", False), ("torch 2", True)])
def test_other_versions_or_again_run_every_row(tmp_path: Path, versions: str, again: bool) -> None:
    run_all(tmp_path, Runner())
    second = Runner()
    run_all(tmp_path, second, versions, again)
    assert second.asked == CASES


def test_other_settings_make_another_row(tmp_path: Path) -> None:
    write_rows(tmp_path, [passed(Case("timm", "one", 96, 96, "tapped", "fp32"))], CASES)
    runner = Runner()
    run_all(tmp_path, runner)
    assert runner.asked == CASES


def test_interrupted_run_leaves_the_rows_that_were_done(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_all(tmp_path, Runner(stop_at=3))
    assert [row.case for row in read_rows(tmp_path / "zoo.csv")] == CASES[:3]
    rest = Runner()
    run_all(tmp_path, rest)
    assert rest.asked == CASES[3:]


def test_rows_that_another_run_wrote_meanwhile_are_kept(tmp_path: Path) -> None:
    class Rival(Runner):
        def __call__(self, case: Case) -> Row:
            write_rows(tmp_path, [*read_rows(tmp_path / "zoo.csv"), passed(CASES[3])], CASES)
            return super().__call__(case)

    zoo.run_cases(CASES[:1], tmp_path, Rival(), planned=CASES, versions="torch 2")
    assert [row.case for row in read_rows(tmp_path / "zoo.csv")] == [CASES[0], CASES[3]]


def test_rows_survive_the_file(tmp_path: Path) -> None:
    rows = [passed(CASES[0]), failed(CASES[1], reason='it said "no, never"\tat all')]
    write_rows(tmp_path, rows, CASES)
    assert read_rows(tmp_path / "zoo.csv") == rows
    names = next(csv.reader(io.StringIO(csv_text(rows))))
    assert names[:6] == ["source", "classifier", "height", "width", "explainer", "precision"]


def test_file_of_another_kind_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "zoo.csv").write_text("name,value\na,1\n", encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"is not a table of the zoo .* python -m whymask\.benchmarks\.zoo run"):
        read_rows(tmp_path / "zoo.csv")


def test_page_counts_every_planned_row_and_gives_each_failure_its_reason() -> None:
    text = page([passed(CASES[0]), failed(CASES[1], "parity", "mask_iou is 0.9 | allowed ≥ 0.98")], CASES)
    assert "1 of 4 rows pass, 1 fail, 2 have not been run." in text
    assert "| timm:one | 64 × 64 | pass | **fail** (parity) | – | – |" in text
    assert "| timm:two | 64 × 64 | not run | not run | – | – |" in text
    assert "- timm:one, tapped, fp16: parity: mask_iou is 0.9 | allowed ≥ 0.98" in text
    assert "| timm:one | tapped | fp32 | pass | 1.000 | 0.9991 | 0.99999 | 150,000 | 1.8 G + 20 M | 321 | 3.0 |" in text
    assert "No row has run on a GPU" in text


def test_page_without_failures_has_no_list_of_them() -> None:
    assert "Failures" not in page([passed(case) for case in CASES], CASES)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """The command on a small zoo of its own; the answer is the runner that it uses."""
    runner = Runner(fails="two")
    monkeypatch.setattr(zoo, "RESULTS", tmp_path)
    monkeypatch.setattr(zoo, "CLASSIFIERS", {("timm", "one"): 64, ("timm", "two"): 64})
    monkeypatch.setattr(zoo, "run_isolated", runner)
    return runner


def test_command_writes_both_tables_and_exits_with_1_where_a_row_fails(command: Runner, tmp_path: Path) -> None:
    done = CliRunner().invoke(zoo.app, ["run"])
    assert done.exit_code == 1
    assert "4 of 8 rows pass" in done.output and "timm:two tapped fp32: export: no | way" in done.output
    assert len(read_rows(tmp_path / "zoo.csv")) == len(command.asked) == 8
    assert "4 of 8 rows pass, 4 fail" in (tmp_path / "zoo.md").read_text(encoding="utf-8")


def test_command_takes_one_classifier_and_leaves_the_others_rows(command: Runner, tmp_path: Path) -> None:
    CliRunner().invoke(zoo.app, ["run"])
    command.asked.clear()
    done = CliRunner().invoke(zoo.app, ["run", "--only", "one", "--again"])
    assert done.exit_code == 0
    assert [case.classifier for case in command.asked] == ["one"] * 4
    assert len(read_rows(tmp_path / "zoo.csv")) == 8


def test_unknown_name_is_refused_with_the_near_ones() -> None:
    with pytest.raises(InputError, match="--only resnet_18: not in the zoo; expected one of resnet18"):
        zoo.chosen_cases(["resnet_18"])


def test_table_command_writes_the_page_from_the_file(command: Runner, tmp_path: Path) -> None:
    CliRunner().invoke(zoo.app, ["run"])
    before = (tmp_path / "zoo.md").read_text(encoding="utf-8")
    (tmp_path / "zoo.md").unlink()
    assert CliRunner().invoke(zoo.app, ["table"]).exit_code == 0
    assert (tmp_path / "zoo.md").read_text(encoding="utf-8") == before
