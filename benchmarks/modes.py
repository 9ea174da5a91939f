"""Do the modes reach what they are asked for, with no weight tuned to the classifier?

    python -m whymask.benchmarks.modes                                                    # the demo's shapes
    python -m whymask.benchmarks.modes --base shapes --base mobilenet_v2_tf --steps 600   # several classifiers

→ `-o` as JSON with every picture's number, and a page beside it (`.md`). In mode `area` the mean area of the masks is
compared with `target_area`; in mode `constraint` the share of decisions that they keep with `retention`. Masks are the
images' own, cut at 0.5: what the training aims at, before any threshold is calibrated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.intervals import Interval, clopper_pearson
from whymask.benchmarks.map_figures import Shown, figures_of_set
from whymask.benchmarks.masking import compose
from whymask.benchmarks.program import run_program
from whymask.benchmarks.suite.sample import Column
from whymask.benchmarks.tables import table
from whymask.benchmarks.variants import (
    BASES,
    FOLDER,
    PRECISION_HELP,
    SHAPES,
    Base,
    Figures,
    Row,
    Study,
    Variant,
    base_named,
    in_precision,
    run_study,
)
from whymask.benchmarks.variants_page import RecordFile, mean_of, record_file, record_from_study, write_records
from whymask.runtime.errors import InputError
from whymask.runtime.explainer import Explainer
from whymask.runtime.images import resize_map

NAME = "modes"
CUT = 0.5
"""Where a mask is cut before calibration: the saliency's own zero."""
AREAS = (0.1, 0.2, 0.4)
RETENTIONS = (0.8, 0.9)
AREA_BAR = 0.02
"""How far the mean area may lie from the one that was asked for, beside the half-width of its own interval."""

COLUMNS = (
    Column("area", "", "share of the picture in the image's own mask, cut at 0.5"),
    Column("kept", "", "whether that mask keeps the class, rest filled"),
)

app = typer.Typer(help=__doc__, add_completion=False)


@dataclass(frozen=True)
class Reached:
    """What a run was asked for, and what it reached.

    Attributes:
        asked: an area, or a retention.
        interval: what was reached, with its 95 % interval.
        met: whether the bar is met.
        said: the verdict in words.
    """

    asked: float
    interval: Interval
    met: bool
    said: str


def variants() -> tuple[Variant, ...]:
    """The runs of each base: nothing but the mode and its one number is set."""
    areas = [Variant(f"area {area:.0%}", {"mode": "area", "target_area": area}) for area in AREAS]
    kept = [Variant(f"constraint {share:.0%}", {"mode": "constraint", "retention": share}) for share in RETENTIONS]
    return (*areas, *kept)


def judge(explainer: Explainer, paths: Sequence[Path]) -> Figures:
    """Area and outcome of every image's own mask."""

    def measure(graph: AskedGraph, chunk: Shown) -> Figures:
        masks = resize_map(chunk.saliency, *chunk.images.shape[1:3]) >= CUT
        kept = graph.top1(compose(chunk.images, masks, chunk.fill)) == chunk.top1
        return {"area": masks.mean(axis=(1, 2), dtype=np.float64), "kept": kept.astype(np.float64)}

    return figures_of_set(explainer, paths, measure)


def reached(row: Row) -> Reached:
    """Judge a run by what it was asked for.

    In mode `area` the bar is |reached − asked| ≤ AREA_BAR + the half-width of the mean's interval. In mode `constraint`
    it is that the exact interval of the retention is not wholly below what was asked; whether it holds the number, or
    lies above it at the price of more area, is said.
    """
    if row.variant.fields["mode"] == "area":
        asked, interval = float(row.variant.fields["target_area"]), mean_of(row, "area")
        allowed = AREA_BAR + (interval.high - interval.low) / 2.0
        off = abs(interval.value - asked)
        return Reached(asked, interval, off <= allowed, f"off by {off:.1%}, allowed {allowed:.1%}")
    asked = float(row.variant.fields["retention"])
    kept = row.figures["kept"][0]  # the interval of a share is exact for one run
    interval = clopper_pearson(int(kept.sum()), len(kept))
    if interval.high < asked:
        return Reached(asked, interval, False, "below what was asked")
    return Reached(asked, interval, True, "holds it" if interval.low <= asked else "above: keeps more than was asked")


def verdict_table(studies: Sequence[Study]) -> str:
    """A row a run."""
    rows = []
    for study in studies:
        for row in study.rows:
            each = reached(row)
            what = "area" if row.variant.fields["mode"] == "area" else "retention"
            got = f"{each.interval.value:.1%} ({each.interval.low:.1%} to {each.interval.high:.1%})"
            area, said = f"{row.mean('area').mean():.1%}", f"{'met' if each.met else '**not met**'}: {each.said}"
            rows.append([study.base, row.variant.fields["mode"], f"{what} {each.asked:.0%}", got, area, said])
    head = ["classifier", "mode", "asked for", "reached (95 % interval)", "mean area", "verdict"]
    return table(head, rows, left=3)


def page(studies: Sequence[Study]) -> str:
    """The page of all bases."""
    met = [reached(row).met for study in studies for row in study.rows]
    counts = ", ".join(f"{study.base}: {len(study.pictures)} pictures" for study in studies)
    return (
        "# Do the modes reach what they are asked for?\n\n"
        f"Masks are the images' own, cut at {CUT}, before calibration, on the exported graphs, and on pictures that "
        f"nothing was trained on ({counts}). Rows of one classifier differ in nothing but the mode and its number; no "
        f"weight was set for this. Bars: a mean area within {100 * AREA_BAR:.0f} points and the half-width of its "
        "interval; a retention whose exact 95 % interval is not wholly below the number.\n\n"
        f"{verdict_table(studies)}\n\nMet in {sum(met)} of {len(met)} rows.\n"
    )


def study_of(base: Base, folder: Path, steps: int, limit: int, precision: str = "") -> Study:
    """All runs of one base."""
    base = in_precision(base, precision)
    return run_study(NAME, base, variants(), judge, COLUMNS, folder=folder, steps=steps, limit=limit)


@app.command()
def modes(
    base: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(BASES)}; repeatable. Default: shapes.")] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps a run; 0 takes the base's.")] = 0,
    limit: Annotated[int, typer.Option(help="Pictures that are judged, evenly spread; 0 takes all.")] = 0,
    precision: Annotated[str, typer.Option(help=PRECISION_HELP)] = "",
    folder: Annotated[Path, typer.Option(help="Where the runs are kept.")] = FOLDER,
    out: RecordFile = None,
) -> None:
    """Train each mode at several numbers, and say what it reached.

    Example: python -m whymask.benchmarks.modes --base shapes --base squeezenet1_1 --steps 600 --precision bf16-mixed
    """
    names = base or [SHAPES]
    file = record_file(out, NAME, names)
    for name in names:
        if name not in BASES:
            raise InputError(f"base {name!r}: expected one of {', '.join(BASES)}")
    studies: list[Study] = []
    records: list[dict[str, Any]] = []
    for name in names:
        studies.append(study_of(base_named(name, folder), folder, steps, limit, precision))
        options = f"--base {name} --steps {steps} --limit {limit}" + (f" --precision {precision}" if precision else "")
        records.append(record_from_study(studies[-1], f"python -m whymask.benchmarks.modes {options}"))
        write_records(file, records, page(studies))  # after each classifier: the next one takes an hour
    typer.echo(page(studies))
    typer.echo(f"Written: {file} and {file.with_suffix('.md').name}")


if __name__ == "__main__":
    run_program(app)
