"""Do explanation and picture run on the same channels? Circuits of photographs, beside masks that know nothing.

    python -m whymask.benchmarks.circuits run resnet18_noncommercial   # → benchmarks/results/circuits/
    python -m whymask.benchmarks.circuits page                         # → benchmarks/results/circuits/README.md

In each layer that activation matching compares, the K strongest channels of the picture's forward pass are held against
the K strongest of the explanation's (`overlap`, a Jaccard index; arXiv 2604.13695). Masks are of the exported explainer
of `whymask.benchmarks.explanations`, of a centred box and of a smooth random map, each of the same share of the pixels.
The circuit of the first picture whose explanation keeps the class is written too, as JSON and SVG.

Letters: B pictures of a chunk, H W the graph's input size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.baselines import CENTRE, EXPLAINER, RANDOM, centre_map, random_map
from whymask.benchmarks.circuits_page import CIRCUIT, KIND, SCHEMA_VERSION, page_from_records, read_record
from whymask.benchmarks.evaluation import spread
from whymask.benchmarks.explanations import RUNS, graph_of
from whymask.benchmarks.imagenet import RESULTS, data_root, evaluation_sets, frozen_classifier
from whymask.benchmarks.machine import describe_machine
from whymask.benchmarks.masking import background_from_fill, compose, keep_first, pixel_count, pixel_order
from whymask.benchmarks.picture_work import picture_name
from whymask.benchmarks.pictures import chunks, read_all
from whymask.benchmarks.program import run_program
from whymask.benchmarks.records import json_from_report
from whymask.benchmarks.result_pages import write_page
from whymask.runtime.card import LOGITS, SALIENCY
from whymask.runtime.errors import ArtefactError, InputError, MissingExtra
from whymask.runtime.explainer import Explainer, load
from whymask.runtime.files import sha256_of, write_atomically
from whymask.runtime.images import resize_map
from whymask.runtime.progress import track
from whymask.runtime.versions import installed_versions

if TYPE_CHECKING:
    from whymask.train.classifier import FrozenClassifier

FOLDER = RESULTS / "circuits"
SET = "photos_ccby"
COMMAND = "python -m whymask.benchmarks.circuits"
AREA, TOP = 0.5, 8
"""At half of the pixels a good part of the explanations keeps the class and a good part loses it."""
BATCH = 8

Masks = Mapping[str, NDArray[np.bool_]]


def asked(
    graph: AskedGraph, names: Sequence[str], pictures: NDArray[np.uint8], area: float
) -> tuple[NDArray[np.int64], Masks]:
    """Predicted classes, and in each picture a mask of the same area by the explainer, a centred box and a random map.

    Args:
        graph: asked once.
        names: of the pictures; they seed random maps and ties.
        pictures: uint8 (B, H, W, 3).
        area: share of the pixels, in (0, 1).

    Returns:
        int64 (B,), and bool (B, H, W) by name.
    """
    height, width = pictures.shape[1:3]
    count = pixel_count(area, height, width)
    outputs = graph.run(pictures, (LOGITS, SALIENCY))
    masks: dict[str, list[NDArray[np.bool_]]] = {EXPLAINER: [], CENTRE: [], RANDOM: []}
    for name, each in zip(names, outputs[SALIENCY], strict=True):
        rng = np.random.default_rng(list(name.encode()))
        maps = (resize_map(each, height, width), centre_map(height, width), random_map(height, width, rng))
        for mask, values in zip(masks.values(), maps, strict=True):
            mask.append(keep_first(pixel_order(values, rng), count, height, width))
    return outputs[LOGITS].argmax(axis=1), {name: np.stack(each) for name, each in masks.items()}


def measure_chunk(
    explainer: Explainer,
    classifier: FrozenClassifier,
    names: Sequence[str],
    pictures: NDArray[np.uint8],
    area: float,
    top: int,
) -> list[dict[str, Any]]:
    """A record a picture: its class, and by mask whether it keeps the class and the overlap of each layer.

    Args:
        explainer: the loaded graph; it says what a mask keeps.
        classifier: the same one in torch, whose channels are read.
        names: of the pictures.
        pictures: uint8 (B, H, W, 3).
        area: of the masks; see `asked`.
        top: K.
    """
    import torch

    from whymask.train.data import pixels_from_pictures
    from whymask.train.matching.circuit import read_overlaps

    graph, fill = AskedGraph(explainer), explainer.card.fill
    target, masks = asked(graph, names, pictures, area)
    shown = {name: compose(pictures, each, background_from_fill(fill)) for name, each in masks.items()}
    kept = {name: graph.logits(each).argmax(axis=1) == target for name, each in shown.items()}
    pixels = pixels_from_pictures(pictures)
    return [
        {
            "picture": picture,
            "class": int(target[row]),
            "masks": {
                name: {
                    "kept": bool(kept[name][row]),
                    "overlap": read_overlaps(classifier, pixels[row], torch.from_numpy(each[row]), top=top, fill=fill),
                }
                for name, each in masks.items()
            },
        }
        for row, picture in enumerate(names)
    ]


def circuit_of(
    explainer: Explainer, classifier: FrozenClassifier, file: Path, area: float, top: int
) -> tuple[dict[str, Any], str]:
    """The circuit of one picture's explanation: plain values, and an SVG."""
    import torch

    from whymask.train.data import pixels_from_pictures
    from whymask.train.matching.circuit import read_circuit
    from whymask.train.matching.circuit_svg import svg_from_circuit

    names, pictures = read_all([file], explainer.card.input, "circuits")
    classes, masks = asked(AskedGraph(explainer), names, pictures, area)
    target, mask = int(classes[0]), torch.from_numpy(masks[EXPLAINER][0])
    pixels = pixels_from_pictures(pictures)[0]
    circuit = read_circuit(classifier, pixels, mask, target, top=top, fill=explainer.card.fill)
    title = f"{names[0]}, {explainer.card.label(target)}: what carries picture and explanation at {area:.0%}"
    return circuit, svg_from_circuit(circuit, title)


app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@app.command()
def run(
    classifier: str,
    pictures: Annotated[int, typer.Option(min=2, help="Photographs, spread evenly.")] = 100,
    area: Annotated[float, typer.Option(help="Share of the pixels that masks keep, in (0, 1).")] = AREA,
    top: Annotated[int, typer.Option(min=1, help="Channels a layer.")] = TOP,
    runs: Annotated[Path, typer.Option(help="Folder of the classifiers' runs.")] = RUNS,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the result.")] = FOLDER,
) -> None:
    """Read the circuits of one classifier's photographs.

    Example: python -m whymask.benchmarks.circuits run squeezenet1_1
    """
    graph = graph_of(classifier, runs)
    if not 0.0 < area < 1.0:
        raise InputError(f"--area: got {area}, expected a share of the pixels in (0, 1)")
    files = spread(evaluation_sets(data_root())[SET], pictures)
    with load(graph) as explainer:
        frozen = matched_classifier(classifier, explainer)
        records = measure(explainer, frozen, files, area, top)
        kept = [file for file, each in zip(files, records, strict=True) if each["masks"][EXPLAINER]["kept"]]
        made = record_from(explainer, classifier, graph, area, top, records)
        if kept:
            made["example"] = picture_name(kept[0])
            circuit, drawing = circuit_of(explainer, frozen, kept[0], area, top)
            write_atomically(out / f"{classifier}{CIRCUIT}.json", json.dumps(circuit, indent=1) + "\n")
            write_atomically(out / f"{classifier}{CIRCUIT}.svg", drawing)
        write_atomically(out / f"{classifier}.json", json_from_report(made) + "\n")
    typer.echo(f"Written: {out / f'{classifier}.json'}; next: {COMMAND} page")


def matched_classifier(name: str, explainer: Explainer) -> FrozenClassifier:
    """The graph's classifier in torch, listened to where activation matching does and not where its explainer does.

    Raises:
        ArtefactError: the data has another classifier of this name.
        MissingExtra: torch is not installed.
    """
    try:
        frozen = frozen_classifier(name, (explainer.card.input.height, explainer.card.input.width))
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "train", "read a classifier's channels") from None
    if frozen.sha256() != explainer.card.classifier.sha256:
        raise ArtefactError(f"{name}: the graph explains another classifier of this name; train its explainer again")
    return frozen


def measure(
    explainer: Explainer, classifier: FrozenClassifier, files: Sequence[Path], area: float, top: int
) -> list[dict[str, Any]]:
    """The records of all pictures, in their order.

    Raises:
        InputError: a picture cannot be read.
    """
    found = []
    with track(len(files), "circuits", "pictures") as bar:
        for chunk in chunks(files, BATCH):
            names, pictures = read_all(chunk, explainer.card.input, "circuits")
            found += measure_chunk(explainer, classifier, names, pictures, area, top)
            bar.advance(len(chunk))
    return found


def record_from(
    explainer: Explainer, classifier: str, graph: Path, area: float, top: int, pictures: list[dict[str, Any]]
) -> dict[str, Any]:
    """What is written as JSON: settings, machine, and every picture's own figures."""
    return {
        "kind": KIND,
        "schema": SCHEMA_VERSION,
        "classifier": classifier,
        "classifier_sha256": explainer.card.classifier.sha256,
        "graph_sha256": sha256_of(graph),
        "input": [explainer.card.input.height, explainer.card.input.width],
        "set": SET,
        "area": area,
        "top": top,
        "machine": asdict(describe_machine()),
        "versions": installed_versions(("whymask", "numpy", "onnxruntime", "torch")),
        "example": None,
        "pictures": pictures,
    }


@app.command()
def page(folder: Annotated[Path, typer.Option(help="Folder of the results.")] = FOLDER) -> None:
    """Write the page of all results in the folder.

    Example: python -m whymask.benchmarks.circuits page
    """
    write_page(folder, read_record, page_from_records, f"{COMMAND} run CLASSIFIER", CIRCUIT)


if __name__ == "__main__":
    run_program(app)
