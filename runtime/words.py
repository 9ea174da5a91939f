"""Words and punctuation marks of a text with the characters that they cover: what a small word classifier reads.

Here and not beside the classifier, so that a device cuts a text exactly as training did.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from whymask.runtime.errors import InputError

PAD_ID, UNKNOWN_ID = 0, 1
RESERVED = ("[PAD]", "[UNK]")
_WORD = re.compile(r"\w+|[^\w\s]")

Span = tuple[int, int]
"""First character and the one after the last, in Unicode code points from 0."""


def words_with_spans(text: str) -> list[tuple[str, Span]]:
    """Lower-cased words and single punctuation marks, in order."""
    return [(match.group().lower(), match.span()) for match in _WORD.finditer(text)]


def check_length(count: int, most: int, name: str) -> None:
    """Refuse a text that its classifier cannot read whole.

    Args:
        count: of its tokens.
        most: that the classifier reads.
        name: of the classifier.

    Raises:
        InputError: more tokens than that.
    """
    if count > most:
        raise InputError(f"text of {count} tokens: {name} reads {most} at most; shorten it")


def ids_with_spans(text: str, ids: Mapping[str, int]) -> tuple[tuple[int, ...], tuple[Span, ...]]:
    """Numbers and characters of a text's words; a word that is not in `ids` gets UNKNOWN_ID."""
    found = words_with_spans(text)
    return tuple(ids.get(word, UNKNOWN_ID) for word, _ in found), tuple(span for _, span in found)
