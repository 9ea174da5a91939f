"""Rows of the table of methods: a map judged on the exported graph, timed, and resumed where it stopped.

Letters: B pictures of a chunk, H W the graph's input height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks import baselines
from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.evaluation import classifier_from_run
from whymask.benchmarks.method_clock import Clock
from whymask.benchmarks.methods_page import COLUMNS, ROWS
from whymask.benchmarks.picture_work import picture_name, read_work, write_work
from whymask.benchmarks.pictures import chunks
from whymask.benchmarks.rivals.registry import rivals
from whymask.benchmarks.rivals.rival import Rival
from whymask.benchmarks.suite.measured import PictureSet
from whymask.benchmarks.suite.runner import Suite
from whymask.benchmarks.suite.sample import Ask, Cell, Cells, Metric, Sample
from whymask.benchmarks.suite.sweeps import SWEEP, measure_sweep
from whymask.runtime.card import LOGITS, MASK, SALIENCY
from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.explainer import Explainer
from whymask.runtime.images import fit, rgb_from
from whymask.runtime.progress import track

if TYPE_CHECKING:
    import torch

    from whymask.train.classifier import FrozenClassifier

SEED = 0


@dataclass(frozen=True)
class Judged:
    """A row's map as it is judged.

    Attributes:
        rival: the method; None for the graph's own saliency.
        steps: that a per-image method spends on a picture, 0 for others.
        own_steps: its own number.
        device: where it computes; None is the processor.
    """

    rival: Rival | None
    steps: int = 0
    own_steps: int = 0
    device: torch.device | None = None


def counted_rival(rival: Rival, clock: Clock) -> Rival:
    """The same method, its maps counted by the clock."""

    def maps(images: NDArray[np.uint8], target: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float32]:
        with clock.counted():
            return rival.maps(images, target, places)

    return replace(rival, maps=maps)


def method_rival(name: str, classifier: FrozenClassifier, steps: int, device: torch.device | None = None) -> Rival:
    """A method of METHODS as a rival: its masks before they are cut.

    Args:
        name: of METHODS.
        classifier: asked, never changed.
        steps: on a picture.
        device: where it computes; None is the processor.
    """
    from whymask.train.method_session import MethodSession
    from whymask.train.methods import METHODS

    session = MethodSession(name, classifier, steps, SEED, device)

    def maps(images: NDArray[np.uint8], target: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float32]:
        del places
        return session.explain(images, target, lambda _: None)

    spent = f"at most {steps} steps" if METHODS[name].settles else f"{steps} steps"
    return Rival(name, f"{METHODS[name].about}; {spent}", maps, float(steps))


def judged_row(name: str, explainer: Explainer, run: Path, steps: int, device: str | None = None) -> Judged:
    """The method of a row.

    Args:
        name: of ROWS.
        explainer: the loaded graph.
        run: its run directory, for methods that need the classifier in torch.
        steps: of a per-image method; 0 takes its own number.
        device: of a per-image method; see `whymask.train.device.device_from_name`.

    Raises:
        InputError: no such row, one without a map, or no such device.
        MissingExtra: torch is not installed.
    """
    if name not in ROWS or not ROWS[name].has_map:
        reason = "has no map to judge" if name in ROWS else "is unknown"
        expected = ", ".join(each for each, row in ROWS.items() if row.has_map)
        raise InputError(f"--row {name!r} {reason}; expected one of {expected}")
    if name == baselines.EXPLAINER:
        return Judged(None)
    classifier = classifier_from_run(run, explainer)
    if ROWS[name].per_image:
        try:
            from whymask.train.device import device_from_name
            from whymask.train.methods import METHODS
        except ImportError as error:
            raise MissingExtra(error.name or "torch", "train", "explain pictures one by one") from None
        own, place = METHODS[name].steps, device_from_name(device)
        return Judged(method_rival(name, classifier, steps or own, place), steps or own, own, place)
    size = (explainer.card.explainer.height, explainer.card.explainer.width)
    found, _ = rivals(AskedGraph(explainer).logits, explainer.card, classifier, [name], saliency_size=size, seed=SEED)
    return Judged(found[0])


def measure_row(
    explainer: Explainer, judged: Judged, files: Sequence[Path], settings: dict[str, Any], batch: int, work: Path
) -> list[dict[str, Any]]:
    """Judge a row on every picture that `work` does not hold yet; the figures of all, in the order of the files.

    Args:
        explainer: the loaded graph.
        judged: the row.
        files: pictures; each has to be readable.
        settings: everything that the figures depend on beside the pictures.
        batch: pictures that are explained together, at least 1.
        work: JSON lines of the pictures done, the settings first.

    Raises:
        ArtefactError: `work` is of other settings.
        InputError: a picture cannot be read.
    """
    done = read_work(work, settings)
    absent = [file for file in files if picture_name(file) not in done]
    with track(len(absent), f"judge {settings['row']}", "pictures") as bar:
        for chunk in chunks(absent, batch):
            for record in _records(explainer, judged, [f for f in chunk if isinstance(f, Path)]):
                done[record["picture"]] = record
            write_work(work, settings, done.values())
            bar.advance(len(chunk))
    return [done[picture_name(file)] for file in files]


def _records(explainer: Explainer, judged: Judged, files: Sequence[Path]) -> list[dict[str, Any]]:
    """A record a picture: class, the columns, and the seconds of its map."""
    graph, clock = AskedGraph(explainer), Clock(judged.device)
    compared = [] if judged.rival is None else [counted_rival(judged.rival, clock)]
    name = baselines.EXPLAINER if judged.rival is None else judged.rival.name
    found = Suite(explainer, graph, compared, (sweep_of(name),), SEED).measure(PictureSet("", files))
    if found.unreadable:
        raise InputError(f"methods: {found.unreadable[0]}; every picture of the set has to be readable")
    if judged.rival is None:
        clock = _one_pass(graph, explainer, files)
    columns = {column: found.cells[Cell(name, column)] for column in COLUMNS}
    return [
        {
            "picture": picture_name(file),
            "class": int(found.own.top1[index]),
            "seconds": round(clock.seconds / len(files), 6),
            **{column: round(float(values[index]), 6) for column, values in columns.items()},
        }
        for index, file in enumerate(files)
    ]


def sweep_of(name: str) -> Metric:
    """The suite's sweep of one map alone: the explainer's, which every sample holds, is a row of its own.

    A sample without the map has no cell: the suite shows costly maps in a sample of their own.
    """

    def measure(ask: Ask, sample: Sample, seed: int) -> Cells:
        if name not in sample.orders:
            return {}
        return measure_sweep(ask, replace(sample, orders={name: sample.orders[name]}), seed)

    return replace(SWEEP, measure=measure)


def _one_pass(graph: AskedGraph, explainer: Explainer, files: Sequence[Path]) -> Clock:
    """What the graph takes for logits, saliency and mask of these pictures, warm."""
    images = np.stack([fit(rgb_from(file), explainer.card.input) for file in files])
    clock = Clock()
    graph.run(images, (LOGITS, SALIENCY, MASK))
    with clock.counted():
        graph.run(images, (LOGITS, SALIENCY, MASK))
    return clock
