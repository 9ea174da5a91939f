"""The stand-in for the frozen classifier: its answers, in fewer passes over maps.

Training, activation matching and MaRC ask it; whatever is promised, saved or exported is of the classifier itself.
"""

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
        # As the maps lie: else each pass copies every weight into their layout, an eighth of a ResNet-18's passes over
        # 8 pictures on one thread.
        stand_in.model.to(memory_format=torch.channels_last)
    return stand_in
