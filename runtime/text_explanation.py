"""What a fused graph of texts says of one text.

Letters: N tokens, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TextSpan:
    """A run of kept tokens.

    Attributes:
        start, end: first character, and the one after the last, in the text; Unicode code points from 0.
        text: these characters.
        weight: mean of the run's saliency, in [0, 1].
    """

    start: int
    end: int
    text: str
    weight: float


@dataclass(frozen=True)
class TextExplanation:
    """A decision and the words that hold it.

    Attributes:
        text: as given.
        label: of the predicted class.
        confidence: its probability, in [0, 1].
        logits: float32 (C,).
        saliency: float32 (N,) in [0, 1], 0 at special tokens.
        mask: uint8 (N,), 1 at the rationale's tokens.
        ids: int64 (N,), the tokens' numbers.
        offsets: characters of each token, N pairs; empty for special tokens.
        spans: the rationale, in order.
    """

    text: str
    label: str
    confidence: float
    logits: NDArray[np.float32]
    saliency: NDArray[np.float32]
    mask: NDArray[np.uint8]
    ids: NDArray[np.int64]
    offsets: tuple[tuple[int, int], ...]
    spans: tuple[TextSpan, ...]

    @property
    def area(self) -> float:
        """Share of the text's own tokens that the rationale keeps."""
        return float(self.mask[self.own].mean())

    @property
    def own(self) -> NDArray[np.bool_]:
        """bool (N,), true at the text's own tokens."""
        return own_tokens(self.offsets)


def own_tokens(offsets: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """bool (N,), true where a token covers characters, which special ones do not."""
    return np.array([start < end for start, end in offsets])


def spans_of(
    text: str,
    offsets: Sequence[tuple[int, int]],
    saliency: NDArray[np.float32],
    chosen: NDArray[np.bool_],
    own: NDArray[np.bool_],
) -> tuple[TextSpan, ...]:
    """Runs of chosen tokens; one of the text that is not chosen parts a run, a special one does not.

    Args:
        text: that the offsets count in.
        offsets: N pairs.
        saliency: float32 (N,).
        chosen: bool (N,), the rationale's tokens.
        own: bool (N,), false at special tokens.
    """
    runs: list[list[int]] = [[]]
    for position in np.flatnonzero(own).tolist():
        if chosen[position]:
            runs[-1].append(position)
        elif runs[-1]:
            runs.append([])
    return tuple(_span(text, offsets, saliency, run) for run in runs if run)


def _span(text: str, offsets: Sequence[tuple[int, int]], saliency: NDArray[np.float32], run: list[int]) -> TextSpan:
    start, end = offsets[run[0]][0], offsets[run[-1]][1]
    return TextSpan(start, end, text[start:end], round(float(saliency[run].mean()), 6))
