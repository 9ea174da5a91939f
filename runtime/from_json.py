"""Frozen dataclasses from JSON objects, with one clear error for a wrong key."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any, TypeVar

from whymask.runtime.errors import ArtefactError

_Part = TypeVar("_Part")


def dataclass_from_record(part: type[_Part], name: str, record: Any) -> _Part:
    """Build a dataclass from a JSON object; lists become tuples.

    Args:
        part: the dataclass.
        name: what the object is called in an error.
        record: the parsed JSON.

    Raises:
        ArtefactError: not an object, an unknown key (the nearest valid one is named), or a missing one.
    """
    if not isinstance(record, dict):
        raise ArtefactError(f"{name} should be a JSON object, got {type(record).__name__}")
    known = {f.name: f for f in dataclasses.fields(part)}  # type: ignore[arg-type]
    for key in record:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise ArtefactError(f"unknown key {key!r} in {name}{hint}")
    absent = [
        key
        for key, f in known.items()
        if key not in record and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if absent:
        raise ArtefactError(f"{name} lacks {', '.join(absent)}; make it again with this version of whymask")
    return part(**{key: tuple(value) if isinstance(value, list) else value for key, value in record.items()})
