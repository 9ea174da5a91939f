"""The commands that need nothing but a runtime, as they are declared: `whymask explain`, `inspect`, `doctor`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from whymask.runtime.explain_files import GraphOptions, Wishes, explain_by_graph, explain_by_method, told_lines

AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]
Artefact = Annotated[
    Path,
    typer.Argument(
        metavar="FILE.onnx|FILE.plan",
        help="Fused graph of whymask export, or engine of whymask build; with --method the first picture.",
    ),
]
Pictures = Annotated[list[Path] | None, typer.Argument(metavar="IMAGE_OR_DIR…", help="Pictures, or folders of them.")]
Target = Annotated[
    str | None,
    typer.Option(metavar="CLASS", help="Class to explain, a label or an index.", show_default="the predicted one"),
]
Area = Annotated[
    float | None,
    typer.Option(help="Share of the pixels to keep, in (0, 1].", show_default="as the threshold gives"),
]
Threshold = Annotated[
    float | None,
    typer.Option(help="Saliency from which a pixel is kept, in [0, 1].", show_default="the calibrated one"),
]
Instances = Annotated[
    bool, typer.Option("--instances", help="Divide each mask into objects that keep the class alone: more passes.")
]
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
When = Annotated[
    str | None,
    typer.Option(
        metavar="CONDITION",
        help="Explain only then, else run the classifier alone: confidence<P, margin<P, class in {…}, changed, "
        "every N, joined by and / or.",
        show_default="always",
    ),
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
Device = Annotated[
    str | None,
    typer.Option(help="For --method: cpu, cuda, cuda:N or mps.", show_default="a GPU of CUDA's, else cpu"),
]
Batch = Annotated[int | None, typer.Option(help="For --method: pictures explained together.", show_default="4")]


def explain(
    graph: Artefact,
    pictures: Pictures = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("explained"),
    target: Target = None,
    against: Against = None,
    top: Top = None,
    area: Area = None,
    threshold: Threshold = None,
    provider: Provider = None,
    cuda_graph: CudaGraph = False,
    instances: Instances = False,
    refine: Refine = None,
    run: RunFolder = None,
    when: When = None,
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
    device: Device = None,
    batch: Batch = None,
    as_json: AsJson = False,
) -> None:
    """Explain pictures: an overlay for each, and explanations.jsonl with label, confidence, area, box and mask.

    A file that cannot be decoded is named, counted and skipped.

    Example:
        whymask explain fused.onnx photos/ -o explained --target zebra
        whymask explain --method activation-matching --model timm:resnet18 photo.jpg -o explained
    """
    from whymask.runtime.methods import MethodOptions

    by_method = MethodOptions(method, model, weights, labels, size, mean, std, steps, seed, circuit, device, batch)
    wishes = Wishes(target, against, threshold, area, instances, top, refine, run)
    backend = GraphOptions(provider, cuda_graph, when)
    if method is None:
        summary = explain_by_graph(graph, pictures or [], out, wishes, backend)
    else:
        summary = explain_by_method(by_method, [graph, *(pictures or [])], out, wishes, backend)
    if as_json:
        typer.echo(json.dumps(summary, ensure_ascii=False))
        return
    for line in told_lines(summary):
        typer.echo(line)


def inspect(
    path: Annotated[
        Path, typer.Argument(metavar="FILE|RUN_DIR", help="Fused graph, of texts too, engine, or directory of a run.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show a graph's card, tensors, operators, size, cost in multiply-adds and its guarantee in words.

    Of an engine it shows what it was built for, and whether the file is whole; neither TensorRT nor a GPU is needed.

    Example:
        whymask inspect fused.onnx
    """
    from whymask.runtime.describe import describe, lines
    from whymask.runtime.describe_text import describe_text, is_text, text_lines

    if is_text(path):
        of_text = describe_text(path)
        record, told = of_text.to_record(), text_lines(of_text)
    else:
        description = describe(path)
        record, told = description.to_record(), lines(description)
    typer.echo(json.dumps(record, ensure_ascii=False) if as_json else "\n".join(told))


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
