"""Training of the small transformer, in seconds on one core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from whymask.runtime.errors import InputError, TrainingError
from whymask.runtime.words import PAD_ID
from whymask.train.text.classifier import TextClassifier
from whymask.train.text.reading import batch_of
from whymask.train.text.transformer import TransformerNet, TransformerShape, WordClassifier
from whymask.train.text.words import WordTokeniser, vocabulary_from_texts


@dataclass(frozen=True)
class TextFitConfig:
    """How to train.

    Attributes:
        steps: of AdamW, under a one-cycle rate.
        batch_size: texts a step.
        max_rate: peak of the rate.
        dropped: largest share of a text's tokens that PAD replaces at the end of training, drawn evenly from 0 a text
            and none at the start: what explanations show to the classifier is then nothing that it never saw.
        shape: of the network.
        seed: of start, order and replacements.
    """

    steps: int = 500
    batch_size: int = 32
    max_rate: float = 4e-3
    dropped: float = 0.3
    shape: TransformerShape = field(default_factory=TransformerShape)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings with which nothing is learnt."""
        if self.steps < 2 or self.batch_size < 1 or not 0.0 <= self.dropped < 1.0:
            raise InputError(
                f"text classifier: {self.steps} steps, batch_size {self.batch_size}, dropped {self.dropped}; expected "
                "at least 2, at least 1, and a share in [0, 1)"
            )


def fit_word_classifier(
    texts: Sequence[str],
    classes: Sequence[int],
    labels: tuple[str, ...],
    config: TextFitConfig | None = None,
    on_step: Callable[[int], None] | None = None,
) -> WordClassifier:
    """Train a `WordClassifier` from scratch.

    Args:
        texts: to learn from; their words become the vocabulary.
        classes: one a text, 0 … C − 1.
        labels: one a class.
        config: how.
        on_step: told after each step how many are done.

    Raises:
        InputError: no texts, another number of classes than of texts, a class without a label, or a text too long.
        TrainingError: the loss is not finite.
    """
    config = config or TextFitConfig()
    if not texts or len(texts) != len(classes) or not all(0 <= each < len(labels) for each in classes):
        raise InputError(
            f"text classifier: {len(texts)} texts, {len(classes)} classes, {len(labels)} labels; expected one class a "
            "text, each with a label"
        )
    torch.manual_seed(config.seed)
    tokeniser = WordTokeniser(vocabulary_from_texts(texts))
    net = TransformerNet(len(tokeniser.vocabulary), len(labels), config.shape)
    ids, asked = batch_of([tokeniser(text) for text in texts], PAD_ID).ids, torch.tensor(classes)
    if ids.shape[1] > config.shape.max_tokens:
        raise InputError(
            f"text classifier: a text of {ids.shape[1]} tokens, the network reads {config.shape.max_tokens}; raise "
            "max_tokens"
        )
    optimiser = torch.optim.AdamW(net.parameters(), config.max_rate, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.max_rate, total_steps=config.steps + 1)
    for step in range(config.steps):
        rows = torch.randint(len(texts), (config.batch_size,))
        seen = _thinned(ids[rows], config.dropped * step / config.steps)
        loss = functional.cross_entropy(net(net.embedding(seen)), asked[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        rate.step()
        if on_step:
            on_step(step + 1)
    if not torch.isfinite(loss):
        raise TrainingError(f"text classifier: the loss became {loss.item()}; lower max_rate")
    return WordClassifier(net, tokeniser, labels, "small transformer")


def text_accuracy(classifier: TextClassifier, texts: Sequence[str], classes: Sequence[int]) -> float:
    """Share of the texts whose largest logit is their class's, each read alone and without padding."""
    right = 0
    for text, label in zip(texts, classes, strict=True):
        with torch.no_grad():
            logits = classifier.logits(classifier.embed(torch.tensor(classifier.tokenise(text).ids))[None])
        right += int(logits.argmax()) == label
    return right / len(texts)


def _thinned(ids: Tensor, dropped: float) -> Tensor:
    share = dropped * torch.rand(len(ids), 1)
    return torch.where(torch.rand(ids.shape) < share, PAD_ID, ids)
