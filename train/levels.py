"""Where an image's decision breaks: how much of a map has to be kept, and whether the asked class is there at all.

Letters: B batch, C classes, D the classifier's row width.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_LEVEL = 4.0
"""Bound of a breaking level in deviations of the map: beyond it a mask holds everything, or nothing."""

ABSENT_LEVEL = 16.0
"""Raises the level of a class that is not there above every standardised map, so that its mask is empty."""

CONFIDENCE_FIGURES = 3
LOWEST_LOG_P, LOG_P_SCALE = -8.0, 0.25
"""Below the first a class is as good as excluded; the second brings the logarithm to the range of the other figures."""
SMALLEST_SCALE = 0.05


class Breaking(NamedTuple):
    """Where an image's decision breaks: centre and scale of the breaking level, float32 (B, 1, 1, 1).

    Attributes:
        presence: logit of the chance that the class is there, float32 (B,); None where that is not learned.
        absent: the same for another class, where one was asked about.
        unfiltered: the map before the picture's own edges come in, by a guided filter or as detail, float32
            (B, 1, h, w), whose roughness counts: those edges are wanted. None where the map is never taken to them.
    """

    centre: Tensor
    scale: Tensor
    presence: Tensor | None = None
    absent: Tensor | None = None
    unfiltered: Tensor | None = None

    def level_for(self, retention: float) -> Tensor:
        """The highest level at which the class is kept with a predicted chance of `retention`, in (0, 1)."""
        return self.centre - self.scale * math.log(retention / (1.0 - retention))


def confidence(logits: Tensor, target: Tensor) -> Tensor:
    """How sure the classifier is of a class: p, log p / 4 (not below −2), and its entropy as a share of log C.

    Args:
        logits: float (B, C).
        target: int64 (B,).

    Returns:
        float32 (B, CONFIDENCE_FIGURES), computed in float32 whatever the precision of the logits.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    of_target = log_p.gather(1, target[:, None])
    entropy = -(log_p.exp() * log_p).sum(1, keepdim=True) / math.log(max(2, logits.shape[1]))
    return torch.cat([of_target.exp(), LOG_P_SCALE * of_target.clamp_min(LOWEST_LOG_P), entropy], dim=1)


class LevelHead(nn.Module):
    """Predicts where an image's decision breaks: the distribution of the level at which a hard mask loses the class.

    The chance that a cut at level l keeps the class is modelled as sigmoid((centre − l) / scale), a logistic
    distribution with its own centre and scale an image. From pooled features, the class, and the classifier's
    confidence, which tells best how much the decision can bear.
    """

    def __init__(self, channels: int, row_width: int, presence: bool) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * channels, 32)
        self.row = nn.Linear(row_width, 32, bias=False)
        self.confidence = nn.Linear(CONFIDENCE_FIGURES, 32, bias=False)
        self.out = nn.Linear(32, 2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.presence = nn.Linear(32, 1) if presence else None

    def forward(self, features: Tensor, rows: Tensor, figures: Tensor) -> Breaking:
        """(B, channels, h, w), (B, D) and (B, CONFIDENCE_FIGURES) → centre and scale."""
        pooled = torch.cat([features.mean((-2, -1)), features.amax((-2, -1))], dim=1)
        figures = self.confidence(figures.to(features.dtype))
        hidden = F.relu(self.hidden(pooled) + self.row(rows) + figures)
        raw = self.out(hidden).float()
        centre = MAX_LEVEL * torch.tanh(raw[:, :1] / MAX_LEVEL)
        scale = F.softplus(raw[:, 1:]) + SMALLEST_SCALE
        presence = None if self.presence is None else self.presence(hidden).float()[:, 0]
        return Breaking(centre[:, :, None, None], scale[:, :, None, None], presence)


def absence(presence: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """How far the level of an absent class is raised: float32 (B, 1, 1, 1), 0 to ABSENT_LEVEL.

    Nothing from an even chance of being there upwards, and nothing for the predicted class, whose promise must not
    hang on this.

    Args:
        presence: logit, float32 (B,).
        logits: the classifier's, (B, C).
        target: int64 (B,), the asked class.
    """
    missing = F.relu(1.0 - 2.0 * torch.sigmoid(presence)) * (target != logits.argmax(1))
    return (ABSENT_LEVEL * missing)[:, None, None, None]
