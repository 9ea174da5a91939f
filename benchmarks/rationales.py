"""Do rationales hold the decision, and are they the reason that the text was made with?

    python -m whymask.benchmarks.rationales                    # trains the classifier, explains, writes JSON and page
    python -m whymask.benchmarks.rationales --save reviews     # and keeps the classifier, for the next line
    python -m whymask.benchmarks.rationales --classifier reviews

A small transformer is trained on generated texts whose reason is known (`rationale_texts.py`). Held-out texts that it
gets right are explained by MaRC (arXiv 2508.11388) with our settings for short texts and with the authors', by
gradient × input, by occlusion and at random. Judged by ERASER's sufficiency and comprehensiveness (AOPC over shares of
the tokens), with tokens taken out and with PAD in their place, and by F1 and IoU with the given reason: of as many best
tokens as the reason has, and for MaRC of its own cut too.

Letters: n texts, N tokens of a text.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from whymask.benchmarks.machine import describe_machine
from whymask.benchmarks.program import check_json, publish, run_program
from whymask.benchmarks.rationale_texts import LABELS, ReasonedText, make_texts
from whymask.benchmarks.rationales_page import page_from_record
from whymask.benchmarks.records import json_from_report
from whymask.runtime.errors import ArtefactError, InputError, MissingExtra
from whymask.runtime.files import write_atomically
from whymask.runtime.progress import track
from whymask.train.text.record import CUT

if TYPE_CHECKING:
    from torch import Tensor

    from whymask.train.text.classifier import Tokens
    from whymask.train.text.marc import TextMarcConfig
    from whymask.train.text.reading import ReadableClassifier
    from whymask.train.text.transformer import WordClassifier

SCHEMA_VERSION = 2
RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "text"
MARC, MARC_PUBLISHED = "MaRC", "MaRC, as published"
GRADIENT, OCCLUSION, RANDOM = "gradient × input", "occlusion", "random"
METHODS = (MARC, MARC_PUBLISHED, GRADIENT, OCCLUSION, RANDOM)
TRAINING_FILE = "training.json"
TRAINING_TEXTS, ACCURACY_TEXTS = 2000, 300

Figures = dict[str, float]


def marc_configs(steps: int, seed: int) -> dict[str, TextMarcConfig]:
    """MaRC by our settings and by the authors', `steps` a text; 0 takes each one's own number."""
    from whymask.train.text.marc import PUBLISHED, TextMarcConfig

    configs = {MARC: TextMarcConfig(), MARC_PUBLISHED: PUBLISHED}
    return {
        name: dataclasses.replace(config, steps=steps or config.steps, seed=seed) for name, config in configs.items()
    }


def scores_of(
    classifier: ReadableClassifier, tokens: Tokens, target: int, configs: Mapping[str, TextMarcConfig], seed: int
) -> dict[str, Tensor]:
    """Every method's scores of one text, float32 (N,) each, larger is more relevant; `configs` are MaRC's by method."""
    from whymask.train.text.attributions import gradient_times_input, occlusion, random_scores
    from whymask.train.text.marc import explain_text

    marc = {
        name: explain_text(classifier, tokens, target, dataclasses.replace(config, seed=seed))
        for name, config in configs.items()
    }
    return marc | {
        GRADIENT: gradient_times_input(classifier, tokens, target),
        OCCLUSION: occlusion(classifier, tokens, target),
        RANDOM: random_scores(tokens, seed),
    }


def figures_of(
    classifier: ReadableClassifier, tokens: Tokens, target: int, scores: Tensor, spans: Sequence[tuple[int, int]]
) -> Figures:
    """What one method's scores of one text are worth; f1 and iou where it has given spans."""
    from whymask.train.text.measures import DELETE, PAD, agreement, aopc, best_count, tokens_in_spans

    deleted, padded = (aopc(classifier, tokens, target, scores, removal) for removal in (DELETE, PAD))
    found = {
        "sufficiency": deleted.sufficiency,
        "comprehensiveness": deleted.comprehensiveness,
        "sufficiency_pad": padded.sufficiency,
        "comprehensiveness_pad": padded.comprehensiveness,
    }
    if not spans:
        return found
    given = tokens_in_spans(tokens, spans)
    agrees = agreement(best_count(tokens, scores, int(given.sum())).numpy(), given.numpy())
    return found | {"f1": agrees.f1, "iou": agrees.iou}


def cut_figures(
    classifier: ReadableClassifier,
    tokens: Tokens,
    target: int,
    mask: Tensor,
    spans: Sequence[tuple[int, int]],
    cut: float = CUT,
) -> Figures:
    """What a rationale at its own cut is worth; MaRC's unless another is said. Agreement where spans are given."""
    from whymask.train.text.measures import DELETE, agreement, faithfulness, tokens_in_spans
    from whymask.train.text.rationale import spans_from_mask

    chosen = mask >= cut
    worth = faithfulness(classifier, tokens, target, chosen, DELETE)
    found = {
        "share": float(chosen[tokens.own].float().mean()),
        "spans": float(len(spans_from_mask(tokens, mask, cut))),
        "sufficiency": worth.sufficiency,
        "comprehensiveness": worth.comprehensiveness,
    }
    if not spans:
        return found
    agrees = agreement(chosen.numpy(), tokens_in_spans(tokens, spans).numpy())
    return found | {"precision": agrees.precision, "recall": agrees.recall, "f1": agrees.f1, "iou": agrees.iou}


def right_texts(classifier: ReadableClassifier, texts: Sequence[ReasonedText]) -> list[ReasonedText]:
    """The texts whose class the classifier gets right: a wrong decision has another reason."""
    from whymask.train.text.fit_transformer import text_accuracy

    return [each for each in texts if text_accuracy(classifier, [each.text], [each.label]) == 1.0]


def measure(
    classifier: ReadableClassifier, texts: Sequence[ReasonedText], configs: Mapping[str, TextMarcConfig], seed: int
) -> dict[str, Any]:
    """Explain and judge every text; text i takes the seed plus i.

    Returns:
        `methods`: by method, by figure, one value a text; `cuts`: the same of MaRC's own cuts; `seconds_all_methods`.

    Raises:
        InputError: no text.
    """
    if not texts:
        raise InputError("rationales: no held-out text with an opinion is classified right; train for longer")
    by_method: dict[str, list[Figures]] = {method: [] for method in METHODS}
    cuts: dict[str, list[Figures]] = {method: [] for method in configs}
    seconds = []
    with track(len(texts), "rationales", "texts") as bar:
        for number, each in enumerate(texts):
            tokens = classifier.tokenise(each.text)
            begin = time.perf_counter()
            found = scores_of(classifier, tokens, each.label, configs, seed + number)
            seconds.append(time.perf_counter() - begin)
            for method, scores in found.items():
                by_method[method].append(figures_of(classifier, tokens, each.label, scores, each.spans))
            for method, rows in cuts.items():
                rows.append(cut_figures(classifier, tokens, each.label, found[method], each.spans))
            bar.advance()
    return {
        "methods": {method: columns(rows) for method, rows in by_method.items()},
        "cuts": {method: columns(rows) for method, rows in cuts.items()},
        "seconds_all_methods": [round(value, 4) for value in seconds],
    }


def columns(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """By figure, one value a row, rounded for a record."""
    return {name: [round(row[name], 6) for row in rows] for name in rows[0]}


def torch_facts() -> dict[str, Any]:
    """What a record says of libraries, threads and machine."""
    import torch

    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "cpu": describe_machine().cpu,
    }


def train_on_texts(steps: int, seed: int) -> tuple[WordClassifier, dict[str, Any]]:
    """The small classifier, and what the record says of it."""
    from whymask.train.text.fit_transformer import TextFitConfig, fit_word_classifier

    texts, held_out = make_texts(TRAINING_TEXTS, seed), make_texts(ACCURACY_TEXTS, seed + 1)
    config = TextFitConfig(steps=steps, seed=seed)
    with track(steps, "training the classifier", "steps") as bar:
        classifier = fit_word_classifier(
            [each.text for each in texts], [each.label for each in texts], LABELS, config, lambda _: bar.advance()
        )
    return classifier, dataclasses.asdict(config) | classifier_facts(classifier, len(texts), held_out)


def classifier_facts(
    classifier: ReadableClassifier, training_texts: int, held_out: Sequence[ReasonedText]
) -> dict[str, Any]:
    """What a record says of a classifier: size, texts that it learned from, and its accuracy on others."""
    from whymask.train.text.fit_transformer import text_accuracy

    share = text_accuracy(classifier, [each.text for each in held_out], [each.label for each in held_out])
    return {
        "training_texts": training_texts,
        "parameters": sum(parameter.numel() for parameter in classifier.module.parameters()),
        "accuracy": round(share, 5),
        "accuracy_texts": len(held_out),
    }


def read_trained(folder: Path) -> tuple[WordClassifier, dict[str, Any]]:
    """What `--save` kept.

    Raises:
        ArtefactError: absent or damaged.
    """
    from whymask.train.text.transformer import load_word_classifier

    try:
        told = json.loads((folder / TRAINING_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"{folder / TRAINING_FILE}: cannot be read ({error}); give a folder that --save wrote"
        ) from None
    return load_word_classifier(folder), told


app = typer.Typer(add_completion=False)


@app.command(help=__doc__)
def study(
    count: Annotated[int, typer.Option("-n", min=1, help="Held-out texts to explain, at most.")] = 24,
    steps: Annotated[int, typer.Option(min=0, help="Of MaRC a text; 0 takes each one's own number.")] = 0,
    training_steps: Annotated[int, typer.Option(min=2, help="Steps of the classifier's training.")] = 500,
    seed: Annotated[int, typer.Option(help="Of texts, training and explanations.")] = 0,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the classifier, for whymask rationale --model DIR.")
    ] = None,
    kept: Annotated[
        Path | None, typer.Option("--classifier", metavar="DIR", help="Explain one that --save kept; train none.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="JSON file; the page goes beside it.")] = RESULTS
    / "rationales.json",
) -> None:
    """Train, explain, judge, write the record and its page."""
    check_json(out)
    try:
        from whymask.train.text.transformer import save_classifier
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "train", "explain texts") from None
    classifier, told = train_on_texts(training_steps, seed) if kept is None else read_trained(kept)
    if save is not None:
        save_classifier(classifier, save)
        write_atomically(save / TRAINING_FILE, json_from_report(told) + "\n")
    # Neither training nor accuracy saw these: another seed's texts.
    opinions = [each for each in make_texts(3 * count, seed + 2) if each.spans]
    texts = right_texts(classifier, opinions)[:count]
    configs = marc_configs(steps, seed)
    record = {
        "kind": "whymask.rationales",
        "schema": SCHEMA_VERSION,
        "classifier": told,
        "marc": {name: dataclasses.asdict(config) for name, config in configs.items()},
        "texts": len(texts),
        "seed": seed,
        **torch_facts(),
        **measure(classifier, texts, configs, seed),
    }
    publish(out, record, page_from_record(record))


if __name__ == "__main__":
    run_program(app)
