"""The pictures behind a mean: where the graph's own mask does best, where it does as usual, where it does worst.

Judged by p(e), the classifier's probability of its class on the kept pixels alone. Nothing is picked by hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.masking import background_from_fill
from whymask.benchmarks.pictures import read_pictures
from whymask.benchmarks.report import Html, figure, gallery
from whymask.benchmarks.suite.measured import Measured
from whymask.benchmarks.suite.runner import Suite
from whymask.runtime.card import MASK
from whymask.runtime.overlay import draw

BEST, MEDIAN, WORST = "best", "median", "worst"
EACH = 3
"""Pictures of each kind."""
LONGEST = 256
"""Side in pixels that a picture is thinned to, so that a page of three sets stays a few megabytes."""
GAP = 4


@dataclass(frozen=True)
class Example:
    """One picture with its own mask.

    Attributes:
        kind: `best`, `median` or `worst`.
        caption: its figures in words.
        strip: uint8 (height, width, 3): picture, mask over it, and what is kept, side by side.
    """

    kind: str
    caption: str
    strip: NDArray[np.uint8]


def example_rows(kept: NDArray[np.float64], each: int = EACH) -> dict[str, list[int]]:
    """Rows of the best, middle and worst figures, none twice.

    Args:
        kept: float64 (n,), n at least 1.
        each: rows of each kind where there are enough.
    """
    order = np.argsort(-kept, kind="stable").tolist()
    each = max(1, min(each, len(order) // 3))
    middle = (len(order) - each) // 2
    chosen = {BEST: order[:each], WORST: order[each:][-each:]}
    taken = chosen[BEST] + chosen[WORST]
    chosen[MEDIAN] = [row for row in order[middle : middle + each] if row not in taken]
    return {kind: chosen[kind] for kind in (BEST, MEDIAN, WORST)}


def examples(suite: Suite, measured: Measured) -> list[Example]:
    """Ask the graph again for the masks of the chosen pictures.

    Args:
        suite: that measured.
        measured: one set.
    """
    card = suite.explainer.card
    found = []
    for kind, rows in example_rows(measured.own.kept).items():
        for row in rows:
            position = measured.positions[row]
            _, (picture,), _ = read_pictures([measured.pictures.images[position]], position, card.input)
            mask = suite.graph.run(picture[None], (MASK,))[MASK][0].astype(np.bool_)
            caption = _caption(measured, row, card.label(int(measured.own.top1[row])))
            found.append(Example(kind, caption, _strip(picture, mask, card.fill)))
    return found


def gallery_section(found: list[Example]) -> list[Html]:
    """One gallery a kind, under its name."""
    parts = []
    for kind in (BEST, MEDIAN, WORST):
        shown = [figure(example.strip, example.caption) for example in found if example.kind == kind]
        if shown:
            parts += [Html(f"<h3>{kind.capitalize()}</h3>"), gallery(shown)]
    return parts


def _caption(measured: Measured, row: int, label: str) -> str:
    own = measured.own
    return (
        f"{measured.files[row]}: {label} {own.whole[row]:.0%}, on the kept {own.area[row]:.0%} of the pixels "
        f"{own.kept[row]:.0%} · class {'kept' if own.stays[row] else 'lost'}"
    )


def _strip(picture: NDArray[np.uint8], mask: NDArray[np.bool_], fill: tuple[float, float, float]) -> NDArray[np.uint8]:
    kept = np.where(mask[..., None], picture, background_from_fill(fill))
    parts = [_thinned(each) for each in (picture, draw(picture, mask.astype(np.uint8)), kept)]
    gap = np.full((len(parts[0]), GAP, 3), 128, np.uint8)
    return np.concatenate([part for each in parts for part in (each, gap)][:-1], axis=1)


def _thinned(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    step = -(-max(image.shape[:2]) // LONGEST)
    return image[::step, ::step]
