"""Arguments and options of the command `bench`, as typer reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whymask.runtime.checks import MOST_SEED

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Fused ONNX files, or their TensorRT engines.")]
Classifier = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The classifier alone, of the same kind. [default: NAME.classifier.onnx or .plan beside the file]",
    ),
]
Data = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of pictures. [default: synthetic ones, and that is said]")
]
Provider = Annotated[
    str | None,
    typer.Option(help="cpu, cuda or tensorrt, for ONNX files. [default: the best that loads, and it is said]"),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads in one operator, for ONNX files. [default: all cores]")
]
CudaGraph = Annotated[
    bool, typer.Option("--cuda-graph/--no-cuda-graph", help="Capture each engine's call once and replay it.")
]
Seconds = Annotated[float, typer.Option(min=0.1, help="Time limit in seconds; a steady ratio ends sooner.")]
Pairs = Annotated[int, typer.Option(min=1, help="Fewest pairs to time; p99 wants 1000.")]
Batch = Annotated[int, typer.Option(min=1, help="Pictures a call.")]
Seed = Annotated[
    int, typer.Option(min=0, max=MOST_SEED, help="Of the pictures, the order of timing and the bootstrap.")
]
Energy = Annotated[
    bool,
    typer.Option(
        "--energy", help="Measure joules an image too, in about 90 s more a file and batch, where a sensor tells."
    ),
]
Batches = Annotated[
    str | None, typer.Option(metavar="B,B,…", help="Batches to sweep, such as 1,4,16; instead of --batch.")
]
Scenario = Annotated[
    list[str] | None,
    typer.Option(help="single-stream (p90), multi-stream (8 a query, p99) or offline (images/s); may be repeated."),
]
Against = Annotated[
    str | None,
    typer.Option(metavar="NAMES", help="Other methods beside: recipro-cam, cam, grad-cam, rise, with commas."),
]
Run = Annotated[Path | None, typer.Option(metavar="DIR", help="The first file's run, for all of --against but rise.")]
TriggerRate = Annotated[
    list[float] | None,
    typer.Option(metavar="SHARE", help="Also time explaining this share of the pictures only; may be repeated."),
]
Loadgen = Annotated[bool, typer.Option("--loadgen", help="Cross-check the scenarios with MLPerf's LoadGen.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write .json (raw samples included), .csv, .md or .html; without an ending a folder of all four.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the record, and nothing else, on standard output.")]
