"""Pictures into the graph's frame, and maps from the graph's frame back into the picture's.

Letters: H W the graph's input size, h w a map's own size. A picture is always uint8, (height, width, 3), RGB, 0–255.
Pillow is imported only to decode a file and to resize; an array that already has the graph's size needs numpy alone.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.card import InputCard
from whymask.runtime.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from PIL.Image import Image

Picture: TypeAlias = NDArray[np.uint8]
Map: TypeAlias = NDArray[np.float32]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings, in lower case, of the files in a folder that are taken for pictures."""

DEEP_MODES = ("I", "F")
"""First letters of Pillow's modes of more than 8 bits a channel; converting them to RGB would clip without a word."""


@dataclass(frozen=True)
class Window:
    """The part of a picture that the graph sees, in shares of the picture's height and width."""

    top: float = 0.0
    left: float = 0.0
    height: float = 1.0
    width: float = 1.0


WHOLE = Window()


def find_images(folder: Path) -> list[Path]:
    """Every picture file below a folder, sorted; hidden files and folders are left out.

    Args:
        folder: any tree of folders.
    """
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(root, n) for n in names if n.lower().endswith(SUFFIXES) and not n.startswith(".")]
    return sorted(found)


def rgb_from(image: object) -> Picture:
    """The picture as an array: uint8, (height, width, 3), RGB, 0–255.

    An array is checked and returned as it is, not copied. A file is turned upright as its EXIF entry says.

    Args:
        image: an array, a path or a PIL image.

    Raises:
        InputError: anything else, or a picture that cannot be decoded.
        MissingExtra: a path was given and Pillow is not installed.
    """
    if isinstance(image, np.ndarray):
        return _checked(image)
    if isinstance(image, (str, os.PathLike)):
        return _decoded(Path(os.fsdecode(image)))
    pil = sys.modules.get("PIL.Image")
    if pil is not None and isinstance(image, pil.Image):
        return _read(contextlib.nullcontext(image), "image")
    raise InputError(
        f"image: got {type(image).__module__}.{type(image).__qualname__}, expected a uint8 array of shape "
        "(height, width, 3), a path or a PIL image; a torch tensor (3, height, width) of 0–255 becomes one by "
        "tensor.permute(1, 2, 0).byte().cpu().numpy()"
    )


def fit(image: Picture, card: InputCard) -> Picture:
    """Bring a picture to the graph's input size by the card's resize rule, exactly as torchvision does with PIL images.

    A picture that already has the graph's size is returned as it is, also under the rule `crop`.

    Args:
        image: uint8, (height, width, 3), 0–255.
        card: the input's part of the card.

    Returns:
        uint8, (H, W, 3), 0–255, in one block of memory.

    Raises:
        MissingExtra: a resize is needed and Pillow is not installed.
    """
    height, width = image.shape[:2]
    if (height, width) == (card.height, card.width):
        return np.ascontiguousarray(image)
    resized_height, resized_width, top, left = _geometry(height, width, card)
    purpose = f"resize a picture of {height} × {width} pixels to the graph's {card.height} × {card.width}"
    pil = _pillow(purpose)
    resized = pil.fromarray(np.ascontiguousarray(image)).resize(
        (resized_width, resized_height), pil.Resampling.BILINEAR
    )
    return np.asarray(resized.crop((left, top, left + card.width, top + card.height)))


def window_of(height: int, width: int, card: InputCard) -> Window:
    """The part of a picture of this size that `fit` keeps.

    Args:
        height, width: the picture's size in pixels.
        card: the input's part of the card.
    """
    if card.resize == "squash" or (height, width) == (card.height, card.width):
        return WHOLE
    resized_height, resized_width, top, left = _geometry(height, width, card)
    return Window(top / resized_height, left / resized_width, card.height / resized_height, card.width / resized_width)


def resize_map(values: Map, height: int, width: int) -> Map:
    """Bilinear resize of maps with half-pixel centres, no antialiasing.

    The same function as ONNX's Resize (linear, half_pixel) and torch's interpolate(bilinear, align_corners=False).

    Args:
        values: float32, (…, h, w).
        height, width: the new size in pixels.

    Returns:
        float32, (…, height, width).
    """
    rows = _positions(values.shape[-2], height)
    columns = _positions(values.shape[-1], width)
    return _sample(values, rows, columns)


def place_map(values: Map, window: Window, height: int, width: int) -> Map:
    """A map of what the graph saw, in the frame of the whole picture.

    Args:
        values: float32, (h, w), at least 0.
        window: the part of the picture that the map covers.
        height, width: size of the whole picture's frame in pixels.

    Returns:
        float32, (height, width); −1 outside the window, so that no threshold keeps a pixel that the graph never saw.
    """
    if window == WHOLE:
        return resize_map(values, height, width)
    rows = ((np.arange(height) + 0.5) / height - window.top) / window.height
    columns = ((np.arange(width) + 0.5) / width - window.left) / window.width
    seen_rows, seen_columns = (rows >= 0) & (rows < 1), (columns >= 0) & (columns < 1)
    placed = np.full((height, width), -1.0, np.float32)
    placed[np.ix_(seen_rows, seen_columns)] = _sample(
        values,
        (rows[seen_rows] * values.shape[0] - 0.5).astype(np.float32),
        (columns[seen_columns] * values.shape[1] - 0.5).astype(np.float32),
    )
    return placed


def threshold_for_area(values: Map, area: float) -> float:
    """The threshold at which `values >= threshold` keeps a share of the pixels, or just over it where values are equal.

    Args:
        values: float32, (H, W).
        area: share of the pixels to keep, in (0, 1].
    """
    flat = values.ravel()
    kept = min(max(round(area * flat.size), 1), flat.size)
    return float(np.partition(flat, flat.size - kept)[flat.size - kept])


def _geometry(height: int, width: int, card: InputCard) -> tuple[int, int, int, int]:
    """Size after the resize, then top and left of the graph's frame in it, all in pixels."""
    if card.resize == "squash":
        return card.height, card.width, 0, 0
    # 224 / (224 / 232) falls just short of 232 in floating point, hence the millionth.
    tall = math.floor(card.height / card.crop_fraction + 1e-6)
    wide = math.floor(card.width / card.crop_fraction + 1e-6)
    if tall * width <= wide * height:
        tall = int(wide * height / width)
    else:
        wide = int(tall * width / height)
    return tall, wide, round((tall - card.height) / 2), round((wide - card.width) / 2)


def _positions(size: int, new_size: int) -> Map:
    # float32 throughout, in torch's order of operations: at a steep edge the eighth digit of a position is visible.
    centres: Map = np.arange(new_size, dtype=np.float32) + np.float32(0.5)
    positions: Map = centres * np.float32(size / new_size) - np.float32(0.5)
    return positions


def _sample(values: Map, rows: Map, columns: Map) -> Map:
    one = np.float32(1)
    top, bottom, down = _neighbours(rows, values.shape[-2])
    left, right, across = _neighbours(columns, values.shape[-1])
    narrow = values[..., left] * (one - across) + values[..., right] * across
    down = down[:, None]
    result: Map = narrow[..., top, :] * (one - down) + narrow[..., bottom, :] * down
    return result


def _neighbours(positions: Map, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Map]:
    """Indices on both sides of each position and the weight of the second."""
    inside = np.clip(positions, 0, size - 1)
    first = np.floor(inside).astype(np.intp)
    weight: Map = inside - first.astype(np.float32)
    return first, np.minimum(first + 1, size - 1), weight


def _checked(image: NDArray[Any]) -> Picture:
    if image.dtype != np.uint8:
        raise InputError(_dtype_message(image))
    if image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"image: shape is {image.shape}, expected (height, width, 3); {_shape_hint(image.shape)}")
    if image.size == 0:
        raise InputError(f"image: shape is {image.shape}, an empty picture; expected at least one pixel")
    return image


def _dtype_message(image: NDArray[Any]) -> str:
    start = f"image: dtype is {image.dtype}"
    if image.dtype.kind != "f":
        return f"{start}, expected uint8 (RGB, 0–255); scale the values to 0–255, then .astype(numpy.uint8)"
    if np.isnan(image).any():
        return f"{start} and the array has NaN in it, expected uint8 (RGB, 0–255); find where the NaN comes from first"
    return (
        f"{start}, expected uint8 (RGB, 0–255); if the values are in 0–1, multiply by 255 and cast: "
        "(image * 255).round().astype(numpy.uint8); normalisation is inside the graph"
    )


def _shape_hint(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return "a grey picture becomes RGB by numpy.stack([image] * 3, axis=-1)"
    if len(shape) == 4:
        return "give a batch to explain_batch"
    if len(shape) == 3 and shape[2] == 4:
        return "drop the alpha channel: image[..., :3]"
    if len(shape) == 3 and shape[0] == 3:
        return "put the channels last: image.transpose(1, 2, 0)"
    return "give one RGB picture"


def _decoded(path: Path) -> Picture:
    try:
        is_file = path.is_file()
    except OSError as error:  # too long a name, or a folder that may not be looked into
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not is_file:
        raise InputError(f"{path}: no such picture file")
    pil = _pillow(f"decode {path.name}")
    try:
        opened = pil.open(path)
    except Exception as error:
        raise _undecodable(path, error) from error
    return _read(opened, str(path))


def _read(opened: Any, name: str) -> Picture:
    """The pixels of a PIL image, which decodes them only here."""
    try:
        with opened as image:
            return _rgb_from_pil(image, name)
    except InputError:
        raise
    except Exception as error:
        raise _undecodable(name, error) from error


def _undecodable(name: object, error: Exception) -> InputError:
    """The error for whatever a decoder raised: OSError, SyntaxError, struct.error, as its parser meets such bytes."""
    reason = (isinstance(error, OSError) and error.strerror) or str(error).removesuffix(f" {str(name)!r}")
    return InputError(f"{name}: cannot be decoded as a picture ({reason or type(error).__name__})")


def _rgb_from_pil(image: Image, name: str) -> Picture:
    from PIL import ImageOps

    if image.mode.startswith(DEEP_MODES):
        raise InputError(f"{name}: more than 8 bits a channel (mode {image.mode}); convert it to 8 bits first")
    if 0 in image.size:
        raise InputError(f"{name}: an empty picture of {image.height} × {image.width} pixels")
    return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def _pillow(purpose: str) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("Pillow", "image", purpose) from None
    return Image


def check_sizes(sizes: Iterable[int]) -> None:
    """Refuse a frame without pixels.

    Args:
        sizes: height and width in pixels.

    Raises:
        InputError: one of them is not a whole number of at least 1.
    """
    for size in sizes:
        if not isinstance(size, (int, np.integer)) or size < 1:
            raise InputError(f"height and width: got {size!r}, expected whole numbers of at least 1 pixel")
