"""How texts become tokens where the graph's vocabulary is not `whymask.runtime.words`: by the tokenizer in the file.

`whymask export-text` puts the classifier's `tokenizer.json` into the file's metadata. Hugging Face's `tokenizers`,
which needs no torch, cuts by it; it is loaded when such a graph is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from whymask.runtime.errors import ArtefactError, MissingExtra

TOKENIZER_KEY = "whymask-tokenizer"
"""Of the file's metadata."""

Offsets: TypeAlias = Sequence[tuple[int, int]]
Tokenizer: TypeAlias = Callable[[str], tuple[Sequence[int], Offsets]]
"""From a text to its tokens' numbers, special ones among them, and the characters of each, empty for special ones."""


def tokenizer_from_json(text: str, name: str) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`; it neither shortens texts nor fills them up, whatever the file says.

    Args:
        text: what the file holds.
        name: of the graph in messages.

    Raises:
        MissingExtra: tokenizers is not installed.
        ArtefactError: it is no tokenizer.
    """
    try:
        from tokenizers import Tokenizer as Cutter
    except ImportError:
        raise MissingExtra(
            "tokenizers", "tokenizers", f"cut texts for {name}, or load_text(path, tokenizer=…)"
        ) from None
    try:
        cutter = Cutter.from_str(text)
    except Exception as error:  # it raises nothing narrower
        raise ArtefactError(
            f"{name}: holds a tokenizer that tokenizers cannot read ({error}); export it again"
        ) from None
    cutter.no_truncation()
    cutter.no_padding()

    def cut(text: str) -> tuple[Sequence[int], Offsets]:
        found = cutter.encode(text)
        spans = zip(found.offsets, found.special_tokens_mask, strict=True)
        return found.ids, [(0, 0) if special else span for span, special in spans]

    return cut
