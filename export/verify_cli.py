"""`whymask verify`: do two forms of one model agree? Light to import: torch comes only with a run directory."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whymask.runtime.commands import AsJson
from whymask.runtime.errors import InputError
from whymask.runtime.files import write_atomically
from whymask.runtime.progress import track

if TYPE_CHECKING:
    from whymask.export.verification import Gate, Images, Verification
    from whymask.runtime.card import InputCard
    from whymask.runtime.images import Picture

LABELS = {
    "top1_agreement_min": "top-1 agreement, near ties aside",
    "near_ties": "near ties, in images",
    "logits_max": "logits, largest error",
    "logits_p99": "logits, 99th percentile of errors",
    "mask_iou_min": "mask IoU",
    "mask_flips": "flipped pixels",
    "mask_flips_share": "flipped pixels, share",
    "saliency_rank_min": "saliency rank, lowest image",
    "saliency_rank_mean": "saliency rank, mean",
    "saliency_max": "saliency, largest error",
    "classes_agreement_min": "likeliest classes, agreement",
    "classes_not_compared": "likeliest classes, in one of the two alone",
    "class_mask_iou_min": "mask IoU of these classes",
    "class_saliency_rank_min": "saliency rank of these, lowest",
    "class_saliency_max": "saliency of these, largest error",
    "attributes_max": "attributes, largest error",
    "relevance_max": "relevance, largest error",
    "explanation_wrong": "explanation, wrong values",
    "certificate_max": "certificate, largest error",
    "not_finite": "NaN or infinite values",
}
"""What a person reads for each figure, in the table's order."""


def verify(
    artefact: Annotated[
        Path, typer.Argument(metavar="ARTEFACT", help="Run directory, ONNX file or engine (.plan, .engine, .trt).")
    ],
    other: Annotated[
        Path | None, typer.Argument(metavar="OTHER", help="Another form of it; the more exact is the reference.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of images to compare on.", show_default="synthetic images")
    ] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Images at most.", show_default="64")] = None,
    golden: Annotated[
        Path | None, typer.Option(metavar="BUNDLE.npz", help="Compare with a golden bundle; needs numpy alone.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Of ONNX Runtime, for ONNX files: cpu, cuda, tensorrt, …", show_default="cpu")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A run's classifier, when it moved since training.")] = None,
    weights: Annotated[str | None, typer.Option(help="A run's weights, when they moved.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file for the record, image by image.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two forms of one model, figure by figure, with the tolerances in their cards.

    Any two of: a run directory (torch), an FP32 graph, an FP16 graph, an engine, a golden bundle. Exits with 1 where a
    figure is out of bounds.

    Example:
        whymask verify fused.fp16.onnx runs/resnet18 --data photos/
        whymask verify fused.plan --golden fused.golden.npz
    """
    _check_request(artefact, other, data, images, golden)
    paths = [artefact] if other is None else [artefact, other]
    _check_options(paths, provider, model, weights)
    result = _verified(paths, data, images, golden, (provider or "cpu", model, weights))
    record = result.to_record()
    if out is not None:
        write_atomically(out, json.dumps(record, ensure_ascii=False, indent=2) + "\n")
    if as_json:
        typer.echo(json.dumps(record, ensure_ascii=False))
    else:
        for line in lines(result):
            typer.echo(line)
    result.check()


def lines(result: Verification) -> list[str]:
    """The comparison as lines for a terminal: what was compared, and a table with a row for each figure.

    Args:
        result: of a comparison.
    """
    hint = ", give real ones with --data" if result.images.is_synthetic and not result.images.source else ""
    head = [
        f"reference   {result.reference}",
        f"measured    {result.measured}",
        f"images      {result.images}{hint}",
        f"tolerances  {result.bounds.precision}, {result.bounds.source}",
        "",
    ]
    gates = {gate.name: gate for gate in result.gates}
    rows = [("figure", "measured", "allowed", ""), *(_row(gates[name]) for name in LABELS if name in gates)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return head + [
        f"{label:<{widths[0]}}  {measured:>{widths[1]}}  {allowed:<{widths[2]}}  {verdict}".rstrip()
        for label, measured, allowed, verdict in rows
    ]


def _row(gate: Gate) -> tuple[str, str, str, str]:
    label, measured = LABELS[gate.name], f"{gate.measured:.6g}"
    if gate.allowed is None:
        return label, measured, "", ""
    sign = "≥" if gate.is_lower_bound else "≤"
    return label, measured, f"{sign} {gate.allowed:g}", "pass" if gate.passes else "FAIL"


def _check_request(
    artefact: Path, other: Path | None, data: Path | None, images: int | None, golden: Path | None
) -> None:
    if other is None and golden is None:
        raise InputError(
            f"{artefact} was given alone; say what it is compared with: whymask verify {artefact} OTHER, or "
            f"whymask verify {artefact} --golden BUNDLE.npz"
        )
    if golden is None:
        return
    for given, name in ((other, "a second artefact"), (data, "--data"), (images, "--images")):
        if given is not None:
            raise InputError(f"--golden and {name} were both given; a bundle has its own answers and images: give one")


def _check_options(paths: list[Path], provider: str | None, model: str | None, weights: str | None) -> None:
    from whymask.export.verification import ONNX, RUN
    from whymask.export.verify import kind_of

    kinds = {kind_of(path) for path in paths}
    for option, given, kind in (("provider", provider, ONNX), ("model", model, RUN), ("weights", weights, RUN)):
        if given is not None and kind not in kinds:
            what = "an ONNX file" if kind == ONNX else "a run directory"
            raise InputError(f"--{option} {given}: belongs to {what}, and none was given; leave the option out")


def _verified(
    paths: list[Path],
    data: Path | None,
    images: int | None,
    golden: Path | None,
    options: tuple[str, str | None, str | None],
) -> Verification:
    from whymask.export.samples import COUNT
    from whymask.export.verify import opened, verify_pair, verify_with_golden
    from whymask.runtime.golden import read_golden

    bundle = None if golden is None else read_golden(golden)
    count = (images or COUNT) * len(paths) if bundle is None else len(bundle.images)
    with track(count, "verifying", "images") as progress, ExitStack() as stack:
        artefacts = []
        for path in paths:
            progress.advance(0, f"load {path.name}")
            artefacts.append(stack.enter_context(opened(path, *options)))
        progress.advance(0, f"run {' and '.join(path.name for path in paths)}")
        if golden is not None and bundle is not None:
            return verify_with_golden(artefacts[0], bundle, golden, progress.advance)
        pictures, source = _pictures(data, artefacts[0].backend.card.input, images or COUNT)
        return verify_pair(artefacts[0], artefacts[1], pictures, source, progress.advance)


def _pictures(data: Path | None, card: InputCard, count: int) -> tuple[Picture, Images]:
    from whymask.export.samples import real_pictures, synthetic_pictures
    from whymask.export.verification import Images

    if data is None:
        return synthetic_pictures(card, count), Images(count, "", True)
    pictures = real_pictures([data], card, count)
    if pictures is None:
        raise InputError(f"--data {data}: no image there can be read; expected a folder of images or an image file")
    return pictures, Images(len(pictures), data.resolve().name, False)
