"""`whymask export-text`: one checked ONNX file from a folder of `whymask train-text`. Light to import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from whymask.export.config import classifier_path
from whymask.runtime.commands import AsJson
from whymask.runtime.errors import MissingExtra
from whymask.runtime.text_card import TextCard
from whymask.runtime.text_files import texts_from_file


def export_text(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder made by whymask train-text.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Fused graph to write; the classifier alone goes beside it.")
    ],
    texts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Texts to compare file and modules on.", show_default="random words"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="DIR|NAME", help="Where the classifier is, if it moved since training.")
    ] = None,
    opset: Annotated[int, typer.Option(min=17, help="ONNX operator set.")] = 17,
    max_batch: Annotated[int, typer.Option(min=2, help="Largest batch, in texts.")] = 32,
    as_json: AsJson = False,
) -> None:
    """Fuse a text classifier and its explainer into one ONNX graph: tokens in; logits, saliency and rationale out.

    Example: whymask export-text runs/reviews -o reviews.onnx
    """
    try:
        from whymask.export.onnx_from_text_run import export_text_run
        from whymask.train.text.amortized_run import load_text_run
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "export", "export a graph") from None
    lines = [] if texts is None else texts_from_file(texts)
    card = export_text_run(load_text_run(run, model=model), out, texts=lines, opset=opset, max_batch=max_batch)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "card": json.loads(card.to_json())}, ensure_ascii=False))
        return
    for line in summary(out, card):
        typer.echo(line)


def summary(out: Path, card: TextCard) -> list[str]:
    """What was written and how it was checked, as lines for a terminal."""
    figures = card.metrics
    kind = "texts of random words, give real ones with --texts" if figures["parity_synthetic"] else "texts"
    return [
        f"{out}: fp32, opset {card.versions['opset']}; the classifier alone: {classifier_path(out).name}",
        f"ONNX Runtime against torch on {figures['parity_texts']:.0f} {kind}: "
        f"top-1 {figures['parity_top1_agreement']:.1%}, mask IoU {figures['parity_mask_iou']:.4f}, "
        f"saliency rank ≥ {figures['parity_saliency_rank']:.4f}",
        f'next: whymask rationale "TEXT" --model {out}',
    ]
