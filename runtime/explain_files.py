"""What `whymask explain` does: pictures in; overlays, a line a picture, and a summary out.

By a graph or an engine, or, without either, by a method that spends steps on each picture.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from whymask.runtime.errors import InputError
from whymask.runtime.progress import track

if TYPE_CHECKING:
    from whymask.runtime.methods import MethodOptions

EXPLANATIONS = "explanations.jsonl"
BATCH_SIZE = 8
LINES = 10
"""Pictures that are told of by a line each; the file has all."""

Refining: TypeAlias = Callable[[Iterator[Any]], Iterator[Any]]
"""Explanations → explanations, in their order."""


@dataclass(frozen=True)
class Wishes:
    """What is asked of each picture; see `Explainer.explain` for the first four.

    Attributes:
        instances: whether each mask is divided into objects.
        top: classes that are shown side by side.
        refine: steps that each mask is refined by.
        run: the run directory that refining needs.
    """

    target: str | None = None
    against: str | None = None
    threshold: float | None = None
    area: float | None = None
    instances: bool = False
    top: int | None = None
    refine: int | None = None
    run: Path | None = None


@dataclass(frozen=True)
class GraphOptions:
    """How a graph is loaded; see `whymask.runtime.load`."""

    provider: str | None = None
    cuda_graph: bool = False
    when: str | None = None


@dataclass(frozen=True)
class _Wanted:
    """What else is made of each explanation: instances, the likeliest classes, a refined mask, more to record."""

    instances: bool
    top: int | None
    refining: Refining
    noted: Callable[[Any, Path], dict[str, Any]]


def explain_by_graph(
    graph: Path, pictures: list[Path], out: Path, wishes: Wishes, backend: GraphOptions
) -> dict[str, Any]:
    """Explain by a graph or an engine.

    Args:
        graph: the file.
        pictures: files and folders.
        out: folder of the results.
        wishes: what is asked.
        backend: how the graph is loaded.

    Returns:
        `out`, `provider`, `explained` (how many were), `skipped` (files, with reasons) and `explanations` (records).

    Raises:
        InputError: no picture, options that exclude each other, or a class that the graph does not know.
    """
    from whymask.runtime.explainer import load
    from whymask.runtime.results import pictures_from

    if not pictures:
        raise InputError(f"{graph}: no picture to explain; name pictures or folders after it, or give --method NAME")
    if backend.when is not None and wishes.refine is not None:
        raise InputError("--when and --refine were both given; a mask that was not made cannot be refined: give one")
    files = pictures_from(pictures, out)
    options = {name: getattr(wishes, name) for name in ("target", "against", "threshold", "area")}
    options["batch_size"] = BATCH_SIZE
    with load(graph, backend.provider, cuda_graph=backend.cuda_graph, when=backend.when) as explainer:
        _check_classes(explainer, wishes)
        wanted = _Wanted(wishes.instances, wishes.top, _refining(explainer, wishes), _refined)
        return _explain_files(explainer, files, out, options, wanted)


def explain_by_method(
    options: MethodOptions, pictures: list[Path], out: Path, wishes: Wishes, backend: GraphOptions
) -> dict[str, Any]:
    """Explain by a per-image method; see `explain_by_graph`.

    Raises:
        InputError: no picture, an option that only a graph takes, or a class that the classifier does not know.
        MissingExtra: what the method needs is not installed.
    """
    from whymask.runtime.methods import BATCH, MethodExplainer, load_method
    from whymask.runtime.results import pictures_from

    _refuse_graph_options(wishes, backend)
    files = pictures_from(pictures, out)
    with MethodExplainer(load_method(options)) as explainer:

        def noted(result: Any, overlay: Path) -> dict[str, Any]:
            if options.circuit is None:
                return dict(result.facts)
            return {**result.facts, "circuit": explainer.write_circuit(result, overlay, options.circuit)}

        wanted = _Wanted(wishes.instances, None, lambda results: results, noted)
        asked = {"target": wishes.target, "batch_size": options.batch or BATCH}
        return _explain_files(explainer, files, out, asked, wanted)


def told_lines(summary: dict[str, Any]) -> Iterator[str]:
    """What is said of a summary: the first pictures, and the counts."""
    records = summary["explanations"]
    for record in records[:LINES]:
        yield _line(record)
    if len(records) > LINES:
        yield f"… and {len(records) - LINES} more"
    alone = len(records) - summary["explained"]
    rest = f"{alone} by the classifier alone, " if alone else ""
    counts = f"{summary['explained']} explained on {summary['provider']}, {rest}{len(summary['skipped'])} skipped"
    yield f"{counts}; overlays and {EXPLANATIONS} in {summary['out']}"


def _line(record: dict[str, Any]) -> str:
    if not record["explained"]:
        return f"{record['file']}: {record['label']} {record['confidence']:.1%}, not explained"
    line = f"{record['file']}: {record['label']} {record['confidence']:.1%}, area {record['area']:.1%}"
    if "instances" in record:
        line += f", instances {sum(each['kept'] for each in record['instances'])}"
    classes = [
        f"{each['label']} {each['confidence']:.1%} area {each['area']:.1%}" for each in record.get("classes", ())
    ]
    return f"{line}; likeliest: {', '.join(classes)}" if classes else line


def _refuse_graph_options(wishes: Wishes, backend: GraphOptions) -> None:
    of_graphs = ("against", "threshold", "area", "top", "refine", "run")
    given = {name: getattr(wishes, name) for name in of_graphs}
    given |= {"provider": backend.provider, "cuda-graph": backend.cuda_graph or None, "when": backend.when}
    for name, value in given.items():
        if value is not None:
            raise InputError(f"--{name}: only a graph takes it, and --method has none; leave one of the two out")


def _refined(result: Any, overlay: Path) -> dict[str, Any]:
    del overlay
    return {} if result.refined is None else {"refined": result.refined}


def _check_classes(explainer: Any, wishes: Wishes) -> None:
    """Refuse more classes than the graph explains at once, and a refined mask of anything but one class by itself."""
    top = wishes.top
    if top is not None and top > explainer.top:
        has = f"explains {explainer.top} classes at once" if explainer.top else "explains one class at a time"
        raise InputError(
            f"--top {top}: this graph {has}; export it again with: whymask export RUN -o FILE.onnx --top {top}"
        )
    for option, value in (("--top", top), ("--against", wishes.against)):
        if wishes.refine is not None and value is not None:
            raise InputError(f"--refine and {option} were both given; only a class by itself can be refined: give one")


def _refining(explainer: Any, wishes: Wishes) -> Refining:
    """What makes single passes better, or leaves them as they are where no steps were asked for."""
    steps, run = wishes.refine, wishes.run
    if steps is None:
        if run is not None:
            raise InputError(f"--run {run}: only --refine K needs a run directory; add it, or leave --run out")
        return lambda results: results
    from whymask.runtime.refiner import load_refiner, refine_all

    refiner = load_refiner(run, explainer.card, steps)
    return lambda results: refine_all(results, refiner, steps, BATCH_SIZE)


def _explain_files(
    explainer: Any, files: list[Path], out: Path, options: dict[str, Any], wanted: _Wanted
) -> dict[str, Any]:
    """Explain files; their records are written as they come."""
    from whymask.runtime.files import atomic_path
    from whymask.runtime.results import json_line, overlay_names

    names = overlay_names(files, out)
    decoded: list[Path] = []
    skipped: list[dict[str, str]] = []
    records = []
    with track(len(files), "explaining", "images") as progress, atomic_path(out / EXPLANATIONS) as temporary:
        pictures = _decoded(files, decoded, skipped, progress)
        results = wanted.refining(explainer.explain_batch(pictures, **options))
        with temporary.open("w", encoding="utf-8") as stream:
            for number, result in enumerate(results):
                records.append(_recorded(result, decoded[number], names[decoded[number]], wanted))
                stream.write(json_line(records[-1]))
                progress.advance()
        if not records:
            raise InputError(f"none of {len(files)} files can be decoded; the first: {skipped[0]['reason']}")
    explained = sum(each["explained"] for each in records)
    counts = {"out": str(out), "provider": explainer.provider, "explained": explained, "skipped": skipped}
    return {**counts, "explanations": records}


def _recorded(result: Any, file: Path, overlay: Path, wanted: _Wanted) -> dict[str, Any]:
    """The record of one result; its overlay is written where it was explained."""
    from whymask.runtime.results import record, write_overlay

    if not result.explained:
        return record(result, file, None)
    parts = result.instances() if wanted.instances else None
    classes = None if wanted.top is None else result.top_explanations()[: wanted.top]
    write_overlay(result, overlay, parts, classes)
    return record(result, file, overlay, parts, classes) | wanted.noted(result, overlay)


def _decoded(files: list[Path], decoded: list[Path], skipped: list[dict[str, str]], progress: Any) -> Iterator[Any]:
    """Pictures of the files that can be decoded; notes which these are."""
    from whymask.runtime.images import rgb_from

    for file in files:
        try:
            picture = rgb_from(file)
        except InputError as error:
            skipped.append({"file": str(file), "reason": str(error)})
            sys.stderr.write(f"skipped {error}\n")
            progress.advance()
            continue
        decoded.append(file)
        yield picture
