"""The commands `bench` and `demo`: plain typed functions that the runtime's command line picks up.

Only typer, the options and the runtime are imported here, so that `--help` works where nothing else is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whymask.benchmarks.bench_options import (
    Against,
    AsJson,
    Batch,
    Batches,
    Classifier,
    CudaGraph,
    Data,
    Energy,
    Files,
    Loadgen,
    Output,
    Pairs,
    Provider,
    Run,
    Scenario,
    Seconds,
    Seed,
    Threads,
    TriggerRate,
)
from whymask.runtime.checks import MOST_SEED

if TYPE_CHECKING:
    from rich.console import Console

    from whymask.benchmarks.bench_record import BenchRecord
    from whymask.benchmarks.bench_sweep import SweepOptions
    from whymask.benchmarks.demo_results import DemoResults
    from whymask.benchmarks.latency import BenchSettings
    from whymask.benchmarks.sweep_record import SweepRecord

WIDTH_WHERE_NO_TERMINAL = 110
"""Columns of a table in a log; rich would take 80 and break its rows."""


def bench(
    files: Files,
    classifier: Classifier = None,
    data: Data = None,
    provider: Provider = None,
    threads: Threads = None,
    cuda_graph: CudaGraph = False,
    seconds: Seconds = 20.0,
    pairs: Pairs = 100,
    batch: Batch = 1,
    seed: Seed = 0,
    energy: Energy = False,
    batches: Batches = None,
    scenario: Scenario = None,
    against: Against = None,
    run: Run = None,
    trigger_rate: TriggerRate = None,
    loadgen: Loadgen = False,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure what the explanation costs beside the classifier alone, in interleaved pairs.

    One file at one batch is a pair. Several files, --batches, --scenario, --against or --trigger-rate make a sweep, in
    rounds. Both tell the parts of a call, memory, and what decoding and resizing a camera's picture takes beside.

    Example:
        whymask bench fused.onnx --data photos --threads 1 -o bench.json
        whymask bench fused.plan --data photos --cuda-graph --energy -o bench.json
        whymask bench a.onnx b.onnx --scenario single-stream --against recipro-cam,rise --run run -o bench.html
    """
    from whymask.benchmarks.bench_pair import RunOptions
    from whymask.benchmarks.bench_sweep import SweepOptions
    from whymask.benchmarks.energy import EnergySettings
    from whymask.benchmarks.latency import BenchSettings
    from whymask.benchmarks.sweep_report import check_output

    if output is not None:
        check_output(output)
    settings = BenchSettings(seconds=seconds, min_pairs=pairs, batch=batch, seed=seed)
    options = SweepOptions(
        classifier,
        data,
        RunOptions(provider, threads, cuda_graph),
        tuple(name.strip() for name in against.split(",")) if against is not None else (),
        run,
        tuple(trigger_rate or ()),
        loadgen,
        EnergySettings() if energy else None,
    )
    record: BenchRecord | SweepRecord
    _refuse_run_alone(options)
    swept = batches is not None or scenario or options.against or options.trigger_rates or loadgen
    if len(files) > 1 or swept:
        _refuse_double(batch, batches, scenario)
        asked = str(batch) if batches is None and not scenario else batches
        record = _sweep(files, asked, scenario or [], options, settings)
    else:
        record = _pair(files[0], options, settings)
    _hand_over(record, output, as_json)


def _refuse_double(batch: int, batches: str | None, scenario: list[str] | None) -> None:
    from whymask.runtime.errors import InputError

    if batch != 1 and (batches is not None or scenario):
        raise InputError(
            "--batch with --batches or --scenario: both say how many pictures a call has; leave --batch out"
        )


def _refuse_run_alone(options: SweepOptions) -> None:
    from whymask.runtime.errors import InputError

    if options.run is not None and not options.against:
        raise InputError("--run is for --against, which was not given; add --against recipro-cam, or leave it out")


def _pair(file: Path, options: SweepOptions, settings: BenchSettings) -> BenchRecord:
    """One file beside its classifier, with all that one pair can tell."""
    from whymask.benchmarks.bench import run_bench

    how = options.run_options
    files = (file, options.classifier, options.data)
    with _percent(f"bench {file.name}, % of {settings.seconds:g} s", "the interval is narrow enough") as on_progress:
        return run_bench(*files, how.provider, how.threads, settings, on_progress, how.cuda_graph, options.energy)


def _sweep(
    files: list[Path], batches: str | None, scenario: list[str], options: SweepOptions, settings: BenchSettings
) -> SweepRecord:
    """Every point of a sweep, each with its own progress."""
    from whymask.benchmarks.bench_scenarios import batches_from_text, points
    from whymask.benchmarks.bench_sweep import run_sweep

    with ExitStack() as shown:

        def on_point(name: str) -> Callable[[float], None]:
            shown.close()  # the former point's bar
            bar = _percent(f"{name}, % of {settings.seconds:g} s", "every interval is narrow enough")
            return shown.enter_context(bar)

        where = points(scenario, () if batches is None else batches_from_text(batches))
        return run_sweep(files, where, options, settings, on_point)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Run directory to make.")] = Path(
        "demo-run"
    ),
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of the data, the training and the report.")] = 0,
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
        for reason in results.bench.verdict.reasons:
            console.print(f"· not valid: {reason}", markup=False)
    console.print(f"· report: {results.report}", markup=False, style="bold")


def _hand_over(record: BenchRecord | SweepRecord, output: Path | None, as_json: bool) -> None:
    """Files, and the record or its table on standard output."""
    from whymask.benchmarks.sweep_record import SweepRecord
    from whymask.benchmarks.sweep_report import write_bench

    written = write_bench(record, output) if output is not None else []
    if as_json:
        typer.echo(record.to_json(), nl=False)
        return
    saved = [f"record: {path}" for path in written] or ["keep the samples with -o bench.json"]
    if isinstance(record, SweepRecord):
        _print_sweep(record, saved)
    else:
        _print_bench(record, saved)


def _print_bench(record: BenchRecord, saved: list[str]) -> None:
    """Table, sentence and notes on standard output."""
    from whymask.benchmarks.latency_table import headline, notes, table_from_record, where

    console = wide_console()
    console.print(table_from_record(record))
    console.print(where(record), markup=False, soft_wrap=True, style="dim")
    style = "bold" if record.verdict.valid else "bold yellow"
    console.print(headline(record), markup=False, soft_wrap=True, style=style)
    for note in (*notes(record), *saved):
        console.print(f"· {note}", markup=False, soft_wrap=True)


def _print_sweep(record: SweepRecord, saved: list[str]) -> None:
    """A table a point with its sentences, then the notes."""
    from whymask.benchmarks.sweep_words import notes, said_of, sweep_tables, where

    console = wide_console()
    console.print(where(record), markup=False, soft_wrap=True, style="dim")
    for point, shown in zip(record.points, sweep_tables(record), strict=True):
        console.print(shown)
        for said in said_of(point):
            console.print(said, markup=False, soft_wrap=True)
    for note in (*notes(record), *saved):
        console.print(f"· {note}", markup=False, soft_wrap=True)
