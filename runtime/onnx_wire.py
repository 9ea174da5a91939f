"""Just enough of ONNX's file format to read what a graph says of itself and to make a graph of one node, without onnx.

An ONNX file is a protobuf message. Field numbers are those of onnx.proto3: ModelProto{ir_version=1, graph=7,
opset_import=8, metadata_props=14}, GraphProto{node=1, name=2, input=11, output=12}, NodeProto{input=1, output=2,
name=3, op_type=4}, StringStringEntryProto{key=1, value=2}.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from whymask.runtime.errors import ArtefactError

GRAPH, NODE, NODE_NAME, OP_TYPE = 7, 1, 3, 4
METADATA, KEY, VALUE = 14, 1, 2
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
FIXED_SIZES = {EIGHT_BYTES: 8, FOUR_BYTES: 4}
FLOAT = 1

Bytes: TypeAlias = "mmap.mmap | bytes"


def operators(path: Path) -> dict[str, int]:
    """How often each operator occurs in a graph, most frequent first; bodies of If and Loop are not counted.

    Args:
        path: an ONNX file.

    Raises:
        ArtefactError: not an ONNX file.
    """
    counts: Counter[str] = Counter()
    with _opened(path) as data:
        for graph in _messages(data, 0, len(data), GRAPH):
            for node in _messages(data, *graph, NODE):
                counts.update(data[start:stop].decode() for start, stop in _messages(data, *node, OP_TYPE))
    return dict(counts.most_common())


def metadata(path: Path) -> dict[str, str]:
    """What a file's `metadata_props` say, by key; empty where there are none.

    Args:
        path: an ONNX file.

    Raises:
        ArtefactError: not an ONNX file.
    """
    with _opened(path) as data:
        if not any(_messages(data, 0, len(data), GRAPH)):
            raise ValueError("it has no graph")
        entries = list(_messages(data, 0, len(data), METADATA))
        return {_text(data, entry, KEY): _text(data, entry, VALUE) for entry in entries}


def node_names(graph: bytes) -> list[tuple[str, str]]:
    """Name and operator of every node of a model, in the file's order.

    Args:
        graph: a serialised ONNX model.
    """
    return [
        (_text(graph, node, NODE_NAME), _text(graph, node, OP_TYPE))
        for bounds in _messages(graph, 0, len(graph), GRAPH)
        for node in _messages(graph, *bounds, NODE)
    ]


def identity_model() -> bytes:
    """The smallest useful ONNX model: float x of shape (1,) → Identity → y, opset 13, IR 7."""
    dimension = encode(1, 1)
    tensor_type = encode(1, FLOAT) + encode(2, encode(1, dimension))
    node = encode(1, b"x") + encode(2, b"y") + encode(4, b"Identity")
    graph = encode(1, node) + encode(2, b"identity")
    graph += encode(11, encode(1, b"x") + encode(2, encode(1, tensor_type)))
    graph += encode(12, encode(1, b"y") + encode(2, encode(1, tensor_type)))
    return encode(1, 7) + encode(7, graph) + encode(8, encode(2, 13))


def encode(number: int, value: int | bytes) -> bytes:
    """One protobuf field.

    Args:
        number: of the field.
        value: a whole number of at least 0, or the bytes of a text or a message.
    """
    if isinstance(value, int):
        return _varint(number << 3 | VARINT) + _varint(value)
    return _varint(number << 3 | LENGTH) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


@contextmanager
def _opened(path: Path) -> Iterator[mmap.mmap]:
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read ({error.strerror}); expected an ONNX file") from None
    except (ValueError, IndexError) as error:
        raise ArtefactError(f"{path}: not an ONNX file ({error})") from error


def _text(data: Bytes, bounds: tuple[int, int], number: int) -> str:
    """A text field of a message; empty where it is not set."""
    return next((data[start:stop].decode() for start, stop in _messages(data, *bounds, number)), "")


def _messages(data: Bytes, start: int, stop: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Bounds of every field of this number that has a length, between `start` and `stop`."""
    while start < stop:
        key, start = _read_varint(data, start)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            _, start = _read_varint(data, start)
        elif kind == LENGTH:
            size, start = _read_varint(data, start)
            if start + size > stop:
                raise ValueError(f"a field of {size} bytes goes past the end")
            if number == wanted:
                yield start, start + size
            start += size
        elif kind in FIXED_SIZES:
            start += FIXED_SIZES[kind]
        else:
            raise ValueError(f"unknown wire type {kind}")


def _read_varint(data: Bytes, start: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7
