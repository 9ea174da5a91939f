"""A rationale as a record: runs of tokens, as spans of the text's own characters, with what they do. Without torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whymask.runtime.text_explanation import TextSpan

if TYPE_CHECKING:
    from whymask.train.text.marc import TextMarcConfig

SCHEMA_VERSION = 1
CUT = 0.5
"""Tokens whose mask reaches this are MaRC's rationale."""


@dataclass(frozen=True)
class Rationale:
    """Why a text got its class.

    Attributes:
        model: the classifier's name.
        text: as given.
        predicted, explained: labels; the same unless another class was asked for.
        confidence: probability of the explained class, in [0, 1], of the whole text …
        kept_confidence: … of the rationale alone, PAD elsewhere …
        left_confidence: … and of all but the rationale.
        tokens: character spans of the text's own tokens.
        mask: of these tokens, in [0, 1].
        spans: the rationale, in order.
        settings: of the optimisation; None where one pass of a fused graph made it.
        cut: tokens whose mask reaches it are the rationale.
    """

    model: str
    text: str
    predicted: str
    explained: str
    confidence: float
    kept_confidence: float
    left_confidence: float
    tokens: tuple[tuple[int, int], ...]
    mask: tuple[float, ...]
    spans: tuple[TextSpan, ...]
    settings: TextMarcConfig | None
    cut: float = CUT

    def to_record(self) -> dict[str, Any]:
        """What is written as JSON; character offsets count Unicode code points from 0."""
        plain = dataclasses.asdict(self)
        tokens = [
            {"start": start, "end": end, "text": self.text[start:end], "mask": round(value, 6)}
            for (start, end), value in zip(self.tokens, self.mask, strict=True)
        ]
        plain["tokens"], plain["spans"] = tokens, [dataclasses.asdict(span) for span in self.spans]
        del plain["mask"]
        return {"kind": "whymask.rationale", "schema": SCHEMA_VERSION, **plain}
