"""What each term of the objective is for, and whether its own figure gets worse without it.

    python -m whymask.benchmarks.ablation                              # the demo's shapes: ten minutes on two cores
    python -m whymask.benchmarks.ablation --base mobilenet_v2_tf --steps 600 --limit 500

→ `-o` as JSON with every picture's number, and the same as a page beside it (`.md`). All runs differ from the first,
which has every term, in one setting each. The runs stay in `--folder`; a finished one is not trained again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.map_figures import Shown, figures_of_set, keeping_figures, losing_figures, shape_figures
from whymask.benchmarks.program import run_program
from whymask.benchmarks.suite.sample import Column
from whymask.benchmarks.tables import table
from whymask.benchmarks.variants import (
    BASES,
    FOLDER,
    PRECISION_HELP,
    SHAPES,
    Figures,
    Study,
    Variant,
    base_named,
    in_precision,
    run_study,
)
from whymask.benchmarks.variants_page import (
    OPEN,
    WORSE,
    RecordFile,
    cell,
    paired,
    record_file,
    record_from_study,
    study_page,
    verdict,
    write_records,
)
from whymask.runtime.errors import InputError
from whymask.runtime.explainer import Explainer

NAME = "ablation"
FULL = Variant("full", {"necessity": 4.0})
"""Every term at its default weight; necessity, which is off by default, at 4."""


@dataclass(frozen=True)
class Term:
    """A term of the objective.

    Attributes:
        name: of the setting that turns it off.
        without: the settings that do.
        figures: columns that should get worse without it.
    """

    name: str
    without: dict[str, float]
    figures: tuple[str, ...]

    @property
    def variant(self) -> Variant:
        """The full objective without this term."""
        return Variant(f"without {self.name}", {**FULL.fields, **self.without})


TERMS = (
    Term("necessity", {"necessity": 0.0}, ("flip", "p_without")),
    Term("robustness", {"robustness": 0.0}, ("robust",)),
    Term("tv", {"tv": 0.0}, ("edge_length", "components")),
    Term("binarisation", {"binarisation": 0.0}, ("middle",)),
    Term("activation", {"activation": 0.0}, ("retention", "kl")),
    Term("kl", {"kl": 0.0}, ("retention", "kl")),
    Term("ce", {"ce": 0.0}, ("retention", "kl")),
    Term("hard masks", {"hard_share": 0.0}, ("retention",)),
)

COLUMNS = (
    Column("retention", "higher", "share of the areas 5, 10, 20, 30, 50 % at which the class stays, rest filled"),
    Column(
        "robust", "higher", "the same, mean over five backgrounds: fill, blur, colour noise, another picture, black"
    ),
    Column("kl", "lower", "KL(f(x) ‖ f(e)) in nats, mean over those areas, rest filled"),
    Column("flip", "higher", "share of those areas without which, filled, the class is lost"),
    Column("p_without", "lower", "probability of the class without them, mean over those areas"),
    Column("edge_length", "lower", "rim pixels per pixel of the mask at 20 % of the picture"),
    Column("components", "lower", "connected parts of that mask"),
    Column("middle", "lower", "share of the saliency's values between 0.1 and 0.9"),
    Column("own_area", "", "share of the picture in the graph's own mask, at its calibrated threshold"),
    Column("own_kept", "", "share of pictures whose class that mask keeps"),
    Column("own_flip", "", "share of pictures that lose their class without that mask"),
)

app = typer.Typer(help=__doc__, add_completion=False)


def judge(explainer: Explainer, paths: Sequence[Path]) -> Figures:
    """Every column of a graph."""

    def measure(graph: AskedGraph, chunk: Shown) -> Figures:
        figures = keeping_figures(graph, chunk) | losing_figures(graph, chunk) | shape_figures(chunk)
        return {column.name: figures[column.name] for column in COLUMNS}

    return figures_of_set(explainer, paths, measure)


def terms_named(names: Sequence[str]) -> tuple[Term, ...]:
    """Terms by name; all where none is named.

    Raises:
        InputError: no such term.
    """
    known = {term.name: term for term in TERMS}
    for name in names:
        if name not in known:
            raise InputError(f"term {name!r}: expected one of {', '.join(known)}")
    return tuple(term for term in TERMS if not names or term.name in names)


def verdict_table(study: Study, terms: Sequence[Term]) -> str:
    """For each term, its own figures without it."""
    rows, columns = [], {column.name: column for column in study.columns}
    by_name = {row.variant.name: row for row in study.rows}
    for term in terms:
        row = by_name[term.variant.name]
        for name in term.figures:
            found = verdict(row, study.reference, columns[name])
            said = {WORSE: "yes: worse without it", OPEN: "not told apart"}.get(found, "**no: better without it**")
            rows.append([term.name, f"`{name}`", cell(paired(row, study.reference, name)), said])
    head = ["term", "its figure", "without it, minus full", "does the term do what it is for?"]
    return table(head, rows, left=2)


def page(study: Study, terms: Sequence[Term]) -> str:
    """The page of one base."""
    head = (
        f"# Ablation on {study.base}\n\nThe full objective, and the same without one term each: same seed, "
        "pictures and steps. Each term is judged by the figures that it is for, on the exported graphs."
    )
    words = "Nothing is said of a term beyond its own figures; the others are below."
    return study_page(study, head, f"{verdict_table(study, terms)}\n\n{words}")


@app.command()
def ablation(
    base: Annotated[str, typer.Option(help=f"One of {', '.join(BASES)}.")] = SHAPES,
    terms: Annotated[list[str] | None, typer.Option("--term", help="To leave out; repeatable. Default: all.")] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps a run; 0 takes the base's.")] = 0,
    seeds: Annotated[int, typer.Option(help="Runs a variant, seeded 0, 1, ….")] = 1,
    limit: Annotated[int, typer.Option(help="Pictures that are judged, evenly spread; 0 takes all.")] = 0,
    precision: Annotated[str, typer.Option(help=PRECISION_HELP)] = "",
    folder: Annotated[Path, typer.Option(help="Where the runs are kept.")] = FOLDER,
    out: RecordFile = None,
) -> None:
    """Train the objective without each of its terms, and judge the exported graphs.

    Example: python -m whymask.benchmarks.ablation --base shapes -o ablation.json
    """
    file = record_file(out, NAME, [base])
    chosen = terms_named(terms or [])
    variants = [FULL, *(term.variant for term in chosen)]
    made = in_precision(base_named(base, folder), precision)
    study = run_study(NAME, made, variants, judge, COLUMNS, folder=folder, seeds=seeds, steps=steps, limit=limit)
    options = f"--base {base} --steps {steps} --seeds {seeds} --limit {limit}"
    options += f" --precision {precision}" if precision else ""
    text = page(study, chosen)
    write_records(file, [record_from_study(study, f"python -m whymask.benchmarks.ablation {options}")], text)
    typer.echo(text)
    typer.echo(f"Written: {file} and {file.with_suffix('.md').name}")


if __name__ == "__main__":
    run_program(app)
