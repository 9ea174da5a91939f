"""All checks on one graph: pictures read once, maps made once, every check's record kept.

Letters: n pictures, H W the graph's input size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.baselines import CAM, EXPLAINER, class_maps_from_classifier
from whymask.benchmarks.evaluation import spread
from whymask.benchmarks.leaks import asked_class, independent, mask_shape, randomised, retrained
from whymask.benchmarks.leaks.record import left_out
from whymask.benchmarks.leaks.retention import CALL, best_pixels, blind_maps
from whymask.benchmarks.machine import describe_machine
from whymask.benchmarks.masking import background_from_fill
from whymask.benchmarks.overlap import masks_of_same_area
from whymask.benchmarks.pictures import read_pictures
from whymask.benchmarks.truth_sets import truth_for
from whymask.runtime.card import LOGITS, MASK, SALIENCY, InputCard
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.explainer import Explainer, load
from whymask.runtime.files import sha256_of
from whymask.runtime.images import find_images
from whymask.runtime.progress import track
from whymask.runtime.versions import installed_versions

if TYPE_CHECKING:
    from whymask.train.run import Run

SCHEMA_VERSION = 1
KIND = "whymask.leaks"
PACKAGES = ("whymask", "numpy", "onnxruntime", "torch")
SHAPE_AREA = 0.2
"""Masks are read at their own area and at this one: an own area of nine tenths has little room for a shape."""


@dataclass(frozen=True)
class Plan:
    """What is checked with what.

    Attributes:
        graph: the fused ONNX file or engine.
        data: folder of pictures that the explainer was not trained on.
        run: the run directory that the graph came from; without it checks that need torch are left out.
        others: fused graphs of other classifiers.
        target_graph: the same run's graph with `target`, where `graph` has none.
        truth: `masks:DIR` or `boxes:CSV` of the pictures, for the shape check's row of true objects.
        limit: pictures, evenly spread over the folder.
        retrain_steps: of the training on a shuffled classifier; 0 leaves that check out.
        seed: of everything random.
        command: what a reader runs to make the record again.
    """

    graph: Path
    data: Path
    run: Path | None = None
    others: tuple[Path, ...] = ()
    target_graph: Path | None = None
    truth: str | None = None
    limit: int = 200
    retrain_steps: int = 0
    seed: int = 0
    command: str = ""


@dataclass(frozen=True)
class Seen:
    """The pictures, and what the graph says of them.

    Attributes:
        paths: of the pictures that could be read.
        unreadable: those that could not, with the reason.
        images: uint8, (n, H, W, 3).
        predicted: int64, (n,).
        saliency: float32, (n, h, w).
        mask: bool, (n, H, W), at the card's threshold.
        cam: float32, (n, ·, ·), the classifier's own map of its class; None where it has none or there is no run.
    """

    paths: list[Path]
    unreadable: list[str]
    images: NDArray[np.uint8]
    predicted: NDArray[np.int64]
    saliency: NDArray[np.float32]
    mask: NDArray[np.bool_]
    cam: NDArray[np.float32] | None


def run_checks(plan: Plan) -> dict[str, Any]:
    """Do all checks that the plan has the means for.

    Returns:
        The record, as JSON can hold it.

    Raises:
        InputError: no picture can be read.
        ArtefactError: a graph or the run cannot be used, or they are of different classifiers.
    """
    with ExitStack() as stack:
        explainer = stack.enter_context(load(plan.graph))
        judges = [_judge(path, stack.enter_context(load(path)), explainer) for path in plan.others]
        asked = stack.enter_context(load(plan.target_graph)) if plan.target_graph else explainer
        _check_same(asked, explainer, plan.target_graph or plan.graph)
        run = _run_of(plan.run, explainer) if plan.run else None
        seen = look(plan, explainer, run)
        checks = []
        with track(5, "leak checks", "checks") as bar:
            for record in _checks(plan, explainer, asked, judges, run, seen):
                checks.append(record)
                bar.advance(note=record["check"])
        return _record(plan, explainer, seen, checks)


def _checks(
    plan: Plan, explainer: Explainer, asked: Explainer, judges: list[independent.Judge], run: Run | None, seen: Seen
) -> Iterator[dict[str, Any]]:
    """Records, each when it is done."""
    no_run = "it needs the modules (--run RUN)"
    yield randomised.randomised(run, seen.images, plan.seed) if run else left_out(randomised.NAME, no_run)
    if run is None or not plan.retrain_steps:
        yield left_out(retrained.NAME, no_run if run is None else "no steps were given (--retrain-steps N)")
    else:
        yield retrained.retrained(run, seen.images, plan.retrain_steps, plan.seed)
    record = asked_class.asked_class(AskedGraph(asked), asked.card, seen.images, plan.seed)
    yield _labelled(record, explainer.card.classifier.labels)
    fill = background_from_fill(explainer.card.fill)
    yield independent.independent(judges, seen.images, _maps(seen, plan.seed), fill, plan.seed)
    yield mask_shape.mask_shape(_masks(plan, explainer, seen), seen.predicted, plan.seed)


def look(plan: Plan, explainer: Explainer, run: Run | None) -> Seen:
    """Read the pictures and ask the graph about them, and the classifier for its own maps."""
    if not plan.data.is_dir():
        raise InputError(f"{plan.data}: no such folder, expected one with pictures in it")
    files = spread(find_images(plan.data), plan.limit)
    paths, unreadable, pictures = [], [], []
    for path in files:
        _, fitted, failed = read_pictures([path], 0, explainer.card.input)
        paths += [path] if fitted else []
        pictures += fitted
        unreadable += failed
    if not pictures:
        raise InputError(f"{plan.data}: none of {len(files)} pictures can be read; expected .jpg, .png or the like")
    images = np.stack(pictures)
    outputs = AskedGraph(explainer).run(images, (LOGITS, SALIENCY, MASK))
    predicted = outputs[LOGITS].argmax(axis=1)
    cam = _cam(run, images, predicted) if run else None
    return Seen(paths, unreadable, images, predicted, outputs[SALIENCY], outputs[MASK].astype(np.bool_), cam)


def _maps(seen: Seen, seed: int) -> dict[str, NDArray[np.float32]]:
    cam = {} if seen.cam is None else {CAM: seen.cam}
    return {EXPLAINER: seen.saliency, **cam, **blind_maps(len(seen.images), seen.saliency.shape[1:], seed)}


def _masks(plan: Plan, explainer: Explainer, seen: Seen) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Masks of the explainer and of CAM by area, and the true objects where they are known of every picture."""
    own, fixed = {EXPLAINER: seen.mask}, {}
    fixed[EXPLAINER] = best_pixels(seen.saliency, (SHAPE_AREA,), seen.images.shape[1:3], plan.seed)[0]
    if seen.cam is not None:
        own[CAM] = masks_of_same_area(seen.cam, seen.mask, plan.seed)
        fixed[CAM] = best_pixels(seen.cam, (SHAPE_AREA,), seen.images.shape[1:3], plan.seed)[0]
    if plan.truth:
        own["the true object"] = _truth(plan.truth, seen.paths, explainer.card.input)
    return {"own area": own, f"area {SHAPE_AREA:.0%}": fixed}


def _truth(spec: str, paths: list[Path], rule: InputCard) -> NDArray[np.bool_]:
    known = truth_for(spec, paths)
    if len(known) != len(paths):
        raise InputError(f"truth: {spec} has {len(known)} of {len(paths)} pictures; here it must have them all")
    return np.stack([known.truth(position, rule) for position in range(len(known))])


def _cam(run: Run, images: NDArray[np.uint8], predicted: NDArray[np.int64]) -> NDArray[np.float32] | None:
    if not run.classifier.has_class_evidence:
        return None
    class_maps = class_maps_from_classifier(run.classifier)
    starts = range(0, len(images), CALL)
    return np.concatenate([class_maps(images[i : i + CALL], predicted[i : i + CALL]) for i in starts])


def _run_of(path: Path, explainer: Explainer) -> Run:
    from whymask.train.run import load_run

    run = load_run(path)
    if run.card.classifier.sha256 != explainer.card.classifier.sha256:
        raise ArtefactError(
            f"{path} explains {run.card.classifier.id!r}, the graph another classifier "
            f"({explainer.card.classifier.id!r}); give the run that the graph was exported from"
        )
    return run


def _judge(path: Path, other: Explainer, explainer: Explainer) -> independent.Judge:
    if other.card.classifier.sha256 == explainer.card.classifier.sha256:
        raise ArtefactError(f"--other {path}: the same classifier as the graph's; give one that took no part")
    return independent.Judge(other.card.classifier.id.rpartition(":")[2], AskedGraph(other).logits, other.card.input)


def _check_same(asked: Explainer, explainer: Explainer, path: Path) -> None:
    if asked.card.classifier.sha256 != explainer.card.classifier.sha256 or asked.card.input != explainer.card.input:
        raise ArtefactError(f"--target-graph {path}: of another classifier or input; export the same run with --target")


def _labelled(record: dict[str, Any], labels: tuple[str, ...]) -> dict[str, Any]:
    if "matrix" in record and labels:
        record["matrix"]["labels"] = [labels[index] for index in record["matrix"]["classes"]]
    return record


def _record(plan: Plan, explainer: Explainer, seen: Seen, checks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "schema": SCHEMA_VERSION,
        "kind": KIND,
        "command": plan.command,
        "graph": {
            "file": plan.graph.name,
            "sha256": sha256_of(plan.graph),
            "classifier": explainer.card.classifier.id,
            "explainer": explainer.card.explainer.kind,
            "provider": explainer.provider,
        },
        "data": [plan.data.resolve().name],
        "images": len(seen.images),
        "unreadable": seen.unreadable,
        "seed": plan.seed,
        "machine": asdict(describe_machine()),
        "versions": installed_versions(PACKAGES),
        "checks": checks,
    }
