"""How long the whole suite takes: all maps and metrics of `whymask evaluate`, timed on classifiers of random weights.

    python -m whymask.benchmarks.suite_speed run                       # all three: minutes on an idle machine
    python -m whymask.benchmarks.suite_speed run --only resnet18       # one, beside what is in the folder
    python -m whymask.benchmarks.suite_speed table                     # README.md from the records

→ benchmarks/results/suite_speed/<classifier>.json, and README.md beside them.

Some pictures are judged and the time for a whole set is that times the ratio, which is said: the share of them with
costly maps is the set's. Time does not ask what weights mean, but a trained explainer's masks may repeat more or fewer
pictures, and what repeats is asked once.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.logits_alone import logits_backend
from whymask.benchmarks.machine import LoadMeter, describe_machine
from whymask.benchmarks.program import chosen, run_program
from whymask.benchmarks.suite.evaluate import EvaluateSettings, suite_from_settings
from whymask.benchmarks.suite.measured import PictureSet
from whymask.benchmarks.suite.record import speed_of
from whymask.benchmarks.suite.sharing import Sharing
from whymask.benchmarks.suite_speed_page import KIND, SCHEMA_VERSION, speed_page
from whymask.runtime.card import METADATA_KEY, SALIENCY
from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.explainer import load
from whymask.runtime.files import write_atomically
from whymask.runtime.images import resize_map
from whymask.runtime.versions import installed_versions

if TYPE_CHECKING:
    from whymask.train.classifier import FrozenClassifier

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "suite_speed"
CLASSIFIERS = ("squeezenet1_1", "mobilenet_v2", "resnet18")
"""Of torchvision."""
PACKAGES = ("whymask", "numpy", "onnx", "onnxruntime", "torch", "torchvision", "captum", "grad-cam")
BUSY_CORES = 0.25
"""What other processes may use before a time is invalid."""
BLOBS = 16
"""Cells along a side of the pictures' coarse part."""

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@dataclass(frozen=True)
class SpeedSettings:
    """How to measure.

    Attributes:
        pictures: judged.
        of: pictures of the set whose time is stated.
        costly: of that set, for which costly maps are made; the judged pictures have the same share.
        threads: cores.
        rise_masks: of RISE.
        side: of the input in pixels.
        channels: width of the tapped decoder.
        seed: of weights and pictures.
    """

    pictures: int = 50
    of: int = 500
    costly: int = 30
    threads: int = 2
    rise_masks: int = 1000
    side: int = 224
    channels: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot stand for the whole set.

        Raises:
            InputError: no picture, more than the set has, or a share of costly ones that is no whole picture.
        """
        if not 1 <= self.pictures <= self.of or self.costly_judged < 1 or self.threads < 1:
            raise InputError(
                f"suite_speed: {self.pictures} of {self.of} pictures, {self.costly} costly, {self.threads} threads; "
                "expected at least one thread, and so many pictures that at least one of them is costly"
            )

    @property
    def costly_judged(self) -> int:
        """Judged pictures that costly maps are made for."""
        return round(self.costly * self.pictures / self.of)


def measure(
    model: str, settings: SpeedSettings, weights: str | None = "random", say: Callable[[str], None] = lambda words: None
) -> dict[str, Any]:
    """Time the suite on one classifier.

    Args:
        model, weights: as `whymask train` takes them.
        settings: how.
        say: told how long it will take.

    Returns:
        The record, as JSON can hold it.

    Raises:
        MissingExtra: torch, onnx or a rival's package is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="whymask-") as folder:
        file = Path(folder) / "fused.onnx"
        classifier = write_graph(model, weights, file, settings)
        sharing = Sharing.of(settings.threads, settings.pictures)
        with (
            load(file, "cpu", threads=sharing.inside) as explainer,
            logits_backend(file, explainer, sharing.inside) as (alone, asked),
        ):
            graph = AskedGraph(explainer, logits_alone=alone)
            wanted = EvaluateSettings(rise_masks=settings.rise_masks, seed=settings.seed, costly=settings.costly_judged)
            suite, left_out = suite_from_settings(explainer, graph, replace(wanted, say=say), False, classifier)
            suite = replace(suite, threads=sharing.chunks)
            with LoadMeter() as meter:
                measured = suite.measure(PictureSet(classifier.id, noise_pictures(settings)))
    return {
        "schema": SCHEMA_VERSION,
        "kind": KIND,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "classifier": model.rpartition(":")[2],
        "model": model,
        "weights": weights,
        "settings": dataclasses.asdict(settings) | {"costly_judged": settings.costly_judged},
        "asked": asked,
        "maps": {rival.name: {"stated": rival.stated, "costly": rival.is_costly} for rival in suite.rivals},
        "left_out": left_out,
        "own_area": round(float(measured.own.area.mean()), 4),
        "speed": speed_of(measured),
        "whole_set_seconds": round(measured.seconds * settings.of / settings.pictures, 1),
        "load": dataclasses.asdict(meter.load),
        "verdict": _verdict(meter.load.others_cores),
        "machine": dataclasses.asdict(describe_machine()),
        "versions": {"python": platform.python_version()} | installed_versions(PACKAGES),
    }


def write_graph(model: str, weights: str | None, file: Path, settings: SpeedSettings) -> FrozenClassifier:
    """Write a fused graph of an untrained explainer, with its card; gives its classifier in torch."""
    try:
        import onnx

        from whymask.benchmarks import cost_graphs
        from whymask.train.config import ExplainerConfig
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "export", "build the graphs that are timed") from None
    width = ExplainerConfig(channels=settings.channels)
    classifier, made = cost_graphs.seeded(model, weights, width, settings.side, settings.seed)
    graph = cost_graphs.build_graph(cost_graphs.FUSED, classifier, made)
    (shape,) = (each.type.tensor_type.shape for each in graph.graph.output if each.name == SALIENCY)
    card = cost_graphs.card_of(classifier, made, *(size.dim_value for size in shape.dim[1:]))
    onnx.helper.set_model_props(graph, {METADATA_KEY: card.to_json()})
    write_atomically(file, graph.SerializeToString())
    return classifier


def noise_pictures(settings: SpeedSettings) -> list[NDArray[np.uint8]]:
    """Seeded pictures of coarse and fine noise, uint8 (side, side, 3) each: no two alike, no pixel like the next."""
    rng, side = np.random.default_rng(settings.seed), settings.side
    coarse = resize_map(rng.uniform(0, 200, (settings.pictures, 3, BLOBS, BLOBS)).astype(np.float32), side, side)
    fine = rng.uniform(0, 55, coarse.shape)
    return list((coarse + fine).astype(np.uint8).transpose(0, 2, 3, 1))


def _verdict(others_cores: float | None) -> dict[str, Any]:
    """Whether the time tells of the suite alone."""
    if others_cores is not None and others_cores > BUSY_CORES:
        return {"valid": False, "reasons": [f"other processes used {others_cores:.1f} cores"]}
    return {"valid": True, "reasons": []}


@app.command()
def run(
    only: Annotated[list[str] | None, typer.Option(help="Classifier to time; repeatable. [default: all]")] = None,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures that are judged; those stated are 500.")] = 50,
    threads: Annotated[int, typer.Option(min=1, help="Cores to use.")] = 2,
    folder: Annotated[Path, typer.Option("-o", "--out", help="Where the records and the page go.")] = RESULTS,
) -> None:
    """Time the suite on each classifier, and rewrite the page.

    Example: python -m whymask.benchmarks.suite_speed run --only squeezenet1_1
    """
    settings = SpeedSettings(pictures=pictures, threads=threads)
    for name in chosen(only or (), CLASSIFIERS):
        record = measure(f"torchvision:{name}", settings, say=lambda words: typer.echo(words, err=True))
        write_atomically(folder / f"{name}.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    typer.echo(f"Written: {write_page(folder)}")


@app.command()
def table(folder: Annotated[Path, typer.Option("-o", "--out", help="Where the records are.")] = RESULTS) -> None:
    """Rewrite the page from the records.

    Example: python -m whymask.benchmarks.suite_speed table
    """
    typer.echo(f"Written: {write_page(folder)}")


def write_page(folder: Path) -> Path:
    """Write README.md from the folder's records.

    Raises:
        InputError: there is none.
    """
    records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    ordered = [records[name] for name in (*CLASSIFIERS, *sorted(set(records) - set(CLASSIFIERS))) if name in records]
    if not ordered:
        raise InputError(f"{folder}: no record; make one with: python -m whymask.benchmarks.suite_speed run")
    write_atomically(folder / "README.md", speed_page(ordered))
    return folder / "README.md"


if __name__ == "__main__":
    run_program(app)
