"""`whymask train-text`: an amortized explainer of a text classifier. Light to import: torch comes when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whymask.runtime.errors import MissingExtra
from whymask.runtime.progress import track
from whymask.runtime.text_files import texts_from_file
from whymask.train.text.cli import load_text_classifier

if TYPE_CHECKING:
    from whymask.train.text.amortized_run import TextRun


def train_text(
    model: Annotated[str, typer.Argument(metavar="DIR|NAME", help="Text classifier, as for whymask rationale.")],
    texts: Annotated[Path, typer.Option(metavar="FILE", help="Unlabelled texts, one a line, UTF-8.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="Folder to write.")],
    steps: Annotated[int, typer.Option(min=2, help="Steps of training.")] = 600,
    sparsity: Annotated[float, typer.Option(min=0.0, help="Weight of the squared share of kept tokens.")] = 4.0,
    smoothness: Annotated[float, typer.Option(min=0.0, help="Weight of steps between neighbours.")] = 0.1,
    alpha: Annotated[float, typer.Option(help="The rationale keeps at least 1 − alpha of the decisions …")] = 0.1,
    delta: Annotated[float, typer.Option(help="… with confidence 1 − delta.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train a head on a frozen text classifier that marks in one pass the words that decide.

    Example: whymask train-text reviews --texts reviews.txt -o runs/reviews
    """
    try:
        from whymask.train.text.amortized_config import AmortizedConfig
        from whymask.train.text.amortized_run import train_run
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "train", "train an explainer of texts") from None
    config = AmortizedConfig(steps=steps, sparsity=sparsity, smoothness=smoothness, alpha=alpha, delta=delta, seed=seed)
    lines = texts_from_file(texts)
    with track(steps, "training", "steps") as bar:
        run = train_run(load_text_classifier(model), lines, model, out, config, lambda _: bar.advance())
    for line in summary(run):
        typer.echo(line)


def summary(run: TextRun) -> list[str]:
    """What was trained and what is promised, as lines for a terminal."""
    card, promise = run.card, run.card.guarantee
    verdict = "met" if promise.met else f"NOT met: only {promise.lower_bound:.1%} can be promised"
    return [
        f"{run.path}: head of {card.parameters:,} parameters, {card.training['texts']} texts, seed {card.seed}",
        f"threshold {card.threshold:.3f}: the rationale alone keeps {promise.retention:.1%} of {promise.n} held-out "
        f"decisions with {promise.mean_area:.1%} of the tokens; retention ≥ {1 - promise.alpha:.0%} at confidence "
        f"{1 - promise.delta:.0%}: {verdict}",
        f"next: whymask export-text {run.path} -o {run.path / 'fused.onnx'}"
        + ("" if card.vocabulary else " --texts FILE"),
    ]
