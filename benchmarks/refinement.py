"""What does one pass leave on the table? The map of a single pass, refined by more and more steps for its own picture.

    python -m whymask.benchmarks.refinement runs/mine --data photos -n 64 --steps 0,10,30,100,300 -o refinement.json

At equal steps the refined map stands beside one optimised from scratch, that is from the class activation map. Step 0
is the single pass, or the activation map itself. Every map is judged as it is, without the guard of
`whymask explain --refine`: exactly the given share of the pixels is kept, the rest takes the card's fill, and the class
has to stay.

Letters: n pictures, B of them in a chunk, A areas, H W the input size, h w a map's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from whymask.benchmarks.machine import describe_machine
from whymask.benchmarks.masking import background_from_fill, compose, keep_first, pixel_count, pixel_order
from whymask.benchmarks.pictures import chunks, read_pictures
from whymask.benchmarks.program import check_json, run_program
from whymask.benchmarks.records import json_from_report
from whymask.benchmarks.refinement_page import page_from_record, tables_from_record
from whymask.benchmarks.suite.sample import Ask
from whymask.runtime.card import Card
from whymask.runtime.errors import ArtefactError, InputError, MissingExtra
from whymask.runtime.files import write_atomically
from whymask.runtime.images import find_images, resize_map
from whymask.runtime.progress import Progress, track

if TYPE_CHECKING:
    from whymask.train.classifier import FrozenClassifier
    from whymask.train.run import Run

SCHEMA_VERSION = 1
AREAS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
"""Where maps are cut. The area under retention from the first to the last, divided by their distance, is the AUC."""
MEAN_AREAS = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Of which retention is averaged: those of the study's tables."""
SINGLE_PASS, SCRATCH = "single pass, refined", "from scratch"
STARTS = (SINGLE_PASS, SCRATCH)


class Case(NamedTuple):
    """A start and the steps that followed."""

    start: str
    steps: int


@dataclass(frozen=True)
class Measured:
    """What was found.

    Attributes:
        names: of the pictures, (n).
        unreadable: files that could not be decoded, with the reason.
        kept: by case, bool (n, A): whether the class stayed at each of AREAS.
        seconds: by case, float64 (n), time that the map took: its chunk's, divided by the chunk's pictures.
    """

    names: tuple[str, ...]
    unreadable: tuple[str, ...]
    kept: dict[Case, NDArray[np.bool_]]
    seconds: dict[Case, NDArray[np.float64]]


def measure_refinement(
    run: Run, ask: Ask, images: Sequence[Path | NDArray[np.uint8]], steps: Sequence[int], *, seed: int, batch: int
) -> Measured:
    """Make and judge every map of every picture.

    Args:
        run: its explainer starts, its objective is descended.
        ask: judges hard masks.
        images: files, or uint8 arrays.
        steps: of optimisation, each at least 0.
        seed: of draws and ties.
        batch: pictures a chunk.

    Raises:
        InputError: no picture could be read.
    """
    cases = [Case(start, count) for start in STARTS for count in steps]
    names: list[str] = []
    failed: list[str] = []
    read = 0
    kept: dict[Case, list[NDArray[np.bool_]]] = {case: [] for case in cases}
    seconds: dict[Case, list[NDArray[np.float64]]] = {case: [] for case in cases}
    with track(len(images) * sum(1 + count for _, count in cases), "refinement", "steps") as bar:
        for chunk in chunks(images, batch):
            found, pictures, lines = read_pictures(chunk, read, run.card.input)
            read += len(chunk)
            failed += lines
            if not found:
                continue
            stacked = np.stack(pictures)
            target = ask(stacked).argmax(axis=1)
            for case, maps, spent in _maps(run, stacked, target, cases, seed, bar):
                kept[case].append(kept_at_areas(ask, run.card, stacked, target, maps, seed, len(names)))
                seconds[case].append(np.full(len(found), spent / len(found)))
            names += found
    if not names:
        raise InputError(f"refinement: none of {len(images)} pictures could be read; the first: {failed[:1]}")
    return Measured(
        tuple(names),
        tuple(failed),
        {case: np.concatenate(parts) for case, parts in kept.items()},
        {case: np.concatenate(parts) for case, parts in seconds.items()},
    )


def _maps(
    run: Run,
    pictures: NDArray[np.uint8],
    target: NDArray[np.int64],
    cases: Sequence[Case],
    seed: int,
    bar: Progress,
) -> Iterator[tuple[Case, NDArray[np.float32], float]]:
    """Each case's maps of a chunk, float32 (B, h, w), and the seconds that they took, the single pass included."""
    import torch

    from whymask.train.data import pixels_from_pictures
    from whymask.train.optimise import optimise
    from whymask.train.refine import config_from_run, ranking_from_saliency

    begin = time.perf_counter()
    pixels = pixels_from_pictures(pictures)
    asked = torch.from_numpy(target)
    with torch.no_grad():
        x = run.classifier.normalise(pixels)
        logits, features = run.classifier.with_taps(x)
        start = ranking_from_saliency(torch.sigmoid(run.explainer(features, x, logits, asked)))
    one_pass = time.perf_counter() - begin
    size = (int(start.shape[-2]), int(start.shape[-1]))
    for case in cases:
        config = config_from_run(run, case.steps, size=size, seed=seed)
        first = start if case.start == SINGLE_PASS else None
        begin = time.perf_counter()
        maps: NDArray[np.float32] = optimise(
            run.classifier, pixels, asked, config, first, on_step=lambda _: bar.advance(len(pictures))
        ).numpy()
        yield case, maps, time.perf_counter() - begin + (one_pass if first is not None else 0.0)
        bar.advance(len(pictures))


def kept_at_areas(
    ask: Ask,
    card: Card,
    pictures: NDArray[np.uint8],
    target: NDArray[np.int64],
    maps: NDArray[np.float32],
    seed: int,
    first: int,
) -> NDArray[np.bool_]:
    """Whether the class stays where a map's best pixels alone are shown, the rest in the card's fill.

    Args:
        ask: the classifier.
        card: gives the fill.
        pictures: uint8, (B, H, W, 3).
        target: int64, (B,), the classes.
        maps: float32, (B, h, w).
        seed: of the order of equal pixels.
        first: position of the first picture in its set, which seeds it too.

    Returns:
        bool (B, A), at each of AREAS.
    """
    height, width = pictures.shape[1:3]
    orders = [
        pixel_order(each, np.random.default_rng([seed, first + i]))
        for i, each in enumerate(resize_map(maps, height, width))
    ]
    fill = background_from_fill(card.fill)
    columns = []
    for area in AREAS:
        count = pixel_count(area, height, width)
        masks = np.stack([keep_first(order, count, height, width) for order in orders])
        columns.append(ask(compose(pictures, masks, fill)).argmax(axis=1) == target)
    return np.stack(columns, axis=1)


def least_areas(kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The smallest of AREAS on which each picture keeps its class, 1 where none: float64 (n), from bool (n, A)."""
    return np.where(kept.any(axis=1), np.asarray(AREAS)[kept.argmax(axis=1)], 1.0)


def retention_auc(kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Each picture's share of the areas between the first and the last at which it keeps its class (trapezoids)."""
    steps = np.diff(AREAS)
    middles = (kept[:, 1:] + kept[:, :-1].astype(np.float64)) / 2.0
    result: NDArray[np.float64] = middles @ steps / steps.sum()
    return result


def record_from_measured(measured: Measured, run: Run, judge: str, seed: int, batch: int) -> dict[str, Any]:
    """Everything that is written as JSON, raw values a picture included."""
    import torch

    columns = [AREAS.index(area) for area in MEAN_AREAS]
    cases = []
    for case, kept in measured.kept.items():
        values = {
            "retention": kept[:, columns].mean(axis=1),
            "auc": retention_auc(kept),
            "least_area": least_areas(kept),
            "seconds": measured.seconds[case],
        }
        rounded = {name: [round(float(v), 6) for v in each] for name, each in values.items()}
        cases.append({"start": case.start, "steps": case.steps, **rounded, "kept": kept.astype(int).tolist()})
    return {
        "kind": "whymask.refinement",
        "schema": SCHEMA_VERSION,
        "classifier": run.card.classifier.id.rpartition(":")[2],
        "classifier_sha256": run.card.classifier.sha256,
        "judge": judge,
        "areas": list(AREAS),
        "mean_areas": list(MEAN_AREAS),
        "seed": seed,
        "batch": batch,
        "threads": torch.get_num_threads(),
        "cpu": describe_machine().cpu,
        "pictures": list(measured.names),
        "unreadable": list(measured.unreadable),
        "cases": cases,
    }


def ask_from_classifier(classifier: FrozenClassifier) -> Ask:
    """A classifier in torch as a function of uint8 pictures (N, H, W, 3) → logits float32 (N, C)."""
    import torch

    from whymask.train.data import pixels_from_pictures

    def ask(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            x = classifier.normalise(pixels_from_pictures(pictures, classifier.mean.device))
            logits: NDArray[np.float32] = classifier(x).float().cpu().numpy()
        return logits

    return ask


def steps_from_text(text: str) -> tuple[int, ...]:
    """`0,10,30` → (0, 10, 30): sorted, each once, 0 always among them.

    Raises:
        InputError: no list of whole numbers of at least 0.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"--steps: got {text!r}, expected whole numbers of at least 0 like 0,10,30,100")
    return tuple(sorted({0, *map(int, parts)}))


app = typer.Typer(add_completion=False)


@app.command(help=__doc__)
def judge(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory of whymask train.")],
    data: Annotated[Path, typer.Option(help="Folder of pictures that the explainer was not trained on.")],
    count: Annotated[int, typer.Option("-n", min=1, help="Pictures, spread evenly over the folder.")] = 64,
    steps: Annotated[str, typer.Option(help="Steps of optimisation, by commas.")] = "0,10,30,100,300",
    graph: Annotated[Path | None, typer.Option(help="Exported graph that judges the masks; else torch.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of draws and ties.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Pictures that are optimised together.")] = 16,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.json")] = Path("refinement.json"),
) -> None:
    """Measure, print the table, write the record and beside it a page."""
    check_json(out, ".html")
    counts = steps_from_text(steps)
    try:
        from whymask.train.run import load_run
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "train", "optimise maps") from None
    files = find_images(data)
    if not files:
        raise InputError(f"--data {data}: no picture there; expected a folder of JPEG, PNG, WebP, …")
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int)]
    run = load_run(path)
    alone = (ask_from_classifier(run.classifier), "the classifier in torch")
    ask, name = alone if graph is None else _ask_from_graph(graph, run)
    measured = measure_refinement(run, ask, chosen, counts, seed=seed, batch=batch)
    record = record_from_measured(measured, run, name, seed, batch)
    write_atomically(out, json_from_report(record) + "\n")
    write_atomically(out.with_suffix(".html"), page_from_record(record))
    typer.echo(tables_from_record(record))
    typer.echo(f"Written: {out}, {out.with_suffix('.html')}")


def _ask_from_graph(path: Path, run: Run) -> tuple[Ask, str]:
    from whymask.benchmarks.asked_graph import AskedGraph
    from whymask.runtime.explainer import load

    explainer = load(path)
    if explainer.card.classifier.sha256 != run.card.classifier.sha256:
        raise ArtefactError(f"{path}: explains another classifier than {run.path}; give the graph exported from it")
    return AskedGraph(explainer).logits, f"{path.name} on {explainer.provider}"


if __name__ == "__main__":
    run_program(app)
