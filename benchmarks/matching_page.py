"""Records of `whymask.benchmarks.matching` in words: distributions, and the two published claims judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.intervals import Interval, clopper_pearson
from whymask.benchmarks.method_clock import PROCESSOR
from whymask.benchmarks.records import record_of_schema
from whymask.benchmarks.tables import table

KIND, SCHEMA_VERSION = "whymask.matching", 2
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LARGEST_AREA = 0.05
"""The upper end of the published 2 to 5 % of active pixels."""
PUBLISHED_STEPS, PUBLISHED_SIDE = 880, 224
LEAST_PICTURES = 20
"""Fewer judge no claim: their exact interval around a half is wider than ± 20 points."""

HOLDS, FAILS, OPEN = "holds of most pictures", "fails on most pictures", "undecided"


def read_record(path: Path) -> dict[str, Any]:
    """A record of the study.

    Raises:
        ArtefactError: another file, or another schema.
    """
    return record_of_schema(path, KIND, SCHEMA_VERSION)


def claims(record: dict[str, Any]) -> dict[str, Interval]:
    """Share of the pictures of which each claim holds, with its exact 95 % interval.

    A picture counts for the first where its mask keeps the class on at most 5 % of the pixels, for the second where the
    class is likelier on the mask's pixels alone than on the whole picture.
    """
    area, kept = _values(record, "area"), _values(record, "kept").astype(bool)
    small = kept & (area <= LARGEST_AREA)
    surer = _values(record, "after") > _values(record, "before")
    return {
        "the class is kept on at most 5 % of the pixels": clopper_pearson(int(small.sum()), len(small)),
        "surer of the explanation than of the picture": clopper_pearson(int(surer.sum()), len(surer)),
    }


def verdict(share: Interval, record: dict[str, Any]) -> str:
    """What a share says of a claim that was made without one: that it holds of most pictures, fails, or neither."""
    reasons = reductions(record)
    if reasons:
        return f"not judged: {', '.join(reasons)}"
    return HOLDS if share.low > 0.5 else FAILS if share.high < 0.5 else OPEN


def reductions(record: dict[str, Any]) -> list[str]:
    """What makes a record smaller than what was published, so that it judges nothing; empty where nothing does."""
    found = []
    if record["config"]["steps"] < PUBLISHED_STEPS:
        found.append(f"{record['config']['steps']} of {PUBLISHED_STEPS} steps")
    if min(record["input"]) < PUBLISHED_SIDE:
        found.append(f"{record['input'][0]} × {record['input'][1]} of {PUBLISHED_SIDE} × {PUBLISHED_SIDE} pixels")
    if len(record["pictures"]) < LEAST_PICTURES:
        found.append(f"{len(record['pictures'])} pictures")
    return found


def result_lines(record: dict[str, Any]) -> list[str]:
    """A record in a few lines."""
    lines = [f"{_name(record)}: {len(record['pictures'])} pictures of {record['set']}"]
    lines += [f"{claim}: {_bracketed(share)}, {verdict(share, record)}" for claim, share in claims(record).items()]
    lines += [f"{name}: {_bracketed(share)}" for name, share in _kept(record).items()]
    return lines


def page_from_records(records: Sequence[dict[str, Any]]) -> str:
    """The page of all records, as Markdown."""
    judged = [
        [_name(record), str(len(record["pictures"])), claim, _bracketed(share), verdict(share, record)]
        for record in records
        for claim, share in claims(record).items()
    ]
    kept = [[_name(record), *(_bracketed(share) for share in _kept(record).values())] for record in records]
    sections = [
        "# Activation matching",
        "A fresh autoencoder a picture (arXiv 2509.23051, 2509.25686), by `python -m whymask.benchmarks.matching`. "
        "The classifier, the setting (robustness without a gradient as published, or with it: ours), the network and "
        "the mask that is answered name a row. Shares are of pictures, with exact 95 % intervals. A claim holds of "
        "most pictures where its interval lies above a half, and fails on most where it lies below. Networks learn on "
        "the mean colour, and on noise too where robustness has a gradient; on black and white none does. Pixels that "
        "touch at an edge or a corner are one part.",
        "## The two claims",
        table(["row", "pictures", "claim", "share", "verdict"], judged, left=3),
        "## Class kept, beside other masks of the same area in the same picture",
        table(["row", *_kept(records[0])], kept),
        "## Distributions",
        table(["row", "figure", *(f"{each:.0%} quantile" for each in QUANTILES)], _distributions(records), left=2),
        "## How",
        "\n".join(f"- {_method(record)}" for record in records),
    ]
    return "\n\n".join(sections) + "\n"


def _kept(record: dict[str, Any]) -> dict[str, Interval]:
    names = {
        "kept by the mask": "kept",
        "by a random one": "kept_by_random",
        "by a centred box": "kept_by_centre",
        "without the mask's pixels": "kept_without",
        "by the mask on black": "kept_on_black",
        "by the mask on white": "kept_on_white",
    }
    values = {name: _values(record, key) for name, key in names.items()}
    return {name: clopper_pearson(int(each.sum()), len(each)) for name, each in values.items()}


def _distributions(records: Sequence[dict[str, Any]]) -> list[list[str]]:
    rows = []
    for record in records:
        before, after = _values(record, "before"), _values(record, "after")
        figures = {
            "active pixels, %": 100.0 * _values(record, "area"),
            "parts of the mask": _values(record, "parts"),
            "its pixels in the largest part, %": 100.0 * _values(record, "largest_part"),
            "confidence in the picture, %": 100.0 * before,
            "confidence in the explanation, %": 100.0 * after,
            "gain in confidence, points": 100.0 * (after - before),
            f"{_clock(record)}seconds a picture": _values(record, "seconds"),
        }
        for name, values in figures.items():
            rows.append([_name(record), name, *(f"{each:.3g}" for each in np.quantile(values, QUANTILES))])
    return rows


def _clock(record: dict[str, Any]) -> str:
    """Of its seconds; records of before there was a choice are of a processor."""
    clock: str = record.get("clock", PROCESSOR)
    return "processor " if clock == PROCESSOR else f"{clock}, "


def _method(record: dict[str, Any]) -> str:
    config, machine = record["config"], record["machine"]
    layers = ", ".join(
        f"{name} × {weight:g} ({'cosine' if cosine else 'squares'})" for name, weight, cosine in record["layers"]
    )
    weights = ", ".join(f"{name} {value:g}" for name, value in config["weights"].items())
    return (
        f"{_name(record)}: {config['steps']} steps of Adam at {config['learning_rate']:g}, {record['input'][0]} × "
        f"{record['input'][1]} px, {record['batch']} pictures at a time, seed {config['seed']}; layers {layers}; "
        f"weights {weights}; torch {record['versions'].get('torch')}, {machine['cpu']}, {record['threads']} "
        f"{'thread' if record['threads'] == 1 else 'threads'}."
    )


def _name(record: dict[str, Any]) -> str:
    config = record["config"]
    return f"{record['classifier']}, {record['setting']}, {config['network']}, {config['answer']}"


def _values(record: dict[str, Any], name: str) -> NDArray[np.float64]:
    return np.asarray([picture[name] for picture in record["pictures"]], np.float64)


def _bracketed(share: Interval) -> str:
    return f"{100 * share.value:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}]"
