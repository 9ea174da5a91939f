"""The study on a GPU, in one go: build, verify and time engines of ResNet-18 and MobileNetV2 with their explainers.

    python -m whymask.benchmarks.gpu run -o benchmarks/results/gpu          # takes up what is not done yet
    python -m whymask.benchmarks.gpu run -o gpu-quick --quick               # a smoke test of the machine
    python -m whymask.benchmarks.gpu run --run resnet18=runs/resnet18       # a trained run in place of a short training

Ends with 1 when a step failed or a bar is not met. Page and records are in the folder of -o; runs, graphs and engines,
which are large and bound to the machine, in the folder of --work. `WHYMASK_DATA` names the folder of pretrained
classifiers and pictures; without it weights are random and pictures drawn, and the page says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whymask.benchmarks.gpu.plan import CLASSIFIERS, Study
from whymask.benchmarks.gpu.study import DRAWN, SIDE, draw_pictures, run_study
from whymask.benchmarks.imagenet import data_root
from whymask.benchmarks.program import run_program
from whymask.runtime.errors import InputError

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@app.command()
def run(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of page and records.")] = Path(
        "benchmarks/results/gpu"
    ),
    work: Annotated[Path, typer.Option(metavar="DIR", help="Folder of runs, graphs and engines.")] = Path("runs/gpu"),
    runs: Annotated[
        list[str] | None, typer.Option("--run", metavar="NAME=DIR", help="A trained run directory. Repeatable.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Little training, short timing, batch 1 alone.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Run every step, whatever is done already.")] = False,
) -> None:
    """Run every step that is not done yet, and write the page.

    Example: python -m whymask.benchmarks.gpu run -o benchmarks/results/gpu
    """
    study = Study(work, _data(), _runs(runs or []), quick)
    report = run_study(study, output, again)
    for line in report.problems:
        typer.echo(line)
    typer.echo(f"Written: {report.page}")
    if report.problems:
        raise SystemExit(1)


@app.command()
def pictures(folder: Path) -> None:
    """Draw the pictures that stand in where there are no photographs.

    Example: python -m whymask.benchmarks.gpu pictures runs/gpu/pictures
    """
    draw_pictures(folder)
    typer.echo(f"{folder}: {sum(DRAWN.values())} pictures of {SIDE} × {SIDE} px")


def _data() -> Path | None:
    try:
        return data_root()
    except InputError:
        return None


def _runs(given: list[str]) -> dict[str, Path]:
    names = [classifier.name for classifier in CLASSIFIERS]
    runs = {}
    for text in given:
        name, _, folder = text.partition("=")
        if name not in names or not (Path(folder) / "card.json").is_file():
            raise InputError(f"--run {text}: expected NAME=DIR, NAME being {' or '.join(names)}, DIR made by train")
        runs[name] = Path(folder)
    return runs


if __name__ == "__main__":
    run_program(app)
