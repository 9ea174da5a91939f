"""The threshold of a token-mask head, chosen on held-out texts with the promise that pictures have.

P(class of the rationale alone = class of the text) ≥ 1 − alpha with confidence 1 − delta; a text of which nothing is
kept is all PAD. Learn-then-Test by `whymask.train.calibrate`. Letters: N tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from whymask.train.calibrate import Answer, Calibration, choose_threshold
from whymask.train.text.amortized_fit import scored
from whymask.train.text.amortized_head import TokenMaskHead
from whymask.train.text.amortized_loss import Asked, own_mean
from whymask.train.text.classifier import Tokens
from whymask.train.text.marc import mix
from whymask.train.text.reading import ReadableClassifier

TOGETHER = 64
"""Texts that the classifier sees at once."""


@torch.no_grad()
def calibrate_head(
    classifier: ReadableClassifier, head: TokenMaskHead, texts: Sequence[Tokens], *, alpha: float, delta: float
) -> Calibration:
    """Choose the highest threshold whose retention is at least 1 − alpha with confidence 1 − delta.

    Args:
        classifier: asked, never changed.
        head: in eval mode.
        texts: that were not trained on. The promise is for texts drawn as these were.
        alpha, delta: in (0, 1).
    """
    parts = [scored(classifier, head, texts[start : start + TOGETHER]) for start in range(0, len(texts), TOGETHER)]

    def ask(threshold: float) -> Answer:
        answers = [retained(classifier, asked, torch.sigmoid(scores) >= threshold) for asked, scores in parts]
        kept, areas = (torch.cat(each) for each in zip(*answers, strict=True))
        return Answer(int(kept.sum()), len(kept), float(areas.mean()))

    return choose_threshold(ask, alpha=alpha, delta=delta)


@torch.no_grad()
def retained(classifier: ReadableClassifier, asked: Asked, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Which texts keep their class on the chosen tokens alone, and the share of tokens chosen.

    Args:
        classifier: asked.
        asked: texts with their predicted classes.
        chosen: bool (K, N); special tokens are shown whatever it says.

    Returns:
        bool (K,), float32 (K,).
    """
    own = asked.batch.own
    shown = (chosen | ~own).float()
    logits = classifier.read(mix(asked.embeddings, asked.pad, shown), asked.batch.seen).logits
    return logits.argmax(1) == asked.target, own_mean(chosen.float(), own)
