"""A text classifier that also shows its hidden states, for many texts at once: what an amortized explainer reads.

Letters: K texts, N tokens of the longest, D width of an embedding, D_l width of layer l, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from whymask.train.text.classifier import TextClassifier, Tokens


class Reading(NamedTuple):
    """What a classifier makes of texts.

    Attributes:
        logits: float32 (K, C).
        states: float32 (K, N, D_l) each, from the first layer's input to the last layer's output.
    """

    logits: Tensor
    states: tuple[Tensor, ...]


class ReadableClassifier(TextClassifier, Protocol):
    """A `TextClassifier` whose hidden states can be read, and that takes texts of several lengths together."""

    @property
    def module(self) -> nn.Module:
        """All of its parameters, frozen."""

    @property
    def pad_id(self) -> int:
        """Number of PAD."""

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Numbers of tokens that are none of a text's own."""

    @property
    def max_tokens(self) -> int:
        """Longest text."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Words by number where `whymask.runtime.words` is its tokeniser; empty for another tokeniser."""

    @property
    def tokenizer_json(self) -> str:
        """The `tokenizer.json` of another tokeniser; empty where the vocabulary says all."""

    def read(self, embeddings: Tensor, seen: Tensor) -> Reading:
        """Logits and states.

        Args:
            embeddings: float32 (K, N, D), without positions.
            seen: bool (K, N); false after a text's end, where nothing counts.
        """


@dataclass(frozen=True)
class TextBatch:
    """Texts side by side.

    Attributes:
        ids: int64 (K, N), PAD after a text's end.
        seen: bool (K, N), false after a text's end.
        own: bool (K, N), true at a text's own tokens.
    """

    ids: Tensor
    seen: Tensor
    own: Tensor


def batch_of(texts: Sequence[Tokens], pad_id: int) -> TextBatch:
    """Put texts side by side, filled up to the longest."""
    shape = len(texts), max(len(each.ids) for each in texts)
    ids = torch.full(shape, pad_id)
    seen, own = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    for row, each in enumerate(texts):
        count = len(each.ids)
        ids[row, :count] = torch.tensor(each.ids)
        seen[row, :count] = True
        own[row, :count] = ~torch.tensor(each.special)
    return TextBatch(ids, seen, own)


def state_widths(classifier: ReadableClassifier) -> tuple[int, ...]:
    """D_l of every state, asked with a text of one PAD."""
    with torch.no_grad():
        states = classifier.read(classifier.pad()[None, None], torch.ones(1, 1, dtype=torch.bool)).states
    return tuple(each.shape[2] for each in states)
