"""How long a fused graph of texts takes beside its classifier alone: pairs as in `latency.py`, one text a call.

    python -m whymask.benchmarks.text_latency reviews.onnx --texts reviews.txt -o reviews.bench.json

Neither torch nor the training is needed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from whymask.benchmarks.latency import BenchSettings, measure_pairs
from whymask.benchmarks.latency_stats import judge, summarise
from whymask.benchmarks.machine import LoadMeter, describe_machine
from whymask.benchmarks.program import run_program
from whymask.benchmarks.records import json_from_report
from whymask.runtime.alone import classifier_path
from whymask.runtime.backends import Arrays
from whymask.runtime.card import LOGITS
from whymask.runtime.errors import ArtefactError
from whymask.runtime.files import sha256_of, write_atomically
from whymask.runtime.ort import OrtBackend
from whymask.runtime.text_card import ATTENTION_MASK, INPUT_IDS, OUTPUTS
from whymask.runtime.text_explainer import load_text
from whymask.runtime.text_files import texts_from_file
from whymask.runtime.versions import installed_versions

MOST_TEXTS = 256
"""Texts are known to the pairs by a number in one byte."""
KIND, SCHEMA_VERSION = "whymask.text-latency", 1


def text_latency(file: Path, texts: Sequence[Sequence[int]], seconds: float) -> dict[str, Any]:
    """Time both graphs on texts of their own length, on one thread.

    Args:
        file: the fused graph; the classifier alone lies beside it.
        texts: numbers of tokens of each text, at least one; the first 256 are used.
        seconds: time limit of the pairs.

    Returns:
        `fused` and `classifier` (percentiles, ms), `ratio` with its interval, `valid` and `reasons`, what the machine
        did, and the raw samples in the order of timing.
    """
    settings = BenchSettings(seconds=seconds, pictures=min(len(texts), MOST_TEXTS))
    fused, alone = (OrtBackend(each, "cpu", threads=1, spin=False) for each in (file, classifier_path(file)))
    feeds = [_feed(each) for each in texts[:MOST_TEXTS]]
    numbers: NDArray[np.uint8] = np.arange(len(feeds)).astype(np.uint8)
    with fused, alone, LoadMeter() as meter:
        pairs = measure_pairs(
            lambda batch: fused.run(feeds[batch[0]], OUTPUTS),
            lambda batch: alone.run(feeds[batch[0]], (LOGITS,)),
            numbers,
            settings,
        )
    ratio = pairs.ratio(settings)
    verdict = judge(
        ratio,
        len(pairs.fused_ms),
        margin=settings.margin,
        min_pairs=settings.min_pairs,
        load=meter.load,
        threads=1,
    )
    return {
        "fused": dataclasses.asdict(summarise(pairs.fused_ms)),
        "classifier": dataclasses.asdict(summarise(pairs.classifier_ms)),
        "ratio": dataclasses.asdict(ratio),
        "valid": verdict.valid,
        "reasons": list(verdict.reasons),
        "load": dataclasses.asdict(meter.load),
        "fused_ms": pairs.fused_ms.round(5).tolist(),
        "classifier_ms": pairs.classifier_ms.round(5).tolist(),
    }


def _feed(ids: Sequence[int]) -> Arrays:
    """One text a call, without filling up: int64 (1, N) both."""
    row = np.array([ids], np.int64)
    return {INPUT_IDS: row, ATTENTION_MASK: np.ones_like(row)}


def bench_texts(file: Path, texts: Sequence[str], seconds: float) -> dict[str, Any]:
    """A record of `text_latency` with what was timed on what.

    Args:
        file: the fused graph; the classifier alone lies beside it.
        texts: at least one; the first 256 are used.
        seconds: time limit of the pairs.

    Raises:
        ArtefactError: no graph of texts, or no classifier beside it.
        InputError: a text without a word, or of more tokens than the classifier reads.
    """
    alone = classifier_path(file)
    if not alone.is_file():
        raise ArtefactError(
            f"{alone}: no such file, expected the classifier alone, to compare with; whymask export-text writes both"
        )
    with load_text(file, provider="cpu", threads=1) as explainer:
        ids = [explainer.explain(text).ids.tolist() for text in texts[:MOST_TEXTS]]
        classifier = explainer.card.classifier
    return {
        "kind": KIND,
        "schema": SCHEMA_VERSION,
        "file": file.name,
        "sha256": sha256_of(file),
        "classifier_id": classifier,
        "texts": len(ids),
        "tokens": [len(each) for each in ids],
        "machine": dataclasses.asdict(describe_machine()),
        "versions": installed_versions(("whymask", "numpy", "onnxruntime")),
        **text_latency(file, ids, seconds),
    }


def told(record: dict[str, Any]) -> str:
    """A record in two lines or three."""
    ratio, alone = record["ratio"], record["classifier"]
    lines = [
        f"{record['file']}, {record['texts']} texts of {np.median(record['tokens']):.0f} tokens (median), one a call, "
        f"one thread of {record['machine']['cpu']}",
        f"with the why {record['fused']['p50_ms']:.3g} ms, alone {alone['p50_ms']:.3g} ms (p50): "
        f"{ratio['value']:.3f} × ({ratio['low']:.3f} to {ratio['high']:.3f}), {alone['count']} pairs",
    ]
    return "\n".join(lines if record["valid"] else [*lines, f"NOT VALID: {'; '.join(record['reasons'])}"])


def main(
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="Graph of whymask export-text.")],
    texts: Annotated[Path, typer.Option(help="File of texts, one a line; the first 256 are used.")],
    seconds: Annotated[float, typer.Option(min=1.0, help="Time limit of the pairs.")] = 15.0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file of the record, raw samples in it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON alone.")] = False,
) -> None:
    """Measure what the explanation of texts costs beside the classifier alone.

    Example: python -m whymask.benchmarks.text_latency reviews.onnx --texts reviews.txt
    """
    record = bench_texts(file, texts_from_file(texts), seconds)
    if out is not None:
        write_atomically(out, json_from_report(record) + "\n")
    typer.echo(json.dumps(record) if as_json else told(record))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    run_program(app)
