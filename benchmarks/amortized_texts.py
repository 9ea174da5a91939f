"""Does one pass of a trained head explain a text as well as MaRC does in hundreds, and what does it cost?

    python -m whymask.benchmarks.amortized_texts --work DIR        # goes on from DIR where it was cut off

On the generated texts of known reason and the small transformer of `rationales.py`; `amortized_study.py` says what is
compared. `film_reviews.py` asks the same of real texts and a real encoder.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from whymask.benchmarks.amortized_study import plan_of, study_of
from whymask.benchmarks.amortized_texts_page import GENERATED, page_from_record
from whymask.benchmarks.program import check_json, publish, run_program
from whymask.benchmarks.rationale_texts import make_texts
from whymask.benchmarks.rationales import RESULTS, read_trained, right_texts, torch_facts, train_on_texts

SCHEMA_VERSION = 2
KIND = "whymask.amortized-texts"
STUDENT_TEXTS = 1500

app = typer.Typer(add_completion=False)


@app.command(help=__doc__)
def study(
    count: Annotated[int, typer.Option("-n", min=1, help="Held-out texts to judge on, at most.")] = 100,
    student_steps: Annotated[int, typer.Option(min=2, help="Steps of the student's training.")] = 150,
    steps: Annotated[int, typer.Option(min=0, help="Of MaRC a text; 0 takes each one's own number.")] = 0,
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
    check_json(out)
    with TemporaryDirectory() as temporary:
        plan = plan_of(student_steps, steps, seconds, seed, work or Path(temporary))
        classifier, told = train_on_texts(training_steps, seed) if kept is None else read_trained(kept)
        # Neither the classifier nor a head saw these: other seeds' texts.
        opinions = [each for each in make_texts(3 * count, seed + 2) if each.spans]
        learn = [each.text for each in make_texts(STUDENT_TEXTS, seed + 3)]
        found = study_of(classifier, learn, right_texts(classifier, opinions)[:count], plan, "small transformer")
    record = {"kind": KIND, "schema": SCHEMA_VERSION, "classifier": told, "seed": seed, **torch_facts(), **found}
    publish(out, record, page_from_record(record, GENERATED))


if __name__ == "__main__":
    run_program(app)
