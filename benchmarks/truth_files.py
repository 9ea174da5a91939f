"""Files that say where an object lies: rows of a CSV, boxes, PNG masks. A broken one is named with its line."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.pictures import Image
from whymask.runtime.errors import InputError, MissingExtra

Box: TypeAlias = tuple[float, float, float, float]
"""left, top, right, bottom."""

BOX_COLUMNS = ("file", "left", "top", "right", "bottom")
ORIENTATION = 0x0112
"""EXIF entry that says how a camera was held …"""
TURNED = (5, 6, 7, 8)
"""… and its values that swap height and width."""


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Rows of a CSV, each with the words that name its line in a message.

    Args:
        path: UTF-8, names of the columns in the first line.
        columns: that must be there and hold something in every row.

    Raises:
        InputError: no such file, no CSV in UTF-8, or a column or a field is absent.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected a CSV with the columns {', '.join(columns)}")
    try:
        yield from _rows(path, columns)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        expected = f"expected a CSV in UTF-8 with the columns {', '.join(columns)}"
        raise InputError(f"{path}: cannot be read ({error}), {expected}") from None


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        absent = [name for name in columns if name not in (reader.fieldnames or ())]
        if absent:
            raise InputError(f"{path}: no column {', '.join(absent)}; expected {', '.join(columns)} in its first line")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if any(not row[name] for name in columns):
                raise InputError(f"{where}: a field is empty, expected {', '.join(columns)}")
            yield where, row


def class_index(where: str, text: str) -> int:
    """A class of a row.

    Raises:
        InputError: no whole number.
    """
    if not text.isdecimal():
        raise InputError(f"{where}: class {text!r}, expected an index from 0")
    return int(text)


def pixel_box(where: str, row: Mapping[str, str]) -> Box:
    """The box of a row with `BOX_COLUMNS`, in pixels.

    Raises:
        InputError: not four numbers, or a box without area.
    """
    return _box(where, [row[name] for name in BOX_COLUMNS[1:]])


def normalised_boxes(where: str, text: str) -> list[Box]:
    """The boxes of a field such as `[[0.1, 0.2, 0.5, 0.9], …]`, in shares of the picture's width and height.

    Raises:
        InputError: not JSON of that form, no box, or one without area.
    """
    try:
        boxes = json.loads(text)
    except json.JSONDecodeError:
        boxes = None
    if not isinstance(boxes, list) or not boxes or not all(isinstance(box, list) for box in boxes):
        raise InputError(f"{where}: boxes {text[:40]!r}, expected [[left, top, right, bottom], …] with at least one")
    return [_box(where, box) for box in boxes]


def _box(where: str, values: Sequence[Any]) -> Box:
    try:
        left, top, right, bottom = (float(value) for value in values)
    except (TypeError, ValueError):
        raise InputError(f"{where}: box {list(values)}, expected the four numbers left, top, right, bottom") from None
    if not (0 <= left < right < math.inf and 0 <= top < bottom < math.inf):
        raise InputError(f"{where}: box {list(values)}, expected 0 ≤ left < right and 0 ≤ top < bottom, all finite")
    return left, top, right, bottom


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Where a PNG is not zero: bool, (height, width).

    Raises:
        InputError: the file cannot be read, or marks nothing.
    """
    with _opened(path) as opened:
        try:
            values = np.asarray(opened)
        except OSError as error:
            raise InputError(f"{path}: the picture is damaged ({error})") from None
        if opened.mode in ("RGBA", "LA"):
            # An alpha channel says what is seen of the mask, not what it marks.
            values = values[..., :-1]
    mask: NDArray[np.bool_] = values.reshape(*values.shape[:2], -1).astype(np.bool_).max(axis=-1)
    if not mask.any():
        raise InputError(f"{path}: no pixel above zero, expected a mask whose non-zero pixels are the object")
    return mask


def picture_size(image: Image) -> tuple[int, int]:
    """Height and width of a picture, turned upright; a file is not decoded.

    Raises:
        InputError: no such file, or no picture.
    """
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1]
    with _opened(image) as opened:
        turned = opened.getexif().get(ORIENTATION) in TURNED
        width, height = opened.size
    return (width, height) if turned else (height, width)


def _opened(path: Path) -> Any:
    try:
        from PIL import Image as Pillow
    except ImportError:
        raise MissingExtra("Pillow", "image", "read ground truth") from None
    try:
        return Pillow.open(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a picture ({type(error).__name__})") from None
