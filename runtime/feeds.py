"""What a graph is given: pictures, and what it is asked about them.

Letters: B batch, H W the graph's input size.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.card import AGAINST, IMAGE, TARGET

PREDICTED = -1
"""Value of the graph's `target` that means: explain the predicted class."""
NO_CONTRAST = -1
"""Value of the graph's `against` that means: explain the class for itself."""

Asked: TypeAlias = "int | NDArray[np.int64]"
"""A class index for all pictures, or int64 (B,), one for each."""


def feeds_for(
    inputs: Collection[str], images: NDArray[np.uint8], target: Asked = PREDICTED, against: Asked = NO_CONTRAST
) -> dict[str, NDArray[Any]]:
    """Every input that a graph has, and no other.

    Args:
        inputs: names of the graph's inputs.
        images: uint8, (B, H, W, 3), RGB, 0–255.
        target: class to explain; see `PREDICTED`.
        against: class that it is held against; see `NO_CONTRAST`.

    Returns:
        arrays by name, for `Backend.run`; `images` itself among them.
    """
    feeds: dict[str, NDArray[Any]] = {IMAGE: images}
    for name, asked in ((TARGET, target), (AGAINST, against)):
        if name in inputs:
            feeds[name] = np.full(len(images), asked, np.int64)
    return feeds


def filled_up(rows: NDArray[Any], smallest: int) -> NDArray[Any]:
    """A batch of at least `smallest` rows: a shorter one is filled up with copies of its last row.

    Args:
        rows: any dtype, (B, …), B at least 1.
        smallest: the least batch size that a graph takes.
    """
    return rows if len(rows) >= smallest else rows[np.minimum(np.arange(smallest), len(rows) - 1)]
