"""What a run of an engine costs in Python, apart from the calls of CUDA and TensorRT and from copying the arrays."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
from colour_engine import ColourEngine

LIMIT_US = 30.0
ROUNDS, CALLS = 15, 50


class Instant:
    """Stands in for a context or for CUDA within one run: every call succeeds at once."""

    def __getattr__(self, name: str) -> Callable[..., bool]:
        def call(*_: object) -> bool:
            return True

        self.__dict__[name] = call
        return call


def median_us(call: Callable[[], object]) -> float:
    times = []
    for _ in range(CALLS):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1e3


@pytest.mark.parametrize("cuda_graph", [False, True], ids=["plain", "graph"])
def test_python_adds_less_than_thirty_microseconds(
    engine: Callable[..., ColourEngine], monkeypatch: pytest.MonkeyPatch, cuda_graph: bool
):
    made = engine(height=224, width=224, stride=16)
    feeds = made.feeds(1)
    with made.open(cuda_graph=cuda_graph) as backend:
        arrays = [(np.empty_like(values), values) for values in (*feeds.values(), *backend.run(feeds).values())]
        with monkeypatch.context() as patch:
            lane, instant = backend._take(), Instant()
            backend._idle.put(lane)
            for owner in (lane, lane._buffers, *([lane._graphs] if lane._graphs else [])):
                patch.setattr(owner, "_cuda", instant)
            patch.setattr(lane._context, "_context", instant)
            pairs = [
                (median_us(lambda: [np.copyto(*pair) for pair in arrays]), median_us(lambda: backend.run(feeds)))
                for _ in range(ROUNDS)
            ]
    # The smallest of the medians: what other programs on the machine add is never negative.
    copies_us, whole_us = (min(column) for column in zip(*pairs, strict=True))
    assert whole_us - copies_us < LIMIT_US, f"run {whole_us:.1f} µs, copying its arrays alone {copies_us:.1f} µs"
