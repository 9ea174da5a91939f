"""The shipped graph as a function of a batch of pictures, counted: what every judgement of a file asks.

Letters: B batch, H W the graph's input height and width, C classes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.backends import Arrays
from whymask.runtime.card import IMAGE, LOGITS
from whymask.runtime.errors import InputError
from whymask.runtime.explainer import Explainer
from whymask.runtime.feeds import PREDICTED, feeds_for


class AskedGraph:
    """A loaded graph that takes any number of pictures and counts what goes through it.

    Args:
        explainer: from `whymask.runtime.load`; it stays the caller's.
        batch_size: pictures a pass; the graph's own where that is fixed.

    Attributes:
        passes: pictures that went through.
        seconds: time spent inside.
    """

    def __init__(self, explainer: Explainer, batch_size: int = 32) -> None:
        self._backend, self.takes_target = explainer.backend, explainer.takes_target
        fixed = explainer.backend.inputs[IMAGE].shape[0]
        self._fixed = isinstance(fixed, int)
        self._batch_size = fixed if isinstance(fixed, int) else batch_size
        self.passes = 0
        self.seconds = 0.0

    def run(self, images: NDArray[np.uint8], outputs: Sequence[str], target: NDArray[np.int64] | None = None) -> Arrays:
        """The named outputs, in passes of the size that the graph takes.

        Args:
            images: uint8, (N, H, W, 3), 0–255, N at least 1.
            outputs: names of the contract.
            target: int64, (N,), the classes to explain; None asks for the predicted ones.

        Raises:
            InputError: a target for a graph that takes none.
        """
        if target is not None and not self.takes_target:
            raise InputError("target: this graph explains the predicted class only; export it again with --target")
        asked = np.full(len(images), PREDICTED, np.int64) if target is None else target
        starts = range(0, len(images), self._batch_size)
        ends = [first + self._batch_size for first in starts]
        parts = [self._pass(images[i:j], asked[i:j], outputs) for i, j in zip(starts, ends, strict=True)]
        return {name: np.concatenate([part[name] for part in parts]) for name in outputs}

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32, (N, C), of uint8 pictures (N, H, W, 3)."""
        logits: NDArray[np.float32] = self.run(images, (LOGITS,))[LOGITS]
        return logits

    def top1(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """int64, (N,), the class of each picture."""
        top1: NDArray[np.int64] = self.logits(images).argmax(axis=1)
        return top1

    def _pass(self, images: NDArray[np.uint8], target: NDArray[np.int64], outputs: Sequence[str]) -> Arrays:
        count = len(images)
        missing = self._batch_size - count if self._fixed else 0
        rows, asked = (np.concatenate([each, np.repeat(each[-1:], missing, axis=0)]) for each in (images, target))
        feeds: Arrays = feeds_for(self._backend.inputs, rows, asked)
        start = time.perf_counter()
        results = self._backend.run(feeds, outputs)
        self.seconds += time.perf_counter() - start
        self.passes += count
        return {name: values[:count] for name, values in results.items()}
