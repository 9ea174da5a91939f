"""A small classifier of words with a trained head, for tests of training, export, runtime and studies."""

from __future__ import annotations

import random
from pathlib import Path

from whymask.train.text.amortized_config import AmortizedConfig
from whymask.train.text.amortized_run import TextRun, train_run
from whymask.train.text.fit_transformer import TextFitConfig, fit_word_classifier
from whymask.train.text.transformer import TransformerShape, WordClassifier, save_classifier

NEUTRAL = ("box", "day", "we", "saw", "the", "red", "bag", "on", "a", "shelf", "it", "was")
OPINIONS = {"bad": ("poor", "slow"), "good": ("fine", "quick")}
QUICK = AmortizedConfig(steps=120, batch_size=16, max_rate=5e-3, width=16, ranked=0.0)


def texts(count: int, seed: int) -> list[tuple[str, int]]:
    """Neutral words with one that decides."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        label = number % 2
        words = draw.choices(NEUTRAL, k=draw.randint(4, 9))
        words[draw.randrange(len(words))] = draw.choice(OPINIONS[("bad", "good")[label]])
        found.append((" ".join(words), label))
    return found


def tiny_classifier() -> WordClassifier:
    """Right on nearly all of these texts."""
    pairs = texts(300, 0)
    config = TextFitConfig(steps=80, max_rate=0.01, dropped=0.8, shape=TransformerShape(16, 2, 1, 24))
    return fit_word_classifier([text for text, _ in pairs], [label for _, label in pairs], tuple(OPINIONS), config)


def tiny_text_run(folder: Path, classifier: WordClassifier) -> TextRun:
    """The classifier saved in `folder/classifier`, and its explainer in `folder/run`."""
    save_classifier(classifier, folder / "classifier")
    learn = [text for text, _ in texts(300, 1)]
    return train_run(classifier, learn, str(folder / "classifier"), folder / "run", QUICK)
