"""Leak checks: does an explainer read the classifier's decision, or does it guess, conspire or ignore the question?

    python -m whymask.benchmarks.leaks fused.onnx --run RUN --data photos -o leaks.json
    python -m whymask.benchmarks.leaks fused.onnx --run RUN --data photos --other other.onnx --target-graph asked.onnx

randomised: the map must change when the classifier's weights are shuffled. retrained: so must one that is trained anew
(--retrain-steps). asked_class: the map must follow the class that is asked for. independent: other classifiers must see
the object in the kept pixels. mask_shape: the class must not be readable off the mask's shape. Each has bars that were
set before anything was measured. Ends with 1 when one is not met. Checks without their means are left out, and named.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from whymask.benchmarks.leaks.page import page_from_record, sentence
from whymask.benchmarks.program import run_program
from whymask.runtime.errors import InputError
from whymask.runtime.files import write_atomically

app = typer.Typer(add_completion=False)
COMMAND = "python -m whymask.benchmarks.leaks"


@app.command(help=__doc__)
def leaks(
    graph: Annotated[Path, typer.Argument(metavar="GRAPH", help="The fused ONNX file or engine.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Pictures that the explainer was not trained on.")],
    run: Annotated[Path | None, typer.Option(metavar="RUN", help="The run directory that the graph came from.")] = None,
    other: Annotated[
        list[Path] | None, typer.Option(metavar="GRAPH", help="A graph of another classifier. Repeatable.")
    ] = None,
    target_graph: Annotated[
        Path | None, typer.Option(metavar="GRAPH", help="The same run exported with --target, if GRAPH was not.")
    ] = None,
    truth: Annotated[
        str | None, typer.Option(help="masks:DIR or boxes:CSV, to compare the masks' shapes with the objects'.")
    ] = None,
    limit: Annotated[
        int, typer.Option("-n", "--limit", help="Pictures, evenly spread; mask_shape wants 500 or more.")
    ] = 200,
    retrain_steps: Annotated[
        int, typer.Option(help="Steps of the training on a shuffled classifier; 0: no such check.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON file of the record; Markdown goes beside it.")
    ] = None,
) -> None:
    """See `__doc__`, which is the help."""
    from whymask.benchmarks.leaks.study import Plan, run_checks

    if output is not None and output.suffix != ".json":
        raise InputError(f"{output}: expected a file that ends in .json; Markdown is written beside it")
    command = f"{COMMAND} {shlex.join(sys.argv[1:])}"
    plan = Plan(graph, data, run, tuple(other or ()), target_graph, truth, limit, retrain_steps, seed, command)
    record = run_checks(plan)
    typer.echo("\n".join(sentence(check) for check in record["checks"]))
    if output is not None:
        page = output.with_suffix(".md")
        write_atomically(output, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        write_atomically(page, page_from_record(record))
        typer.echo(f"Written: {output} and {page}")
    if any(check["passed"] is False for check in record["checks"]):
        raise SystemExit(1)


if __name__ == "__main__":
    run_program(app)
