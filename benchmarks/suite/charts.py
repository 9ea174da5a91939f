"""Charts as SVG inside a page: lines with their names at their ends, dots with intervals, bars of a histogram.

Ink, grid and ground come from the page's style, which follows the reader's dark or light setting; the colours of the
lines are of a middle lightness that stands on both.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.intervals import Interval
from whymask.benchmarks.report import Html

STYLE = Html("""<style>
:root { color-scheme: light dark; --ground: #fff }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa5b1; --line: #38414b; --good: #5fc490;
  --bad: #f0907c; --ground: #14181d } }
body { background: var(--ground); max-width: 80rem } svg .ink { fill: var(--ink) } svg .soft { fill: var(--soft) }
svg .grid { stroke: var(--line) } svg .strong { font-weight: 600 }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(30rem, 1fr)); gap: 1rem }
.words :is(td, th):last-child { white-space: normal; text-align: left } .words td { vertical-align: top }
summary { cursor: pointer; margin: .5rem 0 } figure img { border: 1px solid var(--line) }
</style>""")

FIRST = "#d5473c"
"""Of the explainer."""
OTHERS = (
    "#2f80c4",
    "#2f9a5f",
    "#a86bd0",
    "#b07d10",
    "#1b9aa6",
    "#c2588f",
    "#7a8f2a",
    "#6f80d8",
    "#c9702c",
    "#7d8894",
    "#a5705a",
    "#4f9fb8",
)
"""Of other maps, in turn; names stand at the lines, so that no colour has to be remembered."""

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 600, 340, 48, 150, 14, 44
ROW = 18
"""Height of a text line in pixels."""
NAMES = 150
"""Width of the names beside dots in pixels."""


@dataclass(frozen=True)
class Line:
    """One line: its name, its points, and whether it is the one that the chart is about."""

    name: str
    x: Sequence[float]
    y: Sequence[Interval]
    strong: bool = False


@dataclass(frozen=True)
class Dot:
    """One row of dots: its name, its mean, and whether it is the one that the chart is about."""

    name: str
    mean: Interval
    strong: bool = False


def lines_chart(lines: Sequence[Line], x_label: str, y_label: str, caption: str) -> Html:
    """Shares over shares, in per cent, with 95 % bands for the strong lines.

    Args:
        lines: at least one, each of at least one point.
        x_label, y_label: names of the axes.
        caption: shown below.
    """
    right = max(max(line.x) for line in lines)
    top = _round_top(max(point.high for line in lines for point in line.y))
    parts, ends = [_axes(right, top, x_label, y_label)], []
    for line, colour in zip(lines, _colours([line.strong for line in lines]), strict=True):
        points = [(_across(x, right), _up(y.value, top)) for x, y in zip(line.x, line.y, strict=True)]
        if line.strong:
            parts.append(_band(line, right, top, colour))
        path = " ".join(f"{x},{y}" for x, y in points)
        width = 3 if line.strong else 1.5
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        ends.append((points[-1][1], line.name, colour, line.strong))
    parts += _end_names(ends)
    names = ", ".join(line.name for line in lines)
    return _svg("".join(parts), WIDTH, HEIGHT, f"{y_label} over {x_label}: {names}", caption)


def dots_chart(dots: Sequence[Dot], title: str, caption: str) -> Html:
    """Means with their intervals, one row a map, on one axis that holds all of them.

    Args:
        dots: at least one.
        title: name of the axis.
        caption: shown below.
    """
    low, high = min(dot.mean.low for dot in dots), max(dot.mean.high for dot in dots)
    margin = 0.05 * (high - low) or 0.05
    low, high = low - margin, high + margin
    height = TOP + ROW * len(dots) + BOTTOM
    parts = _ruled(low, high, height, lambda value: _dot_place(value, low, high))
    parts.append(_words((NAMES + WIDTH) / 2, height - 8, title, "ink", "middle"))
    for row, (dot, colour) in enumerate(zip(dots, _colours([dot.strong for dot in dots]), strict=True)):
        y = TOP + ROW * row + ROW / 2
        start, middle, end = (_dot_place(v, low, high) for v in (dot.mean.low, dot.mean.value, dot.mean.high))
        parts.append(_words(NAMES - 8, y + 4, dot.name, "ink strong" if dot.strong else "ink", "end"))
        parts.append(f'<path d="M{start} {y}H{end}" stroke="{colour}" stroke-width="3" stroke-opacity=".5"/>')
        parts.append(f'<circle cx="{middle}" cy="{y}" r="4.5" fill="{colour}"/>')
    return _svg("".join(parts), WIDTH, height, f"{title}: {', '.join(dot.name for dot in dots)}", caption)


def histogram(shares: NDArray[np.float64], label: str, caption: str, bins: int = 20) -> Html:
    """How many pictures have which share, 0–100 %.

    Args:
        shares: float64 (n,), 0–1.
        label: name of the axis.
        caption: shown below.
        bins: bars over the whole axis.
    """
    counts, edges = np.histogram(shares, bins=bins, range=(0.0, 1.0))
    part = counts / max(len(shares), 1)
    top = _round_top(float(part.max()))
    parts = [_axes(1.0, top, label, "pictures")]
    for height, left, right in zip(part.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        x, y = _across(left, 1.0), _up(height, top)
        size = f'width="{_across(right, 1.0) - x - 1:.1f}" height="{HEIGHT - BOTTOM - y:.1f}"'
        parts.append(f'<rect x="{x}" y="{y}" {size} fill="{FIRST}" fill-opacity=".8"/>')
    middle = float(np.median(shares))
    x = _across(middle, 1.0)
    parts.append(f'<path d="M{x} {TOP}V{HEIGHT - BOTTOM}" stroke="{OTHERS[0]}" stroke-width="2"/>')
    anchor, away = ("end", -6) if middle > 0.5 else ("start", 6)
    parts.append(_words(x + away, TOP + 12, f"median {middle:.0%}", "ink strong", anchor))
    return _svg("".join(parts), WIDTH, HEIGHT, f"histogram of {label}, median {middle:.0%}", caption)


def bars_chart(values: NDArray[np.float64], label: str, caption: str, bins: int = 30) -> Html:
    """How many of some values lie where, on an axis in their own unit, with their median.

    Args:
        values: float64 (n,), at least one.
        label: name of the axis, with the unit.
        caption: shown below.
        bins: bars over the whole axis.
    """
    counts, edges = np.histogram(values, bins=bins)
    low, span, most = float(edges[0]), float(edges[-1] - edges[0]), int(counts.max())
    parts = _ruled(low, low + span, HEIGHT, lambda value: _across((value - low) / span, 1.0))
    for count, left, right in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        x, y, end = _across((left - low) / span, 1.0), _up(count, most), _across((right - low) / span, 1.0)
        size = f'width="{max(end - x - 1, 0.5):.1f}" height="{HEIGHT - BOTTOM - y:.1f}"'
        parts.append(f'<rect x="{x}" y="{y}" {size} fill="{FIRST}" fill-opacity=".8"/>')
    middle = float(np.median(values))
    x = _across((middle - low) / span, 1.0)
    parts.append(f'<path d="M{x} {TOP}V{HEIGHT - BOTTOM}" stroke="{OTHERS[0]}" stroke-width="2"/>')
    anchor, away = ("end", -6) if middle - low > span / 2 else ("start", 6)
    parts.append(_words(x + away, TOP + 12, f"median {middle:.3g}", "ink strong", anchor))
    parts.append(_words((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, label, "ink", "middle"))
    return _svg("".join(parts), WIDTH, HEIGHT, f"histogram of {label}, median {middle:.3g}", caption)


def round_ticks(low: float, high: float) -> list[float]:
    """Three to eight values between two ends, steps of 1, 2 or 5 times a power of ten apart.

    Args:
        low, high: the ends, low < high.
    """
    power = 10.0 ** math.floor(math.log10((high - low) / 3.0))
    step = max(each for each in (power, 2.0 * power, 5.0 * power) if 3.0 * each <= (high - low) * (1.0 + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def of_words(table: str) -> Html:
    """A table whose last column is words, which may break their lines."""
    return Html(f'<div class="words">{table}</div>')


def side_by_side(charts: Sequence[str]) -> Html:
    """Charts in as many columns as the window holds."""
    return Html(f'<div class="charts">{"".join(charts)}</div>')


def _colours(strong: Sequence[bool]) -> list[str]:
    others = iter(OTHERS * (len(strong) // len(OTHERS) + 1))
    return [FIRST if each else next(others) for each in strong]


def _ruled(low: float, high: float, height: int, place: Callable[[float], float]) -> list[str]:
    """Upright grid lines at round numbers, with these below; `place` tells where a number is."""
    parts = []
    for value in round_ticks(low, high):
        x = place(value)
        parts.append(f'<path class="grid" d="M{x} {TOP}V{height - BOTTOM}"/>')
        parts.append(_words(x, height - BOTTOM + 16, f"{value:.6g}", "soft", "middle"))
    return parts


def _round_top(highest: float) -> float:
    """The end of an axis of shares, a quarter of which is a round number."""
    return next(step for step in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, highest) if step >= highest)


def _axes(right: float, top: float, x_label: str, y_label: str) -> str:
    """Grid lines with their values in per cent, and the names of the axes."""
    parts = []
    for step in range(5):
        x, y = _across(right * step / 4, right), _up(top * step / 4, top)
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        parts.append(_words(LEFT - 6, y + 4, f"{25 * top * step:.3g}", "soft", "end"))
        parts.append(_words(x, HEIGHT - BOTTOM + 16, f"{25 * right * step:.3g}", "soft", "middle"))
    parts.append(_words((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, f"{x_label}, %", "ink", "middle"))
    turned = f'transform="translate(12 {(HEIGHT - BOTTOM) / 2}) rotate(-90)"'
    parts.append(f'<text class="ink" {turned} text-anchor="middle">{html.escape(y_label)}, %</text>')
    return "".join(parts)


def _band(line: Line, right: float, top: float, colour: str) -> str:
    upper = [f"{_across(x, right)},{_up(y.high, top)}" for x, y in zip(line.x, line.y, strict=True)]
    lower = [f"{_across(x, right)},{_up(y.low, top)}" for x, y in zip(line.x, line.y, strict=True)]
    return f'<polygon points="{" ".join(upper + lower[::-1])}" fill="{colour}" fill-opacity=".18"/>'


def _end_names(ends: Sequence[tuple[float, str, str, bool]]) -> list[str]:
    """Names at the ends of their lines, moved apart where they would cover each other, each with a thread."""
    places = spread_apart([end[0] for end in ends], ROW - 3, TOP, HEIGHT - BOTTOM)
    parts, x = [], WIDTH - RIGHT
    for (y, name, colour, strong), place in zip(ends, places, strict=True):
        parts.append(f'<path d="M{x} {y}L{x + 14} {place:.1f}" stroke="{colour}" fill="none"/>')
        parts.append(_words(x + 18, place + 4, name, "ink strong" if strong else "ink", "start"))
    return parts


def spread_apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones, at least `gap` from each other, between two ends where there is room.

    Args:
        wanted: places, any order.
        gap: least distance.
        low, high: the ends.
    """
    order = np.argsort(wanted, kind="stable")
    placed = np.asarray(wanted, np.float64)[order]
    steps = gap * np.arange(len(placed))
    # What is pushed down by those above it, then up by the lower end.
    placed = np.maximum.accumulate(np.maximum(placed, low) - steps) + steps
    placed = np.minimum(placed, high - steps[::-1])
    result = np.empty_like(placed)
    result[order] = placed
    return [float(each) for each in result]


def _across(x: float, right: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * x / (right or 1.0), 1)


def _up(y: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * y / top, 1)


def _dot_place(value: float, low: float, high: float) -> float:
    return round(NAMES + (WIDTH - NAMES - 24) * (value - low) / (high - low), 1)


def _words(x: float, y: float, text: str, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _svg(inner: str, width: int, height: int, label: str, caption: str) -> Html:
    name = html.escape(label, quote=True)
    return Html(
        f'<figure><svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{name}">{inner}</svg>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )
