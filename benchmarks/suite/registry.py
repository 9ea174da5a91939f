"""All metrics of the suite, in the order of the tables, and the way to choose some."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from whymask.benchmarks.suite.backgrounds import ROBUST
from whymask.benchmarks.suite.drops import OWN_MASK, SOFT
from whymask.benchmarks.suite.road import ROAD
from whymask.benchmarks.suite.sample import Metric
from whymask.benchmarks.suite.sweeps import SWEEP
from whymask.benchmarks.suite.truth import TRUTH
from whymask.runtime.errors import InputError

METRICS: tuple[Metric, ...] = (SWEEP, OWN_MASK, SOFT, ROBUST, ROAD, TRUTH)


def metrics_named(names: Sequence[str] | None, has_truth: bool) -> tuple[Metric, ...]:
    """The metrics of these names, in the suite's own order.

    Args:
        names: of metrics, each at most once in the result; None for all that the pictures allow.
        has_truth: whether any picture's object is known.

    Raises:
        InputError: a name that no metric has, one that needs truth where there is none, or no name at all.
    """
    if names is None:
        return tuple(metric for metric in METRICS if has_truth or not metric.needs_truth)
    known = [metric.name for metric in METRICS]
    for name in names:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise InputError(f"metrics: {name!r} is unknown, expected some of {', '.join(known)}{hint}")
    chosen = tuple(metric for metric in METRICS if metric.name in names)
    if not chosen:
        raise InputError(f"metrics: none chosen, expected some of {', '.join(known)}")
    blind = [metric.name for metric in chosen if metric.needs_truth and not has_truth]
    if blind:
        raise InputError(
            f"metrics: {', '.join(blind)} needs to know where the objects are; give --truth, or leave it out"
        )
    return chosen
