"""What is wrong with the arrays that a caller gives an engine, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from whymask.runtime.errors import InputError
from whymask.runtime.trt_engine import BATCH, Engine, EngineTensor


def check_names(engine: Engine, feeds: Mapping[str, object]) -> None:
    """Refuse feeds that are not every input by name.

    Args:
        engine: that they are for.
        feeds: by name.

    Raises:
        InputError: an input is missing, or there is one too many.
    """
    expected = [name for name, tensor in engine.tensors.items() if tensor.is_input]
    if set(feeds) != set(expected):
        got = ", ".join(feeds) or "none"
        raise InputError(f"{engine.path}: inputs: got {got}, expected {' and '.join(expected)}")


def check_batch(engine: Engine, name: str, shape: Sequence[int]) -> int:
    """The batch of an input.

    Args:
        engine: that it is for.
        name: of the input.
        shape: of what the caller gives.

    Raises:
        InputError: not a batch that the engine takes.
    """
    smallest, largest = engine.batch_range
    if not shape or not smallest <= shape[0] <= largest:
        raise InputError(f"{name}: got shape {tuple(shape)}, expected {_expected(engine, engine.tensors[name])}")
    return shape[0]


def wrong_feeds(engine: Engine, feeds: Mapping[str, object]) -> InputError:
    """Why an engine does not take these host arrays.

    Args:
        engine: that they are for.
        feeds: by name; at least one of them is wrong.
    """
    check_names(engine, feeds)
    batch: int | None = None
    for name, tensor in engine.tensors.items():
        if not tensor.is_input:
            continue
        value = feeds[name]
        if not isinstance(value, np.ndarray):
            return InputError(f"{name}: got {type(value).__name__}, expected a numpy array")
        fits = value.dtype == tensor.caller_dtype and value.shape[1:] == tensor.shape[1:]
        size = check_batch(engine, name, value.shape) if fits else None
        if size is None or batch not in (None, size):
            same = f", as many as in the first input, {batch}" if batch is not None else ""
            return InputError(f"{name}: got {value.dtype} {value.shape}, expected {_expected(engine, tensor)}{same}")
        batch = size
    raise AssertionError("these feeds are right")


def _expected(engine: Engine, tensor: EngineTensor) -> str:
    shape = ", ".join(str(size) for size in tensor.info.shape)
    smallest, largest = engine.batch_range
    return f"{tensor.caller_dtype} ({shape}) with {BATCH} from {smallest} to {largest}"
