"""The zoo's rows: what is tried, what came of it, as CSV to go on from and as Markdown to read.

A row is one classifier with one explainer in one precision. A row that fails stays in the table with its stage and
reason, and a row that has not been run is shown as such.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from whymask.benchmarks.tables import table
from whymask.runtime.describe import quantity
from whymask.runtime.errors import ArtefactError
from whymask.runtime.files import write_atomically

PASS, FAIL = "pass", "fail"
EXPLAINERS, PRECISIONS = ("tapped", "autoencoder"), ("fp32", "fp16")
COMMAND = "python -m whymask.benchmarks.zoo"


@dataclass(frozen=True)
class Case:
    """What a row tries.

    Attributes:
        source: `torchvision`, `timm`, or a FILE.py.
        classifier: name there, or the file's factory.
        height, width: of the input, pixels.
        explainer: `tapped` or `autoencoder`.
        precision: `fp32` or `fp16`.
        weights: `random`, or `own` for a factory that brings its own.
        seed: of weights, pictures and training.
        steps, batch_size: of the training.
        pictures: synthetic ones on which file and modules are compared; as many others are trained on.
    """

    source: str
    classifier: str
    height: int
    width: int
    explainer: str
    precision: str
    weights: str = "random"
    seed: int = 0
    steps: int = 4
    batch_size: int = 4
    pictures: int = 32

    @property
    def model(self) -> str:
        """The classifier as `whymask train` takes it."""
        return f"{self.source}:{self.classifier}"

    def to_json(self) -> str:
        """For the process that runs it."""
        return json.dumps(dataclasses.asdict(self))


@dataclass(frozen=True)
class Row(Case):
    """A case and what came of it; a figure is None where the row ended before it was known.

    Attributes:
        result: `pass` or `fail`.
        stage: where it failed: `train`, `export`, `parity`, `rtx`, `write`, or `start` of the process.
        reason: the error's first line.
        taps: names of the tapped modules, separated by blanks.
        classifier_parameters, explainer_parameters: their numbers.
        classifier_macs, explainer_macs: multiply-adds of one picture.
        threshold: at which the masks were cut.
        top1_agreement, mask_iou, saliency_rank, logits_max: file against modules, see `whymask.export.parity`.
        rtx_layers, engine_bytes: of what TensorRT-RTX parsed and built.
        train_s, export_s, parity_s, rtx_s: seconds of each stage.
        versions: of every package that takes part, as `name version`, separated by semicolons.
    """

    result: str = FAIL
    stage: str = "start"
    reason: str = ""
    taps: str = ""
    classifier_parameters: int | None = None
    explainer_parameters: int | None = None
    classifier_macs: int | None = None
    explainer_macs: int | None = None
    threshold: float | None = None
    top1_agreement: float | None = None
    mask_iou: float | None = None
    saliency_rank: float | None = None
    logits_max: float | None = None
    rtx_layers: int | None = None
    engine_bytes: int | None = None
    train_s: float | None = None
    export_s: float | None = None
    parity_s: float | None = None
    rtx_s: float | None = None
    versions: str = ""

    @property
    def case(self) -> Case:
        """What was tried."""
        return Case(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Case)})


def row_of(case: Case, **values: Any) -> Row:
    """A row of a case."""
    return Row(**dataclasses.asdict(case), **values)


def csv_text(rows: Iterable[Row]) -> str:
    """Rows as CSV, one column a field, None as an empty cell."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in dataclasses.fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    return buffer.getvalue()


def read_rows(path: Path) -> list[Row]:
    """Rows of a CSV file; none where there is no file.

    Raises:
        ArtefactError: it is not one of `csv_text`.
    """
    if not path.is_file():
        return []
    try:
        return [_row_from(record) for record in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))]
    except (TypeError, ValueError) as error:
        raise ArtefactError(
            f"{path} is not a table of the zoo ({error}); remove it, and make it again with: {COMMAND} run"
        ) from None


def _row_from(record: Mapping[str, str]) -> Row:
    types = get_type_hints(Row)
    return Row(**{name: _value(types.get(name, str), text) for name, text in record.items()})


def _value(kind: Any, text: str) -> Any:
    if kind is str:
        return text
    if not text and kind is not int:
        return None
    return int(text) if kind in (int, int | None) else float(text)


def write_rows(folder: Path, rows: Sequence[Row], planned: Sequence[Case]) -> None:
    """Write `zoo.csv` and `zoo.md`, each whole or not at all.

    Args:
        folder: where to.
        rows: what has been run.
        planned: everything that is to be run, in the table's order; rows that are not planned are left out.
    """
    found = {row.case: row for row in rows}
    ordered = [found[case] for case in planned if case in found]
    write_atomically(folder / "zoo.csv", csv_text(ordered))
    write_atomically(folder / "zoo.md", page(ordered, planned))


def page(rows: Sequence[Row], planned: Sequence[Case]) -> str:
    """The support matrix, the failures with their reasons, and every row's figures, as Markdown."""
    failed = [row for row in rows if row.result != PASS]
    reasons = [f"- {row.model}, {row.explainer}, {row.precision}: {row.stage}: {row.reason}" for row in failed]
    absent = len(planned) - len(rows)
    parts = [
        "# The zoo: which classifiers go through export and TensorRT-RTX",
        f"{len(rows) - len(failed)} of {len(planned)} rows pass, {len(failed)} fail, {absent} have not been run.",
        _method(rows, planned),
        "## Support matrix",
        _matrix(rows, planned),
        "## Failures" if reasons else "",
        "\n".join(reasons),
        "## Figures",
        _figures(rows),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _method(rows: Sequence[Row], planned: Sequence[Case]) -> str:
    first = planned[0]
    versions = sorted({row.versions for row in rows})
    return (
        f"Made with `{COMMAND} run`, a process a row. Random weights (seed {first.seed}): this tells what exports and "
        f"builds, and that the file computes what the modules compute; not how good an explanation is. Each row trains "
        f"its explainer for {first.steps} steps of {first.batch_size} synthetic pictures, cuts masks at the median of "
        f"its saliency, so that half of the pixels lie on each side, exports at opset 17, compares ONNX Runtime with "
        f"torch on {first.pictures} synthetic pictures under the gates of `whymask export`, and has TensorRT-RTX parse "
        "and build the graph on the CPU. No row has run on a GPU.\n\n"
        f"Versions: {' | '.join(versions) or 'none yet'}."
    )


def _matrix(rows: Sequence[Row], planned: Sequence[Case]) -> str:
    found = {row.case: row for row in rows}
    columns = [(explainer, precision) for explainer in EXPLAINERS for precision in PRECISIONS]
    lines: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for case in planned:
        cells = lines.setdefault((case.model, f"{case.height} × {case.width}"), {})
        cells[case.explainer, case.precision] = _mark(found.get(case))
    body = [[*head, *(cells.get(column, "–") for column in columns)] for head, cells in lines.items()]
    return table(["classifier", "input, px", *map(" ".join, columns)], body, left=6)


def _mark(row: Row | None) -> str:
    if row is None:
        return "not run"
    return row.result if row.result == PASS else f"**{row.result}** ({row.stage})"


def _figures(rows: Sequence[Row]) -> str:
    head = (
        "classifier",
        "explainer",
        "precision",
        "result",
        "top-1 agreement",
        "mask IoU",
        "saliency rank",
        "explainer parameters",
        "multiply-adds of classifier + explainer",
        "RTX layers",
        "engine, MiB",
        "s: train, export, parity, RTX",
    )
    return table(head, map(_figure_cells, rows), left=4)


def _figure_cells(row: Row) -> list[str]:
    macs = [quantity(value) if value is not None else "–" for value in (row.classifier_macs, row.explainer_macs)]
    seconds = (row.train_s, row.export_s, row.parity_s, row.rtx_s)
    return [
        row.model,
        row.explainer,
        row.precision,
        row.result,
        _number(row.top1_agreement, "{:.3f}"),
        _number(row.mask_iou, "{:.4f}"),
        _number(row.saliency_rank, "{:.5f}"),
        _number(row.explainer_parameters, "{:,}"),
        " + ".join(macs),
        _number(row.rtx_layers, "{}"),
        _number(row.engine_bytes and row.engine_bytes / 2**20, "{:.1f}"),
        ", ".join(_number(value, "{:.0f}") for value in seconds),
    ]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
