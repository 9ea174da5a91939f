"""The study of explanations: every metric, every rival, leak checks and refinement, on three ImageNet classifiers.

    python -m whymask.benchmarks.explanations all                       # hours without a GPU
    python -m whymask.benchmarks.explanations train mobilenet_v2_tf     # → runs/explanations/mobilenet_v2_tf/
    python -m whymask.benchmarks.explanations suite mobilenet_v2_tf     # → results/explanations/NAME.suite.json
    python -m whymask.benchmarks.explanations located mobilenet_v2_tf   # → results/explanations/NAME.located.json
    python -m whymask.benchmarks.explanations leaks mobilenet_v2_tf     # → results/explanations/NAME.leaks.json
    python -m whymask.benchmarks.explanations refine mobilenet_v2_tf    # → results/explanations/NAME.refine.json
    python -m whymask.benchmarks.explanations table                     # → results/explanations/README.md, README.md

Its explainers are trained as those of `imagenet`, on the same pictures, and can be asked about any class besides. It
reports on pictures that nothing was trained on; the bars of `explanation_bars` are judged on them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from whymask.benchmarks import imagenet
from whymask.benchmarks.explanations_page import explanations_page, readme_bars
from whymask.benchmarks.imagenet import REPOSITORY, data_root, evaluation_sets, known
from whymask.benchmarks.program import run_program
from whymask.benchmarks.tables import replace_block
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.files import write_atomically

if TYPE_CHECKING:
    from whymask.benchmarks.suite.measured import PictureSet
    from whymask.train.config import TrainConfig

RESULTS = REPOSITORY / "benchmarks" / "results" / "explanations"
RUNS = REPOSITORY / "runs" / "explanations"
GRAPH_FILE = "fused.onnx"
ASKED_FILE = "asked.onnx"
"""The same run's graph that takes a class to explain, and one to hold it against."""
COMMAND = "python -m whymask.benchmarks.explanations"
BEGIN, END = "<!-- explanations:begin -->", "<!-- explanations:end -->"

CHANGES: dict[str, Any] = {"others": 0.2, "presence": 1.0}
"""What differs from `imagenet`'s settings: any class can be asked.

A weight of 4 for necessity was tried for the sake of deletion. In the same time on SqueezeNet, 450 steps of twelve
pictures against 600 without, more decisions were lost without the mask's pixels (82.6 against 80.3 %, mean over five
areas on 725 pictures held out of training) and fewer were kept on them (an AUC of 32.9 against 33.9 %): left out. Both
runs had random areas of 3 to 60 % and a margin to the runner-up in their loss.
"""

TEXTURES: dict[str, Any] = {"detail": 8, "robustness": 0.75}
"""Textures, and more of the random backgrounds: with the default of 0.5 their masks lean on the fill.

On SqueezeNet, 325 pictures held out of training (AUC of retention, robust retention, classes read off masks of 20 %):
36.8, 33.1 and 41.5 % at 0.5, with colours drawn near the mean; 37.9, 33.4 and 36.5 % at 0.75; 37.6, 34.3 and 34.7 % at
0.75 with colours drawn evenly, as they are now; 37.1, 33.4 and 32.9 % at 0.9 with these. On MobileNetV2 43.1, 39.4 and
45.0 % as it was, 42.7, 40.2 and 40.2 % as it is.
"""

CLASSIFIERS: dict[str, dict[str, Any]] = {
    "mobilenet_v2_tf": {"taps": ("features.7.conv.0", "features.14.conv.0", "features"), **TEXTURES},
    "resnet18_noncommercial": {
        "taps": ("layer2", "layer3", "layer4"),
        "sharpen": 2,
        "precision": "bf16-mixed",
        "batch_size": 12,  # of 24 it had 1,200 steps, and kept 26.1 % of the decisions on held-out pictures; 26.0 % now
        "steps": 3000,
    },
    "squeezenet1_1": {"taps": ("features.7", "classifier.0"), "precision": "bf16-mixed", **TEXTURES},
}
"""What differs by classifier: the picture's own edges make the finest of `imagenet`'s taps unnecessary.

Mean retention on pictures held out of training. After 300 steps on SqueezeNet: 18.1 % on its 39 × 39 cells, 20.5 %
there with the filter, 21.1 % on 19 × 19 cells with the filter, 22.8 % with textures. At the end of training:
SqueezeNet 21.6 and 26.3 % (filter, textures), MobileNetV2 27.4 and 30.2 %, ResNet-18 26.1 and 26.6 %: too little for
what textures cost.
"""

MAPS = ("cam", "grad_cam", "layer_cam", "integrated_gradients", "occlusion", "rise", "recipro_cam")
RISE_MASKS = 500
OPTIMISED_STEPS = 100
REFINED, REFINE_STEPS = 60, "0,10,30,100"
PICTURES = 100
"""A set: perturbing maps cost up to a thousand passes a picture."""
LEAK_PICTURES = 600
"""The leak checks pass a picture a few times only, and the one of the mask's shape cannot tell anything from 200."""
RETRAIN_STEPS = 400
"""Of the explainer that learns from the shuffled classifier: by then the real ones rank as well as they ever will."""

COSTLY_HELP = (
    "Pictures a set on which maps that perturb or optimise are made again; the rest of their figures is taken from the "
    "committed result. 0: all."
)

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


def train_config(classifier: str, root: Path) -> TrainConfig:
    """The configuration of a classifier's run."""
    return replace(unfiltered_config(classifier, root), **CLASSIFIERS[classifier])


def unfiltered_config(classifier: str, root: Path) -> TrainConfig:
    """The same on `imagenet`'s finer taps and without the filter: what maps that are optimised are held to.

    They do not change with the explainer, so that its bar stays where it was set.
    """
    return replace(imagenet.train_config(classifier, root), **CHANGES)


@app.command()
def train(
    classifier: str,
    steps: int = typer.Option(0, help="Optimiser steps; 0 takes the study's own."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the run's checkpoint."),
) -> None:
    """Train an explainer, and export its graph with and without a class to ask for.

    Example: python -m whymask.benchmarks.explanations train mobilenet_v2_tf
    """
    from whymask.export.onnx_from_run import export_run
    from whymask.train import fit

    config = train_config(classifier, data_root())
    run = fit.train(replace(config, steps=steps) if steps else config, RUNS / classifier, resume=resume)
    export_run(run, RUNS / classifier / GRAPH_FILE)
    export_run(run, RUNS / classifier / ASKED_FILE, target=True, contrast=True)


@app.command()
def suite(
    classifier: str,
    limit: int = typer.Option(PICTURES, help="Pictures a set."),
    costly: int = typer.Option(0, help=COSTLY_HELP),
) -> None:
    """Judge all maps by all metrics.

    Example: python -m whymask.benchmarks.explanations suite mobilenet_v2_tf
    """
    from whymask.benchmarks.suite.evaluate import limited
    from whymask.benchmarks.suite.measured import PictureSet

    sets = [limited(PictureSet(name, images), limit) for name, images in evaluation_sets(data_root()).items()]
    _evaluate(classifier, "suite", sets, limit, costly)


@app.command()
def located(
    classifier: str,
    limit: int = typer.Option(PICTURES, help="Pictures a set."),
    costly: int = typer.Option(0, help=COSTLY_HELP),
) -> None:
    """Judge where the maps point, against boxes and planted objects that the classifier knows.

    Example: python -m whymask.benchmarks.explanations located mobilenet_v2_tf
    """
    from whymask.benchmarks.asked_graph import AskedGraph
    from whymask.benchmarks.suite.evaluate import limited
    from whymask.benchmarks.suite.measured import PictureSet
    from whymask.benchmarks.truth_sets import boxed_images, planted_objects, where_predicted
    from whymask.runtime.explainer import load

    images = data_root() / "images"
    with load(graph_of(classifier)) as explainer:
        known_ones = [
            where_predicted(each, AskedGraph(explainer).logits, explainer.card.input)
            for each in (boxed_images(images / "imagenet_val_boxes"), planted_objects(images / "planted_objects"))
        ]
    sets = [limited(PictureSet(e.name, e.images, e.truth, e.stated), limit) for e in known_ones]
    _evaluate(classifier, "located", sets, limit, costly, metrics=("truth",))


@app.command()
def leaks(classifier: str, limit: int = typer.Option(LEAK_PICTURES, help="Pictures.")) -> None:
    """Check that the masks explain the classifier and do not smuggle the answer.

    Example: python -m whymask.benchmarks.explanations leaks mobilenet_v2_tf
    """
    from whymask.benchmarks.leaks.page import sentence
    from whymask.benchmarks.leaks.study import Plan, run_checks

    others = tuple(graph_of(each) for each in imagenet.SETTINGS if each != classifier)
    data = data_root() / "images" / "imagenette10_128" / "val"
    folder = RUNS / classifier
    plan = Plan(
        graph_of(classifier),
        data,
        folder,
        others,
        folder / ASKED_FILE,
        limit=limit,
        retrain_steps=RETRAIN_STEPS,
        command=_command("leaks", classifier, limit, LEAK_PICTURES),
    )
    record = run_checks(plan)
    write_atomically(_result(classifier, "leaks"), json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    typer.echo("\n".join(sentence(check) for check in record["checks"]))


@app.command()
def refine(classifier: str, count: int = typer.Option(REFINED, help="Pictures.")) -> None:
    """Measure how much one pass leaves on the table: quality against time of per-image refinement.

    Example: python -m whymask.benchmarks.explanations refine mobilenet_v2_tf
    """
    from whymask.benchmarks.refinement import judge

    judge(
        RUNS / known(classifier),
        evaluation_sets_folder(),
        count=count,
        steps=REFINE_STEPS,
        graph=graph_of(classifier),
        seed=0,
        batch=16,
        out=_result(classifier, "refine"),
    )


@app.command()
def table() -> None:
    """Rewrite results/explanations/README.md and the block in README.md from the committed results.

    Example: python -m whymask.benchmarks.explanations table
    """
    records = {classifier: committed_records(classifier) for classifier in imagenet.SETTINGS}
    records = {classifier: found for classifier, found in records.items() if found}
    for classifier, found in records.items():
        check_one_graph(classifier, found)
    if not records:
        raise InputError(f"{RESULTS} holds no results; make them with: {COMMAND} all")
    write_atomically(RESULTS / "README.md", explanations_page(records))
    replace_block(REPOSITORY / "README.md", readme_bars(records), BEGIN, END)
    typer.echo(f"Written: {RESULTS / 'README.md'} and the block in {REPOSITORY / 'README.md'}")


@app.command(name="all")
def everything() -> None:
    """All of it, for all three classifiers.

    Example: python -m whymask.benchmarks.explanations all
    """
    for classifier in imagenet.SETTINGS:
        train(classifier, steps=0, resume=False)
    for classifier in imagenet.SETTINGS:
        suite(classifier, limit=PICTURES, costly=0)
        located(classifier, limit=PICTURES, costly=0)
        leaks(classifier, limit=LEAK_PICTURES)
        refine(classifier, count=REFINED)
    table()


def graph_of(classifier: str, runs: Path | None = None) -> Path:
    """The exported graph of a classifier.

    Args:
        classifier: its name.
        runs: folder of the runs; None is the study's.

    Raises:
        ArtefactError: it is not there.
        InputError: the classifier is not in this study.
    """
    graph = (runs or RUNS) / known(classifier) / GRAPH_FILE
    if not graph.is_file():
        raise ArtefactError(f"{graph} is absent; make it with: {COMMAND} train {classifier}")
    return graph


def evaluation_sets_folder() -> Path:
    """The photographs, which no classifier and no explainer was trained on."""
    return data_root() / "images" / "photos_ccby"


def committed_records(classifier: str) -> dict[str, dict[str, Any]]:
    """A classifier's records by kind, of those that are there."""
    kinds = ("suite", "located", "leaks", "refine")
    paths = {kind: _result(classifier, kind) for kind in kinds}
    return {kind: json.loads(path.read_text(encoding="utf-8")) for kind, path in paths.items() if path.is_file()}


def check_one_graph(classifier: str, records: dict[str, dict[str, Any]]) -> None:
    """See that all records of a classifier that name their graph judged the same one.

    Raises:
        InputError: they did not: one column of the table would be of several explainers.
    """
    judged = {kind: record["graph"]["sha256"][:12] for kind, record in records.items() if "graph" in record}
    if len(set(judged.values())) > 1:
        listed = ", ".join(f"{kind} {digest}" for kind, digest in judged.items())
        raise InputError(
            f"{classifier}: records of different graphs ({listed}); one explainer is expected in all of them: "
            f"make the others again with {COMMAND} {' or '.join(judged)} {classifier}"
        )


def _command(kind: str, classifier: str, limit: int, usual: int, costly: int = 0) -> str:
    """What makes a record again; `usual` is the number of pictures that need not be said."""
    limited_to = f" --limit {limit}" if limit != usual else ""
    return f"{COMMAND} {kind} {classifier}{limited_to}" + (f" --costly {costly}" if costly else "")


def _evaluate(
    classifier: str, kind: str, sets: list[PictureSet], limit: int, costly: int, metrics: tuple[str, ...] | None = None
) -> None:
    """Judge the graph, and write the record among the results and its page beside the run."""
    from whymask.benchmarks.suite.evaluate import EvaluateSettings, evaluate_graph, write_evaluation
    from whymask.benchmarks.suite.summary import sentence

    settings = EvaluateSettings(
        run=RUNS / classifier,
        maps=MAPS,
        metrics=metrics,
        rise_masks=RISE_MASKS,
        optimise_steps=OPTIMISED_STEPS,
        optimise_as=unfiltered_config(classifier, data_root()),
        command=_command(kind, classifier, limit, PICTURES, costly),
        costly=costly or None,
        earlier=_result(classifier, kind) if costly else None,
    )
    found = evaluate_graph(graph_of(classifier), sets, settings)
    write_evaluation(found, _result(classifier, kind))
    write_evaluation(found, RUNS / classifier / f"{kind}.html")
    typer.echo("\n".join(sentence(summary) for summary in found.summaries))


def _result(classifier: str, kind: str) -> Path:
    RESULTS.mkdir(parents=True, exist_ok=True)
    return RESULTS / f"{known(classifier)}.{kind}.json"


if __name__ == "__main__":
    run_program(app)
