"""Pictures of a study: read in chunks, brought to a graph's input, those that cannot be read named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.card import InputCard
from whymask.runtime.errors import InputError
from whymask.runtime.images import fit, rgb_from

Image: TypeAlias = Path | NDArray[np.uint8]
"""A file, or a uint8 array (height, width, 3), RGB, 0–255."""


def chunks(images: Sequence[Image], size: int) -> Iterator[Sequence[Image]]:
    """The images in order, `size` at a time."""
    for first in range(0, len(images), size):
        yield images[first : first + size]


def read_all(chunk: Sequence[Image], rule: InputCard, study: str) -> tuple[list[str], NDArray[np.uint8]]:
    """As `read_pictures`, of a set that has to be readable: names, and pictures uint8 (B, H, W, 3).

    Args:
        chunk, rule: as of `read_pictures`.
        study: that asks, for the message.

    Raises:
        InputError: a picture cannot be read.
    """
    names, pictures, failed = read_pictures(chunk, 0, rule)
    if failed:
        raise InputError(f"{study}: {failed[0]}; every picture of the set has to be readable")
    return names, np.stack(pictures)


def read_pictures(
    chunk: Sequence[Image], first: int, rule: InputCard
) -> tuple[list[str], list[NDArray[np.uint8]], list[str]]:
    """Names and fitted pictures of a chunk, and the files that could not be read with the reason.

    Args:
        chunk: what to read.
        first: position of the first in the set, which names an array.
        rule: of the graph that is asked.

    Returns:
        names, pictures uint8 (H, W, 3), and lines that tell of failures.
    """
    names, pictures, failed = [], [], []
    for position, image in enumerate(chunk, first):
        name = f"{image.parent.name}/{image.name}" if isinstance(image, Path) else f"image {position}"
        try:
            pictures.append(fit(rgb_from(image), rule))
            names.append(name)
        except InputError as error:
            # Records are passed on: what the file is called is enough, where it lay on this machine is not theirs.
            failed.append(f"{name}: {str(error).replace(f'{image}: ', '')}")
    return names, pictures, failed
