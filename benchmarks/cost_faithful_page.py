"""Faithfulness before and after the cuts, as one Markdown table with its verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whymask.benchmarks.intervals import mcnemar_p
from whymask.benchmarks.records import record_of_kind
from whymask.benchmarks.refinement import AREAS
from whymask.benchmarks.tables import table
from whymask.runtime.files import write_atomically

FAITHFUL_STEM = "faithful"
FAITHFUL_KIND, FAITHFUL_SCHEMA = "whymask.cost_faithful", 1
TRAINED, DEPLOYED = "trained", "deployed"
FORMS = (TRAINED, DEPLOYED)
LEAST_IOU = 0.999
"""Of both forms' masks together: the bound that `whymask export` holds an FP32 file to."""

Record = Mapping[str, Any]


def read_faithful(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        ArtefactError: not JSON, of another kind, or newer.
    """
    again = "make it again: python -m whymask.benchmarks.cost faithful RUN --data DIR"
    return record_of_kind(path, FAITHFUL_KIND, FAITHFUL_SCHEMA, again)


def write_faithful(folder: Path, new: Record) -> Path:
    """Write record and page: what the folder's record holds, and one classifier in place of an older one of its name.

    Args:
        folder: of `faithful.json` and `faithful.md`.
        new: of `cost_faithful.measure`.

    Returns:
        The page.

    Raises:
        ArtefactError: the folder's record cannot be read.
    """
    path = folder / f"{FAITHFUL_STEM}.json"
    former = read_faithful(path)["classifiers"] if path.is_file() else []
    others = [each for each in former if each["classifier"] != new["classifier"]]
    ordered = sorted([*others, new], key=lambda each: str(each["classifier"]))
    record = {"schema": FAITHFUL_SCHEMA, "kind": FAITHFUL_KIND, "areas": list(AREAS), "classifiers": ordered}
    write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_atomically(path.with_suffix(".md"), faithful_page(record))
    return path.with_suffix(".md")


def faithful_page(record: Record) -> str:
    """The page of a record."""
    told = (
        "The tapped explainer as it was trained, and in the form that `whymask export` writes, both exported in FP32 "
        "by the same graph passes and judged on the same pictures in ONNX Runtime. Retention in %: pictures that keep "
        "their class when only the given share of pixels is kept, by the map's own order, and the rest takes the "
        "card's colour; last at the card's threshold, in brackets the mean area. Made by `python -m "
        f"whymask.benchmarks.cost faithful`; every decision is in `{FAITHFUL_STEM}.json`."
    )
    said = "\n".join(f"- {_said(each)}" for each in record["classifiers"])
    return "\n\n".join(["# Faithfulness before and after the cuts", told, forms_table(record), said]) + "\n"


def forms_table(record: Record) -> str:
    """A row a classifier and form."""
    areas = [f"{100 * area:g} %" for area in record["areas"]]
    head = ("classifier", "form", "nodes", "run", "multiply-adds", "MB", *areas, "AUC", "at threshold")
    rows = [_row(each["classifier"], form, each["forms"][form]) for each in record["classifiers"] for form in FORMS]
    return table(head, rows, left=2)


def has_fallen(classifier: Record) -> bool:
    """Whether the deployed form is less faithful than chance between two like forms allows.

    By the exact sign test (McNemar) at 5 % over the decisions on which the forms differ, or by masks that differ by
    more than `LEAST_IOU` allows, or by any other class.
    """
    between = classifier["between"]
    gained, lost = int(between["gained"]), int(between["lost"])
    worse = lost > gained and mcnemar_p(gained, lost) < 0.05
    return bool(worse or between["mask_iou"] < LEAST_IOU or between["same_top1"] < 1.0)


def _row(classifier: str, form: str, figures: Record) -> list[str]:
    return [
        classifier,
        form,
        str(figures["nodes"]),
        str(figures["run_nodes"]),
        f"{figures['multiply_adds'] / 1e6:.1f} M",
        f"{figures['bytes'] / 1e6:.1f}",
        *(f"{100 * share:.1f}" for share in figures["retention"]),
        f"{100 * figures['retention_auc']:.2f}",
        f"{100 * figures['retention_at_threshold']:.1f} ({100 * figures['mean_area']:.1f})",
    ]


def _said(each: Record) -> str:
    between, pictures = each["between"], each["pictures"]
    lost_files = f", {len(pictures['unreadable'])} more could not be read" if pictures["unreadable"] else ""
    return (
        f"{each['classifier']}: **{'faithfulness fell' if has_fallen(each) else 'faithfulness has not fallen'}**. "
        f"{pictures['count']} pictures of {pictures['source']}{lost_files}, {each['height']} × {each['width']} px. "
        f"Of {between['decisions']:.0f} decisions (pictures × cuts) the deployed form gained {between['gained']:.0f} "
        f"and lost {between['lost']:.0f}. Mask IoU {between['mask_iou']:.6f}, of the worst picture "
        f"{between['mask_iou_min']:.6f}; same top-1 {100 * between['same_top1']:g} %; largest difference of a saliency "
        f"{between['saliency_max']:.1e}, of a logit {between['logits_max']:.1e}; lowest rank correlation "
        f"{between['saliency_rank_min']:.6f}. ONNX Runtime {each['versions']['onnxruntime']}, torch "
        f"{each['versions']['torch']}, {each['created']}."
    )
