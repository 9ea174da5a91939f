"""The commands that need nothing but a runtime: `whymask explain`, `whymask inspect`, `whymask doctor`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from whymask.runtime.errors import InputError
from whymask.runtime.progress import track

EXPLANATIONS = "explanations.jsonl"
BATCH_SIZE = 8

AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]


def explain(
    graph: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.onnx|FILE.plan", help="Fused graph of whymask export, or engine of whymask build."
        ),
    ],
    pictures: Annotated[list[Path], typer.Argument(metavar="IMAGE_OR_DIR…", help="Pictures, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("explained"),
    target: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help="Class to explain, a label or an index.", show_default="the predicted one"),
    ] = None,
    area: Annotated[
        float | None,
        typer.Option(help="Share of the pixels to keep, in (0, 1].", show_default="as the threshold gives"),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Saliency from which a pixel is kept, in [0, 1].", show_default="the calibrated one"),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(
            help="For an ONNX file: cpu, cuda, tensorrt or ONNX Runtime's own name.", show_default="the best that loads"
        ),
    ] = None,
    cuda_graph: Annotated[
        bool, typer.Option("--cuda-graph/--no-cuda-graph", help="For an engine: launch its work as one CUDA graph.")
    ] = False,
    instances: Annotated[
        bool, typer.Option("--instances", help="Divide each mask into objects that keep the class alone: more passes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Explain pictures: an overlay for each, and explanations.jsonl with label, confidence, area, box and mask.

    A file that cannot be decoded is named, counted and skipped.

    Example:
        whymask explain fused.onnx photos/ -o explained --target zebra
    """
    from whymask.runtime.explainer import load
    from whymask.runtime.results import pictures_from

    files = pictures_from(pictures, out)
    with load(graph, provider, cuda_graph=cuda_graph) as explainer:
        options = {"target": target, "threshold": threshold, "area": area}
        records, skipped = _explain_files(explainer, files, out, options, instances)
        used = explainer.provider
    if as_json:
        summary = {"out": str(out), "provider": used, "explained": len(records), "skipped": skipped}
        typer.echo(json.dumps({**summary, "explanations": records}, ensure_ascii=False))
        return
    for record in records[:10]:
        typer.echo(_line(record))
    if len(records) > 10:
        typer.echo(f"… and {len(records) - 10} more")
    typer.echo(f"{len(records)} explained on {used}, {len(skipped)} skipped; overlays and {EXPLANATIONS} in {out}")


def inspect(
    path: Annotated[Path, typer.Argument(metavar="FILE|RUN_DIR", help="Fused graph, engine, or directory of a run.")],
    as_json: AsJson = False,
) -> None:
    """Show a graph's card, tensors, operators, size, cost in multiply-adds and its guarantee in words.

    Of an engine it shows what it was built for, and whether the file is whole; neither TensorRT nor a GPU is needed.

    Example:
        whymask inspect fused.onnx
    """
    from whymask.runtime.describe import describe, lines

    description = describe(path)
    if as_json:
        typer.echo(json.dumps(description.to_record(), ensure_ascii=False))
        return
    for line in lines(description):
        typer.echo(line)


def doctor(as_json: AsJson = False) -> None:
    """Show what this machine can run, what is missing, and the line that installs it. Always exits with 0.

    Example:
        whymask doctor
    """
    from whymask.runtime.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], ensure_ascii=False))
        return
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        typer.echo(f"{finding.state:<8}{finding.name:<{width}}  {finding.detail}")
        if finding.remedy:
            typer.echo(f"{'':<{width + 10}}→ {finding.remedy}")


def _line(record: dict[str, Any]) -> str:
    line = f"{record['file']}: {record['label']} {record['confidence']:.1%}, area {record['area']:.1%}"
    if "instances" not in record:
        return line
    return f"{line}, instances {sum(each['kept'] for each in record['instances'])}"


def _explain_files(
    explainer: Any, files: list[Path], out: Path, options: dict[str, Any], instances: bool
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Records of the pictures explained, and name and reason of those skipped; both are written as they come."""
    from whymask.runtime.files import atomic_path
    from whymask.runtime.results import json_line, overlay_names, record, write_overlay

    names = overlay_names(files, out)
    decoded: list[Path] = []
    skipped: list[dict[str, str]] = []
    records = []
    with track(len(files), "explaining", "images") as progress, atomic_path(out / EXPLANATIONS) as temporary:
        results = explainer.explain_batch(_decoded(files, decoded, skipped, progress), BATCH_SIZE, **options)
        with temporary.open("w", encoding="utf-8") as stream:
            for number, result in enumerate(results):
                file = decoded[number]
                parts = result.instances() if instances else None
                write_overlay(result, names[file], parts)
                records.append(record(result, file, names[file], parts))
                stream.write(json_line(records[-1]))
                progress.advance()
        if not records:
            raise InputError(f"none of {len(files)} files can be decoded; the first: {skipped[0]['reason']}")
    return records, skipped


def _decoded(files: list[Path], decoded: list[Path], skipped: list[dict[str, str]], progress: Any) -> Iterator[Any]:
    """Pictures of the files that can be decoded; notes which these are."""
    from whymask.runtime.images import rgb_from

    for file in files:
        try:
            picture = rgb_from(file)
        except InputError as error:
            skipped.append({"file": str(file), "reason": str(error)})
            typer.echo(f"skipped {error}", err=True)
            progress.advance()
            continue
        decoded.append(file)
        yield picture
