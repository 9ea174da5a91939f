"""The study of explanations as Markdown: bars first, then what they were judged from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from whymask.benchmarks.explanation_bars import Bar, bars_from_records
from whymask.benchmarks.leaks.page import sentence as leak_sentence
from whymask.benchmarks.refinement_page import finding
from whymask.benchmarks.suite.earlier import words_of_earlier
from whymask.benchmarks.suite.sample import Cell
from whymask.benchmarks.suite.suite_tables import WHOLE_HEAD, facts, ratio_text, text_from_figure, whole_rows
from whymask.benchmarks.suite.summary import Summary, summaries
from whymask.benchmarks.tables import table

Records = Mapping[str, Mapping[str, Any]]
"""By classifier, its records by kind: `suite`, `located`, `leaks`, `refine`."""

BAR_HEAD = ("bar, set before measuring", "pictures", "measured", "met")
SHOWN = ("retention_auc", "insertion", "deletion", "road", "average_drop", "robust_retention", "pointing", "epg")
"""Columns of which the page shows every map."""


def explanations_page(records: Records) -> str:
    """The whole page."""
    head = (
        "# Explanations judged\n\nEvery figure from the JSON files beside this page, on the exported ONNX files, on "
        "pictures that no explainer was trained on. In brackets: 95 % intervals. Verdicts: apart (better, intervals do "
        "not overlap), better (paired difference above zero), within (cannot be told), worse."
    )
    return "\n\n".join([head, *[_section(name, found) for name, found in records.items()]]) + "\n"


def readme_bars(records: Records) -> str:
    """For the front page: every bar, a column a classifier, a value a set of pictures."""
    bars = {name: bars_of(found) for name, found in records.items()}
    asked = dict.fromkeys(bar.asked for each in bars.values() for bar in each)
    rows = []
    for words in asked:
        places = dict.fromkeys(bar.where for each in bars.values() for bar in each if bar.asked == words)
        cells = [" / ".join(_brief(bar) for bar in each if bar.asked == words) for each in bars.values()]
        rows.append([words, " / ".join(places), *cells])
    counts = [f"**{sum(bar.met for bar in each)} of {len(each)} met**" for each in bars.values()]
    head = ["bar, set before measuring", "pictures", *bars]
    lines = [f"- {name}: {text}" for name, found in records.items() for text in _headlines(found)]
    return "\n\n".join([table(head, [*rows, ["", "", *counts]], left=2), "\n".join(lines)]).rstrip()


def bars_of(found: Mapping[str, Any]) -> list[Bar]:
    """All bars of a classifier."""
    leaks = found["leaks"]["checks"] if "leaks" in found else ()
    return list(bars_from_records(found.get("suite"), found.get("located"), leaks))


def _brief(bar: Bar) -> str:
    """What was measured, without the names of what it was held against."""
    return f"{bar.measured.split(';')[0].split(', ')[0]} {'✓' if bar.met else '✗'}"


def _headlines(found: Mapping[str, Any]) -> list[str]:
    return [finding(found["refine"])] if "refine" in found else []


def _section(name: str, found: Mapping[str, Any]) -> str:
    bars = [[bar.asked, bar.where, bar.measured, "yes" if bar.met else "**no**"] for bar in bars_of(found)]
    parts = [f"## {name}", table(BAR_HEAD, bars, left=4)]
    for kind in ("suite", "located"):
        if kind in found:
            parts.append(f"{facts(found[kind])} {words_of_earlier(found[kind])}".rstrip())
            parts += [_set_section(summary) for summary in summaries(found[kind])]
    if "leaks" in found:
        parts.append("\n".join(f"- {leak_sentence(check)}" for check in found["leaks"]["checks"]))
    if "refine" in found:
        parts.append(finding(found["refine"]))
    return "\n\n".join(parts)


def _set_section(summary: Summary) -> str:
    columns = [column for column in summary.columns if column.name in SHOWN]
    cells = {name: [Cell(name, column.name) for column in columns] for name in summary.maps}
    rows = [
        [summary.label(name), *[text_from_figure(summary, summary.figures[cell]) for cell in cells[name]]]
        for name in summary.maps
        if all(cell in summary.figures for cell in cells[name])
    ]
    ratios = "\n".join(f"- {ratio_text(ratio)}." for ratio in summary.ratios)
    parts = [
        f"### {summary.name}, n = {summary.images}",
        table(["map", *[f"{column.name} ({column.better})" for column in columns]], rows),
        ratios,
        table(WHOLE_HEAD, whole_rows(summary)),
    ]
    return "\n\n".join(part for part in parts if part)
