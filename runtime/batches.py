"""Any number of pictures through a graph, in batches that it takes.

Letters: N pictures, B batch, H W the graph's input size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.backends import Arrays, Backend
from whymask.runtime.feeds import NO_CONTRAST, PREDICTED, feeds_for, filled_up
from whymask.runtime.images import Picture

BATCHES = (1, 3, 8)
"""Batch sizes, in turn: a graph that is right for one size only is found out."""

OnPictures = Callable[[int], None]
"""Told how many pictures have just been run."""


def batch_slices(count: int, smallest: int = 1, largest: int | None = None) -> Iterator[slice]:
    """Slices of `BATCHES` pictures in turn, as near to these sizes as the range allows; the last may be shorter.

    Args:
        count: N.
        smallest, largest: batch sizes that the graph takes; None where there is no largest.
    """
    start, turn = 0, 0
    while start < count:
        size = max(BATCHES[turn % len(BATCHES)], smallest)
        size = size if largest is None else min(size, largest)
        yield slice(start, start + size)
        start, turn = start + size, turn + 1


def run_all(
    backend: Backend,
    pictures: Picture,
    targets: NDArray[np.int64] | None = None,
    on_pictures: OnPictures = lambda count: None,
    against: NDArray[np.int64] | None = None,
) -> Arrays:
    """All outputs for some pictures.

    Args:
        backend: the loaded graph.
        pictures: uint8, (N, H, W, 3), N at least 1.
        targets: int64, (N,), for a graph that has the input `target`; −1 everywhere when None.
        on_pictures: told of each batch's size when it is done.
        against: int64, (N,), for a graph that has the input `against`; −1 everywhere when None.
    """
    smallest, largest = backend.batch_range
    batches = []
    for part in batch_slices(len(pictures), smallest, largest):
        asked = PREDICTED if targets is None else targets[part]
        held = NO_CONTRAST if against is None else against[part]
        count = len(pictures[part])
        feeds = feeds_for(backend.inputs, pictures[part], asked, held)
        outputs = backend.run({name: filled_up(values, smallest) for name, values in feeds.items()})
        batches.append({name: values[:count] for name, values in outputs.items()})
        on_pictures(count)
    return {name: np.concatenate([batch[name] for batch in batches]) for name in backend.outputs}
