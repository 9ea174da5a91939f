"""The study on real classifiers: train, export and judge an explainer for each of three ImageNet networks.

    python -m whymask.benchmarks.imagenet all                       # hours without a GPU
    python -m whymask.benchmarks.imagenet train mobilenet_v2_tf     # → runs/imagenet/mobilenet_v2_tf/
    python -m whymask.benchmarks.imagenet export mobilenet_v2_tf    # the graph alone, from a trained run
    python -m whymask.benchmarks.imagenet evaluate mobilenet_v2_tf  # → benchmarks/results/mobilenet_v2_tf.json
    python -m whymask.benchmarks.imagenet half mobilenet_v2_tf      # → benchmarks/results/mobilenet_v2_tf.fp16.json
    python -m whymask.benchmarks.imagenet bench mobilenet_v2_tf     # → benchmarks/results/mobilenet_v2_tf.latency.json
    python -m whymask.benchmarks.imagenet table                     # → benchmarks/results/README.md and README.md

Pictures and weights are not part of this repository: `WHYMASK_DATA` names the folder that holds them. What is trained
on is listed by `training_images`, what thresholds are calibrated on by `calibration_images`, what is reported on by
`evaluation_sets`; a test holds them apart.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from whymask.benchmarks.evaluation import evaluate_file, write_report
from whymask.benchmarks.latency_page import latency_block, read_latency
from whymask.benchmarks.parity_page import parity_block, read_parity
from whymask.benchmarks.program import run_program
from whymask.benchmarks.records import read_report
from whymask.benchmarks.tables import readme_block, replace_block, results_page
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.files import write_atomically
from whymask.runtime.images import find_images

if TYPE_CHECKING:
    from whymask.train.classifier import FrozenClassifier
    from whymask.train.config import TrainConfig

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"
RUNS = REPOSITORY / "runs" / "imagenet"
DATA_VARIABLE = "WHYMASK_DATA"
GRAPH_FILE = "fused.onnx"
HALF_FILE = "fused.fp16.onnx"
LATENCY_ENDING, PARITY_ENDING = ".latency.json", ".fp16.json"
COMMAND = "python -m whymask.benchmarks.imagenet"

COMMON: dict[str, Any] = {
    "size": (160, 160),
    "channels": 48,
    "steps": 1200,
    "batch_size": 24,
    "evaluate_every": 300,
    "seed": 0,
    "holdout": 0.15,
    "max_holdout": 400,
    "cache_gigabytes": 4.0,
    "others": 0.0,  # judged on predicted classes alone; `explanations` trains for any class
    "presence": 0.0,
    "alpha": 0.08,  # a margin for pictures unlike the calibration's: imagenette's are enlarged from 128 px
}
"""Settings of all three; what is not here is `TrainConfig`'s default."""

SETTINGS: dict[str, dict[str, Any]] = {
    "mobilenet_v2_tf": {
        "licence": "classifier: Apache-2.0; pictures: ImageNet terms, research",
        # 40 × 40 cells in place of 20 × 20, for SqueezeNet's reason, from a thin layer of that size.
        "taps": ("features.3", "features.7.conv.0", "features.14.conv.0", "features"),
        "alpha": 0.05,  # at 0.08 it kept 96 % of the calibration's decisions and 89 % of imagenette's
    },
    "resnet18_noncommercial": {
        "licence": "classifier: non-commercial research; pictures: ImageNet terms, research",
        "taps": ("layer1", "layer2", "layer3", "layer4"),  # 40 × 40 cells in place of 20 × 20, for SqueezeNet's reason
    },
    "squeezenet1_1": {
        "licence": "classifier: MIT, BSD-2-Clause; pictures: ImageNet terms, research",
        "hard_share": 0.3,  # at 0.8 the mean retention on held-out pictures fell from 18.3 to 17.2 %
        "steps": 1800,  # at 1200 its levels had not settled: 94 % of the pixels for the promise, against 87 %
        # The taps chosen by default make a map of 19 × 19 here. With features.4 it has 39 × 39, and after 600 steps the
        # mean retention on 1,200 pictures of the training set was 19.7 instead of 18.2 %.
        "taps": ("features.4", "features.7", "classifier.0"),
    },
}
"""What differs, by classifier; over `COMMON`."""

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


def data_root() -> Path:
    """The folder of pictures and weights: `WHYMASK_DATA`, else `../shared/data` beside the repository.

    Raises:
        InputError: there is none.
    """
    root = Path(os.environ.get(DATA_VARIABLE) or REPOSITORY.parent / "shared" / "data")
    if not (root / "classifiers.py").is_file():
        raise InputError(
            f"{root} holds no classifiers.py; this study needs the folder of classifiers and pictures: "
            f"set {DATA_VARIABLE} to it"
        )
    return root


def training_images(root: Path) -> list[Path]:
    """Pictures that an explainer may learn from; none is ever reported on.

    Args:
        root: see `data_root`.

    Returns:
        All of imagenette10_128/train, and every second picture (even positions, sorted) of imagenet_val_boxes.
    """
    images = root / "images"
    return find_images(images / "imagenette10_128" / "train") + find_images(images / "imagenet_val_boxes")[::2]


def calibration_images(root: Path) -> list[Path]:
    """Pictures that thresholds are calibrated on: the odd positions of imagenet_val_boxes, sorted.

    They are ImageNet's validation pictures. Most of those above the classifiers were trained on: they are surer of
    them than of new ones, and a promise made on them broke on new ones (SqueezeNet kept 93 % there, 88 % of new ones).

    Args:
        root: see `data_root`.
    """
    return find_images(root / "images" / "imagenet_val_boxes")[1::2]


def evaluation_sets(root: Path) -> dict[str, list[Path]]:
    """Pictures that are reported on, by name of the set."""
    images = root / "images"
    return {
        "imagenette10_128/val": find_images(images / "imagenette10_128" / "val"),
        "photos_ccby": find_images(images / "photos_ccby"),
    }


def train_config(classifier: str, root: Path) -> TrainConfig:
    """The configuration of a classifier's run."""
    from whymask.train.config import TrainConfig

    mean, std = normalisation(root / "classifiers.py", known(classifier))
    return TrainConfig(
        model=f"{root / 'classifiers.py'}:{classifier}",
        data=tuple(str(path) for path in training_images(root)),
        calibration_data=tuple(str(path) for path in calibration_images(root)),
        labels=str(root / "imagenet_class_index.json"),
        mean=mean,
        std=std,
        **{**COMMON, **SETTINGS[classifier]},
    )


def known(classifier: str) -> str:
    """The name, if the study has it.

    Raises:
        InputError: it has not.
    """
    if classifier not in SETTINGS:
        raise InputError(f"classifier {classifier!r} is not in this study; expected one of {', '.join(SETTINGS)}")
    return classifier


@app.command()
def train(
    classifier: str,
    steps: int = typer.Option(0, help="Optimiser steps; 0 takes the study's own."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the run's checkpoint."),
) -> None:
    """Train an explainer and export the fused graph.

    Example: python -m whymask.benchmarks.imagenet train mobilenet_v2_tf
    """
    from whymask.export.onnx_from_run import export_run
    from whymask.train import fit

    config = train_config(classifier, data_root())
    run = fit.train(replace(config, steps=steps) if steps else config, RUNS / classifier, resume=resume)
    export_run(run, RUNS / classifier / GRAPH_FILE)


@app.command()
def export(classifier: str) -> None:
    """Export a trained run's fused graph, with today's exporter.

    Example: python -m whymask.benchmarks.imagenet export mobilenet_v2_tf
    """
    from whymask.export.onnx_from_run import export_run
    from whymask.train.run import load_run

    export_run(load_run(RUNS / known(classifier)), RUNS / classifier / GRAPH_FILE)


@app.command()
def evaluate(
    classifier: str, limit: int = typer.Option(0, help="Pictures a set; 0 takes all, and only then a result is kept.")
) -> None:
    """Judge the exported graph on both sets, beside random, centre and the classifier's own CAM.

    Example: python -m whymask.benchmarks.imagenet evaluate mobilenet_v2_tf
    """
    folder, graph = RUNS / known(classifier), RUNS / classifier / GRAPH_FILE
    if not graph.is_file():
        raise ArtefactError(f"{graph} is absent; make it with: {COMMAND} train {classifier}")
    command = f"{COMMAND} evaluate {classifier}" + (f" --limit {limit}" if limit else "")
    report = evaluate_file(graph, evaluation_sets(data_root()), command=command, run=folder, limit=limit or None)
    path = (folder if limit else RESULTS) / f"{classifier}.json"
    write_report(path, report)
    typer.echo(results_page([report]))
    typer.echo(f"Written: {path}")


@app.command()
def half(classifier: str, count: int = typer.Option(200, help="Photographs to compare on.")) -> None:
    """Export the run in FP16, and compare the file with the run on photographs.

    Example: python -m whymask.benchmarks.imagenet half mobilenet_v2_tf
    """
    from whymask.export.onnx_from_run import export_run
    from whymask.export.run_backend import RunBackend
    from whymask.export.samples import real_pictures
    from whymask.export.verification import RUN, Images
    from whymask.export.verify import Artefact, opened, verify_pair
    from whymask.train.run import load_run

    folder, photos = RUNS / known(classifier), data_root() / "images" / "photos_ccby"
    run = load_run(folder)
    export_run(run, folder / HALF_FILE, precision="fp16")
    pictures = real_pictures([photos], run.card.input, count)
    if pictures is None:
        raise InputError(f"{photos}: no picture there can be read; expected the study's photographs")
    reference = Artefact(folder, RUN, RunBackend(run))
    with opened(folder / HALF_FILE) as measured:
        result = verify_pair(measured, reference, pictures, Images(len(pictures), photos.name, False))
    text = json.dumps(result.to_record(), ensure_ascii=False, indent=1)
    write_atomically(RESULTS / f"{classifier}{PARITY_ENDING}", f"{text}\n")
    result.check()


@app.command()
def bench(classifier: str, seconds: float = typer.Option(90.0, help="Time limit in seconds.")) -> None:
    """Measure what the explanation costs beside the classifier alone, on real pictures.

    Example: python -m whymask.benchmarks.imagenet bench mobilenet_v2_tf
    """
    from whymask.benchmarks.bench import run_bench
    from whymask.benchmarks.latency import BenchSettings
    from whymask.benchmarks.latency_table import headline

    data = data_root() / "images" / "imagenette10_128" / "val"
    record = run_bench(RUNS / known(classifier) / GRAPH_FILE, data=data, settings=BenchSettings(seconds=seconds))
    record.save(RESULTS / f"{classifier}{LATENCY_ENDING}")
    typer.echo(f"{headline(record)}. {'; '.join(record.verdict.reasons)}")


@app.command()
def table() -> None:
    """Rewrite benchmarks/results/README.md and the table in README.md from the committed results.

    Example: python -m whymask.benchmarks.imagenet table
    """
    reports = committed_reports(RESULTS)
    latency = committed(
        RESULTS,
        LATENCY_ENDING,
        read_latency,
        latency_block,
        f"Latency has not been measured: {COMMAND} bench CLASSIFIER",
    )
    parity = committed(
        RESULTS,
        PARITY_ENDING,
        read_parity,
        parity_block,
        f"Half precision has not been compared: {COMMAND} half CLASSIFIER",
    )
    page = [results_page(reports), f"# Latency\n\n{latency}\n", f"# Half precision\n\n{parity}", ""]
    write_atomically(RESULTS / "README.md", "\n".join(page))
    replace_block(REPOSITORY / "README.md", "\n\n".join([readme_block(reports), latency, parity]))
    typer.echo(f"Written: {RESULTS / 'README.md'} and the table in {REPOSITORY / 'README.md'}")


def committed_reports(folder: Path) -> list[dict[str, Any]]:
    """The reports of a folder, in the study's order.

    Raises:
        InputError: there is none.
    """
    paths = [folder / f"{classifier}.json" for classifier in SETTINGS]
    reports = [read_report(path) for path in paths if path.is_file()]
    if not reports:
        raise InputError(f"{folder} holds no results; make them with: {COMMAND} all")
    return reports


def committed(
    folder: Path,
    ending: str,
    read: Callable[[Path], dict[str, Any]],
    block: Callable[[list[dict[str, Any]]], str],
    absent: str,
) -> str:
    """The records of one kind in a folder as Markdown, in the study's order.

    Args:
        folder: of the results.
        ending: of the records' names, behind the classifier's.
        read: reads one.
        block: writes them all.
        absent: what is said where there is none.
    """
    paths = [folder / f"{classifier}{ending}" for classifier in SETTINGS]
    records = [read(path) for path in paths if path.is_file()]
    return block(records) if records else absent


@app.command(name="all")
def everything() -> None:
    """Train, evaluate, halve and time all three classifiers, then rewrite the tables.

    Example: python -m whymask.benchmarks.imagenet all
    """
    for classifier in SETTINGS:
        train(classifier, steps=0, resume=False)
        evaluate(classifier, limit=0)
        half(classifier, count=200)
        bench(classifier, seconds=90.0)
    table()


def frozen_classifier(name: str, size: tuple[int, int]) -> FrozenClassifier:
    """A classifier of the data in torch, with the taps that are chosen by themselves.

    Args:
        name: of the study.
        size: of its input, (height, width) in pixels.

    Raises:
        InputError: the classifier is not in this study.
    """
    from whymask.train.model_spec import load_classifier

    path = data_root() / "classifiers.py"
    mean, std = normalisation(path, known(name))
    return load_classifier(f"{path}:{name}", size=size, mean=mean, std=std)


def normalisation(path: Path, classifier: str) -> tuple[Any, Any]:
    """Mean and std that the file of classifiers states."""
    spec = importlib.util.spec_from_file_location("_whymask_study_classifiers", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    mean, std = module.NORMALISATION[classifier]
    return mean, std


if __name__ == "__main__":
    run_program(app)
