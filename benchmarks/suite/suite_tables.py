"""An evaluation as text: CSV for programs, Markdown for pages, a table for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from whymask.benchmarks.baselines import EXPLAINER
from whymask.benchmarks.intervals import Interval
from whymask.benchmarks.suite.earlier import words_of_earlier
from whymask.benchmarks.suite.record import Record
from whymask.benchmarks.suite.sample import Cell, Column
from whymask.benchmarks.suite.summary import Ratio, Summary, figures_as_json, sentence
from whymask.benchmarks.suite.verdicts import APART, BETTER, LOWER, WITHIN, WORSE, Figure
from whymask.benchmarks.tables import table
from whymask.runtime.progress import duration

if TYPE_CHECKING:
    from rich.table import Table

MAIN = (
    "retention_auc",
    "kept_at_threshold",
    "robust_retention",
    "insertion",
    "deletion",
    "road",
    "epg",
    "retention_20",
    "sufficiency",
    "pointing",
)
"""Columns of the short tables, of those that were measured."""
FEW = 8
"""Columns of the short tables where none of `MAIN` was measured."""
NARROW = 7
"""Columns that a terminal has room for."""

MARKS = {APART: "", BETTER: "+", WITHIN: "~", WORSE: "✗"}
LEGEND = (
    "Marks of the explainer: none, better than every other map with intervals apart; +, better in the same pictures by "
    "the paired interval, with overlapping intervals; ~, not told from at least one other map; ✗, worse than at least "
    "one."
)


def main_columns(summary: Summary) -> tuple[Column, ...]:
    """The columns of a set's short table."""
    chosen = tuple(column for name in MAIN for column in summary.columns if column.name == name)
    return chosen or summary.columns[:FEW]


def mark(summary: Summary, column: Column) -> str:
    """The mark of the explainer in a column; empty too where no verdict is given."""
    return MARKS[summary.worst_verdict(column)] if column in summary.judged() else ""


def csv_from_record(summaries: Sequence[Summary], record: Record) -> str:
    """Long format, one row for each set, map and column."""
    text, columns = io.StringIO(), record["method"]["columns"]
    ends = [f"{of}{end}" for of in ("", "explainer_", "difference_") for end in ("mean", "low", "high")]
    head = ("set", "map", "column", "n", "better", *ends, "verdict")
    writer = csv.DictWriter(text, head, restval="", lineterminator="\n")
    writer.writeheader()
    for summary in summaries:
        for row in figures_as_json(summary):
            writer.writerow({"set": summary.name, "better": columns[row["column"]]["better"], **row})
    return text.getvalue()


def page_from_record(summaries: Sequence[Summary], record: Record) -> str:
    """The whole evaluation in Markdown."""
    sets = zip(summaries, record["sets"], strict=True)
    parts = [
        f"# Evaluation of {record['graph']['file']}",
        facts(record),
        "\n".join(f"- {sentence(summary)}" for summary in summaries),
        LEGEND,
        *[_set_section(summary, each) for summary, each in sets],
        _definitions(record),
    ]
    return "\n\n".join(parts) + "\n"


def terminal_table(summary: Summary) -> Table:
    """The short table of one set, as means."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    columns = main_columns(summary)[:NARROW]
    shown = Table(title=f"{summary.name}, n = {summary.images}", box=SIMPLE_HEAD)
    shown.add_column("map", no_wrap=True)
    for column in columns:
        # Words instead of underlines, so that a head breaks between them.
        shown.add_column(f"{column.name.replace('_', ' ')}{arrow(column)}", justify="right", overflow="fold")
    for name in (*summary.maps, *summary.references):
        cells = [_mean_text(summary, Cell(name, column.name), column) for column in columns]
        if any(cells):
            shown.add_row(summary.label(name), *cells, style="bold" if name == EXPLAINER else "")
    return shown


def facts(record: Record) -> str:
    """What was judged, on what, in a few sentences."""
    graph, machine = record["graph"], record["machine"]
    card = graph["card"]
    left_out = "".join(f" Left out: {name} ({why})." for name, why in record["method"]["left_out"].items())
    return (
        f"Graph {graph['file']} (sha256 {graph['sha256'][:12]}): {card['classifier']}, "
        f"{card['height']} × {card['width']} px, {card['precision']}, {card['explainer']} explainer with "
        f"{card['explainer_parameters']:,} parameters, threshold {card['threshold']:.4g}, run on {graph['provider']}; "
        f"{machine['cpu']}, {machine['cores']} cores. Made with: {record['command']}.{left_out}"
    )


def speed_rows(record: Record) -> list[list[str]]:
    """What each map and metric of a set took: kind, name, images, images a second, seconds, passes an image."""
    n = record["images"]
    return [
        [
            kind,
            name,
            str(each.get("pictures", n)),
            f"{each['images_per_second']:.4g}",
            f"{each['seconds']:.1f}",
            f"{each['passes'] / (each.get('pictures', n) or 1):.4g}",
        ]
        for kind, costs in (("map", record["speed"]["maps"]), ("metric", record["speed"]["metrics"]))
        for name, each in costs.items()
    ]


SPEED_HEAD = ("kind", "name", "images", "images/s", "seconds of all threads", "passes an image")


def speed_lines(record: Record) -> list[str]:
    """Images a second of each map and metric, in two lines, and the whole time."""
    speed = record["speed"]
    said = {
        kind: ", ".join(f"{name} {each['images_per_second']:.3g}" for name, each in speed[kind].items())
        for kind in ("maps", "metrics")
    }
    whole = f"{speed['images_per_second']:.3g} images/s in all: {duration(speed['seconds'])} for {record['images']:,} "
    whole += f"images on {speed['threads']} threads, {speed['graph_passes']:,} passes of the graph"
    return [whole, *[f"images/s by {kind[:-1]}: {words}" for kind, words in said.items()]]


def text_from_interval(interval: Interval) -> str:
    """`0.432 [0.411, 0.453]`."""
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def text_from_figure(summary: Summary, figure: Figure) -> str:
    """The same, with the number of its pictures where it is below the explainer's and the row does not tell it."""
    text = text_from_interval(figure.mean)
    own = summary.figures.get(Cell(EXPLAINER, figure.cell.column), figure)
    told = summary.fewer.get(figure.cell.map, own.n)
    return text if figure.n >= told else f"{text}, n = {figure.n}"


def ratio_text(ratio: Ratio) -> str:
    """Its name, its interval and the number of pictures."""
    return f"{ratio.name}: {text_from_interval(ratio.interval)}, n = {ratio.n}"


def arrow(column: Column) -> str:
    """Which side is better."""
    return "" if not column.better else " ↓" if column.better == LOWER else " ↑"


def whole_rows(summary: Summary) -> list[list[str]]:
    """A row a judged column: explainer and best other map in the same pictures, and the least favourable verdict."""
    rows = []
    for column in summary.judged():
        own, best = summary.figures[Cell(EXPLAINER, column.name)], summary.best_rival(column)
        difference = text_from_interval(best.difference) if best.difference else ""
        same = text_from_interval(best.own or own.mean)
        row = [f"{column.name}{arrow(column)}", same, summary.label(best.cell.map), text_from_interval(best.mean)]
        rows.append([*row, difference, str(best.n), summary.worst_verdict(column)])
    return rows


WHOLE_HEAD = ("column", EXPLAINER, "best other", "its mean", "explainer − best other", "n", "least favourable verdict")


def _set_section(summary: Summary, record: Record) -> str:
    columns = main_columns(summary)
    names = (*summary.maps, *summary.references)
    rows = [[summary.label(name), *[_cell_text(summary, Cell(name, c.name), c) for c in columns]] for name in names]
    ratios = [f"- {ratio_text(ratio)}." for ratio in summary.ratios]
    area = record["own"]["area"]
    read = f"Mean area of the own mask {sum(area) / len(area):.1%}."
    if record["unreadable"]:
        read += f" {len(record['unreadable'])} files could not be read and are left out."
    if record["truth"]:
        read += f" Truth: {record['truth']}."
    speed = record["speed"]
    inside = f"{speed['graph_seconds']:.0f} s of them inside it"
    took = f"{speed['graph_passes']:,} passes of the graph in {speed['seconds']:.0f} s, {inside}."
    parts = [
        f"## {summary.name}, n = {summary.images}",
        read,
        table(["map", *[f"{column.name}{arrow(column)}" for column in columns]], rows),
        "\n".join(ratios),
        table(WHOLE_HEAD, whole_rows(summary)),
        took,
        table(SPEED_HEAD, speed_rows(record), left=2),
    ]
    return "\n\n".join(part for part in parts if part)


def _definitions(record: Record) -> str:
    method = record["method"]
    columns = [
        f"- {name} ({each['metric']}{', ' + each['better'] + ' is better' if each['better'] else ''}): {each['stated']}"
        for name, each in method["columns"].items()
    ]
    maps = [
        f"- {name}: {each['stated']}; {each['passes']:.4g} passes an image" for name, each in method["maps"].items()
    ]
    rules = f"Pixels: {method['pixels']}. Intervals: {method['intervals']}. Seed {method['seed']}."
    rules += " ".join(["", *pictures_told(record)])
    return "\n\n".join(["## What is measured", rules, "\n".join(columns), "## Maps", "\n".join(maps)])


def pictures_told(record: Record) -> list[str]:
    """Which maps are judged on fewer pictures, and what answered to masked ones, where the record says it."""
    method = record["method"]
    costly = [name for name, each in method["maps"].items() if each.get("costly")]
    told = []
    if costly and method.get("earlier"):
        told.append(words_of_earlier(record))
    elif costly and method.get("costly"):
        told.append(
            f"Made for at most {method['costly']} pictures a set, evenly spread, and compared on these: "
            f"{', '.join(costly)}."
        )
    return told + ([f"Masked pictures are asked of {method['asked']}."] if "asked" in method else [])


def _mean_text(summary: Summary, cell: Cell, column: Column) -> str:
    figure = summary.figures.get(cell)
    if figure is None:
        return ""
    marked = mark(summary, column) if cell.map == EXPLAINER else ""
    return f"{figure.mean.value:.3f} {marked}".strip()


def _cell_text(summary: Summary, cell: Cell, column: Column) -> str:
    figure = summary.figures.get(cell)
    if figure is None:
        return ""
    text = text_from_figure(summary, figure)
    return f"**{text}** {mark(summary, column)}".strip() if cell.map == EXPLAINER else text


def with_figures(record: dict[str, Any], summaries: Sequence[Summary]) -> dict[str, Any]:
    """The record with each set's means, intervals, verdicts and ratios, for readers without this package."""
    sets = [
        {
            **each,
            "verdict": sentence(summary),
            "figures": figures_as_json(summary),
            "ratios": [{"name": ratio.name, **vars(ratio.interval)} for ratio in summary.ratios],
        }
        for each, summary in zip(record["sets"], summaries, strict=True)
    ]
    return {**record, "sets": sets}
