"""What a student owes its teacher: the ranking of a per-image method's map.

At an area drawn for each picture, both maps are cut to that share of their cells, and the student's soft mask is held
against the teacher's hard one by a binary cross-entropy. An order is so learned as a family of yes-or-no questions, one
a threshold (Frank and Hall 2001, *A Simple Approach to Ordinal Classification*), at the areas and the temperature at
which the objective itself asks. Only the teacher's order counts, so that methods of different scales can teach; and
where a map ties, as a mask of zeros and ones does nearly everywhere, tied cells share what is left of the area.

That an explainer of one pass can learn from noisy explanations of single pictures is shown by Covert et al. 2024,
*Stochastic Amortization* (arXiv 2401.15866), for attributions.

Letters: B batch, h w the explainer's map, s t the teacher's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from whymask.train.data import cropped
from whymask.train.explainers import TEMPERATURE
from whymask.train.masks import level_of_area

TIE = 2.0**-18
"""Values of a cropped map nearer than this are one: interpolation rounds, and would order what the teacher did not."""


class Lesson(NamedTuple):
    """What a teacher says of a batch.

    Attributes:
        maps: of whole pictures, float32 (B, 1, s, t), larger is more relevant, any range.
        crops: that were cut from the pictures, float32 (B, 2, 3); see `whymask.train.data.draw_crops`.
        target: int64 (B,), the classes that were explained.
    """

    maps: Tensor
    crops: Tensor
    target: Tensor

    def at_size(self, height: int, width: int) -> Tensor:
        """The maps of the crops, float32 (B, 1, height, width)."""
        return torch.round(cropped(self.maps, self.crops, height, width) / TIE) * TIE

    def to(self, device: torch.device) -> Lesson:
        """The same lesson on a device."""
        return Lesson(*(part.to(device) for part in self))


def distil_loss(ranking: Tensor, lesson: Lesson, area: Tensor) -> Tensor:
    """Binary cross-entropy of the two maps' masks at one area per image, float (B,), in nats a cell.

    Args:
        ranking: the student's standardised map, float32 (B, 1, h, w).
        lesson: the teacher's.
        area: float (B,) in (0, 1).
    """
    wanted = kept_shares(lesson.at_size(ranking.shape[-2], ranking.shape[-1]), area)
    logits = (ranking - level_of_area(ranking, area)) / TEMPERATURE
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").flatten(1).mean(1)


@torch.no_grad()
def kept_shares(maps: Tensor, area: Tensor) -> Tensor:
    """How much of each cell the best `area` of a map keeps: 1 above the cut, 0 below, an equal part where cells tie.

    Args:
        maps: float (B, 1, h, w).
        area: float (B,) in (0, 1).

    Returns:
        float32 (B, 1, h, w) in [0, 1], of mean `area`.
    """
    level = level_of_area(maps, area)
    above, tied = (maps > level).float(), (maps == level).float()
    left = area.view(-1, 1, 1, 1) * maps[0].numel() - above.sum((-2, -1), keepdim=True)
    return above + tied * (left / tied.sum((-2, -1), keepdim=True)).clamp(0.0, 1.0)
