"""Records of `whymask.benchmarks.circuits` in words: by layer, how many of the strongest channels both passes share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.baselines import CENTRE, EXPLAINER, RANDOM
from whymask.benchmarks.overlap import mean_cell, mean_interval
from whymask.benchmarks.records import record_of_schema
from whymask.benchmarks.tables import table

KIND, SCHEMA_VERSION = "whymask.circuits", 1
MASKS = {EXPLAINER: "explainer", CENTRE: "centred box", RANDOM: "random"}
CIRCUIT = ".circuit"
"""What the names of an example's two files end in, before their suffix."""
LEAST_PICTURES = 5
"""Fewer are no group of their own."""


def read_record(path: Path) -> dict[str, Any]:
    """A record of the study.

    Raises:
        ArtefactError: another file, or another schema.
    """
    return record_of_schema(path, KIND, SCHEMA_VERSION)


def overlaps(record: dict[str, Any], mask: str, layer: str) -> NDArray[np.float64]:
    """Overlap of a layer under a mask, float64 (n,), a picture each."""
    return np.asarray([each["masks"][mask]["overlap"][layer] for each in record["pictures"]], np.float64)


def kept(record: dict[str, Any], mask: str) -> NDArray[np.bool_]:
    """Whether the class stayed under a mask, bool (n,), a picture each."""
    return np.asarray([each["masks"][mask]["kept"] for each in record["pictures"]], np.bool_)


def page_from_records(records: Sequence[dict[str, Any]]) -> str:
    """The page of all classifiers, as Markdown."""
    head = (
        "# Do explanation and picture run on the same channels?\n\nBy `python -m whymask.benchmarks.circuits`. In each "
        "layer that activation matching compares: the Jaccard index of the K strongest channels of the picture's "
        "forward pass and of the explanation's (arXiv 2604.13695), mean over pictures; 1 is the same channels. Masks "
        "are of equal area. In brackets 95 % intervals, bootstrapped over pictures; **bold** where the paired "
        "difference to the random mask leaves zero out."
    )
    return "\n\n".join([head, *(_section(record) for record in records)]) + "\n"


def _section(record: dict[str, Any]) -> str:
    name, size = record["classifier"], record["input"]
    facts = (
        f"{len(record['pictures'])} pictures of {record['set']}, {size[0]} × {size[1]} px, masks of "
        f"{record['area']:.0%} of the pixels, K = {record['top']}. The class stays under "
        + ", ".join(f"{kept(record, mask).mean():.0%} of the masks ({label})" for mask, label in MASKS.items())
        + "."
    )
    layers = list(record["pictures"][0]["masks"][EXPLAINER]["overlap"])
    rows = [[layer, *(_cell(record, mask, layer) for mask in MASKS), *_by_outcome(record, layer)] for layer in layers]
    columns = ["layer", *MASKS.values(), "explainer, class kept", "explainer, class lost"]
    drawn = f"The circuit of {record['example']}: [picture]({name}{CIRCUIT}.svg), [values]({name}{CIRCUIT}.json)."
    example = [drawn] if record["example"] else []
    return "\n\n".join([f"## {name}", facts, table(columns, rows), *example])


def _cell(record: dict[str, Any], mask: str, layer: str) -> str:
    own = overlaps(record, mask, layer)
    text = mean_cell(own)
    if mask == RANDOM:
        return text
    apart = mean_interval(own - overlaps(record, RANDOM, layer))
    return f"**{text}**" if apart.low > 0 or apart.high < 0 else text


def _by_outcome(record: dict[str, Any], layer: str) -> list[str]:
    """The explainer's overlap where its masks keep the class, and where they lose it."""
    own, stays = overlaps(record, EXPLAINER, layer), kept(record, EXPLAINER)
    groups = (own[stays], own[~stays])
    return [mean_cell(each) if len(each) >= LEAST_PICTURES else f"– ({len(each)} pictures)" for each in groups]
