"""Judge one graph file on one or more sets of pictures, and write what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from whymask.benchmarks.baselines import ClassMaps, class_maps_from_classifier
from whymask.benchmarks.faithfulness import FaithfulnessConfig, measure_faithfulness
from whymask.benchmarks.records import csv_from_report, json_from_report, report_from_measurements
from whymask.benchmarks.tables import results_page
from whymask.runtime.errors import ArtefactError, InputError, MissingExtra
from whymask.runtime.explainer import Explainer, load
from whymask.runtime.files import write_atomically
from whymask.runtime.images import find_images

if TYPE_CHECKING:
    from whymask.train.classifier import FrozenClassifier

T = TypeVar("T")

WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {
    ".json": lambda report: json_from_report(report) + "\n",
    ".csv": csv_from_report,
    ".md": lambda report: results_page([report]),
}
"""Form of a written report, by the ending of its file."""


def evaluate_file(
    file: Path,
    sets: Mapping[str, Sequence[Path]],
    *,
    command: str,
    run: Path | None = None,
    limit: int | None = None,
    config: FaithfulnessConfig | None = None,
    provider: str | None = None,
) -> dict[str, Any]:
    """The faithfulness report of a graph.

    Args:
        file: an ONNX file of `whymask export`.
        sets: pictures by name of the set.
        command: what a reader runs to make the report again.
        run: the run directory of the same classifier, for its class activation maps; without it they are left out.
        limit: pictures a set, evenly spread; None takes all.
        config: how; the published settings by default.
        provider: see `whymask.runtime.load`.

    Returns:
        What `json_from_report` writes.

    Raises:
        ArtefactError: no such graph, or the run is of another classifier.
        InputError: a set without a picture that can be read.
    """
    config = config or FaithfulnessConfig()
    with load(file, provider) as explainer:
        class_maps = class_maps_from_run(run, explainer) if run else None
        measured = [
            measure_faithfulness(explainer, spread(images, limit), config, class_maps, name)
            for name, images in sets.items()
        ]
        return report_from_measurements(file, explainer, config, measured, command)


def class_maps_from_run(run: Path, explainer: Explainer) -> ClassMaps:
    """Class activation maps of the classifier that a run explains; see `classifier_from_run` for what can go wrong."""
    return class_maps_from_classifier(classifier_from_run(run, explainer))


def classifier_from_run(run: Path, explainer: Explainer) -> FrozenClassifier:
    """The classifier that a run explains, held to be the graph's.

    Raises:
        ArtefactError: the graph was made from another classifier.
        MissingExtra: torch is not installed.
    """
    try:
        from whymask.train.run import load_run
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "train", "compute the classifier's own maps (--run)") from None
    classifier = load_run(run).classifier
    if classifier.sha256() != explainer.card.classifier.sha256:
        raise ArtefactError(
            f"{run} explains {classifier.id!r}, the graph another classifier ({explainer.card.classifier.id!r}); "
            "give the run that the graph was exported from"
        )
    return classifier


def pictures_in(folder: Path) -> dict[str, list[Path]]:
    """The pictures of a folder as a set of its name.

    Raises:
        InputError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected one with pictures in it")
    images = find_images(folder)
    if not images:
        raise InputError(f"{folder}: no picture in it or below; expected .jpg, .png or the like")
    return {folder.resolve().name: images}


def spread(images: Sequence[T], limit: int | None) -> list[T]:
    """At most `limit` pictures, evenly spread over a sorted list, so that every folder is met.

    Raises:
        InputError: `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit: {limit} pictures, expected at least 1")
    if limit is None or limit >= len(images):
        return list(images)
    return [images[position * len(images) // limit] for position in range(limit)]


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write a report in the form that the file's ending names.

    Raises:
        InputError: an ending that is none of `WRITERS`.
    """
    check_ending(path)
    write_atomically(path, WRITERS[path.suffix.lower()](report))


def check_ending(path: Path) -> None:
    """Refuse a file that no report can be written to; asked before an hour of measuring, not after it."""
    if path.suffix.lower() not in WRITERS:
        raise InputError(f"{path}: ending {path.suffix!r}, expected one of {', '.join(WRITERS)}")
