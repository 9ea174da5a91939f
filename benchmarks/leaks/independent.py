"""Do the kept pixels show the object to classifiers that took no part?

A mask may keep a decision by a pattern that only its own classifier falls for. Other classifiers judge the same kept
pictures: they need not agree with the explained one, each is held to its own decision on the whole picture.

Letters: n pictures, H W the explained graph's input size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.intervals import paired_difference
from whymask.benchmarks.leaks.record import bar, check_record, interval_figure, left_out, mean_figure
from whymask.benchmarks.leaks.retention import CALL, best_pixels, kept_class, top1_of
from whymask.benchmarks.suite.sample import Ask
from whymask.runtime.card import InputCard
from whymask.runtime.images import fit

NAME = "independent"
EXPLAINER, CAM = "explainer", "cam"
AREAS = (0.1, 0.2, 0.3, 0.5)

STATED = (
    "Encoding check: the best pixels of each map, the rest at the card's fill, are shown to other classifiers, "
    "squashed to their input size. Share of pictures in which such a classifier's top-1 equals its own top-1 on the "
    "whole picture. Every map is judged on the same pictures at the same areas; differences are paired."
)


@dataclass(frozen=True)
class Judge:
    """A classifier that took no part.

    Attributes:
        name: how it is called in the record.
        ask: its logits.
        rule: its input.
    """

    name: str
    ask: Ask
    rule: InputCard

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Of pictures (N, H, W, 3) of any size, squashed to its own: a crop would hide what a mask kept."""
        rule = replace(self.rule, resize="squash")
        return self.ask(np.stack([fit(image, rule) for image in images]))


def independent(
    judges: list[Judge],
    images: NDArray[np.uint8],
    maps: Mapping[str, NDArray[np.float32]],
    fill: NDArray[np.uint8],
    seed: int = 0,
) -> dict[str, Any]:
    """Run the check.

    Args:
        judges: at least one, none of them the explained classifier.
        images: uint8, (n, H, W, 3), as the explained graph sees them.
        maps: `explainer` and those that it is compared with, float32 (n, ·, ·) each.
        fill: uint8, (3,), of dropped pixels.
        seed: breaks ties, and of the bootstrap.
    """
    if not judges:
        return left_out(NAME, "no other classifier was given (--other GRAPH)")
    figures: dict[str, dict[str, Any]] = {}
    bars: list[dict[str, Any]] = []
    kept = _all_kept(judges, images, maps, fill, seed)
    for judge in judges:
        for area in AREAS:
            where = f"{judge.name} at {area:.0%}"
            own = kept[judge.name, EXPLAINER, area]
            figures |= {f"{where}: {name}": mean_figure(kept[judge.name, name, area], seed) for name in maps}
            for rival in (name for name in maps if name != EXPLAINER):
                difference = paired_difference(own, kept[judge.name, rival, area], seed).interval
                figures[f"{where}: {EXPLAINER} − {rival}"] = interval_figure(difference, len(own))
                bars.append(bar(f"{where}: not surely below {rival}", difference.high >= 0))
    return check_record(NAME, STATED, len(images), figures, bars)


def _all_kept(
    judges: list[Judge],
    images: NDArray[np.uint8],
    maps: Mapping[str, NDArray[np.float32]],
    fill: NDArray[np.uint8],
    seed: int,
) -> dict[tuple[str, str, float], NDArray[np.bool_]]:
    """Whether the class stands, bool (n,), by judge, map and area; in parts, so that masks of all areas fit memory."""
    own = {judge.name: top1_of(judge.logits, images) for judge in judges}
    parts: dict[tuple[str, str, float], list[NDArray[np.bool_]]] = {}
    for first in range(0, len(images), CALL):
        rows = slice(first, first + CALL)
        for name, each in maps.items():
            masks = best_pixels(each[rows], AREAS, images.shape[1:3], seed + first)
            for judge in judges:
                for area, kept in zip(AREAS, masks, strict=True):
                    stands = kept_class(judge.logits, images[rows], kept, fill, own[judge.name][rows])
                    parts.setdefault((judge.name, name, area), []).append(stands)
    return {key: np.concatenate(part) for key, part in parts.items()}
