"""Faithfulness measurements as Markdown, with the bar judged in the open.

The bar: at every area the explainer's map keeps more pictures than each of random, centre and CAM. A cell of the
explainer that does not is marked ✗ and names the map that is not beaten; one that does, but by less than the interval
of the paired difference can tell from zero, is marked ~.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from whymask.benchmarks import baselines
from whymask.benchmarks.faithfulness import Case, Faithfulness
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


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: first column to the left, the others to the right."""
    lines = [list(head), ["---", *["---:"] * (len(head) - 1)], *[list(row) for row in rows]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


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
    parts.append(f"Retention in % at the card's threshold, same area for all maps\n\n{threshold_table(measured, fills)}")
    parts.append(LEGEND)
    return "\n\n".join(parts)


def replace_block(path: Path, content: str) -> None:
    """Put `content` between the two markers of a Markdown file; everything outside stays as it is.

    Raises:
        InputError: the file is absent, or does not hold both markers once, in order.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected one with the lines {BEGIN} and {END}")
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"{path}: expected the lines {BEGIN} and {END}, each once and in this order; put them in")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    write_atomically(path, f"{before}\n{content.strip()}\n{after}")


def _retention(measured: Faithfulness, case: Case) -> str:
    share = measured.retention(case)
    text = f"{100 * share.value:.1f} ({100 * share.low:.0f}–{100 * share.high:.0f})"
    mark = verdict(measured, case.fill, case.area) if case.map == baselines.EXPLAINER else ""
    return f"**{text}** {mark}".strip() if case.map == baselines.EXPLAINER else text
