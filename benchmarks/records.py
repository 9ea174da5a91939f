"""Faithfulness measurements as files: JSON that holds every picture's outcome, CSV, and back; how studies read theirs.

A record keeps one character a picture and case (`1` the class stayed, `0` it did not), so that another interval,
another test or another pairing can be computed from a committed file without the pictures.
"""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks import baselines
from whymask.benchmarks.card_summary import card_summary
from whymask.benchmarks.faithfulness import Case, Faithfulness, FaithfulnessConfig
from whymask.benchmarks.masking import BLUR, BLUR_PASSES, FILL, background_from_fill, blur_width
from whymask.runtime.card import Card
from whymask.runtime.errors import ArtefactError
from whymask.runtime.explainer import Explainer
from whymask.runtime.files import sha256_of
from whymask.runtime.from_json import record_from_json
from whymask.runtime.versions import installed_versions

SCHEMA_VERSION = 1
PACKAGES = ("whymask", "numpy", "onnxruntime", "pillow", "torch")
AT_THRESHOLD = "threshold"
"""What a cell's area is called where the graph's own mask decides it."""


def report_from_measurements(
    file: Path, explainer: Explainer, config: FaithfulnessConfig, sets: Sequence[Faithfulness], command: str
) -> dict[str, Any]:
    """The whole record of an evaluation, as JSON can hold it.

    Args:
        file: the evaluated graph.
        explainer: the same, loaded.
        config: how it was judged.
        sets: measurements, one a set of pictures.
        command: what a reader runs to make it again.
    """
    return {
        "schema": SCHEMA_VERSION,
        "command": command,
        "graph": {
            "file": file.name,
            "sha256": sha256_of(file),
            "provider": explainer.provider,
            "card": card_summary(explainer.card),
        },
        "method": _method(explainer.card, config, sets),
        "versions": {"python": platform.python_version()} | installed_versions(PACKAGES),
        "sets": [record_from_measurement(each) for each in sets],
    }


def record_from_measurement(measured: Faithfulness) -> dict[str, Any]:
    """One set of pictures as JSON can hold it: figures first, then the outcomes they come from."""
    return {
        "name": measured.name,
        "images": len(measured.files),
        "unreadable": list(measured.unreadable),
        "mean_area": round(float(measured.areas.mean()), 5),
        "area_quantiles": {name: round(value, 5) for name, value in measured.area_quantiles().items()},
        "cells": [_cell(measured, case) for case in measured.kept],
        "run": {
            "passes": measured.passes,
            "seconds": round(measured.seconds, 3),
            "graph_seconds": round(measured.graph_seconds, 3),
            "images_per_second": round(measured.images_per_second, 1),
            "seed": measured.seed,
            "confidence": measured.confidence,
        },
        "outcomes": {
            "files": list(measured.files),
            "top1": measured.top1.tolist(),
            "area": [round(float(area), 6) for area in measured.areas],
            "kept": [
                {"map": case.map, "fill": case.fill, "area": _area_name(case), "bits": _bits(kept)}
                for case, kept in measured.kept.items()
            ],
        },
    }


def measurement_from_record(record: dict[str, Any]) -> Faithfulness:
    """Read back what `record_from_measurement` wrote.

    Raises:
        ArtefactError: a field is absent, or an outcome has another length than the list of pictures.
    """
    try:
        outcomes, run = record["outcomes"], record["run"]
        files = tuple(outcomes["files"])
        kept = {_case(entry): _array_from_bits(entry["bits"]) for entry in outcomes["kept"]}
        measured = Faithfulness(
            name=record["name"],
            files=files,
            unreadable=tuple(record["unreadable"]),
            top1=np.array(outcomes["top1"], np.int64),
            areas=np.array(outcomes["area"], np.float64),
            kept=kept,
            confidence=run["confidence"],
            seed=run["seed"],
            passes=run["passes"],
            seconds=run["seconds"],
            graph_seconds=run["graph_seconds"],
        )
    except (KeyError, TypeError) as error:
        raise ArtefactError(f"faithfulness record: lacks or garbles {error}; evaluate again") from None
    for case, bits in kept.items():
        if len(bits) != len(files):
            raise ArtefactError(f"faithfulness record: {len(bits)} outcomes of {case} for {len(files)} pictures")
    return measured


def read_report(path: Path) -> dict[str, Any]:
    """Read a report file.

    Raises:
        ArtefactError: not JSON, or of another schema than this version writes.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        schema = report["schema"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise ArtefactError(
            f"{path}: not a faithfulness report; make it with: python -m whymask.benchmarks.imagenet evaluate"
        ) from None
    if schema != SCHEMA_VERSION:
        raise ArtefactError(f"{path}: schema {schema}, expected {SCHEMA_VERSION}; evaluate again with this whymask")
    return dict(report)


def record_of_kind(path: Path, kind: str, newest: int, again: str) -> dict[str, Any]:
    """Read a study's record of any schema up to the newest.

    Args:
        path: JSON.
        kind: that it has to be of.
        newest: schema that can be read.
        again: what to do about another file, such as `make it again: COMMAND`.

    Raises:
        ArtefactError: not JSON, of another kind, or newer.
    """
    try:
        record = record_from_json(path.read_text(encoding="utf-8"), "record", newest, again)
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}") from error
    if record.get("kind") != kind:
        raise ArtefactError(f"{path}: kind is {record.get('kind')!r}, expected {kind!r}; {again}")
    return record


def record_of_schema(path: Path, kind: str, schema: int) -> dict[str, Any]:
    """Read a study's record of one schema alone.

    Raises:
        ArtefactError: no such file, not JSON, or of another kind or schema.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: cannot be read as JSON ({error}); expected a {kind} record") from None
    if not isinstance(record, dict) or (record.get("kind"), record.get("schema")) != (kind, schema):
        raise ArtefactError(f"{path}: no {kind} record of schema {schema}; make it again with this version")
    return record


def json_from_report(value: Any, depth: int = 0) -> str:
    """JSON text with one line for each list or object that holds no other, so that a changed figure is a short diff."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not any(isinstance(part, dict | list) for part in parts):
        return json.dumps(value, ensure_ascii=False)
    pad, inner = " " * depth, depth + 1
    if isinstance(value, dict):
        lines = [f"{json.dumps(key)}: {json_from_report(part, inner)}" for key, part in value.items()]
        brackets = "{}"
    else:
        lines, brackets = [json_from_report(part, inner) for part in value], "[]"
    body = ",\n".join(f"{pad} {line}" for line in lines)
    return f"{brackets[0]}\n{body}\n{pad}{brackets[1]}"


def csv_from_report(report: dict[str, Any]) -> str:
    """The cells of all sets as CSV, one row each."""
    text = io.StringIO()
    columns = ["set", *dict.fromkeys(key for each in report["sets"] for cell in each["cells"] for key in cell)]
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for each in report["sets"]:
        writer.writerows({"set": each["name"], **cell} for cell in each["cells"])
    return text.getvalue()


def _cell(measured: Faithfulness, case: Case) -> dict[str, Any]:
    retention = measured.retention(case)
    kept = measured.kept[case]
    cell: dict[str, Any] = {
        "map": case.map,
        "fill": case.fill,
        "area": _area_name(case),
        "n": len(kept),
        "kept": int(kept.sum()),
        "retention": round(retention.value, 5),
        "low": round(retention.low, 5),
        "high": round(retention.high, 5),
    }
    if case.map not in (baselines.EXPLAINER, baselines.ALL_ONES, baselines.ALL_ZEROS):
        difference = measured.difference(case)
        cell["explainer_minus_map"] = round(difference.interval.value, 5)
        cell["difference_low"] = round(difference.interval.low, 5)
        cell["difference_high"] = round(difference.interval.high, 5)
        cell["mcnemar_p"] = float(f"{difference.p_value:.3g}")
    return cell


def _method(card: Card, config: FaithfulnessConfig, sets: Sequence[Faithfulness]) -> dict[str, Any]:
    maps = [name for each in sets for name in each.maps]
    box = blur_width(card.input.height, card.input.width)
    fills = {
        FILL: f"colour {background_from_fill(card.fill).tolist()} of the card, RGB 0–255, before normalisation",
        BLUR: f"the picture after {BLUR_PASSES} passes of a {box}-pixel box on each axis, edges repeated",
    }
    return {
        "retention": "share of pictures whose top-1 class stays when all but the kept pixels take the background",
        "areas": list(config.areas),
        "fills": {fill: fills[fill] for fill in config.fills},
        "maps": {name: baselines.STATED[name] for name in dict.fromkeys(maps)},
        "pixels": "exactly round(area·H·W) by rank, ties in seeded random order",
        "intervals": f"Clopper–Pearson, and bootstrap over pictures for differences, both {config.confidence:.0%}",
        "seed": config.seed,
    }


def _area_name(case: Case) -> float | str:
    return AT_THRESHOLD if case.area is None else case.area


def _case(entry: dict[str, Any]) -> Case:
    area = None if entry["area"] == AT_THRESHOLD else float(entry["area"])
    return Case(entry["map"], entry["fill"], area)


def _bits(kept: NDArray[np.bool_]) -> str:
    return "".join("1" if each else "0" for each in kept.tolist())


def _array_from_bits(bits: str) -> NDArray[np.bool_]:
    return np.array([bit == "1" for bit in bits], np.bool_)
