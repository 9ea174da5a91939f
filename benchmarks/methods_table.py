"""All ways to explain the same pictures in one table: one pass, methods that spend hundreds, and class activation maps.

    python -m whymask.benchmarks.methods_table run squeezenet1_1                # every row, → results/methods/
    python -m whymask.benchmarks.methods_table run squeezenet1_1 --row marc --steps 60 --pictures 12
    python -m whymask.benchmarks.methods_table suite squeezenet1_1              # rows that its evaluation holds already
    python -m whymask.benchmarks.methods_table page                             # → benchmarks/results/methods/README.md

Every map is judged on the exported graph of `whymask.benchmarks.explanations`, at the same areas, with the card's fill.
Per-image methods answer at their own fill and cut; here only the order of their maps counts, as for all. Seconds are
of the processor, one thread, for maps alone, so that other work on the machine does not decide; the explainer's hold
the classifier's own pass. Pictures that are done are kept in `--work`: an interrupted run goes on where it stopped, and
more pictures or rows can be added later.

Letters: B pictures of a chunk, H W the graph's input height and width.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from whymask.benchmarks import baselines
from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.evaluation import classifier_from_run, spread
from whymask.benchmarks.explanations import GRAPH_FILE, OPTIMISED_STEPS, RUNS
from whymask.benchmarks.explanations import PICTURES as EVALUATED
from whymask.benchmarks.explanations import RESULTS as EVALUATIONS
from whymask.benchmarks.imagenet import REPOSITORY, RESULTS, data_root, evaluation_sets, known
from whymask.benchmarks.machine import describe_machine
from whymask.benchmarks.methods_page import COLUMNS, KIND, ROWS, SCHEMA_VERSION, page_from_records, read_record
from whymask.benchmarks.methods_suite import records_from_suite
from whymask.benchmarks.pictures import chunks
from whymask.benchmarks.program import run_program
from whymask.benchmarks.records import json_from_report
from whymask.benchmarks.rivals.registry import rivals
from whymask.benchmarks.rivals.rival import Rival
from whymask.benchmarks.suite.record import read_record as read_evaluation
from whymask.benchmarks.suite.runner import PictureSet, Suite
from whymask.benchmarks.suite.sample import Ask, Cell, Cells, Metric, Sample
from whymask.benchmarks.suite.sweeps import SWEEP, measure_sweep
from whymask.runtime.card import LOGITS, MASK, SALIENCY
from whymask.runtime.errors import ArtefactError, InputError, MissingExtra
from whymask.runtime.explainer import Explainer, load
from whymask.runtime.files import sha256_of, write_atomically
from whymask.runtime.progress import track
from whymask.runtime.versions import installed_versions

if TYPE_CHECKING:
    from whymask.train.classifier import FrozenClassifier

FOLDER, WORK = RESULTS / "methods", REPOSITORY / "runs" / "methods"
SET = "photos_ccby"
PICTURES = 12
SEED = 0
COMMAND = "python -m whymask.benchmarks.methods_table"
PACKAGES = ("whymask", "numpy", "onnxruntime", "torch", "grad-cam")

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@dataclass(frozen=True)
class Judged:
    """A row's map as it is judged.

    Attributes:
        rival: the method; None for the graph's own saliency.
        steps: that a per-image method spends on a picture, 0 for others.
        own_steps: its own number.
    """

    rival: Rival | None
    steps: int = 0
    own_steps: int = 0


class ProcessorTime:
    """Adds up what calls take of the processor; `seconds` is the sum."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the body."""
        began = time.process_time()
        yield
        self.seconds += time.process_time() - began

    def rival(self, rival: Rival) -> Rival:
        """The same method, counted."""

        def maps(images: NDArray[np.uint8], target: NDArray[np.int64], first: int) -> NDArray[np.float32]:
            with self.counted():
                return rival.maps(images, target, first)

        return replace(rival, maps=maps)


def method_rival(name: str, classifier: FrozenClassifier, steps: int) -> Rival:
    """A method of METHODS as a rival: its masks before they are cut.

    Args:
        name: of METHODS.
        classifier: asked, never changed.
        steps: on a picture.
    """
    import torch

    from whymask.train.methods import METHODS

    def maps(images: NDArray[np.uint8], target: NDArray[np.int64], first: int) -> NDArray[np.float32]:
        del first
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
        asked = torch.from_numpy(target)
        method = METHODS[name]
        found = method.explain(classifier, pixels, asked, steps=steps, seed=SEED, on_step=None)
        return np.asarray(found.numpy(), np.float32)

    return Rival(name, f"{METHODS[name].about}; {steps} steps", maps, float(steps))


def judged_row(name: str, explainer: Explainer, graph: AskedGraph, run: Path, steps: int) -> Judged:
    """The method of a row.

    Args:
        name: of ROWS.
        explainer: the loaded graph.
        graph: the same, counted.
        run: its run directory, for methods that need the classifier in torch.
        steps: of a per-image method; 0 takes its own number.

    Raises:
        InputError: no such row, or one without a map.
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
            from whymask.train.methods import METHODS
        except ImportError as error:
            raise MissingExtra(error.name or "torch", "train", "explain pictures one by one") from None
        own = METHODS[name].steps
        return Judged(method_rival(name, classifier, steps or own), steps or own, own)
    size = (explainer.card.explainer.height, explainer.card.explainer.width)
    found, _ = rivals(graph.logits, explainer.card, classifier, [name], saliency_size=size, seed=SEED)
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
    done = _resumed(work, settings)
    absent = [file for file in files if _name(file) not in done]
    with track(len(absent), f"judge {settings['row']}", "pictures") as bar:
        for chunk in chunks(absent, batch):
            for record in _records(explainer, judged, [f for f in chunk if isinstance(f, Path)]):
                done[record["picture"]] = record
            write_atomically(work, "".join(f"{json.dumps(each)}\n" for each in [settings, *done.values()]))
            bar.advance(len(chunk))
    return [done[_name(file)] for file in files]


def _records(explainer: Explainer, judged: Judged, files: Sequence[Path]) -> list[dict[str, Any]]:
    """A record a picture: class, the columns, and the seconds of its map."""
    graph, clock = AskedGraph(explainer), ProcessorTime()
    compared = [] if judged.rival is None else [clock.rival(judged.rival)]
    name = baselines.EXPLAINER if judged.rival is None else judged.rival.name
    found = Suite(explainer, graph, compared, (sweep_of(name),), SEED).measure(PictureSet(SET, files))
    if found.unreadable:
        raise InputError(f"methods: {found.unreadable[0]}; every picture of the set has to be readable")
    if judged.rival is None:
        clock = _one_pass(graph, explainer, files)
    columns = {column: found.cells[Cell(name, column)] for column in COLUMNS}
    return [
        {
            "picture": _name(file),
            "class": int(found.own.top1[index]),
            "seconds": round(clock.seconds / len(files), 6),
            **{column: round(float(values[index]), 6) for column, values in columns.items()},
        }
        for index, file in enumerate(files)
    ]


def sweep_of(name: str) -> Metric:
    """The suite's sweep of one map alone: the explainer's, which every sample holds, is a row of its own."""

    def measure(ask: Ask, sample: Sample, seed: int) -> Cells:
        return measure_sweep(ask, replace(sample, orders={name: sample.orders[name]}), seed)

    return replace(SWEEP, measure=measure)


def _one_pass(graph: AskedGraph, explainer: Explainer, files: Sequence[Path]) -> ProcessorTime:
    """What the graph takes for logits, saliency and mask of these pictures, warm."""
    from whymask.runtime.images import fit, rgb_from

    images = np.stack([fit(rgb_from(file), explainer.card.input) for file in files])
    clock = ProcessorTime()
    graph.run(images, (LOGITS, SALIENCY, MASK))
    with clock.counted():
        graph.run(images, (LOGITS, SALIENCY, MASK))
    return clock


def _resumed(work: Path, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    if not work.is_file():
        return {}
    first, *lines = work.read_text(encoding="utf-8").splitlines()
    if json.loads(first) != settings:
        raise ArtefactError(f"{work}: pictures done with other settings; remove the file, or name another by --work")
    return {record["picture"]: record for record in map(json.loads, lines)}


def _name(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def record_from(
    classifier: str, explainer: Explainer, name: str, judged: Judged, settings: dict[str, Any], pictures: list[Any]
) -> dict[str, Any]:
    """What is written as JSON: settings, machine, and every picture's own figures."""
    stated = baselines.STATED[baselines.EXPLAINER] if judged.rival is None else judged.rival.stated
    steps = {"steps": judged.steps, "own_steps": judged.own_steps}
    size = [explainer.card.input.height, explainer.card.input.width]
    return {
        "kind": KIND,
        "schema": SCHEMA_VERSION,
        "classifier": classifier,
        "row": name,
        "stated": stated,
        **steps,
        "graph_sha256": settings["graph_sha256"],
        "input": size,
        "set": SET,
        "clock": "processor time, one thread",
        "machine": asdict(describe_machine()),
        "versions": installed_versions(PACKAGES),
        "pictures": pictures,
    }


@app.command()
def run(
    classifier: str,
    row: Annotated[list[str] | None, typer.Option(help="Of the table; repeatable. Default: all.")] = None,
    steps: Annotated[int, typer.Option(help="Of per-image methods; 0 takes their own number.")] = 0,
    pictures: Annotated[int, typer.Option(min=2, help="Photographs, spread evenly.")] = PICTURES,
    batch: Annotated[int, typer.Option(min=1, help="Pictures that are explained together.")] = 4,
    runs: Annotated[Path, typer.Option(help="Folder of the classifiers' runs.")] = RUNS,
    work: Annotated[Path, typer.Option(help="Folder of the pictures done so far.")] = WORK,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the results.")] = FOLDER,
) -> None:
    """Judge rows of one classifier's table.

    Example: python -m whymask.benchmarks.methods_table run squeezenet1_1 --row marc --row cam
    """
    graph = runs / known(classifier) / GRAPH_FILE
    if not graph.is_file():
        raise ArtefactError(
            f"{graph} is absent; make it with: python -m whymask.benchmarks.explanations train {classifier}"
        )
    files = spread(spread(evaluation_sets(data_root())[SET], EVALUATED), pictures)  # some of those `suite` has
    with load(graph, threads=1) as explainer:
        for name in row or [name for name, each in ROWS.items() if each.has_map]:
            judged = judged_row(name, explainer, AskedGraph(explainer), graph.parent, steps)
            settings = {"row": name, "graph_sha256": sha256_of(graph), "steps": judged.steps, "seed": SEED, "set": SET}
            found = measure_row(explainer, judged, files, settings, batch, work / f"{classifier}.{name}.jsonl")
            record = record_from(classifier, explainer, name, judged, settings, found)
            write_atomically(out / f"{classifier}.{name}.json", json_from_report(record) + "\n")
            typer.echo(f"Written: {out / f'{classifier}.{name}.json'}")
    typer.echo(f"next: {COMMAND} page")


@app.command()
def suite(
    classifier: str,
    file: Annotated[Path | None, typer.Option(help="Evaluation; default: that of the study of explanations.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the results.")] = FOLDER,
) -> None:
    """Take the rows that an evaluation of the same graph holds already.

    Example: python -m whymask.benchmarks.methods_table suite squeezenet1_1
    """
    from whymask.train.methods import METHODS

    evaluation = read_evaluation(file or EVALUATIONS / f"{known(classifier)}.suite.json")
    own = METHODS["optimise"].steps
    for record in records_from_suite(classifier, evaluation, SET, OPTIMISED_STEPS, own):
        path = out / f"{classifier}.{record['row']}.json"
        write_atomically(path, json_from_report(record) + "\n")
        typer.echo(f"Written: {path}")


@app.command()
def page(folder: Annotated[Path, typer.Option(help="Folder of the results.")] = FOLDER) -> None:
    """Write the page of all results in the folder.

    Example: python -m whymask.benchmarks.methods_table page
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise InputError(f"{folder} holds no results; make them with: {COMMAND} run CLASSIFIER")
    text = page_from_records([read_record(path) for path in paths])
    write_atomically(folder / "README.md", text)
    typer.echo(text)


if __name__ == "__main__":
    run_program(app)
