"""The pictures that latency is measured on: real ones from a folder, or synthetic ones, and which of the two is said.

Letters: H W a picture's own height and width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.errors import InputError
from whymask.runtime.images import Picture, find_images, rgb_from

CAMERA_HEIGHT, CAMERA_WIDTH = 480, 640
"""Size of a synthetic picture: VGA, so that preprocessing has a resize to do."""


@dataclass(frozen=True)
class PictureSource:
    """Where the pictures came from.

    Attributes:
        kind: `folder` or `synthetic`.
        name: the folder's name, or how the synthetic pictures were made.
        count: number of distinct pictures.
        skipped: files that could not be decoded.
    """

    kind: str
    name: str
    count: int
    skipped: tuple[str, ...] = ()


def load_pictures(folder: Path, count: int, seed: int) -> tuple[list[Picture], PictureSource]:
    """Decode a seeded choice of distinct pictures of a folder; all of them where it has fewer.

    Args:
        folder: any tree of pictures.
        count: how many are wanted.
        seed: of the choice.

    Returns:
        Pictures, uint8 (H, W, 3) each at its own size, and their source.

    Raises:
        InputError: no such folder, or no picture in it can be decoded.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give --data a folder of pictures, or leave it out")
    found = find_images(folder)
    order = np.random.default_rng(seed).permutation(len(found))
    pictures: list[Picture] = []
    skipped: list[str] = []
    for index in order:
        if len(pictures) == count:
            break
        try:
            pictures.append(rgb_from(found[index]))
        except InputError:
            skipped.append(found[index].name)
    if not pictures:
        raise InputError(
            f"{folder}: none of its {len(found)} picture files can be decoded, expected at least one; "
            "give another folder, or leave --data out"
        )
    return pictures, PictureSource("folder", folder.resolve().name, len(pictures), tuple(skipped))


def synthetic_pictures(
    count: int, seed: int, height: int = CAMERA_HEIGHT, width: int = CAMERA_WIDTH
) -> tuple[list[Picture], PictureSource]:
    """Seeded pictures with a photograph's spectrum: amplitude falls as one over the spatial frequency (Field 1987).

    Args:
        count: how many.
        seed: of all of them.
        height, width: of each, in pixels.

    Returns:
        Pictures, uint8 (H, W, 3), and their source.
    """
    random = np.random.default_rng(seed)
    pictures = [_synthetic_picture(random, height, width) for _ in range(count)]
    return pictures, PictureSource("synthetic", f"1/f noise, {height} × {width} pixels, seed {seed}", count)


def _synthetic_picture(random: np.random.Generator, height: int, width: int) -> Picture:
    brightness = _pink_noise(random, height, width)
    # Each colour leans on another part of the same field: hues that vary, for one transform a picture.
    hues = [np.roll(brightness, int(random.integers(width)), 1) for _ in range(3)]
    picture: Picture = np.clip(128.0 + 45.0 * brightness[..., None] + 15.0 * np.stack(hues, -1), 0, 255).astype(
        np.uint8
    )
    return picture


def _pink_noise(random: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """float64 (H, W), mean 0, deviation 1."""
    spectrum = np.fft.rfft2(random.standard_normal((height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(spectrum / frequency, (height, width))
    scaled: NDArray[np.float64] = field / max(float(field.std()), 1e-12)
    return scaled
