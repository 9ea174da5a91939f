"""`whymask export`: one checked ONNX file from a run directory. Light to import: torch comes when the command runs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whymask.export.config import CALIBRATION_PICTURES, INT8, ExportConfig, classifier_path, golden_path
from whymask.runtime.card import EXPLANATION, QUANTISED, Card
from whymask.runtime.commands import AsJson
from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.progress import track

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULTS = ExportConfig()
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory made by whymask train.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Fused graph to write; the classifier alone goes beside it.")]
Precision = Annotated[
    str, typer.Option(help="fp32, fp16 for a half body with FP32 islands, or int8 for TensorRT, calibrated.")
]
Opset = Annotated[int, typer.Option(help="ONNX operator set; TensorRT 8.6 reads 17, TensorRT 10 up to 20.")]
Batch = Annotated[int, typer.Option(help="Largest batch in images; any size from 1 to it runs.")]
FixedBatch = Annotated[bool, typer.Option("--fixed-batch", help="Fix the batch at --batch images.")]
With = Annotated[
    list[str] | None, typer.Option("--with", metavar="OUTPUT", help="Add an output: explanation. Repeatable.")
]
Certify = Annotated[
    str | None,
    typer.Option(metavar="KIND", help="kept: does the mask keep the class? One more classifier pass. both: two."),
]
Target = Annotated[bool, typer.Option("--target", help="Add the input target: which class to explain.")]
Top = Annotated[
    int, typer.Option(metavar="K", help="Explain the K likeliest classes at once: class_saliency and class_mask.")
]
Contrast = Annotated[
    bool, typer.Option("--contrast", help="Add the input against: why one class and not another; with --target.")
]
AttributesRun = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="Add attributes and relevance of this run (whymask train --method flint)."),
]
Compared = Annotated[
    Path | None,
    typer.Option(help="Images to compare file and modules on.", show_default="the run's, else synthetic ones"),
]
Calibrated = Annotated[
    Path | None,
    typer.Option(help="For int8: pictures that ranges are read from.", show_default="others of the run's"),
]
GoldenImages = Annotated[
    int, typer.Option(metavar="N", min=0, help="Write a golden bundle of N images, for whymask verify on a device.")
]
Model = Annotated[str | None, typer.Option(help="The classifier, when it moved since training.")]
Weights = Annotated[str | None, typer.Option(help="The classifier's weights, when they moved.")]
Keep = Annotated[bool, typer.Option("--keep", help="Write the files even where a gate fails.")]
RequireRtx = Annotated[
    bool, typer.Option("--require-rtx", help="Fail where TensorRT-RTX is not installed to check the graph.")
]


def export(
    run: RunFolder,
    out: Out,
    precision: Precision = DEFAULTS.precision,
    opset: Opset = DEFAULTS.opset,
    batch: Batch = DEFAULTS.max_batch,
    fixed_batch: FixedBatch = False,
    with_outputs: With = None,
    certify: Certify = DEFAULTS.certify,
    target: Target = False,
    top: Top = DEFAULTS.top,
    contrast: Contrast = False,
    attributes: AttributesRun = None,
    data: Compared = None,
    calibration_data: Calibrated = None,
    golden: GoldenImages = 0,
    model: Model = None,
    weights: Weights = None,
    keep: Keep = False,
    require_rtx: RequireRtx = False,
    as_json: AsJson = False,
) -> None:
    """Fuse classifier and explainer into one ONNX graph, and check it before it is written.

    Gates: onnx's checker, ONNX Runtime against torch on images, TensorRT-RTX's parser and builder. A failed gate exits
    with 1 and leaves no file behind.

    Example:
        whymask export runs/resnet18 -o fused.onnx --precision fp16 --with explanation
    """
    with_explanation = _with_explanation(with_outputs or [])
    # Refuses a wrong option before torch is loaded.
    config = ExportConfig(
        *(precision, opset, batch, not fixed_batch, with_explanation, certify, target, top, contrast),
        attributes=attributes is not None,
    )
    options = dataclasses.asdict(config) | dict(
        attributes=attributes, golden=golden, keep=keep, require_rtx=require_rtx
    )
    if calibration_data is not None and precision != INT8:
        raise InputError(f"--calibration-data is for --precision int8, and {precision} was asked for; leave it out")
    card = _export(run, out, (data, calibration_data), {"model": model, "weights": weights}, options)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "card": json.loads(card.to_json())}, ensure_ascii=False))
        return
    for line in summary(out, card, golden):
        typer.echo(line)


def _with_explanation(names: list[str]) -> bool:
    for name in names:
        if name != EXPLANATION:
            raise InputError(
                f"--with {name}: expected {EXPLANATION}; kept_logits comes with --certify kept, dropped_logits with "
                "--certify both"
            )
    return bool(names)


def _export(
    run: Path,
    out: Path,
    data: tuple[Path | None, Path | None],
    moved: dict[str, str | None],
    options: dict[str, Any],
) -> Card:
    try:
        from whymask.export.onnx_from_run import STAGES, export_run
        from whymask.train.flint.run import load_run as load_flint
        from whymask.train.run import load_run
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "export", "export a graph") from None
    with track(STAGES + 1, "exporting") as progress:
        progress.advance(0, f"load {run}")
        loaded = load_run(run, **moved)
        if options["attributes"] is not None:
            options = options | {"attributes": load_flint(options["attributes"], **moved)}
        images, calibration = (
            None if folder is None else _images(folder, loaded.card, count, option)
            for folder, count, option in zip(
                data, (options["golden"], CALIBRATION_PICTURES), ("--data", "--calibration-data"), strict=True
            )
        )

        def on_stage(stage: str) -> None:
            progress.advance(1, stage)

        card = export_run(loaded, out, images=images, calibration=calibration, on_stage=on_stage, **options)
        progress.advance(1)
    return card


def _images(data: Path, card: Card, count: int, option: str) -> NDArray[np.uint8]:
    from whymask.export.samples import COUNT, real_pictures

    images = real_pictures([data], card.input, max(COUNT, count))
    if images is None:
        raise InputError(f"{option} {data}: no image there can be read; expected a folder of images or an image file")
    return images


def summary(out: Path, card: Card, golden: int = 0) -> list[str]:
    """What was written and how it was checked, as lines for a terminal.

    Args:
        out: the fused graph's file.
        card: as the file holds it.
        golden: images of the golden bundle that was written, or 0.
    """
    from whymask.export.rtx import NOT_RUN, PACKAGE
    from whymask.runtime.describe import cost_in_words, guarantee_in_words, quantised_in_words

    figures = card.metrics
    quantised = card.training.get(QUANTISED)
    kind = "synthetic images, give real ones with --data" if figures["parity_synthetic"] else "images"
    version = card.versions.get(PACKAGE)
    return [
        f"{out}: {card.precision}, opset {card.versions['opset']}; the classifier alone: {classifier_path(out).name}",
        f"promise: {guarantee_in_words(card)}",
        f"cost: {cost_in_words(card)}",
        *([f"quantised: {quantised_in_words(quantised)}"] if quantised else []),
        f"ONNX Runtime against torch on {figures['parity_images']:.0f} {kind}: "
        f"top-1 {figures['parity_top1_agreement']:.1%}, mask IoU {figures['parity_mask_iou']:.4f}, "
        f"saliency rank ≥ {figures['parity_saliency_rank']:.4f}",
        f"TensorRT-RTX parser and builder: {f'accepted by {version}' if version else NOT_RUN}",
        *([_golden_line(out, card, golden)] if golden else []),
        f"next: whymask explain {out} IMAGES -o explained",
    ]


def _golden_line(out: Path, card: Card, golden: int) -> str:
    kind = "synthetic images" if card.metrics["parity_synthetic"] else "images"
    name = golden_path(out).name
    return f"golden bundle: {name}, {golden} {kind}; on the device: whymask verify ENGINE --golden {name}"
