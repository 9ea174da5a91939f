"""The zoo: which classifiers of timm and torchvision go through training, export and TensorRT-RTX, with each explainer.

    python -m whymask.benchmarks.zoo run                    # every row that has not passed with these versions
    python -m whymask.benchmarks.zoo run --only swin_t      # one classifier's
    python -m whymask.benchmarks.zoo run --again            # every row, whatever is in the table
    python -m whymask.benchmarks.zoo table                  # zoo.md from zoo.csv

→ benchmarks/results/zoo.csv and benchmarks/results/zoo.md, written after every row. Each row runs in a process of its
own: one that crashes is a failing row, and the others go on. Weights are random, so nothing is downloaded.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from whymask.benchmarks.program import run_program
from whymask.benchmarks.zoo_table import EXPLAINERS, FAIL, PASS, PRECISIONS, Case, Row, read_rows, row_of
from whymask.benchmarks.zoo_table import write_rows as write_table
from whymask.runtime.errors import InputError
from whymask.runtime.progress import track

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
TIMEOUT_SECONDS = 7200.0
"""Of one row, far above the minute or two that one takes: a busy machine makes a row slow, not a failure."""

CLASSIFIERS = {
    ("torchvision", "resnet18"): 224,
    ("torchvision", "resnet50"): 128,
    ("torchvision", "mobilenet_v2"): 224,
    ("torchvision", "mobilenet_v3_small"): 224,
    ("torchvision", "efficientnet_b0"): 128,
    ("torchvision", "regnet_y_400mf"): 128,
    ("torchvision", "densenet121"): 96,
    ("torchvision", "shufflenet_v2_x1_0"): 224,
    ("torchvision", "squeezenet1_1"): 224,
    ("torchvision", "convnext_tiny"): 96,
    ("torchvision", "swin_t"): 96,
    ("torchvision", "vit_b_16"): 224,
    ("timm", "deit_tiny_patch16_224"): 224,
    ("timm", "vit_tiny_patch16_224"): 224,
    ("timm", "mobilevit_xs"): 128,
    ("timm", "efficientformer_l1"): 224,
}
"""Side of the input in pixels: 224 where it costs little or the model takes no other, else a smaller one."""

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


def planned_cases() -> list[Case]:
    """Every row of the zoo, in the table's order."""
    return [
        Case(source, classifier, side, side, explainer, precision)
        for (source, classifier), side in CLASSIFIERS.items()
        for explainer in EXPLAINERS
        for precision in PRECISIONS
    ]


def chosen_cases(only: Sequence[str]) -> list[Case]:
    """Rows of the named classifiers; all where none is named.

    Raises:
        InputError: a name is not in the zoo.
    """
    cases = planned_cases()
    names = dict.fromkeys(case.classifier for case in cases)
    for name in only:
        if name not in names:
            near = difflib.get_close_matches(name, names, 3) or list(names)
            raise InputError(f"--only {name}: not in the zoo; expected one of {', '.join(near)}")
    return [case for case in cases if not only or case.classifier in only]


def is_done(row: Row | None, versions: str) -> bool:
    """Whether a row need not be run again: it passed, with the versions that are installed now."""
    return row is not None and row.result == PASS and row.versions == versions


def run_cases(
    cases: Sequence[Case],
    folder: Path,
    run_one: Callable[[Case], Row],
    *,
    planned: Sequence[Case],
    versions: str,
    again: bool = False,
) -> list[Row]:
    """Run cases and keep the table up to date after each.

    Args:
        cases: what to run.
        folder: of `zoo.csv` and `zoo.md`.
        run_one: runs a case and never raises for what the case does.
        planned: all cases of the table, in its order.
        versions: that are installed; a row made with others is run again.
        again: run what has passed, too.

    Returns:
        The rows of `cases`, new and kept.
    """
    rows = rows_in(folder)
    due = [case for case in cases if again or not is_done(rows.get(case), versions)]
    with track(len(due), "zoo", "rows") as bar:
        for case in due:
            row = run_one(case)
            rows = {**rows, **rows_in(folder), case: row}  # read again: another run may have written others meanwhile
            write_table(folder, list(rows.values()), planned)
            bar.advance(note=f"{row.model} {row.explainer} {row.precision}: {row.result} {row.reason}".rstrip())
    write_table(folder, list(rows.values()), planned)
    return [rows[case] for case in cases]


def run_isolated(case: Case, timeout_s: float = TIMEOUT_SECONDS) -> Row:
    """Run a case in a process of its own.

    Args:
        case: what to try.
        timeout_s: seconds after which the process is stopped.

    Returns:
        The process's row; one that says how it ended where it did not come back.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "row.json"
        command = [sys.executable, "-m", "whymask.benchmarks.zoo_row", case.to_json(), str(out)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
            reason = how_it_ended(done.returncode, done.stderr) if done.returncode else ""
        except subprocess.TimeoutExpired:
            reason = f"the process was stopped after {timeout_s:g} s"
        row = Row(**json.loads(out.read_text(encoding="utf-8"))) if out.is_file() else row_of(case)
    return dataclasses.replace(row, result=FAIL, reason=reason) if reason else row


def how_it_ended(code: int, stderr: str) -> str:
    """What a row says of a process that did not exit with 0."""
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    lines = stderr.strip().splitlines()
    return f"the process exited with {code}" + (f": {lines[-1].strip()}" if lines else "")


def rows_in(folder: Path) -> dict[Case, Row]:
    """The rows of a folder's table, by what they tried."""
    return {row.case: row for row in read_rows(folder / "zoo.csv")}


@app.command()
def run(
    only: Annotated[list[str] | None, typer.Option(help="Classifier to run; repeatable. Default: all.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Run rows that have passed, too.")] = False,
) -> None:
    """Run the rows that have not passed, and rewrite the tables; exit with 1 where a row fails.

    Example: python -m whymask.benchmarks.zoo run --only resnet18 --only swin_t
    """
    from whymask.benchmarks.zoo_row import versions

    cases = chosen_cases(only or ())
    rows = run_cases(cases, RESULTS, run_isolated, planned=planned_cases(), versions=versions(), again=again)
    failed = [row for row in rows if row.result != PASS]
    for row in failed:
        typer.echo(f"{row.model} {row.explainer} {row.precision}: {row.stage}: {row.reason}", err=True)
    typer.echo(
        f"{len(rows) - len(failed)} of {len(rows)} rows pass. Written: {RESULTS / 'zoo.csv'}, {RESULTS / 'zoo.md'}"
    )
    if failed:
        raise typer.Exit(1)


@app.command()
def table() -> None:
    """Rewrite zoo.md from zoo.csv.

    Example: python -m whymask.benchmarks.zoo table
    """
    write_table(RESULTS, read_rows(RESULTS / "zoo.csv"), planned_cases())
    typer.echo(f"Written: {RESULTS / 'zoo.md'}")


if __name__ == "__main__":
    run_program(app)
