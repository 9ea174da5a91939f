"""Frozen dataclasses from JSON objects, with one clear error for a wrong key."""

from __future__ import annotations

import dataclasses
import difflib
import json
from typing import Any, TypeVar

from whymask.runtime.errors import ArtefactError

_Part = TypeVar("_Part")


def record_from_json(text: str, name: str, newest: int, again: str) -> dict[str, Any]:
    """Parse a versioned JSON object.

    Args:
        text: JSON with a whole number under `schema`.
        name: what the object is called in an error.
        newest: the newest schema that can be read.
        again: what to do about a broken one, such as `export the graph again`.

    Raises:
        ArtefactError: not JSON, not an object, no schema, or a newer one.
    """
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise ArtefactError(f"{name}: not valid JSON ({error}); {again}") from None
    if not isinstance(record, dict):
        raise ArtefactError(f"{name}: expected a JSON object, got {type(record).__name__}; {again}")
    schema = record.get("schema")
    if not isinstance(schema, int) or schema < 1:
        raise ArtefactError(f"{name}: schema is {schema!r}, expected a whole number from 1 to {newest}")
    if schema > newest:
        raise ArtefactError(
            f"{name}: schema {schema} is newer than schema {newest}, the newest that this whymask reads; "
            f"upgrade whymask on this device, or {again} with the older one"
        )
    return record


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
