"""What a study of amortized explainers of texts does, whatever its texts and its classifier are.

Beside each other on the same held-out texts: a head trained by MaRC's objective with the order of tokens held right
at drawn areas (*student*), by MaRC's terms alone, and by copying MaRC's masks; MaRC itself, by our settings and by the
authors', gradient × input, occlusion, and random scores. The three heads get the same processor time, MaRC's for the
masks that are copied included. The student is exported, held to torch's answers, and timed in pairs with the classifier
alone.

Letters: n texts, N tokens of a text.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whymask.benchmarks.amortized_work import Student, TaughtMasks, kept_student, taught_masks
from whymask.benchmarks.rationale_texts import ReasonedText
from whymask.benchmarks.rationales import (
    GRADIENT,
    MARC,
    MARC_PUBLISHED,
    OCCLUSION,
    RANDOM,
    columns,
    cut_figures,
    figures_of,
    marc_configs,
)
from whymask.benchmarks.text_latency import text_latency
from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.progress import track
from whymask.train.text.record import CUT

if TYPE_CHECKING:
    from torch import Tensor

    from whymask.train.text.amortized_config import AmortizedConfig
    from whymask.train.text.amortized_run import TextRun
    from whymask.train.text.classifier import Tokens
    from whymask.train.text.reading import ReadableClassifier

STUDENT, PLAIN, COPY = "student", "student, MaRC's terms alone", "student, copies MaRC"
METHODS = (STUDENT, PLAIN, COPY, MARC, MARC_PUBLISHED, GRADIENT, OCCLUSION, RANDOM)
MASKS_SHARE = 0.5
"""Of the copying student's time that MaRC's masks take; the rest is for the copying."""
MASK_FILES = {MARC: "judged.json", MARC_PUBLISHED: "judged-published.json"}
NO_LIMIT = 1_000_000
"""Steps of a head whose training ends by time."""

Scores = Callable[[int, "Tokens", int], "Tensor"]
"""From a text's number, tokens and class to float32 (N,)."""


@dataclass(frozen=True)
class Plan:
    """How the methods are run.

    Attributes:
        config: of the student.
        marc: fields of `TextMarcConfig`, by MARC, the teacher, and MARC_PUBLISHED.
        seconds: time limit of the latency's pairs.
        work: where heads and masks are kept; a study that was cut off goes on from it.
    """

    config: AmortizedConfig
    marc: Mapping[str, Mapping[str, Any]]
    seconds: float
    work: Path


def plan_of(student_steps: int, steps: int, seconds: float, seed: int, work: Path) -> Plan:
    """A plan from what both studies' commands are told.

    Args:
        student_steps: of the student's training.
        steps: of MaRC a text; 0 takes each one's own number.
        seconds, work: see `Plan`.
        seed: of training and explanations.

    Raises:
        MissingExtra: torch or onnx is not installed.
    """
    try:
        import onnx  # noqa: F401

        from whymask.train.text.amortized_config import AmortizedConfig
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "export", "study amortized explainers of texts") from None
    marc = {name: dataclasses.asdict(config) for name, config in marc_configs(steps, seed).items()}
    return Plan(AmortizedConfig(steps=student_steps, seed=seed), marc, seconds, work)


def study_of(
    classifier: ReadableClassifier, learn: Sequence[str], judged: Sequence[ReasonedText], plan: Plan, model: str
) -> dict[str, Any]:
    """Train, explain, judge and time.

    Args:
        classifier: asked, never changed.
        learn: unlabelled texts that it was not trained on; a share of them is for the student's threshold.
        judged: texts that neither it nor a head saw, and that it gets right; f1 and iou where all have a reason.
        plan: how.
        model: where the classifier comes from.

    Returns:
        What both studies' records hold, `measure`'s result among it.

    Raises:
        InputError: no text to judge on.
    """
    from whymask.train.text.amortized_run import run_from_head, split_texts

    if not judged:
        raise InputError("amortized texts: no held-out text is classified right; train the classifier for longer")
    texts, held = split_texts([classifier.tokenise(text) for text in learn], plan.config)
    students = train_students(classifier, texts, plan)
    tokens = [classifier.tokenise(each.text) for each in judged]
    taught = {
        name: taught_masks(classifier, tokens, plan.marc[name], plan.work / file) for name, file in MASK_FILES.items()
    }
    run = run_from_head(classifier, students[STUDENT].head, texts, held, model, plan.work / "run", plan.config)
    methods = scores_by_method(classifier, students, taught, plan.config.seed)
    return {
        "texts": len(judged),
        "marc": {name: dict(each) for name, each in plan.marc.items()},
        "config": dataclasses.asdict(plan.config),
        "students": {
            name: {"seconds": each.seconds, "steps": each.steps, "texts": each.texts} for name, each in students.items()
        },
        "threshold": run.card.threshold,
        "guarantee": dataclasses.asdict(run.card.guarantee),
        "head_parameters": run.card.parameters,
        **measure(classifier, judged, methods, taught, run.card.threshold),
        **exported(run, tokens, plan),
    }


def exported(run: TextRun, texts: Sequence[Tokens], plan: Plan) -> dict[str, Any]:
    """Parity of the student's graph with torch on these texts, and its latency beside the classifier alone."""
    from whymask.export.onnx_from_text_run import export_text_run

    file = plan.work / "student.onnx"
    card = export_text_run(run, file, texts=[each.text for each in texts])
    return {"parity": card.metrics, "latency": text_latency(file, [each.ids for each in texts], plan.seconds)}


def train_students(classifier: ReadableClassifier, learn: Sequence[Tokens], plan: Plan) -> dict[str, Student]:
    """The three heads; the second and third get the processor time that the first took.

    Args:
        classifier: asked, never changed.
        learn: texts, none of which is judged on.
        plan: the first head's configuration among it.
    """
    from whymask.train.text.amortized_fit import distil_head, fit_head

    config, work = plan.config, plan.work
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
    taught = taught_masks(classifier, learn, plan.marc[MARC], work / "learn.json", MASKS_SHARE * first.seconds)
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
    classifier: ReadableClassifier, students: dict[str, Student], taught: Mapping[str, TaughtMasks], seed: int
) -> dict[str, Scores]:
    """How each method scores a text; MaRC's masks are there."""
    import torch

    from whymask.train.text.amortized_fit import scored
    from whymask.train.text.attributions import gradient_times_input, occlusion, random_scores

    def of(student: Student) -> Scores:
        def saliency(number: int, tokens: Tokens, target: int) -> Tensor:
            del number, target  # these classifiers are right on the texts judged on: predicted and true class are one
            with torch.no_grad():
                return torch.sigmoid(scored(classifier, student.head, [tokens])[1][0])

        return saliency

    def made(masks: TaughtMasks) -> Scores:
        return lambda number, tokens, target: masks.masks[number]

    return {
        **{name: of(student) for name, student in students.items()},
        **{name: made(masks) for name, masks in taught.items()},
        GRADIENT: lambda number, tokens, target: gradient_times_input(classifier, tokens, target),
        OCCLUSION: lambda number, tokens, target: occlusion(classifier, tokens, target),
        RANDOM: lambda number, tokens, target: random_scores(tokens, seed + number),
    }


def measure(
    classifier: ReadableClassifier,
    texts: Sequence[ReasonedText],
    methods: dict[str, Scores],
    taught: Mapping[str, TaughtMasks],
    threshold: float,
) -> dict[str, Any]:
    """Judge every method on every text.

    Returns:
        `methods`: by method, by figure, one value a text; `cuts`: the same at the student's threshold and MaRC's own
        cut; `seconds`: of processor time by method, one value a text.
    """
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in METHODS}
    cuts: dict[str, list[dict[str, float]]] = {name: [] for name in (STUDENT, *taught)}
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    with track(len(texts), "judging", "texts") as bar:
        for number, each in enumerate(texts):
            tokens = classifier.tokenise(each.text)
            for name in METHODS:
                begin = time.process_time()
                scores = methods[name](number, tokens, each.label)
                took = taught[name].seconds[number] if name in taught else time.process_time() - begin
                seconds[name].append(round(took, 6))
                rows[name].append(figures_of(classifier, tokens, each.label, scores, each.spans))
                if name in cuts:
                    cut = threshold if name == STUDENT else CUT
                    cuts[name].append(cut_figures(classifier, tokens, each.label, scores, each.spans, cut))
            bar.advance()
    return {"methods": columns_of(rows), "cuts": columns_of(cuts), "seconds": seconds}


def columns_of(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """By method, by figure, one value a text."""
    return {name: columns(found) for name, found in rows.items()}
