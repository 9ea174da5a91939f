"""What showing only the explanation does to the class's probability, and what hiding it does.

Every map is cut at the area of the graph's own mask in the same picture; the explainer's row is the mask that ships.
The published average drop multiplies the picture with the map instead: it is given too, over black, although it rewards
a map that is bright everywhere.

Sources: average drop and increase, Chattopadhyay et al. 2018 (Grad-CAM++, arXiv 1710.11063); gain, Zhang et al. 2024
(Opti-CAM, arXiv 2301.07002), the counterpart of the drop.

Letters: B pictures, H W the graph's input height and width, p(x) and p(e) the class's probability on the whole picture
and on the explanation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.baselines import ALL_ONES, ALL_ZEROS
from whymask.benchmarks.suite.asking import answers, cut, filled, own_masks, ranks, whole
from whymask.benchmarks.suite.sample import Ask, Cell, Cells, Column, Metric, Sample

ROUNDING = 1e-6
"""Of probabilities from float32 logits."""

_CUT = "e: the best pixels at the own mask's area, the rest in the card's fill"
_SOFT = "e: the picture times the map, scaled to [0, 1] by its least and most, over black"
OWN_COLUMNS = tuple(
    Column(*told, at_own_area=True)
    for told in (
        ("kept_at_threshold", "higher", f"1 if the class stays top-1 on e; {_CUT}"),
        ("flip_without", "higher", "1 if top-1 changes when the pixels of e take the card's fill and the rest stays"),
        ("confidence_kept", "higher", f"p(e); {_CUT}"),
        ("confidence_without", "lower", "p(class) when the pixels of e take the card's fill and the rest stays"),
        ("confidence_gain", "higher", f"p(e) − p(x); {_CUT}"),
        ("average_drop", "lower", f"max(0, p(x) − p(e)) / p(x); {_CUT} (Chattopadhyay et al. 2018)"),
        ("increase", "higher", f"1 if p(e) > p(x); {_CUT} (Chattopadhyay et al. 2018)"),
        ("gain", "higher", f"max(0, p(e) − p(x)) / (1 − p(x)); {_CUT} (Zhang et al. 2024)"),
    )
)
SOFT_COLUMNS = (
    Column("soft_drop", "lower", f"max(0, p(x) − p(e)) / p(x); {_SOFT} (Chattopadhyay et al. 2018)"),
    Column("soft_increase", "higher", f"1 if p(e) > p(x); {_SOFT} (Chattopadhyay et al. 2018)"),
    Column("soft_gain", "higher", f"max(0, p(e) − p(x)) / (1 − p(x)); {_SOFT} (Zhang et al. 2024)"),
)


def reference_maps(sample: Sample) -> dict[str, NDArray[np.bool_]]:
    """Masks that a table of the own mask needs beside its maps: bool (B, H, W), by name.

    The whole picture, whose retention must be 100 %, and nothing of it, which is the share that the fill alone retains.
    """
    return {ALL_ONES: np.ones_like(sample.mask), ALL_ZEROS: np.zeros_like(sample.mask)}


def measure_own_mask(ask: Ask, sample: Sample, seed: int) -> Cells:
    """Fill `OWN_COLUMNS` for every map and the reference masks; nothing here is random."""
    masks = {
        **{name: own_masks(sample, name, ranks(order)) for name, order in sample.orders.items()},
        **reference_maps(sample),
    }
    asked = answers(ask, sample.target, _kept_and_dropped(sample, masks))
    kept, p = (each.reshape(len(masks), 2, -1) for each in asked)
    before = whole(sample)
    cells: Cells = {}
    for position, name in enumerate(masks):
        after, without = p[position]
        drop, increase, gain = drops(before, after)
        values = (kept[position, 0], ~kept[position, 1], after, without, after - before, drop, increase, gain)
        for column, each in zip(OWN_COLUMNS, values, strict=True):
            cells[Cell(name, column.name)] = each.astype(np.float64)
    return cells


def _kept_and_dropped(sample: Sample, masks: Mapping[str, NDArray[np.bool_]]) -> Iterator[NDArray[np.uint8]]:
    fill = filled(sample)
    for mask in masks.values():
        yield cut(sample.images, mask, fill)
        yield cut(fill, mask, sample.images)


def measure_soft(ask: Ask, sample: Sample, seed: int) -> Cells:
    """Fill `SOFT_COLUMNS` for every map; nothing here is random."""
    shown = (soft_explanation(sample.images, relevance) for relevance in sample.maps.values())
    p = answers(ask, sample.target, shown).p
    cells: Cells = {}
    for name, after in zip(sample.maps, p, strict=True):
        for column, values in zip(SOFT_COLUMNS, drops(whole(sample), after), strict=True):
            cells[Cell(name, column.name)] = values
    return cells


def soft_explanation(images: NDArray[np.uint8], relevance: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture times the map in [0, 1], over black; a flat map shows nothing.

    Args:
        images: uint8, (B, H, W, 3), 0–255.
        relevance: float32, (B, H, W), any range; scaled so that a picture's least is 0 and its most is 1.
    """
    raised = relevance - relevance.min(axis=(1, 2), keepdims=True)
    most = raised.max(axis=(1, 2), keepdims=True)
    scaled = raised / np.where(most > 0, most, 1)
    result: NDArray[np.uint8] = np.rint(images * scaled[..., None]).astype(np.uint8)
    return result


def drops(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Drop, increase and gain of each picture: float64 (B,), from p(x) and p(e) float64 (B,).

    A picture of p(x) = 1 has nothing to gain: 0. An increase within `ROUNDING` is none: the same picture in a batch of
    another size answers a little differently.
    """
    drop = np.maximum(before - after, 0) / np.maximum(before, np.finfo(np.float64).tiny)
    room = 1 - before
    gain = np.where(room > 0, np.maximum(after - before, 0) / np.where(room > 0, room, 1), 0.0)
    return drop, (after > before + ROUNDING).astype(np.float64), gain


OWN_MASK = Metric("own_mask", OWN_COLUMNS, measure_own_mask)
SOFT = Metric("soft", SOFT_COLUMNS, measure_soft)
