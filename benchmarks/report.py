"""A report as one HTML file that needs nothing else: styles inline, pictures as data, curves as SVG.

    page = document("A title", [section("Results", paragraph("…"), table(["map", "retention"], rows))])
    write_report(Path("report.html"), page)

Each function returns a piece of HTML. Plain text given to it is escaped; `Html`, which these functions make, is not.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.files import write_atomically


class Html(str):
    """Text that is HTML already."""


COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9")
"""Of curves, in order: told apart by most colour-blind readers (Okabe and Ito 2008), dark enough on white."""

STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --soft: #5b6470; --line: #d8dde3; --good: #0a6b3d; --bad: #a8321f; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; margin: 2rem auto; max-width: 72rem;
  padding: 0 1rem; }
h1 { line-height: 1.2; margin-bottom: .25rem } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line) }
p { max-width: 48rem } .soft, figcaption, caption { color: var(--soft); font-size: .9rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums } caption { text-align: left }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left } tr.strong td { font-weight: 600 }
figure { margin: 0 0 1rem } figure img { image-rendering: pixelated; display: block; width: 100% }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem }
.good { color: var(--good); font-weight: 600 } .bad { color: var(--bad); font-weight: 600 }
.scroll { overflow-x: auto } svg { max-width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif }
"""


def document(title: str, sections: Sequence[str], subtitle: str = "") -> Html:
    """The whole page.

    Args:
        title: shown on top and in the window's title.
        sections: made by `section`, in order.
        subtitle: one sentence under the title.
    """
    body = "\n".join(_text(part) for part in sections)
    return Html(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>"
        f'<p class="soft">{_text(subtitle)}</p>\n{body}\n</body></html>\n'
    )


def section(title: str, *parts: str) -> Html:
    """A heading with what belongs to it; a plain string becomes a paragraph."""
    inner = "\n".join(part if isinstance(part, Html) else paragraph(part) for part in parts)
    return Html(f"<section><h2>{html.escape(title)}</h2>\n{inner}</section>")


def paragraph(text: str) -> Html:
    """One paragraph."""
    return Html(f"<p>{_text(text)}</p>")


def verdict(met: bool, text: str) -> Html:
    """A statement with its mark, told by word as well as by colour."""
    word, kind = ("met", "good") if met else ("not met", "bad")
    return Html(f'<span class="{kind}">{word}</span>: {_text(text)}')


def bullets(items: Sequence[str]) -> Html:
    """A list."""
    return Html("<ul>" + "".join(f"<li>{_text(item)}</li>" for item in items) + "</ul>")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", strong: Sequence[int] = ()) -> Html:
    """A table whose first column names the rows.

    Args:
        head: names of the columns.
        rows: cells as text; each row as long as the head.
        caption: what is shown, on how many images, with which intervals.
        strong: positions of rows to stress.

    Raises:
        InputError: a row of another length than the head.
    """
    for row in rows:
        if len(row) != len(head):
            raise InputError(f"table {caption!r}: a row of {len(row)} cells under {len(head)} columns: {list(row)}")
    top = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in head)
    body = "".join(
        f"<tr{' class=strong' if i in strong else ''}>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>"
        for i, row in enumerate(rows)
    )
    return Html(
        f'<div class="scroll"><table><caption>{_text(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def figure(image: NDArray[np.uint8], caption: str, alternative: str = "") -> Html:
    """A picture inside the file.

    Args:
        image: uint8, (height, width, 3), RGB 0–255.
        caption: shown below.
        alternative: for readers who do not see the picture; the caption when empty.
    """
    data = base64.b64encode(_png_from_image(image)).decode("ascii")
    words = html.escape(alternative or caption, quote=True)
    picture = f'<img alt="{words}" src="data:image/png;base64,{data}">'
    return Html(f"<figure>{picture}<figcaption>{_text(caption)}</figcaption></figure>")


def gallery(figures: Sequence[Html]) -> Html:
    """Figures side by side, as many as the window is wide."""
    return Html(f'<div class="gallery">{"".join(figures)}</div>')


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Attributes:
        name: for the legend.
        x, y: the points, one number each.
        low, high: ends of the interval at each point, or empty.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()

    def __post_init__(self) -> None:
        """Refuse points that are not pairs."""
        lengths = {len(self.x), len(self.y), len(self.low) or len(self.x), len(self.high) or len(self.x)}
        if len(lengths) != 1 or not len(self.x):
            raise InputError(f"curve {self.name!r}: x, y, low and high need the same number of points, at least one")


WIDTH, HEIGHT, LEFT, BOTTOM, RIGHT, TOP = 560, 320, 48, 44, 120, 12
"""Of a plot in pixels: the whole, and the margins."""


def plot(curves: Sequence[Curve], x_label: str, y_label: str, caption: str) -> Html:
    """Curves of shares over shares: both axes in per cent, from 0; intervals as whiskers.

    Args:
        curves: at most six, in order of importance; values are shares, 0–1.
        x_label, y_label: names of the axes.
        caption: shown below.
    """
    if not 1 <= len(curves) <= len(COLOURS):
        raise InputError(f"plot: {len(curves)} curves, expected 1 to {len(COLOURS)}")
    right = max(max(curve.x) for curve in curves)
    lines = [_axes(right, x_label, y_label)]
    lines += [_curve(curve, right, colour) for curve, colour in zip(curves, COLOURS, strict=False)]
    lines += [
        f'<text x="{WIDTH - RIGHT + 12}" y="{TOP + 14 + 20 * i}" fill="{colour}">{html.escape(curve.name)}</text>'
        for i, (curve, colour) in enumerate(zip(curves, COLOURS, strict=False))
    ]
    label = html.escape(f"{y_label} over {x_label}: {', '.join(curve.name for curve in curves)}", quote=True)
    return Html(
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{label}">'
        f"{''.join(lines)}</svg><figcaption>{_text(caption)}</figcaption></figure>"
    )


def write_report(path: Path, page: Html) -> None:
    """Write the page, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """Write uint8 (height, width, 3) as a PNG file, whole or not at all."""
    write_atomically(path, _png_from_image(image))


def percent(share: float, digits: int = 1) -> str:
    """A share as per cent, for tables."""
    return f"{100 * share:.{digits}f} %"


def _place(x: float, y: float, right: float) -> tuple[float, float]:
    """A point (share of `right`, share) in pixels from the upper left corner."""
    across = LEFT + (WIDTH - LEFT - RIGHT) * x / (right or 1.0)
    return round(across, 1), round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * y, 1)


def _axes(right: float, x_label: str, y_label: str) -> str:
    """Grid lines with their values, and the names of the axes."""
    parts = []
    for step in range(6):
        across, height = _place(right * step / 5, step / 5, right)
        parts.append(f'<path d="M{LEFT} {height}H{WIDTH - RIGHT}" stroke="#d8dde3"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{height + 4}" text-anchor="end">{20 * step}</text>')
        parts.append(
            f'<text x="{across}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{100 * right * step / 5:.3g}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(x_label)}, %</text>')
    parts.append(
        f'<text transform="translate(12 {(HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(y_label)}, %</text>"
    )
    return "".join(parts)


def _curve(curve: Curve, right: float, colour: str) -> str:
    points = [_place(x, y, right) for x, y in zip(curve.x, curve.y, strict=True)]
    path = " ".join(f"{x},{y}" for x, y in points)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points]
    for x, low, high in zip(curve.x, curve.low, curve.high, strict=False):
        (across, bottom), (_, top) = _place(x, low, right), _place(x, high, right)
        parts.append(f'<path d="M{across} {bottom}V{top}" stroke="{colour}" stroke-opacity=".5"/>')
    return "".join(parts)


def _text(value: str) -> str:
    return value if isinstance(value, Html) else html.escape(value)


def _png_from_image(image: NDArray[np.uint8]) -> bytes:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"figure: {image.dtype} {image.shape}, expected uint8 (height, width, 3)")
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "bench", "put pictures into a report") from None
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
