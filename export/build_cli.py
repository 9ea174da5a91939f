"""`whymask build`: an engine from a fused graph. Needs TensorRT or TensorRT-RTX, and neither torch nor onnx."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from whymask.export.build_config import BuildConfig
from whymask.export.config import classifier_path
from whymask.export.engine_contract import card_of
from whymask.export.engine_from_onnx import classifier_engine_path, engine_from_onnx
from whymask.runtime.commands import AsJson
from whymask.runtime.engine_card import BUILDERS, CLASSIFIER, FUSED, TENSORRT_RTX, EngineCard, sidecar_path
from whymask.runtime.errors import InputError
from whymask.runtime.progress import track

DEFAULTS = BuildConfig()
MB = 1e6


def build(
    onnx: Annotated[Path, typer.Argument(metavar="FUSED.onnx", help="Graph made by whymask export.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Engine to write, such as fused.plan; its sidecar goes beside it.")
    ],
    precision: Annotated[str, typer.Option(help="fp16 or fp32: the graph's own, which holds the types.")] = (
        DEFAULTS.precision
    ),
    min_batch: Annotated[int, typer.Option(help="Smallest batch in images.")] = DEFAULTS.min_batch,
    opt_batch: Annotated[int, typer.Option(help="Batch in images that the engine is fastest at.")] = DEFAULTS.opt_batch,
    max_batch: Annotated[int, typer.Option(help="Largest batch in images.")] = DEFAULTS.max_batch,
    workspace: Annotated[
        int | None, typer.Option(help="Most memory a layer may use, in MiB.", show_default="TensorRT's")
    ] = DEFAULTS.workspace_mib,
    timing_cache: Annotated[
        Path | None, typer.Option(help="File of kernel times, read and written: later builds are faster.")
    ] = DEFAULTS.timing_cache,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Run on newer TensorRT versions too; costs speed.")
    ] = DEFAULTS.version_compatible,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="Run on every GPU from Ampere on; costs speed.")
    ] = DEFAULTS.hardware_compatible,
    optimization_level: Annotated[
        int | None, typer.Option(help="0 builds fastest, 5 looks longest.", show_default="TensorRT's, 3")
    ] = DEFAULTS.optimization_level,
    dla: Annotated[
        int | None,
        typer.Option(metavar="CORE", help="Run on this DLA core what it can, the rest on the GPU; one batch size."),
    ] = DEFAULTS.dla_core,
    rtx: Annotated[bool, typer.Option("--rtx", help="Build with TensorRT-RTX; needs no GPU.")] = False,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(help="GPU for --rtx, such as 8.6. Repeatable.", show_default="this machine's, else 8.6"),
    ] = None,
    classifier: Annotated[
        bool, typer.Option("--classifier", help="Build the classifier alone too, to compare with.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build a TensorRT engine for the GPU of this machine, and read back what was built.

    Beside the engine goes its sidecar, which says what it is and where it runs. An engine whose convolutions are not in
    the precision that was asked for is an error; nothing is written then.

    Example:
        whymask build fused.onnx -o fused.plan --precision fp16 --max-batch 8 --timing-cache kernels.cache
    """
    batches = min_batch, opt_batch, max_batch
    portable = version_compatible, hardware_compatible
    capabilities = tuple(compute_capability or ())
    config = BuildConfig(precision, *batches, workspace, timing_cache, *portable, optimization_level, dla, capabilities)
    built = {out: _built(onnx, out, config, rtx=rtx)}
    if classifier:
        alone = classifier_engine_path(out)
        built[alone] = _built(classifier_path(onnx), alone, config, rtx=rtx, fused=onnx)
    _say(built, as_json)


def _say(built: dict[Path, EngineCard], as_json: bool) -> None:
    if as_json:
        records = [{"out": str(path), "engine": json.loads(card.to_json())} for path, card in built.items()]
        typer.echo(json.dumps({"engines": records}, ensure_ascii=False))
        return
    for path, card in built.items():
        for line in summary(path, card):
            typer.echo(line)


def _built(onnx: Path, out: Path, config: BuildConfig, *, rtx: bool, fused: Path | None = None) -> EngineCard:
    if fused is not None and not onnx.is_file():
        raise InputError(f"--classifier: {onnx} is not there; whymask export writes it beside {fused.name}")
    known: dict[str, Any] = {} if fused is None else {"role": CLASSIFIER, "card": card_of(fused)}
    with track(100, f"building {out.name}", "%") as progress:
        return engine_from_onnx(onnx, out, config, rtx=rtx, on_progress=progress.advance, **known)


def summary(out: Path, card: EngineCard) -> list[str]:
    """What was built, as lines for a terminal.

    Args:
        out: the engine's file.
        card: its sidecar.
    """
    lines = [
        f"{out}: {card.precision}, {card.engine_bytes / MB:.1f} MB, batch {card.min_batch} to {card.max_batch} (best "
        f"{card.opt_batch}), built in {card.build_seconds:.1f} s; sidecar {sidecar_path(out).name}",
        f"built for: {card.built_for()}",
        f"layers: {_counts(card.layers)}; convolutions and matrix products: {_counts(card.flags['products'])}",
    ]
    if not card.flags["precision_verified"]:
        lines.append(f"not verified: {_why_unverified(card)}")
    if card.flags["timing_cache"]:
        lines.append(f"timing cache: {card.flags['timing_cache']}")
    if card.role == FUSED:
        lines.append(f"next: whymask explain {out} IMAGES -o explained")
    return lines


def _why_unverified(card: EngineCard) -> str:
    if card.builder == TENSORRT_RTX:
        return (
            f"the layers are those of the typed network, which {BUILDERS[card.builder]} keeps; the engine itself was "
            "not read back, which needs its GPU"
        )
    return (
        "the engine inspector does not say the precision of every convolution and matrix product of this engine; "
        "compare its results with whymask verify"
    )


def _counts(layers: dict[str, int]) -> str:
    return ", ".join(f"{count} {precision}" for precision, count in layers.items() if count) or "none known"
