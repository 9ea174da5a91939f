"""The bars of the study of explanations, judged from its records alone.

They were set before anything was measured; one that is not met is stated as such. Each is judged on every set of
pictures where it can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.baselines import CAM, EXPLAINER
from whymask.benchmarks.intervals import CONFIDENCE, Interval
from whymask.benchmarks.overlap import RESAMPLES
from whymask.benchmarks.suite.record import Record, cells_from_record, columns_from_record, seconds_a_picture
from whymask.benchmarks.suite.sample import Cell, Cells
from whymask.benchmarks.suite.summary import ROBUST, SAME_AREAS, Summary, summarise
from whymask.benchmarks.suite.verdicts import APART

NAMED = (CAM, "grad_cam", "rise", "recipro_cam")
"""The maps that the bars name: what people use, and the rival that deploys."""
OPTIMISED = "optimised"
AUC = "retention_auc"
LEAST_AUC_RATIO = 1.5
LEAST_OF_OPTIMISED = 0.9
MOST_OF_ITS_TIME = 0.01
LEAST_ROBUST = 0.85
APART_COLUMNS = ("deletion", "insertion", "road", "average_drop")
LOCATED_COLUMNS = ("pointing", "epg")
LEAST_PRECISION = 0.7
PLANTED = "planted_objects"


@dataclass(frozen=True)
class Bar:
    """One bar on one set.

    Attributes:
        asked: what was to be reached.
        where: the set of pictures.
        measured: what was.
        met: whether it was reached.
    """

    asked: str
    where: str
    measured: str
    met: bool


def bars_from_records(
    suite: Record | None, located: Record | None, leaks: Sequence[dict[str, Any]] = ()
) -> Iterator[Bar]:
    """Every bar that the records can tell of.

    Args:
        suite: of all metrics on pictures without truth.
        located: of the metric `truth` on sets with truth.
        leaks: checks of the leak record.
    """
    for each in (suite or {"sets": []})["sets"]:
        yield from _kept(each, suite or {})
    for each in (located or {"sets": []})["sets"]:
        yield from _located(each, located or {})
    for check in leaks:
        if check["passed"] is None:
            continue
        missed = [bar["stated"] for bar in check["bars"] if not bar["met"]]
        said = f"{len(check['bars']) - len(missed)} of {len(check['bars'])} bars" + (
            f"; not: {'; '.join(missed)}" if missed else ""
        )
        yield Bar(f"leak check {check['check']} passed", f"n = {check['n']}", said, bool(check["passed"]))


def ratio_interval(cells: Cells, above: Cell, below: Sequence[Cell], seed: int = 0) -> Interval:
    """Mean of a cell over the best mean of others, over the pictures that all of them have: paired bootstrap.

    The best of each resample, since which of them is the best is itself a matter of chance.
    """
    values = shared_values(cells, (above, *below))
    rows = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    means = values[rows].mean(axis=1)
    ratios = means[:, 0] / np.maximum(means[:, 1:].max(axis=1), 1e-9)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(ratios, [tail, 1.0 - tail])
    whole = values.mean(axis=0)
    return Interval(float(whole[0] / max(whole[1:].max(), 1e-9)), float(low), float(high))


def shared_values(cells: Cells, named: Sequence[Cell]) -> NDArray[np.float64]:
    """The numbers of some cells in the pictures that have all of them: float64 (n, cells)."""
    values = np.stack([cells[cell] for cell in named], axis=1)
    chosen: NDArray[np.float64] = values[~np.isnan(values).any(axis=1)]
    return chosen


def _kept(record: Record, method: Record) -> Iterator[Bar]:
    cells, name = cells_from_record(record), record["name"]
    summary = summarise(record, columns_from_record(method), tuple(method["method"]["maps"]), method["method"]["seed"])
    yield from _auc(cells, record, name)
    robust = ratio_interval(cells, Cell(EXPLAINER, ROBUST), [Cell(EXPLAINER, SAME_AREAS)])
    asked = f"robust retention over 5 backgrounds at least {LEAST_ROBUST} × that on the fill, at 20 and 50 %"
    yield Bar(asked, name, _text(robust, LEAST_ROBUST), robust.value >= LEAST_ROBUST)
    for column in APART_COLUMNS:
        yield _apart(summary, column)


def _auc(cells: Cells, record: Record, name: str) -> Iterator[Bar]:
    own = Cell(EXPLAINER, AUC)
    named = [Cell(each, AUC) for each in NAMED if Cell(each, AUC) in cells]
    shared = shared_values(cells, [own, *named])
    best = named[int(shared[:, 1:].mean(axis=0).argmax())]
    ratio = ratio_interval(cells, own, named)
    asked = f"AUC of retention over 2–60 % at least {LEAST_AUC_RATIO} × the best of {', '.join(c.map for c in named)}"
    fewer = _fewer(len(shared), record)
    yield Bar(
        asked, name, f"{_text(ratio, LEAST_AUC_RATIO)}{fewer}, best is {best.map}", ratio.value >= LEAST_AUC_RATIO
    )
    optimised = Cell(OPTIMISED, AUC)
    if optimised not in cells:
        return
    ratio = ratio_interval(cells, own, [optimised])
    asked = f"the same AUC at least {LEAST_OF_OPTIMISED} × that of per-image optimisation"
    fewer = _fewer(len(shared_values(cells, [own, optimised])), record)
    yield Bar(asked, name, f"{_text(ratio, LEAST_OF_OPTIMISED)}{fewer}", ratio.value >= LEAST_OF_OPTIMISED)
    # The explainer's map comes with the graph's own pass, which the runner times like any other map.
    one, other = (seconds_a_picture(record, each) for each in (EXPLAINER, OPTIMISED))
    share = one / max(other, 1e-9)
    asked = f"at most {MOST_OF_ITS_TIME:.0%} of its time"
    yield Bar(asked, name, f"{share:.2%}", share <= MOST_OF_ITS_TIME)


def _fewer(n: int, record: Record) -> str:
    """The number of pictures, where it is not the set's."""
    return "" if n == len(record["files"]) else f" at n = {n}"


def _apart(summary: Summary, column: str) -> Bar:
    figures = {each.cell.map: each for each in summary.rivals(column) if each.cell.map in NAMED}
    missed = [
        f"{summary.label(name)} ({figure.verdict})" for name, figure in figures.items() if figure.verdict != APART
    ]
    own = summary.figures[Cell(EXPLAINER, column)].mean
    said = f"{_text(own)}; " + (f"not apart from {', '.join(missed)}" if missed else "apart from all")
    asked = f"{column} better than each of {', '.join(figures)}, intervals apart"
    return Bar(asked, summary.name, said, not missed)


def _located(record: Record, method: Record) -> Iterator[Bar]:
    cells, name = cells_from_record(record), record["name"]
    if name == PLANTED:
        precision = float(np.nanmean(cells[Cell(EXPLAINER, "precision_10")]))
        asked = f"at least {LEAST_PRECISION:.0%} of a 10 %-area mask on the planted object"
        iou = float(np.nanmean(cells[Cell(EXPLAINER, "iou_10")]))
        yield Bar(asked, name, f"{precision:.1%} (IoU {iou:.2f})", precision >= LEAST_PRECISION)
        return
    for column in LOCATED_COLUMNS:
        own = Cell(EXPLAINER, column)
        pairs = {each: shared_values(cells, [own, Cell(each, column)]) for each in NAMED if Cell(each, column) in cells}
        lead = {each: float((values[:, 0] - values[:, 1]).mean()) for each, values in pairs.items()}
        best = min(lead, key=lambda each: lead[each])
        mine, its = pairs[best].mean(axis=0)
        known = int((~np.isnan(cells[own])).sum())
        fewer = "" if len(pairs[best]) == known else f" at n = {len(pairs[best])}"
        asked = f"{column} inside the boxes above {', '.join(pairs)}"
        yield Bar(asked, name, f"{mine:.3f}{fewer}, best other {best} {its:.3f}", lead[best] > 0)


def _text(interval: Interval, least: float | None = None) -> str:
    """Value and interval; with a third digit where two would show a missed bar as reached."""
    digits = 3 if least is not None and interval.value < least <= round(interval.value, 2) else 2
    return f"{interval.value:.{digits}f} ({interval.low:.2f}–{interval.high:.2f})"
