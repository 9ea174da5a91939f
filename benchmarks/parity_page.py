"""Records of `whymask verify` as one Markdown table: how far half precision is from the modules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whymask.benchmarks.tables import table
from whymask.runtime.errors import ArtefactError

COLUMNS = {
    "top1_agreement_min": "top-1 agreement",
    "near_ties": "near ties, left aside",
    "logits_max": "largest logit error",
    "mask_iou_min": "mask IoU",
    "mask_flips_share": "flipped pixels",
    "saliency_rank_min": "lowest saliency rank",
}
"""Figures shown, by their name in a record."""


def read_parity(path: Path) -> dict[str, Any]:
    """A record that `whymask verify` wrote, as figures by name.

    Args:
        path: `<classifier>.fp16.json`.

    Raises:
        ArtefactError: it is not one.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        figures = {figure["name"]: figure for figure in record["figures"]}
        lacking = [name for name in COLUMNS if name not in figures]
    except (json.JSONDecodeError, KeyError, TypeError):
        lacking = list(COLUMNS)
    if lacking:
        raise ArtefactError(
            f"{path}: not a record of whymask verify, it lacks {lacking[0]}; make it again with the study's half"
        )
    return {**record, "figures": figures, "classifier": path.name.partition(".")[0]}


def parity_block(records: Sequence[dict[str, Any]]) -> str:
    """What was compared on what, and a row a classifier.

    Args:
        records: from `read_parity`, at least one.
    """
    first = records[0]
    where = (
        f"The graph exported with `--precision fp16`, in ONNX Runtime {first['versions'].get('onnxruntime', '?')} on a "
        f"CPU, against the modules in FP32, on {first['images']['count']} pictures of {first['images']['source']}. "
        "Errors of logits are relative to the largest logit."
    )
    return f"{where}\n\n{table(('classifier', *COLUMNS.values(), 'within tolerance'), map(_row, records))}"


def _row(record: dict[str, Any]) -> list[str]:
    measured = {name: record["figures"][name]["measured"] for name in COLUMNS}
    return [
        record["classifier"],
        f"{100 * measured['top1_agreement_min']:.1f} %",
        f"{measured['near_ties']:.0f}",
        f"{measured['logits_max']:.1e}",
        f"{measured['mask_iou_min']:.4f}",
        f"{100 * measured['mask_flips_share']:.3f} %",
        f"{measured['saliency_rank_min']:.5f}",
        "yes" if record["passed"] else "no",
    ]
