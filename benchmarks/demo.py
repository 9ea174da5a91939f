"""`whymask demo`: the whole way on a procedural data set, from training to a report with exact ground truth.

    shapes → classifier → explainer → threshold → ONNX file → explanations, faithfulness, overlap, latency → report.html

No network, no data: everything is drawn from a seed. The folder that it makes is a run directory like any other, with
the fused graph, the classifier's weights and the pictures beside it, so that every other command can be tried on it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks import baselines, shape_classifier
from whymask.benchmarks.bench import run_bench
from whymask.benchmarks.bench_record import BenchRecord
from whymask.benchmarks.demo_results import RIVALS, ClassifierScore, DemoResults, Stage, bars
from whymask.benchmarks.faithfulness import FaithfulnessConfig, measure_faithfulness
from whymask.benchmarks.latency import BenchSettings
from whymask.benchmarks.overlap import masks_of_same_area, overlap
from whymask.benchmarks.shape_classifier import MEAN, STD, ClassifierConfig, accuracy, train_classifier
from whymask.benchmarks.shapes import LABELS, ShapeSet, make_shapes
from whymask.export.onnx_from_run import STAGES as EXPORT_STAGES
from whymask.export.onnx_from_run import export_run
from whymask.runtime import Explanation, WhymaskError, load
from whymask.runtime.errors import ArtefactError, TrainingError
from whymask.runtime.files import nearest_existing, write_atomically
from whymask.runtime.progress import Progress, track
from whymask.train.config import TrainConfig
from whymask.train.fit import train
from whymask.train.run import CARD_FILE, CHECKPOINT_FILE, CONFIG_FILE, EXPLAINER_FILE, METRICS_FILE, Run

if TYPE_CHECKING:
    from whymask.benchmarks.baselines import ClassMaps

SIZE = 64
"""Side of the pictures: the smallest at which all shapes can be told apart under their textures."""

MARKER = ".whymask-demo"
"""Says that a folder was made by this command, which may then make it anew."""

REPORT_FILE, GRAPH_FILE, BENCH_FILE, SHEET_FILE = "report.html", "fused.onnx", "bench.json", "examples.png"
WEIGHTS_FILE, LABELS_FILE, PICTURES = "classifier.safetensors", "labels.txt", "pictures"
STAGES = ("draw shapes", "train classifier", "train explainer", "export", "explain", "bench", "report")
TRAINING, VALIDATION, EXPLAINER, HELD_OUT = range(4)
"""Streams of pictures; no two share one."""

EXPLAINER_SETTINGS = {
    "taps": ("stage1", "stage2", "stage3"),
    "tv": 0.1,
    "robustness": 0.15,
    "retention": 0.93,
    "level_from": 0.3,
    "max_area": 0.35,
}
"""Over `TrainConfig`'s defaults, made for photographs: shapes have sharp edges and cover a fifth of the picture."""


@dataclass(frozen=True)
class Preset:
    """How much of everything.

    Attributes:
        training, validation: pictures for the classifier.
        explaining: pictures for the explainer, calibration included; no labels.
        held_out: pictures that are reported on.
        epochs: of the classifier.
        steps: of the explainer.
        bench_seconds: longest time of the latency measurement.
        judged: whether the bars hold.
    """

    training: int = 8000
    validation: int = 1000
    explaining: int = 3300
    held_out: int = 400
    epochs: int = 6
    steps: int = 900
    bench_seconds: float = 8.0
    judged: bool = True


FULL = Preset()
QUICK = Preset(192, 64, 64, 16, epochs=1, steps=4, bench_seconds=0.5, judged=False)
"""A smoke test: every stage, nothing learnt, no bars."""


def run_demo(out: Path, seed: int = 0, quick: bool = False) -> DemoResults:
    """Run every stage and write the report.

    Args:
        out: folder to make; that of an earlier demo is made anew.
        seed: of the data, the training and every draw.
        quick: take the smoke test's preset.

    Returns:
        What was measured; `report` is the page's path. Whether the bars are met is for `check_bars` to say.

    Raises:
        ArtefactError: `out` holds something else.
        TrainingError: the classifier is not good enough to be explained.
    """
    from whymask.benchmarks.demo_report import page_from_results, sheet_from_results
    from whymask.benchmarks.report import write_picture, write_report

    preset = QUICK if quick else FULL
    prepare_folder(out)
    with _stages() as stages:
        with stages.stage("draw shapes"):
            sets = draw_sets(out, seed, preset)
        with stages.stage("train classifier"):
            score = make_classifier(out, sets, seed, preset)
        with stages.stage("train explainer"):
            run = train(train_config(out, seed, preset), out)
        with stages.stage("export"):
            _export(run, out)
        with stages.stage("explain"):
            results = explain(out, run, sets[HELD_OUT], seed, score)
        with stages.stage("bench"):
            record = _bench(out, seed, preset)
        with stages.stage("report"):
            results = results.finished(record, tuple(stages.done), preset.judged)
            write_report(results.report, page_from_results(results))
            write_picture(out / SHEET_FILE, sheet_from_results(results))
    return results


def check_bars(results: DemoResults) -> None:
    """Fail where a bar is not met.

    Raises:
        WhymaskError: naming each bar that is not met, with what was measured.
    """
    missed = [bar.text for bar in bars(results) if not bar.met]
    if results.judged and missed:
        raise WhymaskError(f"demo: {'; '.join(missed)}. The figures are in {results.report}")


def prepare_folder(out: Path) -> None:
    """An empty folder with the marker; what an earlier demo left there is removed.

    Raises:
        ArtefactError: the folder holds something that no demo made.
    """
    folder = nearest_existing(out.absolute())
    if folder != out.absolute() and not folder.is_dir():
        raise ArtefactError(f"{out}: {folder} is a file and no folder to make it in; give another folder with -o")
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not (out / MARKER).is_file():
        raise ArtefactError(f"{out} exists and was not made by an earlier demo; give another folder with -o")
    shutil.rmtree(out / PICTURES, ignore_errors=True)
    made = (EXPLAINER_FILE, CARD_FILE, CONFIG_FILE, METRICS_FILE, CHECKPOINT_FILE, REPORT_FILE, BENCH_FILE, SHEET_FILE)
    for name in (*made, GRAPH_FILE, "fused.classifier.onnx", WEIGHTS_FILE, LABELS_FILE):
        (out / name).unlink(missing_ok=True)
    write_atomically(out / MARKER, "made by whymask demo, which may make this folder anew\n")


def draw_sets(out: Path, seed: int, preset: Preset) -> list[ShapeSet]:
    """Draw the four sets; those that other commands read are written as files."""
    counts = (preset.training, preset.validation, preset.explaining, preset.held_out)
    # The classifier learns that a picture may show nothing; the explainer is asked for objects only.
    shares = (0.1, 0.1, 0.0, 0.0)
    sets = []
    with track(sum(counts), "drawing shapes", "pictures") as bar:
        for stream, (count, empty) in enumerate(zip(counts, shares, strict=True)):
            sets.append(make_shapes(count, SIZE, 4 * seed + stream, empty=empty))
            bar.advance(count)
    for stream, name in ((EXPLAINER, "train"), (HELD_OUT, "held-out")):
        _write_pictures(out / PICTURES / name, sets[stream].images)
    return sets


def make_classifier(out: Path, sets: list[ShapeSet], seed: int, preset: Preset) -> ClassifierScore:
    """Train the classifier, judge it and write its weights and labels.

    Raises:
        TrainingError: validation accuracy below the bar.
    """
    from safetensors.torch import save

    config = ClassifierConfig(epochs=preset.epochs, seed=seed)
    with track(preset.epochs * (preset.training // config.batch_size), "training the classifier", "steps") as bar:
        model = train_classifier(sets[TRAINING], config, lambda step, total, loss: bar.advance(note=f"loss {loss:.2f}"))
    right = round(accuracy(model, sets[VALIDATION]) * preset.validation)
    score = ClassifierScore(right, preset.validation, sum(p.numel() for p in model.parameters()))
    if preset.judged and not score.bar.met:
        raise TrainingError(f"demo: {score.bar.text}; its explanations would mean little. Try another --seed")
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(out / WEIGHTS_FILE, save(state))
    write_atomically(out / LABELS_FILE, "\n".join(LABELS) + "\n")
    return score


def train_config(out: Path, seed: int, preset: Preset) -> TrainConfig:
    """The explainer's training, as a user would configure it for a classifier in a file."""
    return TrainConfig(
        model=f"{Path(shape_classifier.__file__).resolve()}:shape_classifier",
        data=(str(out / PICTURES / "train"),),
        weights=str(out / WEIGHTS_FILE),
        labels=str(out / LABELS_FILE),
        size=(SIZE, SIZE),
        mean=MEAN,
        std=STD,
        licence="Apache-2.0",
        steps=preset.steps,
        seed=seed,
        holdout=0.25,
        max_holdout=800,
        evaluate_every=0,
        log_every=100,
        **EXPLAINER_SETTINGS,  # type: ignore[arg-type]
    )


def explain(out: Path, run: Run, shapes: ShapeSet, seed: int, score: ClassifierScore) -> DemoResults:
    """Explain the held-out pictures with the exported file, and judge what it says."""
    class_maps = baselines.class_maps_from_classifier(run.classifier)
    with load(out / GRAPH_FILE) as explainer:
        explanations = list(explainer.explain_batch(list(shapes.images), batch_size=32))
        config = FaithfulnessConfig(seed=seed)
        faithful = measure_faithfulness(explainer, list(shapes.images), config, class_maps, "held-out shapes")
        card = explainer.card
    masks = _masks(explanations, shapes.images, class_maps, seed)
    return DemoResults(
        report=out / REPORT_FILE,
        seed=seed,
        score=score,
        card=card,
        shapes=shapes,
        explanations=explanations,
        faithfulness=faithful,
        masks=masks,
        overlaps={name: overlap(each, shapes.masks.astype(bool)) for name, each in masks.items()},
    )


def _masks(
    explanations: list[Explanation], images: NDArray[np.uint8], class_maps: ClassMaps, seed: int
) -> dict[str, NDArray[np.bool_]]:
    """The graph's own masks, bool (n, H, W), and those of the rivals at the same area in the same picture."""
    own = np.stack([each.mask for each in explanations]).astype(bool)
    count, height, width = own.shape
    h, w = explanations[0].saliency.shape
    random = [baselines.random_map(h, w, np.random.default_rng([seed, i])) for i in range(count)]
    maps = {
        baselines.RANDOM: np.stack(random),
        baselines.CENTRE: np.broadcast_to(baselines.centre_map(height, width), own.shape),
        baselines.CAM: class_maps(images, np.array([each.index for each in explanations])),
    }
    return {baselines.EXPLAINER: own} | {name: masks_of_same_area(maps[name], own, seed) for name in RIVALS}


def _export(run: Run, out: Path) -> None:
    """Export with every gate; parity is part of it."""
    with track(EXPORT_STAGES, "exporting", "stages") as bar:
        export_run(run, out / GRAPH_FILE, on_stage=lambda name: bar.advance(note=name))


def _bench(out: Path, seed: int, preset: Preset) -> BenchRecord:
    settings = BenchSettings(seconds=preset.bench_seconds, seed=seed)
    with track(1.0, "timing") as bar:
        done = 0.0

        def on_progress(share: float) -> None:
            nonlocal done
            bar.advance(share - done)
            done = share

        record = run_bench(
            out / GRAPH_FILE, data=out / PICTURES / "held-out", settings=settings, on_progress=on_progress
        )
    record.save(out / BENCH_FILE)
    return record


def _write_pictures(folder: Path, images: NDArray[np.uint8]) -> None:
    """PNG files, so that pixels stay as they were drawn."""
    from PIL import Image

    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:05d}.png", compress_level=1)


class _Stages:
    """Runs the stages one after the other and keeps their times."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self.done: list[Stage] = []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Name what the body does, and time it."""
        self._bar.advance(0, note=name)
        wall, cpu = time.monotonic(), _cpu_seconds()
        yield
        self.done.append(Stage(name, time.monotonic() - wall, _cpu_seconds() - cpu))
        self._bar.advance(1, note=name)


@contextlib.contextmanager
def _stages() -> Iterator[_Stages]:
    with track(len(STAGES), "demo", "stages") as bar:
        yield _Stages(bar)


def _cpu_seconds() -> float:
    """Processor time of this process and of those it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
