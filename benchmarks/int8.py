"""INT8 on real classifiers: what quantisation changes in class, map and mask, and what it costs where it runs.

    python -m whymask.benchmarks.int8 run squeezenet1_1    # → benchmarks/results/int8/squeezenet1_1.json
    python -m whymask.benchmarks.int8 page                 # → benchmarks/results/int8/README.md

The run in `runs/imagenet/` is exported in INT8: calibrated on imagenette10_128/train, which layers stay in FP32 decided
on imagenette10_128/val. It is judged on photos_ccby, against the torch modules, and timed beside the run's FP32 graph,
call by call in turn in one process.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from whymask.benchmarks.bench_pair import runner
from whymask.benchmarks.imagenet import GRAPH_FILE, RESULTS, RUNS, data_root, known
from whymask.benchmarks.latency import BenchSettings, measure_pairs
from whymask.benchmarks.latency_stats import judge, summarise
from whymask.benchmarks.machine import LoadMeter, describe_machine
from whymask.benchmarks.program import run_program
from whymask.benchmarks.tables import table
from whymask.export.config import CALIBRATION_PICTURES
from whymask.runtime.card import QUANTISED
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.files import sha256_of, write_atomically
from whymask.runtime.ort import OrtBackend
from whymask.runtime.parity import SAME_TOP1

if TYPE_CHECKING:
    from whymask.runtime.card import InputCard

FOLDER = RESULTS / "int8"
INT8_FILE = "fused.int8.onnx"
KIND, SCHEMA = "int8", 1
CALIBRATED_ON, DECIDED_ON, JUDGED_ON = "imagenette10_128/train", "imagenette10_128/val", "photos_ccby"
COMMAND = "python -m whymask.benchmarks.int8"
THREADS = 1

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


Runs = Annotated[Path, typer.Option(help="Folder of the study's runs.")]
Files = Annotated[Path, typer.Option(help="Folder of the exported files.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder of the records and the page.")]
Count = Annotated[int, typer.Option(min=1, help="Photographs to judge on.")]
Seconds = Annotated[float, typer.Option(help="Time limit of the timing, in seconds.")]
FILES = Path("runs/int8")


@app.command()
def run(
    classifier: str,
    runs: Runs = RUNS,
    files: Files = FILES,
    count: Count = 200,
    seconds: Seconds = 60.0,
    out: Out = FOLDER,
) -> None:
    """Export the run in INT8, judge it on photographs, and time it beside the FP32 graph.

    Example: python -m whymask.benchmarks.int8 run squeezenet1_1
    """
    export(classifier, runs, files)
    judged(classifier, runs, files, count, seconds, out)


@app.command()
def export(classifier: str, runs: Runs = RUNS, files: Files = FILES) -> None:
    """The first half of `run`: export the run in INT8.

    Example: python -m whymask.benchmarks.int8 export squeezenet1_1
    """
    from whymask.export.onnx_from_run import export_run
    from whymask.train.run import load_run

    loaded = load_run(runs / known(classifier))
    rule = loaded.card.input
    compared, calibration = _pictures(DECIDED_ON, rule, 64), _pictures(CALIBRATED_ON, rule, CALIBRATION_PICTURES)
    file = files / classifier / INT8_FILE
    export_run(loaded, file, precision="int8", images=compared, calibration=calibration)


@app.command("judge")
def judged(
    classifier: str,
    runs: Runs = RUNS,
    files: Files = FILES,
    count: Count = 200,
    seconds: Seconds = 60.0,
    out: Out = FOLDER,
) -> None:
    """The second half of `run`: judge the exported file on photographs, and time it beside the FP32 graph.

    Example: python -m whymask.benchmarks.int8 judge squeezenet1_1
    """
    from whymask.export.run_backend import RunBackend
    from whymask.export.verification import RUN, Images
    from whymask.export.verify import Artefact, opened, verify_pair
    from whymask.train.run import load_run

    folder, file = runs / known(classifier), files / classifier / INT8_FILE
    loaded = load_run(folder)
    pictures = _pictures(JUDGED_ON, loaded.card.input, count)
    with opened(file) as measured:
        card = measured.backend.card
        reference = Artefact(folder, RUN, RunBackend(loaded))
        result = verify_pair(measured, reference, pictures, Images(len(pictures), JUDGED_ON, False))
    record = {
        "kind": KIND,
        "schema": SCHEMA,
        "classifier": classifier,
        "calibrated_on": CALIBRATED_ON,
        "decided_on": DECIDED_ON,
        QUANTISED: card.training[QUANTISED],
        "bytes": {"fp32": (folder / GRAPH_FILE).stat().st_size, "int8": file.stat().st_size},
        "sha256": {"fp32": sha256_of(folder / GRAPH_FILE), "int8": sha256_of(file)},
        "accepted_by": {name: card.versions[name] for name in ("tensorrt_rtx",) if name in card.versions},
        SAME_TOP1: float(np.mean([row["same_top1"] for row in result.each])),
        "parity": result.to_record(),
        "latency": timed(file, folder / GRAPH_FILE, pictures, BenchSettings(seconds=seconds)),
    }
    write_atomically(out / f"{classifier}.json", f"{json.dumps(record, ensure_ascii=False, indent=1)}\n")
    typer.echo(page_of([record]))


@app.command()
def page(out: Out = FOLDER) -> None:
    """Write the page of all records in a folder.

    Example: python -m whymask.benchmarks.int8 page
    """
    records = [read_record(path) for path in sorted(out.glob("*.json"))]
    if not records:
        raise ArtefactError(f"{out}: no record; make one with: {COMMAND} run CLASSIFIER")
    write_atomically(out / "README.md", page_of(records))


def timed(int8: Path, fp32: Path, pictures: NDArray[np.uint8], settings: BenchSettings) -> dict[str, Any]:
    """Times of both graphs in ONNX Runtime on the CPU, in pairs, with raw samples and a verdict.

    Args:
        int8, fp32: the two graphs.
        pictures: uint8, (N, H, W, 3).
        settings: how to measure.
    """
    with (
        OrtBackend(int8, "cpu", THREADS, spin=False) as first,
        OrtBackend(fp32, "cpu", THREADS, spin=False) as second,
        LoadMeter() as meter,
    ):
        pairs = measure_pairs(runner(first), runner(second), pictures, settings)
    ratio = pairs.ratio(settings)
    load = meter.load
    verdict = judge(
        ratio, pairs.fused_ms.size, margin=settings.margin, min_pairs=settings.min_pairs, load=load, threads=THREADS
    )
    return {
        "provider": first.provider,
        "threads": THREADS,
        "machine": dataclasses.asdict(describe_machine()),
        "settings": dataclasses.asdict(settings),
        "load": dataclasses.asdict(load),
        "int8": dataclasses.asdict(summarise(pairs.fused_ms)),
        "fp32": dataclasses.asdict(summarise(pairs.classifier_ms)),
        "ratio": dataclasses.asdict(ratio),
        "valid": verdict.valid,
        "reasons": list(verdict.reasons),
        "samples": {"int8_ms": pairs.fused_ms.tolist(), "fp32_ms": pairs.classifier_ms.tolist()},
    }


def read_record(path: Path) -> dict[str, Any]:
    """A record of `run`.

    Raises:
        ArtefactError: it is not one.
    """
    try:
        record = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ArtefactError(f"{path}: not JSON ({error}); make it again with: {COMMAND} run {path.stem}") from None
    if not isinstance(record, dict) or (record.get("kind"), record.get("schema")) != (KIND, SCHEMA):
        raise ArtefactError(f"{path}: not a record of this study; make it again with: {COMMAND} run {path.stem}")
    return record


def page_of(records: Sequence[dict[str, Any]]) -> str:
    """What was measured on what, and a row a classifier.

    Args:
        records: from `run`, at least one.
    """
    first = records[0]
    head = (
        *("classifier", "layers in INT8", "same top-1", "near ties", "mask IoU", "lowest saliency rank"),
        *("within tolerance", "MB, FP32 → INT8", "CPU ms p50, FP32 → INT8", "ratio", "timing valid"),
    )
    where = (
        f"Graphs exported with `--precision int8`, calibrated on {first['calibrated_on']}; what stays in FP32 was "
        f"decided on {first['decided_on']}. Judged on {first['parity']['images']['count']} pictures of "
        f"{first['parity']['images']['source']} against the torch modules in FP32, in ONNX Runtime "
        f"{first['parity']['versions'].get('onnxruntime', '?')} on a CPU. *Same top-1* counts near ties as they fall; "
        "the tolerance leaves them aside."
    )
    cpu = (
        "Times are of ONNX Runtime's CPU provider, which has no fast kernels for layers with float outputs: the "
        "graph is made for TensorRT. No GPU has timed it."
    )
    rows = table(head, map(_row, records))
    return f"# INT8\n\n`{COMMAND} run CLASSIFIER` makes each row.\n\n{where}\n\n{rows}\n\n{cpu}\n"


def _row(record: dict[str, Any]) -> list[str]:
    figures = {figure["name"]: figure["measured"] for figure in record["parity"]["figures"]}
    latency, quantised = record["latency"], record[QUANTISED]
    sizes, ratio = record["bytes"], latency["ratio"]
    return [
        record["classifier"],
        f"{quantised['layers'] - len(quantised['kept_fp32'])} of {quantised['layers']}",
        f"{100 * record[SAME_TOP1]:.1f} %",
        f"{figures['near_ties']:.0f}",
        f"{figures['mask_iou_min']:.4f}",
        f"{figures['saliency_rank_min']:.4f}",
        _within(record["parity"]["figures"]),
        f"{sizes['fp32'] / 1e6:.1f} → {sizes['int8'] / 1e6:.1f}",
        f"{latency['fp32']['p50_ms']:.2f} → {latency['int8']['p50_ms']:.2f}",
        f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
        "yes" if latency["valid"] else f"no: {'; '.join(latency['reasons'])}",
    ]


def _within(figures: Sequence[dict[str, Any]]) -> str:
    failed = [
        f"{each['name']} {each['measured']:.3g}, allowed {each['allowed']:g}" for each in figures if not each["passes"]
    ]
    return f"no: {'; '.join(failed)}" if failed else "yes"


def _pictures(name: str, rule: InputCard, count: int) -> NDArray[np.uint8]:
    from whymask.export.samples import real_pictures

    folder = data_root() / "images" / name
    pictures = real_pictures([folder], rule, count)
    if pictures is None:
        raise InputError(f"{folder}: no picture there can be read; expected the study's pictures")
    return pictures


if __name__ == "__main__":
    run_program(app)
