"""Does one pass of a trained head explain a text as well as MaRC does in hundreds, and what does it cost?

    python -m whymask.benchmarks.amortized_texts --work DIR        # goes on from DIR where it was cut off

On the generated texts of known reason and the small transformer of `rationales.py`. Beside each other on the same
held-out texts: a head trained by MaRC's objective with the order of tokens held right at drawn areas (*student*), by
MaRC's terms alone, and by copying MaRC's masks; MaRC itself, gradient × input, occlusion, and random scores. The three
heads get the same processor time, MaRC's for the masks that are copied included. The student is exported, held to
torch's answers, and timed in pairs with the classifier alone.

Letters: n texts, N tokens of a text.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from whymask.benchmarks.amortized_texts_page import page_from_record
from whymask.benchmarks.amortized_work import Student, TaughtMasks, kept_student, taught_masks
from whymask.benchmarks.machine import describe_machine
from whymask.benchmarks.program import publish, run_program
from whymask.benchmarks.rationale_texts import ReasonedText, make_texts
from whymask.benchmarks.rationales import (
    GRADIENT,
    MARC,
    OCCLUSION,
    RANDOM,
    RESULTS,
    cut_figures,
    figures_of,
    read_trained,
    right_opinions,
    train_on_texts,
)
from whymask.benchmarks.text_latency import text_latency
from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.progress import track

if TYPE_CHECKING:
    from torch import Tensor

    from whymask.train.text.amortized_config import AmortizedConfig
    from whymask.train.text.amortized_run import TextRun
    from whymask.train.text.classifier import Tokens
    from whymask.train.text.transformer import WordClassifier

SCHEMA_VERSION = 1
STUDENT, PLAIN, COPY = "student", "student, MaRC's terms alone", "student, copies MaRC"
METHODS = (STUDENT, PLAIN, COPY, MARC, GRADIENT, OCCLUSION, RANDOM)
STUDENT_TEXTS = 1500
MASKS_SHARE = 0.5
"""Of the copying student's time that MaRC's masks take; the rest is for the copying."""
NO_LIMIT = 1_000_000
"""Steps of a head whose training ends by time."""

Scores = Callable[[int, "Tokens", int], "Tensor"]
"""From a text's number, tokens and class to float32 (N,)."""


def train_students(
    classifier: WordClassifier, learn: Sequence[Tokens], config: AmortizedConfig, marc: dict[str, Any], work: Path
) -> dict[str, Student]:
    """The three heads; the second and third get the processor time that the first took.

    Args:
        classifier: asked, never changed.
        learn: texts, none of which is judged on.
        config: of the first head.
        marc: fields of `TextMarcConfig`.
        work: where heads and masks are kept.
    """
    from whymask.train.text.amortized_fit import distil_head, fit_head

    first = kept_student(
        classifier,
        "student",
        config,
        work,
        lambda count: (fit_head(classifier, learn, config, on_step=count), 0.0, len(learn)),
    )
    plain = dataclasses.replace(config, ranked=0.0, steps=NO_LIMIT)
    second = kept_student(
        classifier,
        "plain",
        plain,
        work,
        lambda count: (fit_head(classifier, learn, plain, seconds=first.seconds, on_step=count), 0.0, len(learn)),
    )
    taught = taught_masks(classifier, learn, marc, work / "learn.json", MASKS_SHARE * first.seconds)
    spent, copied = sum(taught.seconds), learn[: len(taught.masks)]
    left = max(first.seconds - spent, 1e-3)
    third = kept_student(
        classifier,
        "copy",
        plain,
        work,
        lambda count: (
            distil_head(classifier, copied, taught.masks, plain, seconds=left, on_step=count),
            spent,
            len(copied),
        ),
    )
    return {STUDENT: first, PLAIN: second, COPY: third}


def scores_by_method(
    classifier: WordClassifier, students: dict[str, Student], taught: TaughtMasks, seed: int
) -> dict[str, Scores]:
    """How each method but MaRC, whose masks are there, scores a text."""
    import torch

    from whymask.train.text.amortized_fit import scored
    from whymask.train.text.attributions import gradient_times_input, occlusion, random_scores

    def of(student: Student) -> Scores:
        def saliency(number: int, tokens: Tokens, target: int) -> Tensor:
            del number, target  # these classifiers are right on the texts judged on: predicted and true class are one
            with torch.no_grad():
                return torch.sigmoid(scored(classifier, student.head, [tokens])[1][0])

        return saliency

    return {
        **{name: of(student) for name, student in students.items()},
        MARC: lambda number, tokens, target: taught.masks[number],
        GRADIENT: lambda number, tokens, target: gradient_times_input(classifier, tokens, target),
        OCCLUSION: lambda number, tokens, target: occlusion(classifier, tokens, target),
        RANDOM: lambda number, tokens, target: random_scores(tokens, seed + number),
    }


def measure(
    classifier: WordClassifier,
    texts: Sequence[ReasonedText],
    methods: dict[str, Scores],
    taught: TaughtMasks,
    threshold: float,
) -> dict[str, Any]:
    """Judge every method on every text.

    Returns:
        `methods`: by method, by figure, one value a text; `cuts`: the same at the student's threshold and MaRC's own
        cut; `seconds`: of processor time by method, one value a text.

    Raises:
        InputError: no text.
    """
    if not texts:
        raise InputError("amortized texts: no held-out text with an opinion is classified right; train for longer")
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in METHODS}
    cuts: dict[str, list[dict[str, float]]] = {STUDENT: [], MARC: []}
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    with track(len(texts), "judging", "texts") as bar:
        for number, each in enumerate(texts):
            tokens = classifier.tokenise(each.text)
            for name in METHODS:
                begin = time.process_time()
                scores = methods[name](number, tokens, each.label)
                took = taught.seconds[number] if name == MARC else time.process_time() - begin
                seconds[name].append(round(took, 6))
                rows[name].append(figures_of(classifier, tokens, each.label, scores, each.spans))
                if name in cuts:
                    cut = threshold if name == STUDENT else 0.5
                    cuts[name].append(cut_figures(classifier, tokens, each.label, scores, each.spans, cut))
            bar.advance()
    return {"methods": _columns(rows), "cuts": _columns(cuts), "seconds": seconds}


def _columns(rows: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    return {
        name: {figure: [round(row[figure], 6) for row in found] for figure in found[0]} for name, found in rows.items()
    }


app = typer.Typer(add_completion=False)


@app.command(help=__doc__)
def study(
    count: Annotated[int, typer.Option("-n", min=1, help="Held-out texts to judge on, at most.")] = 100,
    student_steps: Annotated[int, typer.Option(min=2, help="Steps of the student's training.")] = 150,
    steps: Annotated[int, typer.Option(min=1, help="Steps of MaRC a text.")] = 150,
    training_steps: Annotated[int, typer.Option(min=2, help="Steps of the classifier's training.")] = 500,
    seconds: Annotated[float, typer.Option(help="Time limit of the latency's pairs, s.")] = 20.0,
    seed: Annotated[int, typer.Option(help="Of texts, training and explanations.")] = 0,
    kept: Annotated[
        Path | None,
        typer.Option("--classifier", metavar="DIR", help="One that benchmarks.rationales --save kept; train none."),
    ] = None,
    work: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep masks and heads, and go on from them.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="JSON file; the page goes beside it.")] = RESULTS
    / "amortized.json",
) -> None:
    """Train, explain, judge, time, write the record and its page."""
    try:
        import onnx  # noqa: F401
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "export", "study amortized explainers of texts") from None
    classifier, told = train_on_texts(training_steps, seed) if kept is None else read_trained(kept)
    with TemporaryDirectory() as temporary:
        found = _measured(classifier, (count, student_steps, steps, seed), seconds, work or Path(temporary))
    record = {
        "kind": "whymask.amortized-texts",
        "schema": SCHEMA_VERSION,
        "classifier": told,
        "seed": seed,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "cpu": describe_machine().cpu,
        **found,
    }
    publish(out, record, page_from_record(record))


def _measured(
    classifier: WordClassifier, sizes: tuple[int, int, int, int], seconds: float, work: Path
) -> dict[str, Any]:
    """Everything that is measured: `sizes` are texts, the student's and MaRC's steps, and the seed."""
    from whymask.train.text.amortized_config import AmortizedConfig
    from whymask.train.text.amortized_run import run_from_head, split_texts
    from whymask.train.text.marc import TextMarcConfig

    count, student_steps, steps, seed = sizes
    config = AmortizedConfig(steps=student_steps, seed=seed)
    marc = dataclasses.asdict(TextMarcConfig(steps=steps, seed=seed))
    # Neither the classifier nor a head saw these: other seeds' texts.
    texts = right_opinions(classifier, make_texts(3 * count, seed + 2))[:count]
    learn, held = split_texts([classifier.tokenise(each.text) for each in make_texts(STUDENT_TEXTS, seed + 3)], config)
    students = train_students(classifier, learn, config, marc, work)
    taught = taught_masks(classifier, [classifier.tokenise(each.text) for each in texts], marc, work / "judged.json")
    run = run_from_head(classifier, students[STUDENT].head, learn, held, "small transformer", work / "run", config)
    methods = scores_by_method(classifier, students, taught, seed)
    return {
        "texts": len(texts),
        "marc": marc,
        "config": dataclasses.asdict(config),
        "students": {
            name: {"seconds": each.seconds, "steps": each.steps, "texts": each.texts} for name, each in students.items()
        },
        "threshold": run.card.threshold,
        "guarantee": dataclasses.asdict(run.card.guarantee),
        "head_parameters": run.card.parameters,
        **measure(classifier, texts, methods, taught, run.card.threshold),
        **exported(run, [each.text for each in texts], seconds, work),
    }


def exported(run: TextRun, texts: Sequence[str], seconds: float, work: Path) -> dict[str, Any]:
    """Parity of the student's graph with torch on these texts, and its latency beside the classifier alone."""
    from whymask.export.onnx_from_text_run import export_text_run

    card = export_text_run(run, work / "student.onnx", texts=texts)
    return {"parity": card.metrics, "latency": text_latency(work / "student.onnx", texts, seconds)}


if __name__ == "__main__":
    run_program(app)
