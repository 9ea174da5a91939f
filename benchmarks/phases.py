"""The parts of an application's call around the graph: a picture made to fit, and an answer read off the outputs.

Letters: B batch, H W the graph's input size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whymask.benchmarks.latency import Images
from whymask.runtime.backends import Arrays
from whymask.runtime.card import LOGITS, Card
from whymask.runtime.explanation import Explanation
from whymask.runtime.images import Picture, fit


def prepare(card: Card) -> Callable[[list[Picture]], Images]:
    """What brings B decoded pictures of any size to uint8 (B, H, W, 3)."""
    return lambda some: np.stack([fit(picture, card.input) for picture in some])


def finish(card: Card, pictures: list[Picture]) -> Callable[[Arrays], object]:
    """What an application reads first: label, confidence and area of every picture of a batch."""

    def finished(outputs: Arrays) -> list[str]:
        rows = range(len(outputs[LOGITS]))
        each = (Explanation({name: values[i] for name, values in outputs.items()}, card, pictures[0]) for i in rows)
        return [explanation.summary() for explanation in each]

    return finished
