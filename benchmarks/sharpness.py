"""Finer maps: do they pay? Finer taps, or the picture's own edges on coarser ones, against their cost.

    python -m whymask.benchmarks.sharpness                                     # the demo's shapes
    python -m whymask.benchmarks.sharpness --base mobilenet_v2_tf --steps 600 --limit 500

→ `-o` as JSON with every picture's number, and the same as a page beside it (`.md`). The base's taps are taken, then
without the finest, then without the two finest: each halves the map's resolution. The coarser ones are exported a
second time with `whymask.train.guided` behind them, without training (*guided*), trained with the filter in place
(`whymask train --sharpen`: *sharpen*), and trained with textures of the picture laid over them (`whymask train
--detail`: *detail*). All is measured on exported graphs; cost is what they add to the classifier alone. The threshold
of a *guided* graph is not calibrated, so nothing here is judged at one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.evaluation import spread
from whymask.benchmarks.map_figures import Shown, figures_of_set, keeping_figures, shape_figures
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
    judge_graph,
    row_from,
    train_variant,
)
from whymask.benchmarks.variants_page import (
    BETTER,
    RecordFile,
    cell,
    mean_of,
    paired,
    record_file,
    record_from_study,
    study_page,
    verdict,
    write_records,
)
from whymask.runtime.errors import InputError
from whymask.runtime.explainer import Explainer
from whymask.runtime.progress import track

NAME = "sharpness"
GUIDED, SHARPENED, DETAILED = " + guided", ", sharpen", ", detail"
"""What names end in: filtered after training, trained with the filter, and trained with textures."""
CHANGES = {
    GUIDED: "The filter put behind",
    SHARPENED: "The filter trained with",
    DETAILED: "Textures trained with",
}
"""What the rows of each ending say of the plain map."""
MOST_MAPS = 3
"""Resolutions that are compared: the base's own, a half and a quarter of it."""
GUIDED_FILE = "guided.onnx"
MEGA = 1e6

COLUMNS = (
    Column("retention", "higher", "share of the areas 5, 10, 20, 30, 50 % at which the class stays, rest filled"),
    Column(
        "edge_agreement",
        "higher",
        "mean gradient of the picture on both sides of the rim of the mask at 20 %, over its mean gradient everywhere",
    ),
    Column("edge_length", "", "rim pixels per pixel of that mask"),
)
JUDGED = ("retention", "edge_agreement")

app = typer.Typer(help=__doc__, add_completion=False)


def judge(explainer: Explainer, paths: Sequence[Path]) -> Figures:
    """Every column of a graph."""

    def measure(graph: AskedGraph, chunk: Shown) -> Figures:
        figures = keeping_figures(graph, chunk) | shape_figures(chunk)
        return {column.name: figures[column.name] for column in COLUMNS}

    return figures_of_set(explainer, paths, measure)


def variants_of(base: Base) -> tuple[Variant, ...]:
    """The base's taps, and the same without the finest ones, each named by its stride; at least one tap stays.

    Raises:
        InputError: the classifier has one tap, so that there is nothing to compare.
    """
    from whymask.train.model_spec import classifier_from_config

    classifier = classifier_from_config(base.config)
    taps = classifier.tap_specs
    if len(taps) < 2:
        raise InputError(f"{base.name}: one tap, {taps[0].name!r}; expected two or more, or there is no coarser map")
    return tuple(
        Variant(f"stride {round(classifier.rule.height / taps[i].height)}", {"taps": tuple(t.name for t in taps[i:])})
        for i in range(min(MOST_MAPS, len(taps)))
    )


def export_guided(graph: Path, radius: int, epsilon: float) -> Path:
    """Export the run beside a graph once more, with the guided filter behind its explainer.

    Args:
        graph: of a run directory.
        radius, epsilon: see `whymask.train.guided.guided_upsample`.

    Returns:
        The new graph, its name telling both numbers.
    """
    from whymask.export.onnx_from_run import export_run
    from whymask.train.guided import GuidedExplainer
    from whymask.train.run import load_run

    out = graph.with_name(f"r{radius}-e{epsilon:g}-{GUIDED_FILE}")
    if not out.is_file():
        run = load_run(graph.parent)
        guided = GuidedExplainer(run.explainer, radius, epsilon).eval()
        export_run(dataclasses.replace(run, explainer=guided), out)
    return out


def cost_facts(graph: Path, pictures: Path, seconds: float) -> dict[str, Any]:
    """What a graph adds to its classifier alone: time, in pairs; 0 seconds leave it out."""
    from whymask.benchmarks.bench import run_bench
    from whymask.benchmarks.latency import BenchSettings

    if not seconds:
        return {}
    record = run_bench(graph, data=pictures, settings=BenchSettings(seconds=seconds))
    ratio = record.ratio
    return {
        "latency_ratio": [ratio.value, ratio.low, ratio.high],
        "fused_ms": record.fused.p50_ms,
        "classifier_ms": record.classifier.p50_ms,
        "latency_valid": record.verdict.valid,
    }


def added_multiply_adds(facts: dict[str, Any], guide: dict[str, Any] | None, height: int, width: int) -> float:
    """Multiply-adds that a graph adds, those of the filter included.

    Args:
        facts: of the graph's card.
        guide: the filter's `radius` and the size of the map that it was given; None where there is none, as where
            textures are laid over the map, whose convolution the card counts.
        height, width: of the picture.
    """
    from whymask.train.guided import guided_multiply_adds

    added = float(facts["cost"]["added_macs"])
    if guide is None:
        return added
    h, w = guide["map"]
    return added + guided_multiply_adds(h, w, height, width, guide["radius"])


@dataclasses.dataclass(frozen=True)
class Edges:
    """How maps are taken to the picture's edges: the filter's radius and epsilon, and the number of textures."""

    radius: int
    epsilon: float
    textures: int


def measure(base: Base, folder: Path, steps: int, limit: int, edges: Edges, seconds: float) -> Study:
    """Train the maps, export them plain and guided, train those with edges too, judge and time them all."""
    variants, rows = variants_of(base), []
    pictures = spread(base.pictures, limit or None)
    with track(4 * len(variants) - 3, f"{NAME} on {base.name}", "graphs") as bar:

        def add(variant: Variant, graph: Path, guide: dict[str, Any] | None = None) -> None:
            rows.append(_row(variant, graph, pictures, guide, seconds))
            bar.advance(note=variant.name)

        for position, variant in enumerate(variants):
            graph = train_variant(base, variant, folder, steps=steps)
            add(variant, graph)
            if position:
                guide = {"radius": edges.radius, "epsilon": edges.epsilon, "map": rows[-1].facts[0]["map"]}
                guided = Variant(f"{variant.name}{GUIDED}", {**variant.fields, "guided": guide})
                add(guided, export_guided(graph, edges.radius, edges.epsilon), guide)
                for ending, fields in trained_edges(edges).items():
                    named = Variant(f"{variant.name}{ending}", {**variant.fields, **fields})
                    filtered = guide if ending == SHARPENED else None
                    add(named, train_variant(base, named, folder, steps=steps), filtered)
    return Study(NAME, base.name, tuple(path.name for path in pictures), COLUMNS, tuple(rows))


def trained_edges(edges: Edges) -> dict[str, dict[str, Any]]:
    """What changes in training, by the ending of the row's name."""
    return {SHARPENED: {"sharpen": edges.radius, "flat": edges.epsilon}, DETAILED: {"detail": edges.textures}}


def _row(variant: Variant, graph: Path, pictures: Sequence[Path], guide: dict[str, Any] | None, seconds: float) -> Row:
    from whymask.runtime.explainer import load

    figures, facts = judge_graph(graph, pictures, judge)
    with load(graph) as explainer:
        height, width = explainer.card.input.height, explainer.card.input.width
    facts |= {"added_macs": added_multiply_adds(facts, guide, height, width)}
    facts |= cost_facts(graph, pictures[0].parent, seconds)
    return row_from(variant, [(figures, facts)])


def cost_of(row: Row) -> float:
    """What ranks rows by cost: the measured ratio, or, where none was measured, the multiply-adds."""
    facts = row.facts[0]
    return float(facts["latency_ratio"][0]) if "latency_ratio" in facts else float(facts["added_macs"])


def pays(study: Study, row: Row, column: Column) -> str:
    """Whether a row is worth its cost in one figure.

    It pays where it is better than each cheaper row, by more than the 95 % interval of the paired difference; the
    cheapest is the measure of the others.
    """
    cheaper = [other for other in study.rows if cost_of(other) < cost_of(row)]
    if not cheaper:
        return "the cheapest"
    not_beaten = [other for other in cheaper if verdict(row, other, column) != BETTER]
    return f"no: not above {not_beaten[0].variant.name}" if not_beaten else "**pays**"


def cost_table(study: Study) -> str:
    """Costs and verdicts, the cheapest first."""
    columns, rows = {column.name: column for column in study.columns}, []
    for row in sorted(study.rows, key=cost_of):
        facts = row.facts[0]
        ratio = facts.get("latency_ratio")
        time = (
            f"{100 * (ratio[0] - 1):+.1f} % ({100 * (ratio[1] - 1):.1f} to {100 * (ratio[2] - 1):.1f})"
            if ratio
            else "–"
        )
        time += "" if facts.get("latency_valid", True) else " (not valid)"
        macs = f"{facts['added_macs'] / MEGA:.2f} M ({facts['added_macs'] / facts['cost']['classifier_macs']:+.1%})"
        verdicts = [part for name in JUDGED for part in (cell(mean_of(row, name)), pays(study, row, columns[name]))]
        rows.append([row.variant.name, "×".join(map(str, facts["map"])), macs, time, *verdicts])
    head = ["map", "cells", "multiply-adds added", "time added", *(p for name in JUDGED for p in (name, "pays?"))]
    return table(head, rows)


def edge_lines(study: Study) -> str:
    """What the filter and the textures change on each coarse map, paired."""
    by_name = {row.variant.name: row for row in study.rows}
    lines = []
    for name, row in by_name.items():
        for ending, words in CHANGES.items():
            plain = by_name.get(name.removesuffix(ending))
            if plain is not None and plain is not row:
                changes = ", ".join(f"{column} {cell(paired(row, plain, column))}" for column in JUDGED)
                lines.append(f"- {words} {plain.variant.name}: {changes}.")
    return "\n".join(lines)


def page(study: Study) -> str:
    """The page of one base."""
    head = (
        f"# Sharper maps on {study.base}\n\nA row pays where it is better than every cheaper row by more than the 95 % "
        "interval of the paired difference. Cost: time added to the classifier alone, measured in pairs, where it was; "
        "else multiply-adds, in which the filter is counted by its own formula. The paired changes below are of the "
        "plain map of the same cells."
    )
    return study_page(study, head, f"{cost_table(study)}\n\n{edge_lines(study)}")


@app.command()
def sharpness(
    base: Annotated[str, typer.Option(help=f"One of {', '.join(BASES)}.")] = SHAPES,
    steps: Annotated[int, typer.Option(help="Optimiser steps a run; 0 takes the base's.")] = 0,
    limit: Annotated[int, typer.Option(help="Pictures that are judged, evenly spread; 0 takes all.")] = 0,
    radius: Annotated[int, typer.Option(help="Of the filter's window, cells of the map.")] = 2,
    epsilon: Annotated[float, typer.Option(help="Variance of the picture below which a window is flat.")] = 0.05,
    textures: Annotated[int, typer.Option(help="Of --detail.")] = 8,
    seconds: Annotated[float, typer.Option(help="Longest time of each latency measurement; 0: none.")] = 15.0,
    precision: Annotated[str, typer.Option(help=PRECISION_HELP)] = "",
    folder: Annotated[Path, typer.Option(help="Where the runs are kept.")] = FOLDER,
    out: RecordFile = None,
) -> None:
    """Compare maps of several resolutions, with and without the picture's own edges.

    Example: python -m whymask.benchmarks.sharpness --base mobilenet_v2_tf --steps 600 --limit 500
    """
    file = record_file(out, NAME, [base])
    taken = in_precision(base_named(base, folder), precision)
    study = measure(taken, folder, steps, limit, Edges(radius, epsilon, textures), seconds)
    options = f"--base {base} --steps {steps} --limit {limit} --radius {radius} --epsilon {epsilon:g}"
    options += f" --textures {textures}"
    options += f" --precision {precision}" if precision else ""
    text = page(study)
    write_records(file, [record_from_study(study, f"python -m whymask.benchmarks.sharpness {options}")], text)
    typer.echo(text)
    typer.echo(f"Written: {file} and {file.with_suffix('.md').name}")


if __name__ == "__main__":
    run_program(app)
