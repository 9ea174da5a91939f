"""How sure a classifier is of a class, as MaRC weighs it (arXiv 2508.11388): softmax and, for CNNs, a share of sigmoid.

    P_y = (1 − s) · softmax(l)_y + s · sigmoid(l_y),  s = 0.1 for CNNs

Both logarithms are taken of logits, never of probabilities, so that neither a certain nor a lost class ends the
gradient. Letters: B batch, C classes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SIGMOID_SHARE = 0.1
"""s. Softmax alone can be raised by lowering other classes; the sigmoid wants evidence for this one."""


def log_confidence(logits: Tensor, target: Tensor, sigmoid_share: float) -> tuple[Tensor, Tensor]:
    """log P_y and log(1 − P_y).

    Args:
        logits: float (B, C), C at least 2.
        target: int64 (B,).
        sigmoid_share: s, in [0, 1).

    Returns:
        float (B,) each, at most 0.
    """
    own = logits.gather(1, target[:, None])
    others = logits.scatter(1, target[:, None], -math.inf).logsumexp(1) - logits.logsumexp(1)
    kept, lost = F.log_softmax(logits, 1).gather(1, target[:, None])[:, 0], others
    if not sigmoid_share:
        return kept, lost
    soft, hard = math.log(1.0 - sigmoid_share), math.log(sigmoid_share)
    sure = torch.logaddexp(soft + kept, hard + F.logsigmoid(own[:, 0]))
    unsure = torch.logaddexp(soft + lost, hard + F.logsigmoid(-own[:, 0]))
    return sure, unsure
