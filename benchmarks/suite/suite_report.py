"""An evaluation as one HTML file: verdicts, tables, charts and pictures, with every definition beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from whymask.benchmarks.baselines import EXPLAINER
from whymask.benchmarks.report import Html, bullets, document, paragraph, section, table
from whymask.benchmarks.suite.charts import STYLE, Dot, Line, dots_chart, histogram, lines_chart, of_words, side_by_side
from whymask.benchmarks.suite.gallery import Example, gallery_section
from whymask.benchmarks.suite.record import Record, own_from_record
from whymask.benchmarks.suite.sample import Cell, Column
from whymask.benchmarks.suite.suite_tables import (
    LEGEND,
    SPEED_HEAD,
    WHOLE_HEAD,
    arrow,
    facts,
    main_columns,
    mark,
    pictures_told,
    ratio_text,
    speed_rows,
    text_from_figure,
    whole_rows,
)
from whymask.benchmarks.suite.summary import Summary, sentence

AT_AREA = re.compile(r"(?P<family>[a-z_]+?)_(?P<percent>\d{2})$")
"""A column that belongs to a curve: its family and the area in per cent, such as `retention_20`."""
LEAST_POINTS = 3
"""Of a curve."""
DOTTED = ("retention_auc", "insertion", "deletion", "robust_retention", "sufficiency", "comprehensiveness", "road")
"""Columns drawn as dots with intervals, of those that were measured."""


def page_from_evaluation(
    summaries: Sequence[Summary], record: Record, examples: Sequence[Sequence[Example]] = ()
) -> Html:
    """The whole page.

    Args:
        summaries: of the record's sets.
        record: the evaluation.
        examples: pictures of each set; none where only the record is there.
    """
    shown = examples or [()] * len(summaries)
    sets = [
        _set_section(summary, each, pictures)
        for summary, each, pictures in zip(summaries, record["sets"], shown, strict=True)
    ]
    head = section("In short", bullets([sentence(summary) for summary in summaries]), LEGEND)
    title = f"Evaluation of {record['graph']['file']}"
    return document(title, [STYLE, head, *sets, _definitions(record), _made(record)], facts(record))


def _set_section(summary: Summary, record: Record, examples: Sequence[Example]) -> Html:
    ratios = [ratio_text(ratio) for ratio in summary.ratios]
    parts: list[str] = [_main_table(summary), Html(_ratio_list(ratios)), side_by_side(_charts(summary, record))]
    parts.append(_folded("All columns", _whole_table(summary), _map_table(summary)))
    if record["unreadable"]:
        parts.append(
            _folded(f"{len(record['unreadable'])} files that could not be read", bullets(record["unreadable"]))
        )
    if examples:
        parts.append(
            paragraph(
                "The picture, the graph's own mask at the card's threshold, and what the classifier is shown again. "
                "Best, median and worst by the probability that it then gives to its class; nothing is picked by hand."
            )
        )
        parts += gallery_section(list(examples))
    return section(f"{summary.name}, n = {summary.images}", *parts)


def _ratio_list(ratios: Sequence[str]) -> str:
    return bullets(ratios) if ratios else ""


def _main_table(summary: Summary) -> Html:
    columns = main_columns(summary)
    rows = []
    for name in (*summary.maps, *summary.references):
        cells = [_cell(summary, name, column) for column in columns]
        if any(cells):
            rows.append([summary.label(name), *cells])
    head = ["map", *[f"{column.name}{arrow(column)}" for column in columns]]
    return table(head, rows, "Means with 95 % intervals; ↑ higher is better, ↓ lower is better.", strong=[0])


def _cell(summary: Summary, name: str, column: Column) -> str:
    figure = summary.figures.get(Cell(name, column.name))
    if figure is None:
        return ""
    marked = mark(summary, column) if name == EXPLAINER else ""
    return f"{text_from_figure(summary, figure)} {marked}".strip()


def _whole_table(summary: Summary) -> Html:
    return table(WHOLE_HEAD, whole_rows(summary), "The explainer beside the best other map in each column.")


def _map_table(summary: Summary) -> Html:
    names = (*summary.maps, *summary.references)
    rows = [
        [f"{column.name}{arrow(column)}", *[_cell(summary, n, column) for n in names]] for column in summary.columns
    ]
    return table(["column", *map(summary.label, names)], rows, "Every map in every column.")


def _charts(summary: Summary, record: Record) -> list[Html]:
    """Curves over area, dots of the main columns, and the areas of the own masks."""
    charts = [_curve(summary, family, columns) for family, columns in _families(summary).items()]
    known = {column.name: column for column in summary.columns}
    charts += [_dots(summary, known[name]) for name in DOTTED if name in known]
    areas = own_from_record(record)["area"]
    return [*charts, histogram(areas, "area of the own mask", f"Area kept at the card's threshold, n = {len(areas)}.")]


def _families(summary: Summary) -> dict[str, dict[float, Column]]:
    """Columns that make curves, by family and area."""
    found: dict[str, dict[float, Column]] = {}
    for column in summary.columns:
        match = AT_AREA.match(column.name)
        if match and Cell(EXPLAINER, column.name) in summary.figures:
            found.setdefault(match["family"], {})[int(match["percent"]) / 100] = column
    return {family: dict(sorted(columns.items())) for family, columns in found.items() if len(columns) >= LEAST_POINTS}


def _curve(summary: Summary, family: str, columns: dict[float, Column]) -> Html:
    lines = []
    for name in summary.maps:
        cells = [Cell(name, column.name) for column in columns.values()]
        if all(cell in summary.figures for cell in cells):
            points = [summary.figures[cell].mean for cell in cells]
            lines.append(Line(summary.label(name), list(columns), points, name == EXPLAINER))
    return lines_chart(lines, "pixels", family, f"{family} over area; the band is the explainer's 95 % interval.")


def _dots(summary: Summary, column: Column) -> Html:
    named = [(name, Cell(name, column.name)) for name in summary.maps]
    dots = [
        Dot(summary.label(name), summary.figures[cell].mean, name == EXPLAINER)
        for name, cell in named
        if cell in summary.figures
    ]
    dots.sort(key=lambda dot: dot.mean.value, reverse=column.better != "lower")
    return dots_chart(dots, f"{column.name}{arrow(column)}", f"{column.stated}. Bars: 95 % intervals.")


def _definitions(record: Record) -> Html:
    method = record["method"]
    columns = [
        [name, each["metric"], each["better"] or "—", each["stated"]] for name, each in method["columns"].items()
    ]
    maps = [[name, f"{each['passes']:.4g}", each["stated"]] for name, each in method["maps"].items()]
    left_out = [f"{name} is left out: {why}" for name, why in method["left_out"].items()]
    return section(
        "What is measured",
        f"Pixels: {method['pixels']}. Intervals: {method['intervals']}.",
        *pictures_told(record),
        of_words(table(["column", "metric", "better", "definition"], columns)),
        of_words(table(["map", "passes an image", "what it is"], maps)),
        Html(_ratio_list(left_out)),
    )


def _made(record: Record) -> Html:
    machine = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    speeds = [
        table(SPEED_HEAD, speed_rows(each), f"{each['name']}: {each['speed']['seconds']:.0f} s in all.")
        for each in record["sets"]
    ]
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; {record['graph']['provider']}"
    return section("How it was made", f"{record['command']}", f"{where}. {versions}.", *speeds)


def _folded(title: str, *parts: str) -> Html:
    return Html(f"<details><summary>{title}</summary>{''.join(parts)}</details>")
