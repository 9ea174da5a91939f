"""A record of `whymask.benchmarks.refinement` in words, as a Markdown table and as a page with its curve.

Letters: n pictures.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.intervals import Interval
from whymask.benchmarks.overlap import mean_interval
from whymask.benchmarks.report import Html, document, paragraph, section
from whymask.benchmarks.report import table as html_table
from whymask.benchmarks.tables import table

HEAD = ("map", "steps", "s a picture", "mean retention", "to the single pass", "AUC", "least area")
WIDTH, HEIGHT, LEFT, BOTTOM, RIGHT, TOP = 620, 320, 56, 44, 150, 14
"""Of the plot in pixels: the whole, and the margins."""
COLOURS = ("#b3261e", "#1f5fa8")


def finding(record: dict[str, Any]) -> str:
    """What one pass leaves on the table, in a sentence, with its interval."""
    single, best = _single_pass(record), _longest(record)
    gain = _difference(best, single)
    told = "" if gain.low > 0 or gain.high < 0 else ", which does not tell it from nothing"
    least = _values(best, "least_area").mean() - _values(single, "least_area").mean()
    interval = f"95 % interval {100 * gain.low:.1f} to {100 * gain.high:.1f}{told}"
    spent = f"{best['steps']} steps of refinement at {_values(best, 'seconds').mean():.2g} s a picture"
    pass_time = f"a pass of {_values(single, 'seconds').mean():.2g} s"
    if gain.value > 0:
        left = f"One pass leaves {_points(gain.value)} of mean retention on the table ({interval}): what {spent} add to"
    else:
        left = (
            f"One pass leaves nothing on the table that was found: {_points(gain.value)} ({interval}) by {spent} after"
        )
    return f"{left} {pass_time}. The least sufficient area moves by {100 * least:+.1f} points."


def tables_from_record(record: dict[str, Any]) -> str:
    """Finding, how it was measured, and a row a case, as Markdown."""
    return "\n\n".join([finding(record), method(record), table(HEAD, _rows(record))])


def page_from_record(record: dict[str, Any]) -> Html:
    """The same as an HTML page of its own, with the curve as inline SVG."""
    title = f"What one pass leaves on the table: {record['classifier']}"
    return document(
        title,
        [
            section("Finding", paragraph(finding(record)), curve_svg(record)),
            section("All figures", html_table(HEAD, _rows(record)), paragraph(method(record))),
        ],
    )


def method(record: dict[str, Any]) -> str:
    """How it was measured."""
    shares = ", ".join(f"{area:.0%}" for area in record["mean_areas"])
    first, last = record["areas"][0], record["areas"][-1]
    return (
        f"{len(record['pictures'])} pictures, judged by {record['judge']} on hard masks with the card's fill. Mean "
        f"retention: share of kept decisions, averaged over {shares} of the pixels; AUC: over {first:.0%} to "
        f"{last:.0%}; least area: the smallest of the judged areas that keeps the class, 100 % where none does. "
        f"Seconds: chunks of {record['batch']} on {record['cpu']}, {record['threads']} threads. In brackets: 95 % "
        "bootstrap intervals over pictures, paired for differences."
    )


def curve_svg(record: dict[str, Any]) -> Html:
    """Mean retention over seconds a picture, logarithmic, one line a start."""
    points = {
        start: [(_values(c, "seconds").mean(), _values(c, "retention").mean()) for c in cases]
        for start, cases in _by_start(record).items()
    }
    seconds = [max(x, 1e-6) for each in points.values() for x, _ in each]
    low, high = math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds)))
    high = max(high, low + 1)
    top = max(0.1, math.ceil(10 * max(y for each in points.values() for _, y in each)) / 10)

    def place(x: float, y: float) -> tuple[float, float]:
        share = (math.log10(max(x, 1e-6)) - low) / (high - low)
        across, up = LEFT + (WIDTH - LEFT - RIGHT) * share, (HEIGHT - BOTTOM - TOP) * y / top
        return round(across, 1), round(HEIGHT - BOTTOM - up, 1)

    parts = [_axes(low, high, top)]
    for (start, each), colour, number in zip(points.items(), COLOURS, range(len(COLOURS)), strict=False):
        placed = [place(x, y) for x, y in each]
        line = " ".join(f"{x},{y}" for x, y in placed)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>' for x, y in placed]
        name = f'<text x="{WIDTH - RIGHT + 12}" y="{TOP + 14 + 20 * number}" fill="{colour}">'
        parts.append(f"{name}{html.escape(start)}</text>")
    label = "mean retention over seconds a picture, single pass refined and from scratch"
    return Html(
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{label}">{"".join(parts)}'
        "</svg><figcaption>Mean retention in % over seconds a picture. Points: steps, from none.</figcaption></figure>"
    )


def _axes(low: int, high: int, top: float) -> str:
    parts = []
    for step in range(6):
        height = round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * step / 5, 1)
        parts.append(f'<path d="M{LEFT} {height}H{WIDTH - RIGHT}" stroke="#d8dde3"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{height + 4}" text-anchor="end">{20 * top * step:.3g}</text>')
    for power in range(low, high + 1):
        across = LEFT + (WIDTH - LEFT - RIGHT) * (power - low) / (high - low)
        parts.append(f'<text x="{across:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{10.0**power:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">seconds a picture</text>')
    return "".join(parts)


def _rows(record: dict[str, Any]) -> list[list[str]]:
    single = _single_pass(record)
    return [_row(case, single) for case in record["cases"]]


def _row(case: dict[str, Any], single: dict[str, Any]) -> list[str]:
    retention = mean_interval(_values(case, "retention"))
    gain = "–" if case is single else _bracketed(_difference(case, single), signed=True)
    auc, least = mean_interval(_values(case, "auc")), mean_interval(_values(case, "least_area"))
    seconds = f"{_values(case, 'seconds').mean():.3g}"
    return [case["start"], str(case["steps"]), seconds, _bracketed(retention), gain, _bracketed(auc), _bracketed(least)]


def _by_start(record: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    starts = dict.fromkeys(case["start"] for case in record["cases"])
    return {start: [case for case in record["cases"] if case["start"] == start] for start in starts}


def _single_pass(record: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = record["cases"][0]
    return first


def _longest(record: dict[str, Any]) -> dict[str, Any]:
    """The single pass after most steps."""
    cases: Sequence[dict[str, Any]] = next(iter(_by_start(record).values()))
    return max(cases, key=lambda case: int(case["steps"]))


def _difference(case: dict[str, Any], single: dict[str, Any]) -> Interval:
    return mean_interval(_values(case, "retention") - _values(single, "retention"))


def _values(case: dict[str, Any], name: str) -> NDArray[np.float64]:
    return np.asarray(case[name], np.float64)


def _bracketed(interval: Interval, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{100 * interval.value:{sign}.1f} % [{100 * interval.low:{sign}.1f}, {100 * interval.high:{sign}.1f}]"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"
