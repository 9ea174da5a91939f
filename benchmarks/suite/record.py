"""The record of an evaluation: one JSON that holds a number a picture for every map and column.

Every figure of a table or a chart can be recomputed from it; the `figures` of a set are there for readers without this
package. Numbers are rounded to `DIGITS`, and a picture without a value has null.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.baselines import EXPLAINER, STATED
from whymask.benchmarks.card_summary import card_summary
from whymask.benchmarks.intervals import CONFIDENCE
from whymask.benchmarks.logits_alone import WHOLE_GRAPH
from whymask.benchmarks.machine import describe_machine
from whymask.benchmarks.suite.measured import Cost, Measured
from whymask.benchmarks.suite.runner import Suite
from whymask.benchmarks.suite.sample import Cell, Cells, Column
from whymask.runtime.errors import ArtefactError
from whymask.runtime.files import sha256_of
from whymask.runtime.versions import installed_versions

Record: TypeAlias = Mapping[str, Any]
"""What JSON can hold: the whole record, or one of its sets."""

KIND = "evaluation"
SCHEMA_VERSION = 1
DIGITS = 5
PACKAGES = ("whymask", "numpy", "onnxruntime", "tensorrt", "pillow", "torch", "captum", "grad-cam")
AGAIN = "make it with: whymask evaluate GRAPH --data DIR -o FILE.json"


def record_from_measurements(
    file: Path,
    suite: Suite,
    sets: Sequence[Measured],
    left_out: Mapping[str, str],
    command: str,
    asked: str = WHOLE_GRAPH,
) -> dict[str, Any]:
    """The whole record of an evaluation.

    Args:
        file: the judged graph or engine.
        suite: what judged it.
        sets: measurements, one a set of pictures.
        left_out: maps that were not judged, with the reason.
        command: what a reader runs to make it again.
        asked: what answered to masked pictures, in words; see `logits_backend`.
    """
    explainer = suite.explainer
    return {
        "kind": KIND,
        "schema": SCHEMA_VERSION,
        "command": command,
        "graph": {
            "file": file.name,
            "sha256": sha256_of(file),
            "provider": explainer.provider,
            "card": card_summary(explainer.card),
        },
        "method": _method(suite, left_out, asked),
        "versions": {"python": platform.python_version()} | installed_versions(PACKAGES),
        "machine": dataclasses.asdict(describe_machine()),
        "sets": [_set_record(measured) for measured in sets],
    }


def cells_from_record(record: Record) -> Cells:
    """The numbers of one set: by map and column, float64 (n,), nan where a picture has no value."""
    return {
        Cell(name, column): _array(values)
        for name, columns in record["cells"].items()
        for column, values in columns.items()
    }


def columns_from_record(record: Record) -> dict[str, Column]:
    """What each column of a record says, in the order of the tables."""
    columns = record["method"]["columns"]
    return {
        name: Column(name, each["better"], each["stated"], each.get("at_own_area", False))
        for name, each in columns.items()
    }


def own_from_record(record: Record) -> dict[str, NDArray[np.float64]]:
    """The figures of the graph's own mask in one set, by name; see `whymask.benchmarks.suite.runner.OwnMask`."""
    return {name: _array(values) for name, values in record["own"].items()}


def seconds_a_picture(record: Record, name: str) -> float:
    """Seconds that one map of a set took for each picture that it was made for; costly maps are made for some only."""
    cost = record["speed"]["maps"][name]
    return float(cost["seconds"]) / max(int(cost.get("pictures", len(record["files"]))), 1)


def read_record(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        ArtefactError: no such file, not JSON, no evaluation, another schema, or figures that are not one a picture.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kind, schema = record["kind"], record["schema"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        raise ArtefactError(f"{path}: no record of an evaluation; {AGAIN}") from None
    if kind != KIND:
        raise ArtefactError(f"{path}: a record of kind {kind!r}, expected {KIND!r}; {AGAIN}")
    if schema != SCHEMA_VERSION:
        raise ArtefactError(f"{path}: schema {schema}, expected {SCHEMA_VERSION}; evaluate again with this whymask")
    try:
        _check_head(record)
        for each in record["sets"]:
            _check_set(path, each, record["method"]["columns"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(f"{path}: lacks or garbles {error}; {AGAIN}") from None
    return dict(record)


def _check_head(record: Record) -> None:
    """Ask for what every reader needs; a field that is absent or of another kind raises what `read_record` catches."""
    method = record["method"]
    _ = record["graph"]["sha256"], record["graph"]["card"]["classifier_sha256"], record["command"], method["seed"]
    _ = [(each["better"], each["stated"]) for each in method["columns"].values()]
    _ = [each["stated"] for each in method["maps"].values()]


def _check_set(path: Path, record: Record, columns: Record) -> None:
    n = len(record["files"])
    listed = [(f"{name}, {column}", values) for name, row in record["cells"].items() for column, values in row.items()]
    for name, values in [*listed, *record["own"].items()]:
        if len(values) != n:
            raise ArtefactError(f"{path}: {record['name']}: {len(values)} figures of {name} for {n} pictures; {AGAIN}")
        other = next((each for each in values if each is not None and not isinstance(each, int | float)), None)
        if other is not None:
            raise ArtefactError(f"{path}: {record['name']}: {other!r} among the figures of {name}, no number; {AGAIN}")
    unknown = {column for row in record["cells"].values() for column in row} - set(columns)
    if unknown:
        raise ArtefactError(f"{path}: {record['name']}: no definition of {', '.join(sorted(unknown))}; {AGAIN}")


def _method(suite: Suite, left_out: Mapping[str, str], asked: str) -> dict[str, Any]:
    columns = {
        column.name: {
            "metric": metric.name,
            "better": column.better,
            "stated": column.stated,
            "at_own_area": column.at_own_area,
        }
        for metric in suite.metrics
        for column in metric.columns
    }
    maps = {EXPLAINER: {"stated": STATED[EXPLAINER], "passes": 1.0, "costly": False}}
    maps |= {
        rival.name: {"stated": rival.stated, "passes": rival.passes, "costly": rival.is_costly}
        for rival in suite.rivals
    }
    return {
        "maps": maps,
        "left_out": dict(left_out),
        "columns": columns,
        "costly": suite.costly,
        "asked": asked,
        "pixels": "every map at exactly the same number of pixels in the same picture, ties in seeded random order",
        "intervals": f"{CONFIDENCE:.0%}: exact (Clopper–Pearson) where every value is 0 or 1, else bootstrap over "
        "pictures; differences and ratios by bootstrap in pairs",
        "seed": suite.seed,
    }


def _set_record(measured: Measured) -> dict[str, Any]:
    own = measured.own
    rows: dict[str, dict[str, list[float | int | None]]] = {}
    for cell, values in measured.cells.items():
        rows.setdefault(cell.map, {})[cell.column] = _numbers(values)
    n = len(measured.files)
    return {
        "name": measured.pictures.name,
        "images": n,
        "unreadable": list(measured.unreadable),
        "truth": measured.pictures.stated,
        "speed": speed_of(measured),
        "files": list(measured.files),
        "own": {name: _numbers(np.asarray(values, np.float64)) for name, values in vars(own).items()},
        "cells": rows,
    }


def speed_of(measured: Measured) -> dict[str, Any]:
    """What a set took, in all and by map and metric, as JSON can hold it."""
    return {
        "seconds": round(measured.seconds, 3),
        "graph_seconds": round(measured.graph_seconds, 3),
        "graph_passes": measured.passes,
        "images_per_second": _rate(len(measured.files), measured.seconds),
        "threads": measured.threads,
        "maps": {name: _speed(cost, measured.threads) for name, cost in measured.map_costs.items()},
        "metrics": {name: _speed(cost, measured.threads) for name, cost in measured.metric_costs.items()},
    }


def _speed(cost: Cost, threads: int) -> dict[str, float]:
    """Seconds of all threads together; images a second where all of them do nothing else."""
    return {
        "pictures": cost.pictures,
        "seconds": round(cost.seconds, 3),
        "passes": round(cost.passes, 1),
        "images_per_second": _rate(threads * cost.pictures, cost.seconds),
    }


def _rate(n: int, seconds: float) -> float:
    return float(f"{n / max(seconds, 1e-9):.4g}")


def _numbers(values: NDArray[np.float64]) -> list[float | int | None]:
    """Numbers as JSON has them: whole ones without a point, which most are."""
    rounded = np.round(values, DIGITS).tolist()
    return [None if each != each else int(each) if each == int(each) else each for each in rounded]


def _array(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if each is None else each for each in values], np.float64)
