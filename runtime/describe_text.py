"""What a graph of texts or the folder of its training is: card, size, and its guarantee in words."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whymask.runtime.describe import promise_in_words, quantity
from whymask.runtime.errors import ArtefactError
from whymask.runtime.files import sha256_of
from whymask.runtime.onnx_wire import metadata, operators
from whymask.runtime.text_card import CARD_FILE, METADATA_KEY, TextCard
from whymask.runtime.text_tokenizer import TOKENIZER_KEY


@dataclass(frozen=True)
class TextDescription:
    """All that can be said without running anything.

    Attributes:
        path: the file or the folder of its training.
        card: its card.
        tokenizer: how the file says that texts are cut, in words; empty for a folder.
        files: size in bytes of every file, by name.
        sha256: digest of the graph's file; empty for a folder.
        operators: how often each operator occurs; empty for a folder.
    """

    path: Path
    card: TextCard
    tokenizer: str
    files: dict[str, int]
    sha256: str = ""
    operators: dict[str, int] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """The description as plain values for JSON."""
        return {
            "path": str(self.path),
            "files": self.files,
            "sha256": self.sha256,
            "operators": self.operators,
            "tokenizer": self.tokenizer,
            "guarantee": text_guarantee_in_words(self.card),
            "card": json.loads(self.card.to_json()),
        }


def is_text(path: Path) -> bool:
    """Whether this is a graph of `whymask export-text`, or a folder of `whymask train-text`."""
    if path.is_dir():
        return (path / CARD_FILE).is_file()
    return path.suffix == ".onnx" and path.is_file() and METADATA_KEY in metadata(path)


def describe_text(path: Path) -> TextDescription:
    """Describe a graph of texts or the folder of its training.

    Args:
        path: for which `is_text` is true.

    Raises:
        ArtefactError: a card that cannot be read.
    """
    if path.is_dir():
        try:
            card = TextCard.from_json((path / CARD_FILE).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ArtefactError(f"{path / CARD_FILE}: cannot be read ({error}); train again") from None
        return TextDescription(path, card, "", {each.name: each.stat().st_size for each in sorted(path.iterdir())})
    held = metadata(path)
    card = TextCard.from_json(held[METADATA_KEY])
    files = {path.name: path.stat().st_size}
    return TextDescription(
        path, card, _cut_in_words(card, TOKENIZER_KEY in held), files, sha256_of(path), operators(path)
    )


def text_guarantee_in_words(card: TextCard) -> str:
    """What the card promises, and on what evidence."""
    shown = "the rationale alone, PAD elsewhere"
    return promise_in_words(card.guarantee, card.threshold, shown=shown, judged="texts", like="texts", parts="tokens")


def text_lines(description: TextDescription) -> list[str]:
    """The description as lines for a terminal."""
    card = description.card
    rows = [
        ("path", str(description.path)),
        *(("file", f"{name}, {quantity(size, 'B')}") for name, size in description.files.items()),
        ("sha256", description.sha256),
        ("operators", ", ".join(f"{count} {name}" for name, count in description.operators.items())),
        ("classifier", card.classifier),
        ("weights", f"sha256 {card.sha256}"),
        ("classes", ", ".join(card.labels)),
        ("explainer", f"token-mask head, {quantity(card.parameters)} parameters, seed {card.seed}"),
        ("texts", f"{card.max_tokens} tokens at most; {description.tokenizer}".rstrip("; ")),
        ("guarantee", text_guarantee_in_words(card)),
        *(("metric", f"{name} = {value:g}") for name, value in card.metrics.items()),
        ("training", ", ".join(f"{name} {value}" for name, value in card.training.items())),
        ("versions", ", ".join(f"{name} {version}" for name, version in card.versions.items())),
    ]
    return [f"{name:<11}{text}" for name, text in rows if text]


def _cut_in_words(card: TextCard, has_tokenizer: bool) -> str:
    if card.vocabulary:
        return f"cut into words by a vocabulary of {len(card.vocabulary)} in the file"
    if has_tokenizer:
        return "cut by the tokenizer in the file, which the package tokenizers reads"
    return "cut by a tokenizer that the file does not hold: load_text(path, tokenizer=…)"
