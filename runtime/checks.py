"""Whether what a caller gave is a number at all, before it is compared with one."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any

from whymask.runtime.errors import InputError

MOST_SEED = 2**32 - 1
"""Largest seed: numpy and torch both take it, also where a draw's own seed is it many times over, in 64 bits."""


def is_within(value: Any, least: float, most: float) -> bool:
    """Whether a value is a number in [least, most]; text, lists and NaN are in no range.

    Args:
        value: anything.
        least, most: both are inside.
    """
    try:
        return bool(least <= value <= most)
    except (TypeError, ValueError):
        return False


def check_count(name: str, value: Any, otherwise: str = "") -> int:
    """A whole number of at least 1.

    Args:
        name: of the option, for the error.
        value: anything; numpy's whole numbers are such numbers too.
        otherwise: what else the option takes, as the end of the error.

    Raises:
        InputError: anything else.
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if count < 1:
        raise InputError(f"{name}: got {value!r}, expected a whole number of at least 1{otherwise}")
    return count


def check_many(name: str, values: Any, what: str) -> Iterator[Any]:
    """What a caller gave one by one.

    Args:
        name: of the option, for the error.
        values: anything.
        what: what it should hold, in the plural.

    Raises:
        InputError: it is not iterable, or text, whose letters were not meant.
    """
    if not isinstance(values, Iterable) or isinstance(values, (str, bytes)):
        raise InputError(f"{name}: got {values!r:.80}, expected a list of {what}")
    return iter(values)
