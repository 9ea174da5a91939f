"""The figures on which two forms of one model are compared."""

from __future__ import annotations

import numpy as np
import pytest

from whymask.runtime.parity import spearman


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 2, 3], [1, 3, 2, 4], 0.9486833),  # scipy.stats.spearmanr
        ([1, 1, 1, 1], [2, 2, 2, 2], 1.0),
        ([1, 1, 1, 1], [1, 2, 3, 4], 0.0),
    ],
)
def test_spearman_is_the_correlation_of_mean_ranks(first: list[int], second: list[int], expected: float) -> None:
    assert spearman(np.array(first), np.array(second)) == pytest.approx(expected)
