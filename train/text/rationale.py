"""From a token mask to a rationale: runs of tokens, as spans of the text's own characters, with what they do.

Letters: N tokens.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from whymask.train.text.classifier import TextClassifier, Tokens, probabilities
from whymask.train.text.marc import OnStep, TextMarcConfig, explain_text, mix

SCHEMA_VERSION = 1
CUT = 0.5
"""Tokens whose mask reaches this are the rationale."""


@dataclass(frozen=True)
class Span:
    """A run of kept tokens.

    Attributes:
        start, end: first character, and the one after the last, in the text.
        text: these characters.
        weight: mean of the run's mask, in [0, 1].
    """

    start: int
    end: int
    text: str
    weight: float


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
        settings: of the optimisation.
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
    spans: tuple[Span, ...]
    settings: TextMarcConfig

    def to_record(self) -> dict[str, Any]:
        """What is written as JSON; character offsets count Unicode code points from 0."""
        plain = dataclasses.asdict(self)
        tokens = [
            {"start": start, "end": end, "text": self.text[start:end], "mask": round(value, 6)}
            for (start, end), value in zip(self.tokens, self.mask, strict=True)
        ]
        plain["tokens"], plain["spans"] = tokens, [dataclasses.asdict(span) for span in self.spans]
        del plain["mask"]
        return {"kind": "whymask.rationale", "schema": SCHEMA_VERSION, "cut": CUT, **plain}


def rationale_from_text(
    classifier: TextClassifier,
    text: str,
    target: int | None = None,
    config: TextMarcConfig | None = None,
    on_step: OnStep | None = None,
) -> Rationale:
    """Optimise a mask for a text, cut it, and ask the classifier about both parts.

    Args:
        classifier: asked, never changed.
        text: to explain.
        target: class; None takes the predicted one.
        config: of the optimisation.
        on_step: told after each step how many are done.

    Raises:
        InputError: a text without a token, or longer than the classifier reads.
    """
    config = config or TextMarcConfig()
    tokens = classifier.tokenise(text)
    embeddings, pad = classifier.embed(torch.tensor(tokens.ids)).detach(), classifier.pad().detach()
    predicted = int(probabilities(classifier, embeddings[None])[0].argmax())
    asked = predicted if target is None else target
    mask = explain_text(classifier, tokens, asked, config, on_step)
    kept, special = (mask >= CUT).float(), torch.tensor(tokens.special)
    parts = torch.stack([torch.ones_like(mask), kept, 1.0 - kept]).masked_fill(special, 1.0)
    whole, alone, left = probabilities(classifier, mix(embeddings, pad, parts))[:, asked].tolist()
    return Rationale(
        classifier.name,
        text,
        classifier.labels[predicted],
        classifier.labels[asked],
        whole,
        alone,
        left,
        tuple(tokens.spans[i] for i in tokens.own.tolist()),
        tuple(mask[tokens.own].tolist()),
        spans_from_mask(tokens, mask),
        config,
    )


def spans_from_mask(tokens: Tokens, mask: Tensor, cut: float = CUT) -> tuple[Span, ...]:
    """Runs of the text's own tokens whose mask, float (N,), reaches the cut; a dropped token between parts a run."""
    runs: list[list[int]] = []
    before = None
    own = tokens.own.tolist()
    for place, position in enumerate(own):
        if float(mask[position]) < cut:
            continue
        if before is not None and before == place - 1:
            runs[-1].append(position)
        else:
            runs.append([position])
        before = place
    return tuple(_span(tokens, mask, run) for run in runs)


def _span(tokens: Tokens, mask: Tensor, run: list[int]) -> Span:
    start, end = tokens.spans[run[0]][0], tokens.spans[run[-1]][1]
    return Span(start, end, tokens.text[start:end], round(float(mask[run].mean()), 6))
