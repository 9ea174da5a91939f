"""Who gets which core while a graph is judged."""

from __future__ import annotations

import os
from dataclasses import dataclass

from whymask.benchmarks.suite.runner import chunk_count

MOST_THREADS = 8
"""Where nobody says how many: each holds a chunk with its maps, a few hundred megabytes at 224 × 224."""


@dataclass(frozen=True)
class Sharing:
    """How cores are shared out.

    Attributes:
        chunks: threads that judge a chunk each.
        inside: threads of each inside one operator of the graph.
    """

    chunks: int
    inside: int

    @staticmethod
    def of(cores: int, pictures: int) -> Sharing:
        """A core a chunk; more inside an operator where a set has fewer chunks than there are cores.

        Args:
            cores: at least 1.
            pictures: of the largest set.
        """
        chunks = min(cores, chunk_count(pictures))
        return Sharing(chunks, max(1, cores // chunks))


def available_cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has; `MOST_THREADS` at most."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MOST_THREADS)
    return min(os.cpu_count() or 1, MOST_THREADS)
