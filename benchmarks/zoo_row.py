"""One row of the zoo: a few training steps, export with its gates, TensorRT-RTX; and the process that it runs in.

    python -m whymask.benchmarks.zoo_row '{"source": "torchvision", …}' ROW.json

The process writes its row at the start of every stage, so that whoever started it knows where it ended if it does not
come back.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from whymask.benchmarks.zoo_table import FAIL, PASS, Case, Row, row_of
from whymask.export.config import ExportConfig
from whymask.export.engine_contract import card_of
from whymask.export.fuse import FusedGraph
from whymask.export.onnx_from_run import export_run
from whymask.export.samples import synthetic_pictures
from whymask.runtime.card import Card, InputCard
from whymask.runtime.files import write_atomically
from whymask.runtime.versions import installed_versions
from whymask.train.config import TrainConfig
from whymask.train.fit import train
from whymask.train.run import Run

PACKAGES = (
    "whymask",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "tensorrt_rtx",
)
EXPORT_STAGES = ("export", "parity", "rtx", "write")
"""What `export_run` tells of, in order."""

UNFINISHED = "did not finish"
MAX_BATCH = 8
FIGURES = {
    "top1_agreement": "parity_top1_agreement",
    "mask_iou": "parity_mask_iou",
    "saliency_rank": "parity_saliency_rank",
    "logits_max": "parity_logits_max",
    "rtx_layers": "rtx_layers",
    "engine_bytes": "rtx_engine_bytes",
}
"""Column → metric of the card."""

OnRow = Callable[[Row], None]


def versions() -> str:
    """Of every package that takes part, as a row states them."""
    return "; ".join(f"{name} {version}" for name, version in installed_versions(PACKAGES).items())


def measure(case: Case, on_row: OnRow = lambda row: None) -> Row:
    """Run a case.

    Args:
        case: what to try.
        on_row: told of the row, as failed so far, at the start of every stage.

    Returns:
        The row; an error of any kind is its reason.
    """
    attempt = _Attempt(case, on_row)
    try:
        with tempfile.TemporaryDirectory() as folder:
            attempt.run(Path(folder))
    except Exception as error:  # a classifier's code and the libraries raise any kind, all of which mean: it fails
        return attempt.row(FAIL, first_line(error))
    return attempt.row(PASS)


def first_line(error: BaseException) -> str:
    """What a row says of an error."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class _Attempt:
    """A case on its way: the stage that runs, and what is known so far."""

    def __init__(self, case: Case, on_row: OnRow) -> None:
        self.case, self._on_row = case, on_row
        self._stage, self._began = "start", time.monotonic()
        self._known: dict[str, Any] = {"versions": versions()}

    def row(self, result: str, reason: str = "") -> Row:
        """The row as it stands."""
        self._note_seconds()
        return row_of(
            self.case, result=result, stage="" if result == PASS else self._stage, reason=reason, **self._known
        )

    def run(self, folder: Path) -> None:
        """Every stage, in a folder of its own."""
        self._start("train")
        run = self._trained(folder)
        pictures = synthetic_pictures(run.card.input, self.case.pictures, self.case.seed + 1)
        run = cut_in_the_middle(run, pictures)
        self._note_card(run.card)
        stages, out = iter(EXPORT_STAGES), folder / "fused.onnx"
        try:
            export_run(
                run,
                out,
                precision=self.case.precision,
                max_batch=MAX_BATCH,
                images=pictures,
                require_rtx=True,
                keep=True,  # what a failed gate measured is told too
                on_stage=lambda _: self._start(next(stages)),
            )
        finally:
            if out.is_file():
                self._note_card(card_of(out))

    def _start(self, stage: str) -> None:
        self._note_seconds()
        self._stage, self._began = stage, time.monotonic()
        self._on_row(row_of(self.case, result=FAIL, stage=stage, reason=UNFINISHED, **self._known))

    def _note_seconds(self) -> None:
        if f"{self._stage}_s" in Row.__dataclass_fields__:
            self._known[f"{self._stage}_s"] = round(time.monotonic() - self._began, 1)

    def _trained(self, folder: Path) -> Run:
        case = self.case
        data = folder / "pictures"
        write_pictures(data, case)
        config = TrainConfig(
            model=case.model,
            data=(str(data),),
            weights=None if case.weights == "own" else case.weights,
            size=(case.height, case.width),
            explainer=case.explainer,
            seed=case.seed,
            steps=case.steps,
            batch_size=case.batch_size,
            level_from=0.25,
            hard_from=0.25,
            evaluate_every=0,
            workers=1,
            accelerator="cpu",
        )
        return train(config, folder / "run")

    def _note_card(self, card: Card) -> None:
        known: dict[str, Any] = {name: card.metrics.get(metric) for name, metric in FIGURES.items()}
        known |= {
            "taps": " ".join(card.explainer.taps),
            "threshold": card.threshold,
            "classifier_parameters": card.classifier.parameters,
            "explainer_parameters": card.explainer.parameters,
            "classifier_macs": card.cost.get("classifier_macs"),
            "explainer_macs": card.cost.get("explainer_macs"),
        }
        for name in ("rtx_layers", "engine_bytes", "classifier_macs", "explainer_macs"):
            known[name] = None if known[name] is None else int(known[name])
        self._known |= known


def write_pictures(folder: Path, case: Case) -> None:
    """As many synthetic pictures to train on as are compared on, and other ones."""
    folder.mkdir()
    card = InputCard(case.height, case.width, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    for index, picture in enumerate(synthetic_pictures(card, case.pictures, case.seed)):
        Image.fromarray(picture).save(folder / f"{index:03d}.png")


@torch.no_grad()
def cut_in_the_middle(run: Run, pictures: NDArray[np.uint8]) -> Run:
    """The run with its threshold at the median of its saliency.

    After a few steps no threshold keeps the promise, and the calibrated one keeps every pixel: two masks of ones agree
    whatever the graphs compute. At the median the most values lie close to the threshold.
    """
    graph = FusedGraph(run.classifier, run.explainer, run.card, ExportConfig()).eval()
    parts = np.array_split(pictures, max(1, len(pictures) // MAX_BATCH))
    saliency = torch.cat([graph(torch.from_numpy(part))[1] for part in parts])
    return dataclasses.replace(run, card=dataclasses.replace(run.card, threshold=float(saliency.median())))


def main() -> None:
    """Run the case of the first argument and write its row to the second's file."""
    case, out = Case(**json.loads(sys.argv[1])), Path(sys.argv[2])

    def write(row: Row) -> None:
        write_atomically(out, json.dumps(dataclasses.asdict(row)))

    write(measure(case, write))


if __name__ == "__main__":
    main()
