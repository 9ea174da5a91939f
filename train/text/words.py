"""A tokeniser of words and punctuation marks that tells where in the text each token stands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from whymask.train.text.classifier import Tokens

PAD_ID, UNKNOWN_ID = 0, 1
RESERVED = ("[PAD]", "[UNK]")
_WORD = re.compile(r"\w+|[^\w\s]")


class WordTokeniser:
    """Lower-cased words and single punctuation marks.

    Args:
        vocabulary: words by id, RESERVED first.
    """

    def __init__(self, vocabulary: tuple[str, ...]) -> None:
        self.vocabulary = vocabulary
        self._ids = {word: number for number, word in enumerate(vocabulary)}

    def __call__(self, text: str) -> Tokens:
        """Tokens with their characters; words that are not in the vocabulary get [UNK].

        Raises:
            InputError: a text without a word.
        """
        found = list(_WORD.finditer(text))
        ids = tuple(self._ids.get(match.group().lower(), UNKNOWN_ID) for match in found)
        return Tokens(text, ids, tuple(match.span() for match in found), (False,) * len(found))


def vocabulary_from_texts(texts: Iterable[str], least: int = 1) -> tuple[str, ...]:
    """RESERVED, then every word that occurs `least` times or more, most frequent first, ties by alphabet."""
    counts = Counter(match.group().lower() for text in texts for match in _WORD.finditer(text))
    words = sorted((word for word, count in counts.items() if count >= least), key=lambda word: (-counts[word], word))
    return (*RESERVED, *words)
