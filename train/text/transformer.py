"""A small transformer classifier of words: made for studies and tests, saved as a folder, read by `whymask rationale`.

PAD is an ordinary token to it, seen in training, so that a text with PAD in some places is nothing strange.
Letters: K texts of N tokens, D width, C classes.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.files import write_atomically
from whymask.runtime.from_json import dataclass_from_record, record_from_json
from whymask.runtime.words import PAD_ID, check_length
from whymask.train.text.classifier import Tokens
from whymask.train.text.reading import Reading
from whymask.train.text.words import WordTokeniser

SCHEMA_VERSION = 1
UNSEEN = -1e9
"""Below every value of a place: what has no place cannot be the largest."""
DESCRIPTION, WEIGHTS = "text-classifier.json", "text-classifier.safetensors"


@dataclass(frozen=True)
class TransformerShape:
    """Sizes of the network.

    Attributes:
        width: of embeddings and layers, D, a multiple of `heads`.
        heads: of attention.
        layers: of the encoder.
        max_tokens: longest text.
    """

    width: int = 32
    heads: int = 2
    layers: int = 2
    max_tokens: int = 128

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        if min(self.width, self.heads, self.layers, self.max_tokens) < 1 or self.width % self.heads:
            raise InputError(f"transformer: {self}, expected sizes of at least 1 and a width that heads divide")


class TransformerNet(nn.Module):
    """Embeddings, a look at both neighbours, learnt positions, encoder, largest value over places, one linear layer."""

    def __init__(self, words: int, classes: int, shape: TransformerShape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(words, shape.width)
        nn.init.normal_(self.embedding.weight, std=0.7)
        self.position = nn.Parameter(waves(shape.max_tokens, shape.width))
        # Pairs of neighbours ("not poor") are seen from the first step; attention alone takes thousands to find them.
        self.near = nn.Conv1d(shape.width, shape.width, 3, padding=1)
        layer = nn.TransformerEncoderLayer(
            shape.width, shape.heads, 2 * shape.width, dropout=0.1, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)
        self.head = nn.Linear(shape.width, classes)

    def forward(self, embeddings: Tensor) -> Tensor:
        """float32 (K, N, D) → logits float32 (K, C)."""
        near = nn.functional.gelu(self.near(embeddings.transpose(1, 2)).transpose(1, 2))
        places = self.encoder(embeddings + near + self.position[: embeddings.shape[1]])
        # Not the mean: it would shrink with every word that says nothing.
        logits: Tensor = self.head(places.amax(1))
        return logits

    def read(self, embeddings: Tensor, seen: Tensor) -> Reading:
        """The same for texts of several lengths, with the states between the layers.

        Args:
            embeddings: float32 (K, N, D).
            seen: bool (K, N), false after a text's end; logits there are those of each text alone, up to rounding.
        """
        # A text's last word has zeros to its right when it stands alone; so it has here.
        embeddings = embeddings * seen[..., None]
        near = nn.functional.gelu(self.near(embeddings.transpose(1, 2)).transpose(1, 2))
        places = embeddings + near + self.position[: embeddings.shape[1]]
        states = [places]
        for layer in self.encoder.layers:
            places = layer(places, src_key_padding_mask=~seen)
            states.append(places)
        return Reading(self.head(places.masked_fill(~seen[..., None], UNSEEN).amax(1)), tuple(states))


def waves(places: int, width: int) -> Tensor:
    """Sines and cosines of positions (Vaswani et al. 2017, arXiv 1706.03762), float32 (places, width)."""
    rate = torch.exp(-math.log(10_000.0) * (torch.arange(width) // 2) / max(1, width // 2))
    angle = torch.arange(places)[:, None] * rate
    return torch.where(torch.arange(width) % 2 == 0, angle.sin(), angle.cos())


class WordClassifier:
    """The network with its tokeniser and labels: a `TextClassifier`, and a `ReadableClassifier`.

    Args:
        net: in eval mode and frozen from here on.
        tokeniser: whose ids the embedding takes.
        labels: one a class.
        name: for records.
    """

    def __init__(self, net: TransformerNet, tokeniser: WordTokeniser, labels: tuple[str, ...], name: str) -> None:
        self.net = net.eval().requires_grad_(False)
        self.tokeniser, self.labels, self.name = tokeniser, labels, name

    def tokenise(self, text: str) -> Tokens:
        """Words and punctuation marks.

        Raises:
            InputError: no word, or more than the network has positions.
        """
        tokens = self.tokeniser(text)
        check_length(len(tokens.ids), self.max_tokens, self.name)
        return tokens

    def embed(self, ids: Tensor) -> Tensor:
        """Rows of the embedding, float32 (N, D)."""
        rows: Tensor = self.net.embedding(ids)
        return rows

    def pad(self) -> Tensor:
        """PAD's row, float32 (D,)."""
        return self.net.embedding.weight[PAD_ID]

    def logits(self, embeddings: Tensor) -> Tensor:
        """float32 (K, C) of float32 (K, N, D)."""
        result: Tensor = self.net(embeddings)
        return result

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.net

    @property
    def pad_id(self) -> int:
        """PAD's number."""
        return PAD_ID

    @property
    def special_ids(self) -> tuple[int, ...]:
        """None: every word is the text's own."""
        return ()

    @property
    def max_tokens(self) -> int:
        """Longest text."""
        return self.net.shape.max_tokens

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Words by number."""
        return self.tokeniser.vocabulary

    @property
    def tokenizer_json(self) -> str:
        """Empty: the vocabulary says all."""
        return ""

    def read(self, embeddings: Tensor, seen: Tensor) -> Reading:
        """Logits and states of float32 (K, N, D), with `seen` bool (K, N)."""
        return self.net.read(embeddings, seen)


def save_classifier(classifier: WordClassifier, folder: Path) -> None:
    """Write description and weights.

    Raises:
        ArtefactError: the folder cannot be written.
    """
    record = {
        "kind": "whymask.text-classifier",
        "schema": SCHEMA_VERSION,
        "labels": classifier.labels,
        "shape": dataclasses.asdict(classifier.net.shape),
        "vocabulary": classifier.tokeniser.vocabulary,
    }
    write_atomically(folder / WEIGHTS, save(classifier.net.state_dict()))
    write_atomically(folder / DESCRIPTION, json.dumps(record, ensure_ascii=False, indent=1) + "\n")


def load_word_classifier(folder: Path) -> WordClassifier:
    """Read what `save_classifier` wrote.

    Raises:
        ArtefactError: absent, damaged or of a newer schema.
    """
    again = "train and save the classifier again"
    try:
        text = (folder / DESCRIPTION).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{folder / DESCRIPTION}: cannot be read ({error}); {again}") from None
    record = record_from_json(text, str(folder / DESCRIPTION), SCHEMA_VERSION, again)
    absent = {"labels", "shape", "vocabulary"} - record.keys()
    if absent:
        raise ArtefactError(f"{folder / DESCRIPTION} lacks {', '.join(sorted(absent))}; {again}")
    shape = dataclass_from_record(TransformerShape, "shape", record["shape"])
    net = TransformerNet(len(record["vocabulary"]), len(record["labels"]), shape)
    try:
        net.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ArtefactError(f"{folder / WEIGHTS}: does not fit its description ({error}); {again}") from None
    return WordClassifier(net, WordTokeniser(tuple(record["vocabulary"])), tuple(record["labels"]), folder.name)
