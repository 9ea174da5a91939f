"""A tokeniser of words and punctuation marks that tells where in the text each token stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from whymask.runtime.words import RESERVED, ids_with_spans, words_with_spans
from whymask.train.text.classifier import Tokens


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
        ids, spans = ids_with_spans(text, self._ids)
        return Tokens(text, ids, spans, (False,) * len(ids))


def vocabulary_from_texts(texts: Iterable[str], least: int = 1) -> tuple[str, ...]:
    """RESERVED, then every word that occurs `least` times or more, most frequent first, ties by alphabet."""
    counts = Counter(word for text in texts for word, _ in words_with_spans(text))
    words = sorted((word for word, count in counts.items() if count >= least), key=lambda word: (-counts[word], word))
    return (*RESERVED, *words)
