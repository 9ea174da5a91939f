"""The commands `bench` and `demo`: plain typed functions that the runtime's command line picks up.

Only typer and the runtime are imported here, so that `--help` works where nothing else is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from whymask.benchmarks.bench_record import BenchRecord
    from whymask.benchmarks.demo_results import DemoResults

WIDTH_WHERE_NO_TERMINAL = 110
"""Columns of a table in a log; rich would take 80 and break its rows."""


def bench(
    file: Annotated[Path, typer.Argument(help="The fused ONNX file, or its TensorRT engine.")],
    classifier: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The classifier alone, of the same kind. [default: NAME.classifier.onnx or .plan beside the file]",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of pictures. [default: synthetic ones, and that is said]")
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(help="cpu, cuda or tensorrt, for ONNX files. [default: the best that loads, and it is said]"),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads in one operator, for ONNX files. [default: all cores]")
    ] = None,
    cuda_graph: Annotated[
        bool, typer.Option("--cuda-graph/--no-cuda-graph", help="Capture each engine's call once and replay it.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time limit in seconds; a steady ratio ends sooner.")] = 20.0,
    pairs: Annotated[int, typer.Option(min=1, help="Fewest pairs to time; p99 wants 1000.")] = 100,
    batch: Annotated[int, typer.Option(min=1, help="Pictures a call.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the pictures, the order of timing and the bootstrap.")] = 0,
    energy: Annotated[
        bool, typer.Option("--energy", help="Measure joules an image too, in about 90 s more, where a sensor tells.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="JSON", help="Write the record, raw samples included.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record, and nothing else, on standard output.")
    ] = False,
) -> None:
    """Measure what the explanation costs beside the classifier alone, in interleaved pairs.

    Example:
        whymask bench fused.onnx --data photos --threads 1 -o bench.json
        whymask bench fused.plan --data photos --cuda-graph --energy -o bench.json
    """
    from whymask.benchmarks.bench import run_bench
    from whymask.benchmarks.energy import EnergySettings
    from whymask.benchmarks.latency import BenchSettings

    settings = BenchSettings(seconds=seconds, min_pairs=pairs, batch=batch, seed=seed)
    joules = EnergySettings() if energy else None
    with _percent(f"bench {file.name}, % of {seconds:g} s", "the interval is narrow enough") as on_progress:
        record = run_bench(file, classifier, data, provider, threads, settings, on_progress, cuda_graph, joules)
    if output is not None:
        record.save(output)
    if as_json:
        typer.echo(record.to_json(), nl=False)
    else:
        _print_bench(record, output)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Run directory to make.")] = Path(
        "demo-run"
    ),
    seed: Annotated[int, typer.Option(help="Of the data, the training and the report.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Smoke test: every stage, hardly any training, no bars.")
    ] = False,
) -> None:
    """Train, export, explain and bench on a procedural data set; needs neither network nor data, about 4 minutes.

    Example: whymask demo -o demo-run
    """
    from whymask.runtime.errors import MissingExtra

    try:
        from whymask.benchmarks.demo import check_bars, run_demo
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "all", "run the demo") from None
    results = run_demo(out=output, seed=seed, quick=quick)
    _print_demo(results)
    check_bars(results)


@contextmanager
def _percent(title: str, ended_early: str) -> Iterator[Callable[[float], None]]:
    """Progress of what tells its share of a limit; a note where it ends before the limit."""
    from whymask.runtime.progress import track

    with track(100, title) as progress:
        done = 0

        def on_progress(share: float) -> None:
            nonlocal done
            if int(100 * share) > done:
                progress.advance(int(100 * share) - done)
                done = int(100 * share)

        yield on_progress
        if done < 100:
            progress.advance(100 - done, note=ended_early)


def wide_console() -> Console:
    """Standard output, wide enough for tables also where it is a log."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH_WHERE_NO_TERMINAL)


def _print_demo(results: DemoResults) -> None:
    """Table, headline and the report's path on standard output."""
    from whymask.benchmarks.demo_report import summary_table
    from whymask.benchmarks.latency_table import headline

    console = wide_console()
    console.print(summary_table(results))
    console.print(f"· {results.score.bar.text}", markup=False)
    if results.bench is not None:
        console.print(f"· {headline(results.bench)}", markup=False)
    console.print(f"· report: {results.report}", markup=False, style="bold")


def _print_bench(record: BenchRecord, output: Path | None) -> None:
    """Table, sentence and notes on standard output."""
    from whymask.benchmarks.latency_table import headline, notes, table_from_record, where

    console = wide_console()
    console.print(table_from_record(record))
    console.print(where(record), markup=False, soft_wrap=True, style="dim")
    style = "bold" if record.verdict.valid else "bold yellow"
    console.print(headline(record), markup=False, soft_wrap=True, style=style)
    saved = f"record: {output}" if output else "keep the samples with -o bench.json"
    for note in (*notes(record), saved):
        console.print(f"· {note}", markup=False, soft_wrap=True)
