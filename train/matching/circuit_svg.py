"""A circuit as a picture: a column a layer, a dot a channel, a line an edge, wider the more it carries."""

from __future__ import annotations

import html
from typing import Any

COLUMN, ROW, MARGIN, HEAD = 130, 34, 60, 54
"""Pixels: between layers, between channels, around the drawing, and for the titles."""
SMALLEST_DOT, LARGEST_DOT, WIDEST_LINE = 3.0, 11.0, 7.0
NODE, EDGE, TEXT = "#1f5fa8", "#b3261e", "#20262d"

Position = tuple[float, float]


def svg_from_circuit(circuit: dict[str, Any], title: str) -> str:
    """Draw a circuit.

    Args:
        circuit: see `read_circuit`.
        title: a line above it.

    Returns:
        an SVG document.
    """
    layers = circuit["layers"]
    rows = max(len(layer["nodes"]) for layer in layers)
    width, height = 2 * MARGIN + COLUMN * (len(layers) - 1), HEAD + MARGIN + ROW * rows
    places = _places(layers, rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'font-family="sans-serif" font-size="11" fill="{TEXT}" text-anchor="middle">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{width / 2}" y="20" font-size="14">{html.escape(title)}</text>',
        *_lines(circuit, places),
        *(part for number, layer in enumerate(layers) for part in _column(number, layer, places)),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _places(layers: list[dict[str, Any]], rows: int) -> dict[tuple[int, int], Position]:
    """Where each channel of each layer is drawn; shorter columns stand in the middle."""
    return {
        (number, node["channel"]): (
            MARGIN + COLUMN * number,
            HEAD + ROW * (row + 0.5 + (rows - len(layer["nodes"])) / 2),
        )
        for number, layer in enumerate(layers)
        for row, node in enumerate(layer["nodes"])
    }


def _lines(circuit: dict[str, Any], places: dict[tuple[int, int], Position]) -> list[str]:
    strongest: dict[int, float] = {}
    for edge in circuit["edges"]:
        strongest[edge["layer"]] = max(strongest.get(edge["layer"], 0.0), edge["score"])
    parts = []
    for edge in circuit["edges"]:
        (x1, y1), (x2, y2) = places[edge["layer"], edge["source"]], places[edge["layer"] + 1, edge["target"]]
        share = edge["score"] / strongest[edge["layer"]] if strongest[edge["layer"]] else 0.0
        parts.append(
            f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{EDGE}" stroke-opacity="{0.1 + 0.6 * share:.2f}" '
            f'stroke-width="{max(0.5, WIDEST_LINE * share):.2f}"/>'
        )
    return parts


def _column(number: int, layer: dict[str, Any], places: dict[tuple[int, int], Position]) -> list[str]:
    most = max((node["explanation"] for node in layer["nodes"]), default=0.0) or 1.0
    parts = [f'<text x="{MARGIN + COLUMN * number}" y="42" font-weight="bold">{html.escape(layer["name"])}</text>']
    for node in layer["nodes"]:
        x, y = places[number, node["channel"]]
        radius = SMALLEST_DOT + (LARGEST_DOT - SMALLEST_DOT) * node["explanation"] / most
        told = f"picture {node['image']:.1%}, explanation {node['explanation']:.1%}"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{NODE}"><title>{told}</title></circle>')
        parts.append(f'<text x="{x:.1f}" y="{y + LARGEST_DOT + 10:.1f}" font-size="9">{node["channel"]}</text>')
    return parts
