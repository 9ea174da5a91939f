"""What a text classifier has to answer so that rationales can be made for it.

A rationale is made in the space of token embeddings: a dropped token takes the embedding of PAD, positions stay. So a
classifier here tells its tokens with the characters that they cover, their embeddings, and logits of any embeddings.

Letters: N tokens of a text, D width of an embedding, K embedded texts of one length, C classes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from whymask.runtime.errors import InputError


@dataclass(frozen=True)
class Tokens:
    """A text as its classifier reads it.

    Attributes:
        text: as given.
        ids: of the tokens, (N).
        spans: first character and the one after the last of each token, in `text`; empty spans for special tokens.
        special: whether a token is none of the text's ([CLS], [SEP]): never masked, never part of a rationale.
    """

    text: str
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    special: tuple[bool, ...]

    def __post_init__(self) -> None:
        """Refuse tokens that cannot be explained."""
        if not len(self.ids) == len(self.spans) == len(self.special):
            raise InputError(
                f"tokens: {len(self.ids)} ids, {len(self.spans)} spans, {len(self.special)} special flags; expected "
                "one of each a token"
            )
        if all(self.special):
            raise InputError(f"text {self.text[:40]!r}: no token to explain; give a text with at least one word")

    @property
    def own(self) -> Tensor:
        """Positions of the text's own tokens, int64."""
        return torch.tensor([i for i, special in enumerate(self.special) if not special])

    @property
    def words(self) -> Tensor:
        """Number, from 0, of the word that each of the text's own tokens is a piece of, int64 (n,).

        Pieces of one word adjoin, letter or digit to letter or digit; a punctuation mark is a word of its own.
        """
        spans = [span for span, special in zip(self.spans, self.special, strict=True) if not special]
        begins = [not _adjoin(self.text, one, other) for one, other in itertools.pairwise(spans)]
        return torch.tensor([0, *begins]).cumsum(0)


def _adjoin(text: str, one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether a token goes on where the one before it ended, inside a word."""
    return one[1] == other[0] > one[0] and text[other[0] - 1].isalnum() and text[other[0] : other[1]][:1].isalnum()


class TextClassifier(Protocol):
    """A frozen text classifier.

    Attributes:
        name: how the user named it.
        labels: one a class.
    """

    @property
    def name(self) -> str:
        """How the user named it."""

    @property
    def labels(self) -> tuple[str, ...]:
        """One a class."""

    def tokenise(self, text: str) -> Tokens:
        """A text's tokens; an over-long text is an InputError, never cut in silence."""

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings without positions, float32 (N, D), of ids int64 (N,)."""

    def pad(self) -> Tensor:
        """The embedding of PAD, float32 (D,)."""

    def logits(self, embeddings: Tensor) -> Tensor:
        """float32 (K, C) of embeddings float32 (K, N, D); every position is attended to."""


@torch.no_grad()
def probabilities(classifier: TextClassifier, embeddings: Tensor) -> Tensor:
    """softmax of the logits, float32 (K, C), of embeddings float32 (K, N, D)."""
    return classifier.logits(embeddings).softmax(1)


def class_from_label(classifier: TextClassifier, label: str) -> int:
    """The class of a label, or of its number.

    Raises:
        InputError: neither a label nor a number of a class.
    """
    if label in classifier.labels:
        return classifier.labels.index(label)
    if label.isdecimal() and int(label) < len(classifier.labels):
        return int(label)
    raise InputError(
        f"target {label!r}: {classifier.name} has no such class; expected one of {', '.join(classifier.labels)}"
    )
