"""A rationale for people: on a terminal and as a page that needs nothing else."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from whymask.train.text.record import Rationale

if TYPE_CHECKING:
    from rich.text import Text

HIGHLIGHT = "bold black on yellow"
STYLE = """
body { font: 18px/1.7 system-ui, sans-serif; color: #1b1f24; background: #fff; margin: 2rem auto; max-width: 44rem;
  padding: 0 1rem } p.text { white-space: pre-wrap } mark { color: inherit; border-radius: .2rem; padding: .1rem 0 }
.soft { color: #5b6470; font-size: .9rem }
"""


def headline(rationale: Rationale) -> str:
    """Class, and what the rationale does, in a sentence."""
    shown = sum(span.end - span.start for span in rationale.spans) / max(1, len(rationale.text))
    other = "" if rationale.explained == rationale.predicted else f" (predicted: {rationale.predicted})"
    return (
        f"{rationale.explained}{other}, {rationale.confidence:.0%} sure; on the rationale alone "
        f"{rationale.kept_confidence:.0%}, without it {rationale.left_confidence:.0%}; {shown:.0%} of the characters"
    )


def rich_text(rationale: Rationale) -> Text:
    """The text with its spans highlighted, for a rich console."""
    from rich.text import Text

    shown = Text(rationale.text)
    for span in rationale.spans:
        shown.stylize(HIGHLIGHT, span.start, span.end)
    return shown


def page(rationale: Rationale) -> str:
    """One HTML file: spans marked, the stronger the higher their mean mask."""
    parts, at = [], 0
    for span in rationale.spans:
        parts.append(html.escape(rationale.text[at : span.start]))
        tint = f"background: rgba(255, 193, 7, {0.25 + 0.75 * span.weight:.2f})"
        title = f"characters {span.start} to {span.end}, mean mask {span.weight:.2f}"
        parts.append(f'<mark style="{tint}" title="{title}">{html.escape(span.text)}</mark>')
        at = span.end
    parts.append(html.escape(rationale.text[at:]))
    told = html.escape(headline(rationale))
    made = html.escape(f"{rationale.model}; {_made_by(rationale)}; dropped tokens take PAD's embedding")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Rationale</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f'<body><p>{told}</p>\n<p class="text">{"".join(parts)}</p>\n<p class="soft">{made}</p></body></html>\n'
    )


def _made_by(rationale: Rationale) -> str:
    if rationale.settings is None:
        return "one pass of a fused graph"
    return f"MaRC (arXiv 2508.11388), {rationale.settings.steps} steps, seed {rationale.settings.seed}"
