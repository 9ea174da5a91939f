"""What the why costs on the CPU: the fused graph against its classifier alone, on six classifiers of random weights.

    python -m whymask.benchmarks.cost run                       # all six: about ten minutes on an idle machine
    python -m whymask.benchmarks.cost run --only mobilenet_v2   # one, beside what is in the folder
    python -m whymask.benchmarks.cost table                     # README.md from the records
    python -m whymask.benchmarks.cost faithful RUN --data DIR   # that the cuts cost no faithfulness

→ benchmarks/results/cost/<classifier>.json with raw samples, and benchmarks/results/cost/README.md with the bars.

Five pairs a classifier, each in one process, call by call in turn, threads asleep between calls: the fused graph, the
graphs exported with `--certify kept` and `--certify both`, Recipro-CAM's graph, and the classifier in torch, each
beside the classifier alone in ONNX Runtime. The cost is the median of the paired ratios.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from whymask.benchmarks.cost_faithful_page import FAITHFUL_STEM, write_faithful
from whymask.benchmarks.cost_page import COST_KIND, SCHEMA_VERSION, bars_table, cost_page, record_from
from whymask.benchmarks.evaluation import pictures_in, spread
from whymask.benchmarks.latency import BenchSettings, Images, Run, measure_pairs
from whymask.benchmarks.latency_stats import judge, median_of_ratios, summarise
from whymask.benchmarks.machine import LoadMeter, describe_machine
from whymask.benchmarks.program import chosen, run_program
from whymask.benchmarks.tables import replace_block
from whymask.runtime.backends import CERTIFICATES
from whymask.runtime.card import IMAGE
from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.files import write_atomically
from whymask.runtime.ort import OrtBackend
from whymask.runtime.progress import Progress, track
from whymask.runtime.versions import installed_versions

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "cost"
BEGIN, END = "<!-- cost:begin -->", "<!-- cost:end -->"
CLASSIFIERS = ("mobilenet_v2", "resnet18", "squeezenet1_1", "resnet50", "efficientnet_b0", "vit_b_16")
"""Of torchvision."""
PACKAGES = ("whymask", "numpy", "onnx", "onnxruntime", "onnxscript", "torch", "torchvision")
TORCH, RANDOM = "torch", "random"
PAIRS = ("fused", *CERTIFICATES, "recipro", TORCH)
"""What is timed beside the classifier alone."""

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@dataclass(frozen=True)
class CostSettings:
    """How to measure.

    Attributes:
        seconds: time limit of each pair, s.
        threads: inside one operator.
        side: of the input in pixels; None takes each classifier's own, 224.
        channels: width of the tapped decoder.
        seed: of weights, pictures and bootstrap.
        margin: half-width of the interval, as a share, at which a pair is done and above which it is invalid.
        min_pairs: fewest pairs; a transformer with its certificate makes one a second.
    """

    seconds: float = 20.0
    threads: int = 2
    side: int | None = None
    channels: int = 32
    seed: int = 0
    margin: float = 0.01
    min_pairs: int = 20

    def bench(self) -> BenchSettings:
        """The settings of one pair."""
        return BenchSettings(
            seconds=self.seconds, seed=self.seed, margin=self.margin, min_pairs=self.min_pairs, warmup_seconds=1.0
        )


def measure(
    model: str,
    settings: CostSettings,
    on_step: Callable[[str], None] = lambda note: None,
    weights: str | None = RANDOM,
) -> dict[str, Any]:
    """Build every graph of one classifier, count it and time it.

    Args:
        model, weights: as `whymask train` takes them.
        settings: how to measure.
        on_step: told of each graph and each pair as it starts.

    Returns:
        The record, as JSON can hold it.

    Raises:
        MissingExtra: torch or onnx is not installed.
    """
    try:
        from whymask.benchmarks import cost_graphs
        from whymask.train.config import ExplainerConfig
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "export", "build the graphs of the study") from None
    explainer = ExplainerConfig(channels=settings.channels)
    classifier, made = cost_graphs.seeded(model, weights, explainer, settings.side, settings.seed)
    rule = classifier.rule
    pictures = np.random.default_rng(settings.seed).integers(0, 256, (16, rule.height, rule.width, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        costs = cost_graphs.write_graphs(classifier, made, Path(folder), lambda name: on_step(f"export {name}"))
        pairs = {}
        with OrtBackend(Path(folder) / "alone.onnx", "cpu", settings.threads, spin=False) as alone:
            for name in (each for each in PAIRS if each in costs or each == TORCH):
                on_step(f"time {name}")
                with _runner(name, Path(folder), classifier, settings.threads) as run:
                    pairs[name] = _pair_record(run, _calls(alone), pictures, settings)
    return {
        "schema": SCHEMA_VERSION,
        "kind": COST_KIND,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "classifier": model.rpartition(":")[2],
        "model": model,
        "weights": weights,
        "height": rule.height,
        "width": rule.width,
        "taps": [[tap.channels, tap.height, tap.width] for tap in classifier.tap_specs],
        "settings": dataclasses.asdict(settings),
        "machine": dataclasses.asdict(describe_machine()),
        "versions": {"python": platform.python_version()} | installed_versions(PACKAGES),
        "costs": {name: dataclasses.asdict(cost) for name, cost in costs.items()},
        "pairs": pairs,
    }


def _calls(backend: OrtBackend) -> Run:
    return lambda images: backend.run({IMAGE: images})


@contextmanager
def _runner(name: str, folder: Path, classifier: Any, threads: int) -> Iterator[Run]:
    """A graph of the folder in ONNX Runtime, or the classifier in torch at as many threads."""
    if name != TORCH:
        with OrtBackend(folder / f"{name}.onnx", "cpu", threads, spin=False) as backend:
            yield _calls(backend)
        return
    import torch

    from whymask.export.fuse import ClassifierGraph

    graph, before = ClassifierGraph(classifier).eval(), torch.get_num_threads()
    torch.set_num_threads(threads)

    def run(images: Images) -> Any:
        with torch.inference_mode():
            return graph(torch.from_numpy(images))

    try:
        yield run
    finally:
        torch.set_num_threads(before)


def _pair_record(run: Run, alone: Run, pictures: Images, settings: CostSettings) -> dict[str, Any]:
    bench = settings.bench()
    with LoadMeter() as meter:
        pairs = measure_pairs(run, alone, pictures, bench)
    ratio = median_of_ratios(pairs.fused_ms, pairs.classifier_ms, bench.confidence, bench.resamples, bench.seed)
    count = pairs.fused_ms.size
    verdict = judge(
        ratio,
        count,
        margin=2 * settings.margin,  # the look that ended the pairs was at the ratio of the medians
        min_pairs=settings.min_pairs,
        load=meter.load,
        threads=settings.threads,
    )
    samples = {"ms": pairs.fused_ms, "alone_ms": pairs.classifier_ms, "first": pairs.fused_first}
    return {
        "ratio": dataclasses.asdict(ratio),
        "own": dataclasses.asdict(summarise(pairs.fused_ms)),
        "alone": dataclasses.asdict(summarise(pairs.classifier_ms)),
        "load": dataclasses.asdict(meter.load),
        "verdict": dataclasses.asdict(verdict),
        "samples": {name: values.tolist() for name, values in samples.items()},
    }


def write_page(folder: Path) -> Path:
    """Write README.md from the folder's records, and the front page's block where they are the study's own.

    Raises:
        InputError: there is none.
        ArtefactError: one is no record of the study, or a newer one.
    """
    found = [path for path in sorted(folder.glob("*.json")) if path.stem != FAITHFUL_STEM]
    records = {path.stem: record_from(path) for path in found}
    ordered = [records[name] for name in (*CLASSIFIERS, *sorted(set(records) - set(CLASSIFIERS))) if name in records]
    if not ordered:
        raise InputError(f"{folder}: no record of the study; make one with: python -m whymask.benchmarks.cost run")
    write_atomically(folder / "README.md", cost_page(ordered))
    if folder == RESULTS:
        replace_block(RESULTS.parents[2] / "README.md", bars_table(ordered), BEGIN, END)
    return folder / "README.md"


@app.command()
def run(
    only: Annotated[list[str] | None, typer.Option(help="Classifier to time; repeatable. Default: all.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time limit of each of the five pairs, s.")] = 20.0,
    threads: Annotated[int, typer.Option(min=1, help="Threads inside one operator.")] = 2,
    channels: Annotated[int, typer.Option(min=1, help="Width of the explainer's decoder.")] = 32,
    folder: Annotated[Path, typer.Option("-o", "--out", help="Where the records and the page go.")] = RESULTS,
) -> None:
    """Time the graphs of each classifier, and rewrite the page.

    Example: python -m whymask.benchmarks.cost run --only resnet18 --seconds 10
    """
    settings = CostSettings(seconds=seconds, threads=threads, channels=channels)
    names = chosen(only or (), CLASSIFIERS)
    with track(len(names) * 2 * len(PAIRS), "cost", "steps") as bar:
        for name in names:
            record = measure(f"torchvision:{name}", settings, partial(_advance, bar, name))
            write_atomically(folder / f"{name}.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    typer.echo(f"Written: {write_page(folder)}")


@app.command()
def table(
    folder: Annotated[Path, typer.Option("-o", "--out", help="Where the records are.")] = RESULTS,
) -> None:
    """Rewrite the page from the records.

    Example: python -m whymask.benchmarks.cost table
    """
    typer.echo(f"Written: {write_page(folder)}")


@app.command()
def faithful(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory with the tapped explainer.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Pictures to judge both forms on.")],
    count: Annotated[
        int, typer.Option("-n", "--pictures", min=1, help="How many, evenly spread over the folder.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of equal pixels.")] = 0,
    folder: Annotated[Path, typer.Option("-o", "--out", help="Where faithful.json and faithful.md go.")] = RESULTS,
) -> None:
    """Judge the explainer's graph as trained and as deployed on the same pictures, beside what is in the folder.

    Example: python -m whymask.benchmarks.cost faithful runs/mine --data photos
    """
    try:
        from whymask.benchmarks.cost_faithful import STEPS
        from whymask.benchmarks.cost_faithful import measure as measure_faithful
        from whymask.train.run import load_run
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "export", "export a run both ways") from None
    ((name, images),) = pictures_in(data).items()
    loaded = load_run(run_folder)
    with track(STEPS, "faithful", "steps") as bar:
        found = measure_faithful(loaded, spread(images, count), name, seed, partial(_advance, bar, run_folder.name))
    typer.echo(f"Written: {write_faithful(folder, found)}")


def _advance(bar: Progress, name: str, note: str) -> None:
    bar.advance(note=f"{name}: {note}")


if __name__ == "__main__":
    run_program(app)
