"""Training of a token-mask head over many texts: by MaRC's objective, or by copying masks that were made before.

The classifier's parameters take no gradient and its module stays in eval mode; hidden states are read from whole texts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from whymask.runtime.errors import InputError, TrainingError
from whymask.train.text.amortized_config import AmortizedConfig
from whymask.train.text.amortized_head import TokenMaskHead
from whymask.train.text.amortized_loss import Asked, terms, weighted
from whymask.train.text.classifier import Tokens
from whymask.train.text.marc import OnStep
from whymask.train.text.reading import ReadableClassifier, batch_of, state_widths

Loss = Callable[[Tensor, Sequence[int], Asked], Tensor]
"""From scores float (K, N), the texts' numbers and what is asked of them to a scalar."""


def new_head(classifier: ReadableClassifier, config: AmortizedConfig) -> TokenMaskHead:
    """An untrained head of the classifier's own states, seeded."""
    torch.manual_seed(config.seed)
    return TokenMaskHead(state_widths(classifier), len(classifier.labels), config.width, config.reach)


def fit_head(
    classifier: ReadableClassifier,
    texts: Sequence[Tokens],
    config: AmortizedConfig,
    *,
    seconds: float | None = None,
    on_step: OnStep | None = None,
) -> TokenMaskHead:
    """Train by the objective of `amortized_loss.py`; each text is explained for its predicted class.

    Args:
        classifier: asked, never changed.
        texts: to learn from; labels are not needed.
        config: how.
        seconds: of processor time after which training ends, None for no limit; the rate follows steps or time,
            whichever is further.
        on_step: told after each step how many are done.

    Returns:
        The head, in eval mode.

    Raises:
        InputError: no text.
        TrainingError: the loss is not finite.
    """
    generator = torch.Generator().manual_seed(config.seed)

    def loss(scores: Tensor, rows: Sequence[int], asked: Asked) -> Tensor:
        del rows
        return weighted(terms(classifier, asked, scores, config, generator), config)

    return _fit(classifier, texts, config, loss, seconds, on_step)


def distil_head(
    classifier: ReadableClassifier,
    texts: Sequence[Tokens],
    masks: Sequence[Tensor],
    config: AmortizedConfig,
    *,
    seconds: float | None = None,
    on_step: OnStep | None = None,
) -> TokenMaskHead:
    """Train by the cross-entropy to given masks, such as those of MaRC.

    Args:
        masks: float (N,) a text, in [0, 1].
        classifier, texts, config, seconds, on_step: as for `fit_head`, as are the result and the errors.

    Raises:
        InputError: a text without a mask of its length.
    """
    if [len(each.ids) for each in texts] != [len(mask) for mask in masks]:
        raise InputError(
            f"distillation: {len(texts)} texts and {len(masks)} masks; expected one mask a text, of a number a token"
        )

    def loss(scores: Tensor, rows: Sequence[int], asked: Asked) -> Tensor:
        own = asked.batch.own
        wanted = torch.zeros_like(scores)
        for place, row in enumerate(rows):
            wanted[place, : len(masks[row])] = masks[row]
        return functional.binary_cross_entropy_with_logits(scores[own], wanted[own])

    return _fit(classifier, texts, config, loss, seconds, on_step)


def _fit(
    classifier: ReadableClassifier,
    texts: Sequence[Tokens],
    config: AmortizedConfig,
    loss_of: Loss,
    seconds: float | None,
    on_step: OnStep | None,
) -> TokenMaskHead:
    if not texts:
        raise InputError("amortized text: no text to learn from; give some hundred")
    head = new_head(classifier, config)
    draw = torch.Generator().manual_seed(config.seed + 1)
    optimiser = torch.optim.Adam(head.parameters(), config.max_rate)
    start, value = time.process_time(), torch.zeros(())
    for step in range(config.steps):
        done = max(step / config.steps, 0.0 if seconds is None else (time.process_time() - start) / seconds)
        if done >= 1.0:
            break
        optimiser.param_groups[0]["lr"] = config.max_rate * one_cycle(done)
        rows = torch.randint(len(texts), (config.batch_size,), generator=draw).tolist()
        asked, scores = scored(classifier, head, [texts[row] for row in rows])
        value = loss_of(scores, rows, asked)
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if not torch.isfinite(value):
            raise TrainingError(f"amortized text: the loss became {value.item()} at step {step}; lower max_rate")
        if on_step:
            on_step(step + 1)
    return head.eval()


def scored(classifier: ReadableClassifier, head: TokenMaskHead, texts: Sequence[Tokens]) -> tuple[Asked, Tensor]:
    """Read texts whole and score their tokens for the predicted classes.

    Returns:
        What the classifier may be asked about them, and z float (K, N) with gradient to the head alone.
    """
    batch = batch_of(texts, classifier.pad_id)
    with torch.no_grad():
        embeddings, pad = classifier.embed(batch.ids), classifier.pad()
        reading = classifier.read(embeddings, batch.seen)
    target = reading.logits.argmax(1)
    return Asked(batch, embeddings, pad, target), head(reading.states, batch.own, target)


def one_cycle(done: float) -> float:
    """The rate's share of its peak when a share of the training is done: up for a tenth, then down to 0 in a line."""
    warm_up = 0.1
    return max(done, 0.01) / warm_up if done < warm_up else (1.0 - done) / (1.0 - warm_up)
