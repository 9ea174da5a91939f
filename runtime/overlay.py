"""An explanation drawn over its picture: the contour of the mask, the rest dimmed, a strip of text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.errors import MissingExtra
from whymask.runtime.images import Picture

CONTOUR = (255, 214, 10)
"""RGB of the contour: a yellow that few photographs are full of."""
PART_CONTOURS = (CONTOUR, (0, 200, 255), (255, 80, 200), (120, 255, 80), (255, 130, 30))
"""RGB of the contours of a picture's instances, in turn."""
UNCERTIFIED_CONTOUR = (255, 255, 255)
"""RGB of the contour of what does not keep the class alone."""
DIMMED = 0.35
"""Brightness that dropped pixels keep; darker hides the context, brighter hides the mask."""
PIXELS_PER_CONTOUR_PIXEL = 200
"""The contour is one pixel wide on a picture of this short side, and wider in proportion."""
SMALLEST_STRIP = 12
"""Height in pixels under which a strip of text cannot be read, so that none is drawn."""


def draw(picture: Picture, mask: NDArray[np.uint8], caption: str | None = None) -> Picture:
    """Draw a mask over a picture. An empty mask leaves the picture as it is: there is nothing to show beside the rest.

    Args:
        picture: uint8, (height, width, 3), RGB, 0–255; not changed.
        mask: uint8, (height, width), 0 or 1.
        caption: text for a strip at the lower edge; needs Pillow.

    Returns:
        uint8, (height, width, 3), RGB, 0–255.

    Raises:
        MissingExtra: a caption was given and Pillow is not installed.
    """
    return draw_parts(picture, [mask if mask.any() else np.ones_like(mask)], [True], caption)


def draw_parts(
    picture: Picture, masks: Sequence[NDArray[np.uint8]], certified: Sequence[bool], caption: str | None = None
) -> Picture:
    """Draw the parts of a mask over a picture, each with a contour of its own colour.

    Args:
        picture: uint8, (height, width, 3), RGB, 0–255; not changed.
        masks: uint8, (height, width), 0 or 1, one a part.
        certified: which parts keep the class alone; the contour of the others is white.
        caption: text for a strip at the lower edge; needs Pillow.

    Returns:
        uint8, (height, width, 3), RGB, 0–255.

    Raises:
        MissingExtra: a caption was given and Pillow is not installed.
    """
    kept = np.zeros(picture.shape[:2], bool)
    for mask in masks:
        kept |= mask != 0
    grey = picture.mean(axis=2, keepdims=True) * DIMMED
    drawn = np.where(kept[..., None], picture, grey.astype(np.uint8))
    width = max(1, min(kept.shape) // PIXELS_PER_CONTOUR_PIXEL)
    colours = itertools.cycle(PART_CONTOURS)
    for mask, holds in zip(masks, certified, strict=True):
        drawn[contour(mask != 0, width)] = next(colours) if holds else UNCERTIFIED_CONTOUR
    return drawn if caption is None else _captioned(drawn, caption)


def contour(kept: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The rim of a region: its pixels within `width` steps of a pixel outside it. The picture's own edge is no rim.

    Args:
        kept: bool, (height, width).
        width: of the rim, in pixels.
    """
    core = kept
    for _ in range(width):
        padded = np.pad(core, 1, constant_values=True)
        core = core & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    rim: NDArray[np.bool_] = kept & ~core
    return rim


def _captioned(drawn: Picture, caption: str) -> Picture:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise MissingExtra("Pillow", "image", "write a caption into an overlay") from None
    height, width = drawn.shape[:2]
    strip = min(max(height // 12, SMALLEST_STRIP), 48)
    if strip * 2 > height:
        return drawn
    caption = " ".join(caption.splitlines())  # the strip has one line, and Pillow measures no more
    image = Image.fromarray(drawn)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, height - strip, width, height), fill=(0, 0, 0))
    font = ImageFont.load_default(strip * 0.72)
    if not isinstance(font, ImageFont.FreeTypeFont):
        # Pillow built without FreeType has one bitmap font of 11 pixels: Latin letters, no scaling, no anchors.
        pen.text((4, height - strip), caption.encode("latin-1", "replace").decode("latin-1"), (255, 255, 255), font)
        return np.array(image)
    room = (width - 8) / max(pen.textlength(caption, font), 1.0)
    if room < 1:
        font = ImageFont.load_default(max(strip * 0.72 * room, 4.0))
    pen.text((4, height - strip / 2), caption, (255, 255, 255), font, anchor="lm")
    return np.array(image)  # a copy: Pillow's own pixels cannot be written to
