"""Frozen dataclasses from JSON objects, with one clear error for a wrong key or a value of a wrong type."""

from __future__ import annotations

import dataclasses
import difflib
import json
import reprlib
import types
import typing
from typing import Any, TypeVar

from whymask.runtime.errors import ArtefactError

_Part = TypeVar("_Part")

WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
"""What a value of each plain type is called in an error."""


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


def dataclass_from_record(part: type[_Part], name: str, record: Any, again: str = "") -> _Part:
    """Build a dataclass from a JSON object; lists become tuples.

    Args:
        part: the dataclass.
        name: what the object is called in an error.
        record: the parsed JSON.
        again: what to do about a value that is not of its field's type, such as `export the graph again`; without it
            types are left to the dataclass.

    Raises:
        ArtefactError: not an object, an unknown key (the nearest valid one is named), a missing one, or a value of a
            wrong type.
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
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    if again:
        _check_types(part, name, values, again)
    return part(**values)


def _check_types(part: type[Any], name: str, values: dict[str, Any], again: str) -> None:
    hints = typing.get_type_hints(part)
    for key, value in values.items():
        if not _fits(value, hints[key]):
            raise ArtefactError(f"{name}: {key} is {reprlib.repr(value)}, expected {_words(hints[key])}; {again}")


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of a field's type; of types that JSON does not have any is."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is tuple:
        if not isinstance(value, (tuple, list)):
            return False
        each = [inner[0]] * len(value) if inner[-1] is ... else list(inner)
        return len(each) == len(value) and all(map(_fits, value, each))
    if origin is dict:
        return isinstance(value, dict) and all(_fits(each, inner[1]) for each in value.values())
    if hint in WORDS:
        # A whole number is a number, and true is neither, though Python takes it for 1.
        taken = (int, float) if hint is float else hint
        return isinstance(value, taken) and isinstance(value, bool) == (hint is bool)
    return isinstance(value, hint) if isinstance(hint, type) and dataclasses.is_dataclass(hint) else True


def _words(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_words, inner))
    if origin is tuple:
        count = "" if inner[-1] is ... else f" of {len(inner)}"
        return f"a list{count}, each {_words(inner[0])}"
    return WORDS.get(hint, "a JSON object" if origin is dict or dataclasses.is_dataclass(hint) else "another value")
