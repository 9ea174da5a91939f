"""Faithfulness measurements as Markdown, with the bar judged in the open.

The bar: at every area the explainer's map keeps more pictures than each of random, centre and CAM. A cell of the
explainer that does not is marked ✗ and names the map that is not beaten; one that does, but by less than the interval
of the paired difference can tell from zero, is marked ~.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from whymask.benchmarks import baselines
from whymask.benchmarks.faithfulness import Case, Faithfulness
from whymask.benchmarks.masking import FILL
from whymask.benchmarks.records import measurement_from_record
from whymask.runtime.errors import InputError
from whymask.runtime.files import write_atomically

BEGIN = "<!-- results:begin -->"
END = "<!-- results:end -->"
RIVALS = (baselines.RANDOM, baselines.CENTRE, baselines.CAM)
LEGEND = (
    "In brackets: the exact 95 % interval. ✗: not above the named map. "
    "~: above all, but the 95 % interval of the paired difference to at least one includes zero."
)


def verdict(measured: Faithfulness, fill: str, area: float | None) -> str:
    """Mark of the explainer's cell: empty, `~` or `✗ MAP, …`, against the rivals that were measured."""
    lost, close = [], False
    for rival in RIVALS:
        case = Case(rival, fill, area)
        if case not in measured.kept:
            continue
        difference = measured.difference(case).interval
        if difference.value <= 0:
            lost.append(rival)
        close = close or difference.low <= 0
    return f"✗ {', '.join(lost)}" if lost else "~" if close else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table: the first `left` columns to the left, the others to the right."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rows])


def curve_table(measured: Faithfulness, fill: str) -> str:
    """Retention in % by map and area, one background."""
    areas = list(dict.fromkeys(c.area for c in measured.kept if c.area is not None))
    rows = []
    for name in measured.maps:
        cases = [Case(name, fill, area) for area in areas]
        if not all(case in measured.kept for case in cases):
            continue
        rows.append([name, *[_retention(measured, case) for case in cases]])
    return table(["map", *[f"{area:.0%} kept" for area in areas]], rows)


def threshold_table(measured: Faithfulness, fills: Sequence[str]) -> str:
    """Retention in % at the card's threshold, every baseline at the same area in the same picture."""
    rows = [[name, *[_retention(measured, Case(name, fill, None)) for fill in fills]] for name in measured.maps]
    return table(["map", *[f"dropped pixels: {fill}" for fill in fills]], rows)


def area_line(measured: Faithfulness) -> str:
    """Mean and quantiles of the area at the card's threshold, as a sentence."""
    quantiles = ", ".join(f"{name} {value:.1%}" for name, value in measured.area_quantiles().items())
    return f"Area kept at the card's threshold: mean {measured.areas.mean():.1%} ({quantiles})."


def set_section(measured: Faithfulness) -> str:
    """All tables of one set of pictures."""
    fills = list(dict.fromkeys(case.fill for case in measured.kept))
    parts = [f"**{measured.name}**, n = {len(measured.files)}. {area_line(measured)}"]
    if measured.unreadable:
        parts.append(f"{len(measured.unreadable)} files could not be read and are left out.")
    if baselines.CAM not in measured.maps:
        parts.append("No CAM row: it needs the classifier itself (`--run RUN`) and torch.")
    for fill in fills:
        parts.append(f"Retention in %, dropped pixels take: {fill}\n\n{curve_table(measured, fill)}")
    parts.append(
        f"Retention in % at the card's threshold, all maps at the same area\n\n{threshold_table(measured, fills)}"
    )
    return "\n\n".join(parts)


def bar_line(measured: Sequence[Faithfulness]) -> str:
    """How many cells meet the bar, over sets, backgrounds and areas."""
    cases = [(each, case) for each in measured for case in each.kept if _is_judged(case)]
    lost = [(each, case) for each, case in cases if verdict(each, case.fill, case.area).startswith("✗")]
    rivals = ", ".join(rival for rival in RIVALS if all(rival in each.maps for each in measured))
    line = f"Bar: above {rivals} at each area. Met in {len(cases) - len(lost)} of {len(cases)} cells"
    misses = [f"{each.name} {case.fill} {case.area:.0%}" for each, case in lost]
    return f"{line}; not met: {', '.join(misses)}." if misses else f"{line}."


def report_section(report: dict[str, Any]) -> str:
    """Everything that a page says of one graph."""
    card, graph = report["graph"]["card"], report["graph"]
    sets = _measurements(report)
    seconds = sum(each.seconds for each in sets)
    facts = (
        f"Graph `{graph['file']}` (sha256 `{graph['sha256'][:12]}`), {card['classifier']}, "
        f"{card['height']} × {card['width']} px, {card['precision']}, {card['explainer']} explainer with "
        f"{card['explainer_parameters']:,} parameters, threshold {card['threshold']:.4g}, run on {graph['provider']}. "
        f"{sum(each.passes for each in sets):,} passes in {seconds:.0f} s."
    )
    promise = _promise(card)
    parts = [facts, promise, f"Made with `{report['command']}`.", bar_line(sets), *[set_section(each) for each in sets]]
    return "\n\n".join(part for part in parts if part)


def results_page(reports: Sequence[dict[str, Any]]) -> str:
    """The page of all results, in Markdown."""
    method = reports[0]["method"]
    maps = "\n".join(f"- {name}: {text}." for name, text in method["maps"].items())
    fills = "\n".join(f"- dropped pixels take {name}: {text}." for name, text in method["fills"].items())
    head = (
        "# Faithfulness of the exported graphs\n\n"
        f"Retention: {method['retention']}. Pixels: {method['pixels']}. Intervals: {method['intervals']}. "
        f"Generated from the JSON files beside this page.\n\n{maps}\n{fills}\n\n{LEGEND}"
    )
    sections = [f"## {_name(report)}\n\n{report_section(report)}" for report in reports]
    return "\n\n".join([head, *sections]) + "\n"


def readme_block(reports: Sequence[dict[str, Any]], fill: str = FILL) -> str:
    """The short table for the front page: one background, no intervals, every rival in its row."""
    rows: list[list[str]] = []
    areas: list[float] = []
    for report in reports:
        for record in report["sets"]:
            measured = measurement_from_record(record)
            areas = list(dict.fromkeys(case.area for case in measured.kept if case.area is not None))
            rows += _front_rows(_name(report), measured, fill, areas)
    head = ["classifier", "pictures", "map", *[f"{area:.0%}" for area in areas], "at threshold (mean area)"]
    bars = [f"- {_name(report)}. {bar_line(_measurements(report))}" for report in reports]
    return "\n\n".join(
        [
            "Share of pictures, in %, that keep their class when only the given share of pixels is kept and the rest "
            "takes the card's colour. Intervals, and blur instead of colour: `benchmarks/results/README.md`.",
            table(head, rows, left=3),
            "\n".join(bars),
            "✗: not above the named map. ~: above all, within the 95 % interval of the paired difference.",
        ]
    )


def replace_block(path: Path, content: str, begin: str = BEGIN, end: str = END) -> None:
    """Put `content` between two markers of a Markdown file; everything outside stays as it is.

    Raises:
        InputError: the file is absent, or does not hold both markers once, in order.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected one with the lines {begin} and {end}")
    text = path.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise InputError(f"{path}: expected the lines {begin} and {end}, each once and in this order; put them in")
    before, after = text[: text.index(begin) + len(begin)], text[text.index(end) :]
    write_atomically(path, f"{before}\n{content.strip()}\n{after}")


def _name(report: dict[str, Any]) -> str:
    """What the classifier is called: its specification without the file or library that it comes from."""
    return str(report["graph"]["card"]["classifier"]).rpartition(":")[2]


def _measurements(report: dict[str, Any]) -> list[Faithfulness]:
    return [measurement_from_record(record) for record in report["sets"]]


def _is_judged(case: Case) -> bool:
    return case.map == baselines.EXPLAINER and case.area is not None


def _promise(card: dict[str, Any]) -> str:
    if card["promised_retention"] is None:
        return "The threshold carries no promise: it was not calibrated."
    met = "as asked" if card["guarantee_met"] else "less than asked"
    return (
        f"Promise of the card, from {card['calibration_images']} held-out pictures: retention of at least "
        f"{card['promised_retention']:.1%} ({met})."
    )


def _front_rows(classifier: str, measured: Faithfulness, fill: str, areas: Sequence[float]) -> list[list[str]]:
    rows = []
    for name in (baselines.EXPLAINER, *RIVALS):
        if name not in measured.maps:
            continue
        cells = [_share(measured, Case(name, fill, area)) for area in areas]
        own = f"{_share(measured, Case(name, fill, None))} ({measured.areas.mean():.0%})"
        rows.append([classifier, measured.name, name, *cells, own])
    return rows


def _share(measured: Faithfulness, case: Case) -> str:
    text = f"{100 * measured.retention(case).value:.0f}"
    return _marked(measured, case, text)


def _retention(measured: Faithfulness, case: Case) -> str:
    share = measured.retention(case)
    return _marked(measured, case, f"{100 * share.value:.1f} ({100 * share.low:.0f}–{100 * share.high:.0f})")


def _marked(measured: Faithfulness, case: Case, text: str) -> str:
    """The explainer's figures in bold with their mark, others as they are."""
    if case.map != baselines.EXPLAINER:
        return text
    return f"**{text}** {verdict(measured, case.fill, case.area)}".strip()
