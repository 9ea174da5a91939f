"""Sweep the kept area: retention, insertion and deletion, sufficiency, smallest regions, all from the same passes.

At each area of a grid a map's most relevant pixels are kept over the card's fill, kept over the blurred picture, and
dropped under the fill: 27 passes a picture and map give every column here.

Sources: insertion and deletion, Petsiuk et al. 2018 (RISE, arXiv 1806.07421), on this grid in place of their steps of a
few pixels; sufficiency and comprehensiveness, DeYoung et al. 2020 (ERASER, arXiv 1911.03429), with shares of pixels in
place of tokens; smallest sufficient and smallest destroying region, Dabkowski & Gal 2017 (arXiv 1705.07857), by the
map's own order.

Letters: B pictures, A areas.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.masking import blurred
from whymask.benchmarks.suite.asking import Answers, answers, cut, filled, first_pixels, ranks, share_of, whole
from whymask.benchmarks.suite.sample import Ask, Cell, Cells, Column, Metric, Sample

AREAS = (0.02, 0.05, 0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.80)
AUC_TO = 0.60
ERASER_AREAS = (0.05, 0.10, 0.20, 0.50)

RETENTION_CURVE = tuple((area, f"retention_{round(100 * area):02d}") for area in AREAS)
INSERTION_CURVE = tuple((area, f"insertion_{round(100 * area):02d}") for area in AREAS)
DELETION_CURVE = tuple((area, f"deletion_{round(100 * area):02d}") for area in AREAS)
"""The points of each curve: the area, and the column that holds it."""

_GRID = ", ".join(f"{100 * area:.0f}" for area in AREAS) + " %"
_SHARES = ", ".join(f"{100 * area:.0f}" for area in ERASER_AREAS) + " %"
_AUC = f"share of areas from {100 * AREAS[0]:.0f} to {100 * AUC_TO:.0f} % (trapezoids) at which the class stays top-1"

COLUMNS = (
    Column("retention_auc", "higher", f"{_AUC}, the rest in the card's fill"),
    Column("retention_auc_blur", "higher", f"{_AUC}, the rest blurred"),
    *(
        Column(
            name, "higher", f"1 if the class stays top-1 on the best {100 * area:.0f} %, the rest in the card's fill"
        )
        for area, name in RETENTION_CURVE
    ),
    Column(
        "insertion",
        "higher",
        f"area under p(class) as pixels are put into the blurred picture, best first, at 0, {_GRID} and 100 % "
        "(Petsiuk et al. 2018)",
    ),
    Column(
        "deletion",
        "lower",
        f"area under p(class) as pixels take the card's fill, best first, at 0, {_GRID} and 100 % "
        "(Petsiuk et al. 2018)",
    ),
    Column(
        "sufficiency",
        "lower",
        f"p(class) less p on the best pixels alone, mean over {_SHARES}, the rest in the card's fill "
        "(DeYoung et al. 2020)",
    ),
    Column(
        "comprehensiveness",
        "higher",
        f"p(class) less p without the best pixels, mean over {_SHARES}, they in the card's fill (DeYoung et al. 2020)",
    ),
    Column(
        "smallest_sufficient",
        "lower",
        f"least area of {_GRID} whose pixels alone keep the class top-1, the rest in the card's fill; 1 if none does "
        "(Dabkowski & Gal 2017)",
    ),
    Column(
        "smallest_destroying",
        "lower",
        f"least area of {_GRID} whose pixels, put in the card's fill, lose the class as top-1; 1 if none does "
        "(Dabkowski & Gal 2017)",
    ),
    *(
        Column(name, "", f"point of insertion: p(class) with the best {100 * area:.0f} % on the blurred picture")
        for area, name in INSERTION_CURVE
    ),
    *(
        Column(name, "", f"point of deletion: p(class) with the best {100 * area:.0f} % in the card's fill")
        for area, name in DELETION_CURVE
    ),
)


def measure_sweep(ask: Ask, sample: Sample, seed: int) -> Cells:
    """Fill `COLUMNS` for every map; nothing here is random."""
    fill, blur = filled(sample), blurred(sample.images)
    names = tuple(sample.orders)
    asked = answers(ask, sample.target, _variants(sample, fill, blur))
    empty = answers(ask, sample.target, (fill, blur)).p
    kept, p = (each[: 3 * len(AREAS) * len(names)].reshape(len(names), 3, len(AREAS), -1) for each in asked)
    cells: Cells = {}
    for position, name in enumerate(names):
        on_fill, on_blur, dropped = (Answers(kept[position, way], p[position, way]) for way in range(3))
        columns = {
            **_retention(on_fill, on_blur),
            **_curves(on_blur, dropped, whole(sample), fill_only=empty[0], blur_only=empty[1]),
            **_eraser(on_fill, dropped, whole(sample)),
            "smallest_sufficient": _least_area(on_fill.kept),
            "smallest_destroying": _least_area(~dropped.kept),
        }
        cells.update({Cell(name, column): values for column, values in columns.items()})
    return cells


def _variants(sample: Sample, fill: NDArray[np.uint8], blur: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """By map: kept over the fill at each area, kept over the blur, dropped under the fill."""
    for order in sample.orders.values():
        rank = ranks(order)
        masks = [first_pixels(rank, share_of(sample, area), sample.mask.shape) for area in AREAS]
        yield from (cut(sample.images, mask, fill) for mask in masks)
        yield from (cut(sample.images, mask, blur) for mask in masks)
        yield from (cut(fill, mask, sample.images) for mask in masks)


def _retention(on_fill: Answers, on_blur: Answers) -> dict[str, NDArray[np.float64]]:
    within = [area for area in AREAS if area <= AUC_TO]
    aucs = [_mean_under(within, answer.kept[: len(within)].astype(np.float64)) for answer in (on_fill, on_blur)]
    points = {name: on_fill.kept[i].astype(np.float64) for i, (_, name) in enumerate(RETENTION_CURVE)}
    return {"retention_auc": aucs[0], "retention_auc_blur": aucs[1], **points}


def _curves(
    on_blur: Answers,
    dropped: Answers,
    whole: NDArray[np.float64],
    fill_only: NDArray[np.float64],
    blur_only: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    areas = (0.0, *AREAS, 1.0)
    return {
        "insertion": _mean_under(areas, np.concatenate([blur_only[None], on_blur.p, whole[None]])),
        "deletion": _mean_under(areas, np.concatenate([whole[None], dropped.p, fill_only[None]])),
        **{name: on_blur.p[i] for i, (_, name) in enumerate(INSERTION_CURVE)},
        **{name: dropped.p[i] for i, (_, name) in enumerate(DELETION_CURVE)},
    }


def _eraser(on_fill: Answers, dropped: Answers, whole: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    rows = [AREAS.index(area) for area in ERASER_AREAS]
    return {
        "sufficiency": (whole - on_fill.p[rows]).mean(axis=0),
        "comprehensiveness": (whole - dropped.p[rows]).mean(axis=0),
    }


def _least_area(happens: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The first area at which it happens, 1 where it never does: float64 (B,), from bool (A, B)."""
    areas = np.append(AREAS, 1.0)
    always = np.concatenate([happens, np.ones_like(happens[:1])])
    result: NDArray[np.float64] = areas[always.argmax(axis=0)]
    return result


def _mean_under(areas: tuple[float, ...] | list[float], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Trapezoids under values (A, B) at these areas, divided by their width: float64 (B,)."""
    widths = np.diff(areas)[:, None]
    result: NDArray[np.float64] = (widths * (values[1:] + values[:-1]) / 2).sum(axis=0) / widths.sum()
    return result


SWEEP = Metric("sweep", COLUMNS, measure_sweep)
