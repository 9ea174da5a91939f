"""The shipped graph as a function of a batch of pictures, counted: what every judgement of a file asks.

Letters: B batch, H W the graph's input height and width, C classes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.backends import Arrays, Backend
from whymask.runtime.card import IMAGE, LOGITS
from whymask.runtime.errors import InputError
from whymask.runtime.explainer import Explainer
from whymask.runtime.feeds import PREDICTED, feeds_for
from whymask.runtime.ort import CPU

BATCH_ON_CPU, BATCH = 8, 32
"""Pictures a pass. A CPU's cache does not hold the activations of more: MobileNetV2 at 160 × 160 px answers 16 % more
slowly at 32 than at 8."""


class AskedGraph:
    """A loaded graph that takes any number of pictures and counts what goes through it. Any number of threads may ask.

    Args:
        explainer: from `whymask.runtime.load`; it stays the caller's.
        batch_size: pictures a pass; the graph's own where that is fixed. None takes what suits the provider.
        logits_alone: what gives the graph's logits without its explainer, from `logits_backend`; it stays the caller's.
            None asks the whole graph.

    Attributes:
        passes: pictures that went through.
        seconds: time spent inside, of all threads together.
    """

    def __init__(
        self, explainer: Explainer, batch_size: int | None = None, logits_alone: Backend | None = None
    ) -> None:
        self._backend, self.takes_target = explainer.backend, explainer.takes_target
        self._alone = logits_alone
        fixed = explainer.backend.inputs[IMAGE].shape[0]
        self._fixed = isinstance(fixed, int)
        usual = BATCH_ON_CPU if explainer.provider == CPU else BATCH
        self._batch_size = fixed if isinstance(fixed, int) else batch_size or usual
        self._lock, self._mine = threading.Lock(), threading.local()
        self.passes = 0
        self.seconds = 0.0

    @property
    def passes_here(self) -> int:
        """Pictures that the calling thread sent through."""
        passes: int = getattr(self._mine, "passes", 0)
        return passes

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
        return self._in_passes(self._backend, images, asked, outputs)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32, (N, C), of uint8 pictures (N, H, W, 3)."""
        asked = np.full(len(images), PREDICTED, np.int64)
        logits: NDArray[np.float32] = self._in_passes(self._alone or self._backend, images, asked, (LOGITS,))[LOGITS]
        return logits

    def top1(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """int64, (N,), the class of each picture."""
        top1: NDArray[np.int64] = self.logits(images).argmax(axis=1)
        return top1

    def _in_passes(
        self, backend: Backend, images: NDArray[np.uint8], target: NDArray[np.int64], outputs: Sequence[str]
    ) -> Arrays:
        starts = range(0, len(images), self._batch_size)
        ends = [first + self._batch_size for first in starts]
        parts = [self._pass(backend, images[i:j], target[i:j], outputs) for i, j in zip(starts, ends, strict=True)]
        return {name: np.concatenate([part[name] for part in parts]) for name in outputs}

    def _pass(
        self, backend: Backend, images: NDArray[np.uint8], target: NDArray[np.int64], outputs: Sequence[str]
    ) -> Arrays:
        count = len(images)
        missing = self._batch_size - count if self._fixed else 0
        rows, asked = (np.concatenate([each, np.repeat(each[-1:], missing, axis=0)]) for each in (images, target))
        feeds: Arrays = feeds_for(backend.inputs, rows, asked)
        start = time.perf_counter()
        results = backend.run(feeds, outputs)
        self._count(count, time.perf_counter() - start)
        return {name: values[:count] for name, values in results.items()}

    def _count(self, pictures: int, seconds: float) -> None:
        self._mine.passes = self.passes_here + pictures
        with self._lock:
            self.passes += pictures
            self.seconds += seconds
