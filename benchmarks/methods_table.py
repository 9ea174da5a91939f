"""All ways to explain the same pictures in one table: one pass, methods that spend hundreds, and class activation maps.

    python -m whymask.benchmarks.methods_table all                              # the whole table, → results/methods/
    python -m whymask.benchmarks.methods_table run squeezenet1_1                # every row of one classifier
    python -m whymask.benchmarks.methods_table run squeezenet1_1 --row marc --steps 60 --pictures 12
    python -m whymask.benchmarks.methods_table suite squeezenet1_1              # rows that its evaluation holds already
    python -m whymask.benchmarks.methods_table page                             # → benchmarks/results/methods/README.md

Every map is judged by the classifier in the exported graph of `whymask.benchmarks.explanations`, at the same areas,
with the card's fill. Once that explainer is trained again its own row is made again, the others stay: rows of one
table have one classifier's digest.
Per-image methods answer at their own fill and cut; here only the order of their maps counts, as for all. Seconds are
of the processor for maps alone, so that other work on the machine does not decide, or by the wall where `--device` is a
GPU; the explainer's hold the classifier's own pass. Pictures that are done are kept in `--work`: an interrupted run
goes on where it stopped, and more pictures or rows can be added later.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from whymask.benchmarks import baselines
from whymask.benchmarks.evaluation import spread
from whymask.benchmarks.explanations import CLASSIFIERS, OPTIMISED_STEPS, RUNS, graph_of
from whymask.benchmarks.explanations import RESULTS as EVALUATIONS
from whymask.benchmarks.imagenet import REPOSITORY, RESULTS, data_root, evaluation_sets, known
from whymask.benchmarks.machine import describe_machine
from whymask.benchmarks.method_clock import DEVICE_DEFAULT, DEVICE_HELP, Clock, settings_of_device
from whymask.benchmarks.methods_page import KIND, ROWS, SCHEMA_VERSION, page_from_records, read_record
from whymask.benchmarks.methods_rows import SEED, Judged, judged_row, measure_row
from whymask.benchmarks.methods_suite import MAPS, records_from_suite
from whymask.benchmarks.picture_work import picture_name
from whymask.benchmarks.program import run_program
from whymask.benchmarks.records import json_from_report
from whymask.benchmarks.result_pages import write_page
from whymask.benchmarks.suite.record import read_record as read_evaluation
from whymask.runtime.explainer import Explainer, load
from whymask.runtime.files import sha256_of, write_atomically
from whymask.runtime.versions import installed_versions

FOLDER, WORK = RESULTS / "methods", REPOSITORY / "runs" / "methods"
SET = "photos_ccby"
PICTURES = 12
COMMAND = "python -m whymask.benchmarks.methods_table"
PACKAGES = ("whymask", "numpy", "onnxruntime", "torch", "grad-cam")

Steps = Annotated[int, typer.Option(help="Of per-image methods; 0 takes their own number.")]
Pictures = Annotated[int, typer.Option(min=2, help="Photographs, spread evenly.")]
Batch = Annotated[int, typer.Option(min=1, help="Pictures that are explained together.")]
Device = Annotated[str | None, typer.Option(help=DEVICE_HELP, show_default=DEVICE_DEFAULT)]
Runs = Annotated[Path, typer.Option(help="Folder of the classifiers' runs.")]
Work = Annotated[Path, typer.Option(help="Folder of the pictures done so far.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder of the results.")]

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


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
        "classifier_sha256": explainer.card.classifier.sha256,
        "input": size,
        "set": SET,
        "clock": Clock(judged.device).words,
        "machine": asdict(describe_machine()),
        "versions": installed_versions(PACKAGES),
        "pictures": pictures,
    }


@app.command()
def run(
    classifier: str,
    row: Annotated[list[str] | None, typer.Option(help="Of the table; repeatable. Default: all.")] = None,
    steps: Steps = 0,
    pictures: Pictures = PICTURES,
    batch: Batch = 4,
    device: Device = None,
    runs: Runs = RUNS,
    work: Work = WORK,
    out: Out = FOLDER,
) -> None:
    """Judge rows of one classifier's table.

    Example: python -m whymask.benchmarks.methods_table run squeezenet1_1 --row marc --row cam
    """
    graph = graph_of(classifier, runs)
    files = spread(pictures_of(out / f"{classifier}.{baselines.EXPLAINER}.json"), pictures)
    with load(graph, threads=1) as explainer:
        for name in row or [name for name, each in ROWS.items() if each.has_map]:
            judged = judged_row(name, explainer, graph.parent, steps, device)
            settings = {"row": name, "graph_sha256": sha256_of(graph), "steps": judged.steps, "seed": SEED, "set": SET}
            settings |= settings_of_device(judged.device)
            found = measure_row(explainer, judged, files, settings, batch, work / f"{classifier}.{name}.jsonl")
            record = record_from(classifier, explainer, name, judged, settings, found)
            write_atomically(out / f"{classifier}.{name}.json", json_from_report(record) + "\n")
            typer.echo(f"Written: {out / f'{classifier}.{name}.json'}")
    typer.echo(f"next: {COMMAND} page")


def pictures_of(explainer_record: Path) -> list[Path]:
    """The pictures of the explainer's row, so that all rows share them; the whole set where there is none yet."""
    files = evaluation_sets(data_root())[SET]
    if not explainer_record.is_file():
        return files
    names = {each["picture"] for each in read_record(explainer_record)["pictures"]}
    return [file for file in files if picture_name(file) in names]


@app.command()
def suite(
    classifier: str,
    file: Annotated[Path | None, typer.Option(help="Evaluation; default: that of the study of explanations.")] = None,
    out: Out = FOLDER,
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


@app.command(name="all")
def everything(
    steps: Steps = 0,
    pictures: Pictures = PICTURES,
    batch: Batch = 4,
    device: Device = None,
    runs: Runs = RUNS,
    work: Work = WORK,
    out: Out = FOLDER,
) -> None:
    """The whole table: of each classifier the rows that its evaluation holds, the others judged here, and the page.

    Hours without a GPU, most of them for activation matching; an interrupted one goes on where it stopped.

    Example: python -m whymask.benchmarks.methods_table all
    """
    for classifier in CLASSIFIERS:
        suite(classifier, None, out)
        rows = [name for name, each in ROWS.items() if each.has_map and name not in MAPS]
        run(classifier, rows, steps, pictures, batch, device, runs, work, out)
    page(out)


@app.command()
def page(folder: Annotated[Path, typer.Option(help="Folder of the results.")] = FOLDER) -> None:
    """Write the page of all results in the folder.

    Example: python -m whymask.benchmarks.methods_table page
    """
    write_page(folder, read_record, page_from_records, f"{COMMAND} run CLASSIFIER")


if __name__ == "__main__":
    run_program(app)
