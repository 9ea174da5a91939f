"""The stand-in that a training step asks in the frozen classifier's place: its answers, in fewer passes over maps."""

from __future__ import annotations

import torch

from whymask.train.classifier import FrozenClassifier
from whymask.train.folding import folded, round_weights
from whymask.train.pooling import pool_first

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""What autocast multiplies in, by precision."""


def stand_in_for(classifier: FrozenClassifier, precision: str) -> FrozenClassifier:
    """A copy that answers as the classifier does, up to rounding; the classifier itself where it cannot be copied.

    Args:
        classifier: not touched.
        precision: of Lightning Fabric; in a half one it is to be asked under autocast alone.
    """
    stand_in = folded(classifier)
    if stand_in is not classifier:
        pool_first(stand_in, classifier)
        if precision in HALF:
            round_weights(stand_in, HALF[precision])
    return stand_in
