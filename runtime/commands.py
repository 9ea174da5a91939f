"""The commands that need nothing but a runtime: `whymask explain`, `whymask inspect`, `whymask doctor`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from whymask.runtime.errors import InputError
from whymask.runtime.progress import track

if TYPE_CHECKING:
    from whymask.runtime.methods import MethodOptions

EXPLANATIONS = "explanations.jsonl"
BATCH_SIZE = 8

AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]
Against = Annotated[
    str | None,
    typer.Option(metavar="CLASS", help="Explain why not this class: what speaks for the one and against the other."),
]
Top = Annotated[
    int | None, typer.Option(metavar="K", min=1, help="Show the K likeliest classes side by side, each with its mask.")
]
Provider = Annotated[
    str | None,
    typer.Option(
        help="For an ONNX file: cpu, cuda, tensorrt or ONNX Runtime's own name.", show_default="the best that loads"
    ),
]
CudaGraph = Annotated[
    bool, typer.Option("--cuda-graph/--no-cuda-graph", help="For an engine: launch its work as one CUDA graph.")
]
Refine = Annotated[
    int | None,
    typer.Option(metavar="K", help="Refine each mask by K steps for its picture: offline; needs torch and --run."),
]
RunFolder = Annotated[
    Path | None, typer.Option("--run", metavar="RUN", help="For --refine: the run directory of the graph.")
]

Method = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Without a graph: spend steps on each picture of --model; needs torch."),
]
Model = Annotated[
    str | None, typer.Option(metavar="SPEC", help="For --method: torchvision:NAME, timm:NAME or FILE.py:FACTORY.")
]
Weights = Annotated[str | None, typer.Option(metavar="F", help="For --method: .safetensors or .pth of --model.")]
Labels = Annotated[Path | None, typer.Option(metavar="F", help="For --method: a label a line, or JSON.")]
Size = Annotated[str | None, typer.Option(help="For --method: input, 224 or 192x256.", show_default="the model's")]
Mean = Annotated[str | None, typer.Option(help="For --method: of RGB in [0, 1].", show_default="the model's")]
Std = Annotated[str | None, typer.Option(help="For --method: of RGB in [0, 1].", show_default="the model's")]
Steps = Annotated[int | None, typer.Option(help="For --method: a picture.", show_default="the method's")]
Seed = Annotated[int | None, typer.Option(help="For --method: of all its randomness.", show_default="0")]
Circuit = Annotated[
    int | None, typer.Option(metavar="K", help="For --method: write each circuit, K channels a layer (JSON, SVG).")
]

Refining: TypeAlias = Callable[[Iterator[Any]], Iterator[Any]]
"""Explanations → explanations, in their order."""


def explain(
    graph: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.onnx|FILE.plan",
            help="Fused graph of whymask export, or engine of whymask build; with --method the first picture.",
        ),
    ],
    pictures: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE_OR_DIR…", help="Pictures, or folders of them.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("explained"),
    target: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help="Class to explain, a label or an index.", show_default="the predicted one"),
    ] = None,
    against: Against = None,
    top: Top = None,
    area: Annotated[
        float | None,
        typer.Option(help="Share of the pixels to keep, in (0, 1].", show_default="as the threshold gives"),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Saliency from which a pixel is kept, in [0, 1].", show_default="the calibrated one"),
    ] = None,
    provider: Provider = None,
    cuda_graph: CudaGraph = False,
    instances: Annotated[
        bool, typer.Option("--instances", help="Divide each mask into objects that keep the class alone: more passes.")
    ] = False,
    refine: Refine = None,
    run: RunFolder = None,
    method: Method = None,
    model: Model = None,
    weights: Weights = None,
    labels: Labels = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    steps: Steps = None,
    seed: Seed = None,
    circuit: Circuit = None,
    as_json: AsJson = False,
) -> None:
    """Explain pictures: an overlay for each, and explanations.jsonl with label, confidence, area, box and mask.

    A file that cannot be decoded is named, counted and skipped.

    Example:
        whymask explain fused.onnx photos/ -o explained --target zebra
        whymask explain --method activation-matching --model timm:resnet18 photo.jpg -o explained
    """
    from whymask.runtime.methods import MethodOptions

    by_method = MethodOptions(method, model, weights, labels, size, mean, std, steps, seed, circuit)
    options = {"target": target, "against": against, "threshold": threshold, "area": area}
    if method is not None:
        of_graphs = {**options, "target": None, "top": top, "refine": refine, "run": run, "provider": provider}
        _refuse(of_graphs | {"cuda-graph": cuda_graph or None})
        summary = _by_method(by_method, [graph, *(pictures or [])], out, target, instances)
    else:
        wishes = _Wishes(instances, top, refine, run)
        summary = _by_graph(graph, pictures or [], out, options, wishes, (provider, cuda_graph))
    _report(summary, out, as_json)


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
    if "instances" in record:
        line += f", instances {sum(each['kept'] for each in record['instances'])}"
    classes = [
        f"{each['label']} {each['confidence']:.1%} area {each['area']:.1%}" for each in record.get("classes", ())
    ]
    return f"{line}; likeliest: {', '.join(classes)}" if classes else line


@dataclasses.dataclass(frozen=True)
class _Wishes:
    """What else was asked of a graph."""

    instances: bool
    top: int | None
    refine: int | None
    run: Path | None


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """What else is made of each explanation: instances, the likeliest classes, a refined mask, more to record."""

    instances: bool
    top: int | None
    refining: Refining
    noted: Callable[[Any, Path], dict[str, Any]]


def _by_graph(
    graph: Path,
    pictures: list[Path],
    out: Path,
    options: dict[str, Any],
    wishes: _Wishes,
    backend: tuple[str | None, bool],
) -> dict[str, Any]:
    """Explain by a graph or an engine; what is told in the end."""
    from whymask.runtime.explainer import load
    from whymask.runtime.results import pictures_from

    if not pictures:
        raise InputError(f"{graph}: no picture to explain; name pictures or folders after it, or give --method NAME")
    files = pictures_from(pictures, out)
    with load(graph, backend[0], cuda_graph=backend[1]) as explainer:
        _check_classes(explainer, wishes.top, options["against"], wishes.refine)
        refining = _refining(explainer, wishes.refine, wishes.run)
        wanted = _Wanted(wishes.instances, wishes.top, refining, _refined)
        records, skipped = _explain_files(explainer, files, out, options, wanted)
        return _summary(out, explainer.provider, records, skipped)


def _by_method(
    options: MethodOptions, pictures: list[Path], out: Path, target: str | None, instances: bool
) -> dict[str, Any]:
    """Explain by a per-image method; what is told in the end."""
    from whymask.runtime.methods import MethodExplainer, load_method
    from whymask.runtime.results import pictures_from

    files = pictures_from(pictures, out)
    with MethodExplainer(load_method(options)) as explainer:

        def noted(result: Any, overlay: Path) -> dict[str, Any]:
            if options.circuit is None:
                return dict(result.facts)
            return {**result.facts, "circuit": explainer.write_circuit(result, overlay, options.circuit)}

        wanted = _Wanted(instances, None, lambda results: results, noted)
        records, skipped = _explain_files(explainer, files, out, {"target": target}, wanted)
        return _summary(out, explainer.provider, records, skipped)


def _refuse(options: Mapping[str, object]) -> None:
    """Refuse what only a graph takes."""
    for name, value in options.items():
        if value is not None:
            raise InputError(f"--{name}: only a graph takes it, and --method has none; leave one of the two out")


def _refined(result: Any, overlay: Path) -> dict[str, Any]:
    del overlay
    return {} if result.refined is None else {"refined": result.refined}


def _summary(out: Path, used: str, records: list[dict[str, Any]], skipped: list[dict[str, str]]) -> dict[str, Any]:
    counts = {"out": str(out), "provider": used, "explained": len(records), "skipped": skipped}
    return {**counts, "explanations": records}


def _report(summary: dict[str, Any], out: Path, as_json: bool) -> None:
    """Say what was made."""
    if as_json:
        typer.echo(json.dumps(summary, ensure_ascii=False))
        return
    records = summary["explanations"]
    for record in records[:10]:
        typer.echo(_line(record))
    if len(records) > 10:
        typer.echo(f"… and {len(records) - 10} more")
    told = f"{len(records)} explained on {summary['provider']}, {len(summary['skipped'])} skipped"
    typer.echo(f"{told}; overlays and {EXPLANATIONS} in {out}")


def _check_classes(explainer: Any, top: int | None, against: str | None, refine: int | None) -> None:
    """Refuse more classes than the graph explains at once, and a refined mask of anything but one class by itself."""
    if top is not None and top > explainer.top:
        has = f"explains {explainer.top} classes at once" if explainer.top else "explains one class at a time"
        raise InputError(
            f"--top {top}: this graph {has}; export it again with: whymask export RUN -o FILE.onnx --top {top}"
        )
    for option, value in (("--top", top), ("--against", against)):
        if refine is not None and value is not None:
            raise InputError(f"--refine and {option} were both given; only a class by itself can be refined: give one")


def _refining(explainer: Any, steps: int | None, run: Path | None) -> Refining:
    """What makes single passes better, or leaves them as they are where no steps were asked for."""
    if steps is None:
        if run is not None:
            raise InputError(f"--run {run}: only --refine K needs a run directory; add it, or leave --run out")
        return lambda results: results
    from whymask.runtime.refiner import load_refiner, refine_all

    refiner = load_refiner(run, explainer.card, steps)
    return lambda results: refine_all(results, refiner, steps, BATCH_SIZE)


def _explain_files(
    explainer: Any, files: list[Path], out: Path, options: dict[str, Any], wanted: _Wanted
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Records of the pictures explained, and name and reason of those skipped; both are written as they come."""
    from whymask.runtime.files import atomic_path
    from whymask.runtime.results import json_line, overlay_names, record, write_overlay

    names = overlay_names(files, out)
    decoded: list[Path] = []
    skipped: list[dict[str, str]] = []
    records = []
    with track(len(files), "explaining", "images") as progress, atomic_path(out / EXPLANATIONS) as temporary:
        pictures = _decoded(files, decoded, skipped, progress)
        results = wanted.refining(explainer.explain_batch(pictures, BATCH_SIZE, **options))
        with temporary.open("w", encoding="utf-8") as stream:
            for number, result in enumerate(results):
                file = decoded[number]
                parts = result.instances() if wanted.instances else None
                classes = None if wanted.top is None else result.top_explanations()[: wanted.top]
                write_overlay(result, names[file], parts, classes)
                noted = wanted.noted(result, names[file])
                records.append(record(result, file, names[file], parts, classes) | noted)
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
