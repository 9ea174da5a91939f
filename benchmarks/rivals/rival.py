"""What a rival is: another way to say which pixels decided, judged beside the explainer's on the same pictures.

Letters, here and in all rivals: B pictures, H W the graph's input height and width, h w a map's own resolution, C
classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Maps: TypeAlias = Callable[[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""(pictures uint8 (B, H, W, 3), classes to explain int64 (B,), their places in the set int64 (B,), for seeds)
→ relevance float32 (B, h, w), larger is more relevant, any range."""

COSTLY_PASSES = 20.0
"""From so many passes a picture on, a map costs as much as judging it by half of the metrics."""


@dataclass(frozen=True)
class Rival:
    """A method that explains pictures.

    Attributes:
        name: unique in a study, such as `grad_cam`.
        stated: in one line what it is, with its source, its settings and its cost.
        maps: the method.
        passes: cost of a picture in forward passes of the classifier; what a gradient runs back through counts twice.
        shareable: whether several threads may make maps at once. Not so what hooks into the one classifier in torch.
    """

    name: str
    stated: str
    maps: Maps
    passes: float
    shareable: bool = False

    @property
    def is_costly(self) -> bool:
        """Whether it perturbs or optimises: `COSTLY_PASSES` a picture, or more."""
        return self.passes >= COSTLY_PASSES
