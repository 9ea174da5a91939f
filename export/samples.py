"""Pictures to compare two forms of a graph on: real ones where there are any, else seeded synthetic ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.card import InputCard
from whymask.runtime.errors import InputError
from whymask.runtime.images import find_images, fit, rgb_from

Pictures = NDArray[np.uint8]

COUNT = 64
"""Pictures of one comparison: top-1 agreement in steps of 1.6 %, a few seconds at 224 px on two cores."""


def real_pictures(sources: Sequence[str | Path], card: InputCard, count: int = COUNT) -> Pictures | None:
    """Evenly spaced pictures of some folders and files.

    Args:
        sources: folders or image files; absent ones are passed over.
        card: the graph's input.
        count: how many pictures at most.

    Returns:
        uint8, (count or fewer, H, W, 3), 0–255, or None where no picture can be read.
    """
    paths = [path for source in map(Path, sources) for path in (find_images(source) if source.is_dir() else [source])]
    order = np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)
    pictures = [picture for index in order if (picture := _read(paths[index], card)) is not None]
    return np.stack(pictures) if pictures else None


def _read(path: Path, card: InputCard) -> Pictures | None:
    try:
        return fit(rgb_from(path), card)
    except InputError:  # a broken file says nothing of the graph; training has already named it
        return None


def synthetic_pictures(card: InputCard, count: int = COUNT, seed: int = 0) -> Pictures:
    """Smooth coloured waves with one hard-edged ellipse each: full range, no noise, the same on every machine.

    Args:
        card: the graph's input.
        count: how many pictures.
        seed: of their waves and ellipses.

    Returns:
        uint8, (count, H, W, 3), 0–255.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.meshgrid(np.linspace(0, 1, card.height), np.linspace(0, 1, card.width), indexing="ij")
    pictures = np.empty((count, card.height, card.width, 3), np.uint8)
    for picture in pictures:
        frequency, phase = rng.uniform(-12, 12, (2, 3)), rng.uniform(0, 2 * np.pi, 3)
        waves = np.sin(rows[..., None] * frequency[0] + columns[..., None] * frequency[1] + phase)
        centre, radii = rng.uniform(0.25, 0.75, 2), rng.uniform(0.1, 0.35, 2)
        inside = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 < 1
        picture[:] = np.where(inside[..., None], rng.integers(0, 256, 3), 127.5 + 127.5 * waves)
    return pictures
