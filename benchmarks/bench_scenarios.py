"""What a sweep times: scenarios by MLPerf's names and percentiles, at batches.

MLPerf Inference (Reddi et al. 2020, arXiv 1911.02549, table III, and the rules of version 4): single-stream tells the
90th percentile of one sample a query, multi-stream the 99th percentile of 8 samples a query, offline the throughput
when all samples are there at once. Queries follow each other without a pause, as in LoadGen's own schedules of these
three. The rest of MLPerf's rules (minimum durations, accuracy runs) is not claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whymask.runtime.errors import InputError

CALLS, SINGLE, MULTI, OFFLINE = "calls", "single-stream", "multi-stream", "offline"
STREAMS = 8
"""Samples of a multi-stream query."""
OFFLINE_BATCH = 16
"""Pictures a call of the offline scenario where no batches are named."""
P90, P99, RATE = "p90_ms", "p99_ms", "images_per_second"
HEADLINES = {CALLS: P90, SINGLE: P90, MULTI: P99, OFFLINE: RATE}
"""The figure that stands for a scenario."""
UNITS = {P90: "p90, ms", P99: "p99, ms", RATE: "images/s"}


@dataclass(frozen=True)
class Point:
    """One point of a sweep.

    Attributes:
        scenario: `calls` (of a batch, by no rule of MLPerf), `single-stream`, `multi-stream` or `offline`.
        batch: pictures a call, B.
    """

    scenario: str
    batch: int

    def __str__(self) -> str:
        """Such as `offline, batch 16`."""
        return f"{self.scenario}, batch {self.batch}"


def points(scenarios: Sequence[str], batches: Sequence[int]) -> tuple[Point, ...]:
    """What is to be timed, in order.

    Args:
        scenarios: names; none means calls of each batch.
        batches: pictures a call, of `calls` and `offline`; the two streams have their own.

    Raises:
        InputError: an unknown scenario, or batches that no scenario uses.
    """
    for name in scenarios:
        if name not in (SINGLE, MULTI, OFFLINE):
            raise InputError(f"--scenario {name}: no such scenario, expected {SINGLE}, {MULTI} or {OFFLINE}")
    if batches and scenarios and OFFLINE not in scenarios:
        raise InputError(
            f"--batches with {' and '.join(scenarios)}: single-stream has 1 picture a query and multi-stream "
            f"{STREAMS}; leave --batches out, or add --scenario offline"
        )
    if not scenarios:
        return tuple(Point(CALLS, batch) for batch in dict.fromkeys(batches or (1,)))
    sizes = {SINGLE: (1,), MULTI: (STREAMS,), OFFLINE: tuple(dict.fromkeys(batches or (OFFLINE_BATCH,)))}
    return tuple(Point(name, batch) for name in dict.fromkeys(scenarios) for batch in sizes[name])


def batches_from_text(text: str) -> tuple[int, ...]:
    """Batches from `1,4,16`.

    Raises:
        InputError: they are no whole numbers of at least 1.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise InputError(f"--batches {text!r}: expected whole numbers of at least 1 with commas, such as 1,4,16")
    return tuple(int(word) for word in words)
