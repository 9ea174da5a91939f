"""A text classifier whose evidence is known: "good" and "bad" count for two, "fine" for one, all else for nothing."""

from __future__ import annotations

import torch

from whymask.runtime.words import UNKNOWN_ID
from whymask.train.text.classifier import Tokens
from whymask.train.text.words import WordTokeniser

WORDS = ("[PAD]", "[UNK]", "good", "bad", "fine")
EVIDENCE = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 1.0]])


class OpinionClassifier:
    """Logits are the sum of the embeddings; classes bad and good. `framed` puts a special token at each end."""

    name = "opinions"
    labels = ("bad", "good")

    def __init__(self, framed: bool = False) -> None:
        self._tokeniser, self._framed = WordTokeniser(WORDS), framed

    def tokenise(self, text: str) -> Tokens:
        """Words, with what frames them."""
        tokens = self._tokeniser(text)
        if not self._framed:
            return tokens
        ids = (UNKNOWN_ID, *tokens.ids, UNKNOWN_ID)
        return Tokens(text, ids, ((0, 0), *tokens.spans, (0, 0)), (True, *tokens.special, True))

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """(N, 2)."""
        return EVIDENCE[ids]

    def pad(self) -> torch.Tensor:
        """(2,)."""
        return EVIDENCE[0]

    def logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """(K, N, 2) → (K, 2)."""
        return embeddings.sum(1)
