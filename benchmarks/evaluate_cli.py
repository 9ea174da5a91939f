"""The command `evaluate`: a plain typed function that the runtime's command line picks up.

Only typer and the runtime are imported here, so that `--help` works where nothing else is installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whymask.runtime.checks import MOST_SEED

if TYPE_CHECKING:
    from whymask.benchmarks.suite.evaluate import Evaluation


File = Annotated[Path, typer.Argument(help="The fused ONNX file, or its TensorRT engine.")]
Data = Annotated[
    list[Path],
    typer.Option(metavar="DIR", help="Folder of pictures that training never saw; give it again for another set."),
]
Run = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="Its run directory, for the maps that need torch. [default: left out, said]"),
]
Maps = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="Map to judge beside explainer, random and centre; again for more. [default: all]"
    ),
]
Metrics = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Metric to judge by; again for more. [default: all]")
]
Truth = Annotated[
    str | None,
    typer.Option(
        metavar="boxes:CSV|masks:DIR",
        help="Where the objects are: boxes (file,left,top,right,bottom), or PNG masks of the pictures' stems.",
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Pictures a folder, evenly spread. [default: all]")]
RiseMasks = Annotated[int, typer.Option(min=1, help="Masks of RISE: its passes a picture.")]
OptimiseSteps = Annotated[
    int, typer.Option(min=0, help="Steps of a map that is optimised for each picture; 0 leaves it out. Needs --run.")
]
Costly = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="Pictures a set, evenly spread, on which maps that perturb or optimise are made; compared on these alone.",
    ),
]
Earlier = Annotated[
    Path | None,
    typer.Option(
        metavar="JSON",
        help="An earlier evaluation of the same classifier on the same pictures: what it says of costly maps stands "
        "for the pictures outside --costly. [default: none]",
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Cores to use. [default: all that this process may, 8 at most]")
]
Seed = Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of random maps, ties, metrics and the bootstrap.")]
Provider = Annotated[
    str | None, typer.Option(help="cpu, cuda or tensorrt. [default: the best that really loads, and it is said]")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="OUT", help="Write .json, .csv, .md or .html; a folder gets all four."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the record, and nothing else, on standard output.")]


def evaluate(
    file: File,
    data: Data,
    run: Run = None,
    maps: Maps = None,
    metrics: Metrics = None,
    truth: Truth = None,
    limit: Limit = None,
    rise_masks: RiseMasks = 1000,
    optimise_steps: OptimiseSteps = 0,
    costly: Costly = 30,
    earlier: Earlier = None,
    threads: Threads = None,
    seed: Seed = 0,
    provider: Provider = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Judge the explanation of the file that ships by every faithfulness metric, beside other maps.

    Example:
        whymask evaluate fused.onnx --data photos --run run -o evaluation
        whymask evaluate fused.plan --data photos --maps rise --metrics sweep --limit 200 -o evaluation.html
    """
    from whymask.benchmarks.suite.evaluate import (
        EvaluateSettings,
        check_output,
        evaluate_graph,
        picture_sets,
        write_evaluation,
    )

    if output is not None:
        check_output(output)
    options = {"--data": data, "--run": run, "--maps": maps, "--metrics": metrics, "--truth": truth, "--limit": limit}
    options |= {"--rise-masks": rise_masks, "--optimise-steps": optimise_steps, "--costly": costly}
    options |= {"--earlier": earlier, "--threads": threads, "--seed": seed, "--provider": provider}
    command = _command(file, options)
    settings = EvaluateSettings(
        run, maps, metrics, rise_masks, optimise_steps, seed, provider, command, costly, threads, _say, earlier
    )
    found = evaluate_graph(file, picture_sets(data, truth, limit), settings)
    written = write_evaluation(found, output) if output is not None else []
    if as_json:
        _print_record(found)
    else:
        _print(found, written)


def _say(words: str) -> None:
    typer.echo(words, err=True)


def _command(file: Path, options: Mapping[str, object]) -> str:
    """What makes the record again, with every option that has a value."""
    import shlex

    words = ["whymask", "evaluate", str(file)]
    for name, value in options.items():
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        words += [word for each in values if each is not None for word in (name, str(each))]
    return shlex.join(words)


def _print_record(found: Evaluation) -> None:
    from whymask.benchmarks.records import json_from_report

    typer.echo(json_from_report(found.record))


def _print(found: Evaluation, written: list[Path]) -> None:
    """Tables, sentences and notes on standard output."""
    from whymask.benchmarks.cli import wide_console
    from whymask.benchmarks.suite.suite_tables import LEGEND, speed_lines, terminal_table
    from whymask.benchmarks.suite.summary import sentence

    console = wide_console()
    for summary, record in zip(found.summaries, found.record["sets"], strict=True):
        console.print(terminal_table(summary))
        console.print(sentence(summary), markup=False, soft_wrap=True, style="bold")
        unreadable = len(record["unreadable"])
        notes = speed_lines(record)
        notes += [f"{unreadable} files could not be read: {'; '.join(record['unreadable'][:3])}"] if unreadable else []
        for note in notes:
            console.print(f"· {note}", markup=False, soft_wrap=True)
    left_out = found.record["method"]["left_out"]
    for name, why in left_out.items():
        console.print(f"· left out: {name}: {why}", markup=False, soft_wrap=True)
    console.print(f"· {LEGEND}", markup=False, soft_wrap=True)
    for line in [str(path) for path in written] or ["keep it with -o evaluation"]:
        console.print(f"· {line}", markup=False, soft_wrap=True)
