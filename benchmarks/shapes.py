"""A procedural data set with exact ground truth: textured shapes on textured, cluttered backgrounds.

    shapes = make_shapes(count=1000, size=64, seed=0)
    shapes.images[7], CLASSES[shapes.labels[7]], shapes.masks[7]

The class is decided by the shape alone: colours, textures, place, size and angle are drawn independently of it. Every
image carries distractors (blobs and strokes that are no class), and a share of the images a second, smaller object of
another class; the label is that of the larger one. On request a share of the images shows no object at all: a
classifier that has never seen one must call an emptied picture by some class, which an empty mask would then explain.
Image `i` of a seed depends on the arguments and `i` alone, not on the number of images.

Letters used for shapes here: N images, S side of an image in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.errors import InputError

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

MIN_SIZE = 32
CHUNK = 256
"""Images rendered at once: enough to hide Python's cost, few enough to stay near the processor's cache."""
DRAWS = 448
"""Random numbers an image may use for everything but its pixel noise."""
NOISE_CELLS = 6
DISTRACTORS = 7
"""Most blobs and strokes in an image; every image has at least one."""
SECOND_PLACES = 12
"""Places tried for the second object before falling back to a corner, where it always fits."""


@dataclass(frozen=True)
class ShapeSet:
    """Images with their ground truth.

    Attributes:
        images: uint8, (N, S, S, 3), RGB 0–255.
        labels: int64, (N,), index in `CLASSES` of the larger object.
        masks: uint8, (N, S, S), 1 on every pixel of the larger object, 0 elsewhere.
        second_labels: int64, (N,), class of the smaller object, −1 where there is none.
        second_masks: uint8, (N, S, S), 1 on every pixel of the smaller object.
    """

    images: Bytes
    labels: Ints
    masks: Bytes
    second_labels: Ints
    second_masks: Bytes

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)


def make_shapes(
    count: int, size: int, seed: int, two_objects: float = 0.25, empty: float = 0.0, start: int = 0
) -> ShapeSet:
    """Render images `start` … `start + count − 1` of a seed.

    Args:
        count: number of images.
        size: side of the square images in pixels, at least 32.
        seed: of the set; two seeds share no image.
        two_objects: share of images with a second object, 0–1.
        empty: share of images without any object, 0–1; their label is `NOTHING`.
        start: index of the first image.

    Raises:
        InputError: a count below 1, a size below 32 or a share outside [0, 1].
    """
    if count < 1 or size < MIN_SIZE or not (0.0 <= two_objects <= 1.0 and 0.0 <= empty <= 1.0):
        raise InputError(
            f"shapes: count {count}, size {size}, two_objects {two_objects}, empty {empty}; "
            f"expected a count from 1, a size from {MIN_SIZE} and shares in [0, 1]"
        )
    return _in_chunks(count, start, lambda indices: _render(indices, size, seed, two_objects, empty))


def make_twins(count: int, size: int, seed: int, start: int = 0) -> ShapeSet:
    """Render images with two objects of one class, each in a half of its own: upper and lower, or left and right.

    Both are somewhat smaller than a single object of `make_shapes`; all else is drawn as there. `second_labels` are the
    labels again.

    Args:
        count: number of images.
        size: side of the square images in pixels, at least 32.
        seed: of the set; images are none of `make_shapes` of the same seed.
        start: index of the first image.

    Raises:
        InputError: a count below 1 or a size below 32.
    """
    if count < 1 or size < MIN_SIZE:
        raise InputError(f"twins: count {count}, size {size}; expected a count from 1 and a size from {MIN_SIZE}")
    return _in_chunks(count, start, lambda indices: _render_twins(indices, size, seed))


def _in_chunks(count: int, start: int, render: Callable[[range], ShapeSet]) -> ShapeSet:
    ends = range(start, start + count, CHUNK)
    chunks = [render(range(i, min(i + CHUNK, start + count))) for i in ends]
    return ShapeSet(*(np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in ShapeSet.__annotations__))


class _Draws:
    """Random columns, one row an image; the order of the calls fixes which number goes where."""

    def __init__(self, indices: range, size: int, seed: int) -> None:
        generators = [np.random.default_rng((seed, index)) for index in indices]
        self._table = np.stack([g.random(DRAWS, dtype=np.float32) for g in generators])
        self.pixels = np.stack([g.random((2, size, size), dtype=np.float32) for g in generators])
        self._next = 0

    def uniform(self, low: float = 0.0, high: float = 1.0, width: int = 1) -> Floats:
        """float32 (N, width) in [low, high)."""
        if self._next + width > DRAWS:
            raise IndexError(f"an image may use {DRAWS} draws; raise DRAWS")
        columns = self._table[:, self._next : self._next + width]
        self._next += width
        return low + (high - low) * columns

    def choice(self, options: int) -> Ints:
        """int64 (N,) in 0 … options − 1."""
        return np.minimum((self.uniform()[:, 0] * options).astype(np.int64), options - 1)


def _render(indices: range, size: int, seed: int, two_objects: float, empty: float) -> ShapeSet:
    draws = _Draws(indices, size, seed)
    labels, second_labels, paired = _draw_classes(draws, two_objects, empty)
    return _painted(draws, size, labels, second_labels, _draw_places(draws, paired))


def _render_twins(indices: range, size: int, seed: int) -> ShapeSet:
    draws = _Draws(indices, size, seed)
    labels = draws.choice(len(CLASSES))
    return _painted(draws, size, labels, labels.copy(), _draw_twin_places(draws))


def _painted(draws: _Draws, size: int, labels: Ints, second_labels: Ints, places: Places) -> ShapeSet:
    centre, radius, second_centre, second_radius = places
    lights, background_light = _draw_lights(draws)
    images = _patchwork(draws, size, background_light)
    _scatter_distractors(images, draws)
    masks = _inside(labels, centre, radius, draws.uniform(0, 2 * np.pi), size)
    second_masks = _inside(second_labels, second_centre, second_radius, draws.uniform(0, 2 * np.pi), size)
    for mask, light in zip((masks, second_masks), lights, strict=True):
        paint = _textured(draws, size, light, contrast=(0.0, 0.2), noise=draws.pixels[:, 1])
        images = np.where(mask[..., None], paint, images)
    pixels = (np.clip(images, 0.0, 1.0) * 255.0).astype(np.uint8)
    return ShapeSet(pixels, labels, masks.astype(np.uint8), second_labels, second_masks.astype(np.uint8))


def _draw_classes(draws: _Draws, two_objects: float, empty: float) -> tuple[Ints, Ints, Bools]:
    """Class of the larger object, class of the smaller (another, or −1), and which images have two."""
    labels = draws.choice(len(CLASSES))
    second = (labels + 1 + draws.choice(len(CLASSES) - 1)) % len(CLASSES)
    is_empty = draws.uniform()[:, 0] < empty
    paired = (draws.uniform()[:, 0] < two_objects) & ~is_empty
    return np.where(is_empty, NOTHING, labels), np.where(paired, second, -1), paired


Places = tuple[Floats, Floats, Floats, Floats]
"""Centres (N, 2) and radii (N, 1) of the larger, then of the smaller object, in shares of the side."""


def _draw_places(draws: _Draws, paired: Bools) -> Places:
    """Circles that never touch."""
    radius: Floats = np.where(paired[:, None], draws.uniform(0.26, 0.3), draws.uniform(0.26, 0.4))
    centre: Floats = radius + (1.0 - 2.0 * radius) * draws.uniform(width=2)
    second_radius = radius * draws.uniform(0.42, 0.52)
    tried = draws.uniform(width=2 * SECOND_PLACES).reshape(-1, SECOND_PLACES, 2)
    corners = np.broadcast_to(np.array([(0, 0), (0, 1), (1, 0), (1, 1)], np.float32), (len(tried), 4, 2))
    places = np.concatenate([tried, corners], axis=1)
    inner: Floats = second_radius[:, None] + (1.0 - 2.0 * second_radius[:, None]) * places
    apart = np.linalg.norm(inner - centre[:, None], axis=2) > radius + second_radius
    second_centre: Floats = inner[np.arange(len(inner)), apart.argmax(axis=1)]
    return centre, radius, second_centre, second_radius


def _draw_twin_places(draws: _Draws) -> Places:
    """Circles on both sides of a line through the middle, at least a twenty-fifth of the side apart."""
    radius, second_radius = draws.uniform(0.2, 0.23), draws.uniform(0.2, 0.23)
    centres = []
    for side, each in enumerate((radius, second_radius)):
        across = 0.52 * side + each + (0.48 - 2.0 * each) * draws.uniform()
        along = each + (1.0 - 2.0 * each) * draws.uniform()
        centres.append(np.concatenate([across, along], axis=1))
    upright = draws.uniform() < 0.5
    first, second = (np.where(upright, centre, centre[:, ::-1]) for centre in centres)
    return first, radius, second, second_radius


def _draw_lights(draws: _Draws) -> tuple[list[Floats], Floats]:
    """Mean lightness (N, 1) of the two objects, and of the background, 0–1.

    Objects are dark or light, both on one side of their background: they stand out from it, and from mid-grey too.
    """
    is_light = draws.uniform() < 0.5
    depths = [draws.uniform(0.05, 0.25) for _ in range(2)]
    background = draws.uniform(0.42, 1.0)
    return [np.where(is_light, 1.0 - d, d) for d in depths], np.where(is_light, 1.0 - background, background)


def _inside(labels: Ints, centre: Floats, radius: Floats, angle: Floats, size: int) -> Bools:
    """bool (N, S, S): which pixel centres lie inside each object."""
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    x = ((grid[None, :] - centre[:, :1]) / radius)[:, None, :]
    y = ((grid[None, :] - centre[:, 1:]) / radius)[:, :, None]
    cosine, sine = np.cos(angle)[..., None], np.sin(angle)[..., None]
    u, v = cosine * x + sine * y, cosine * y - sine * x
    result = np.zeros(u.shape, dtype=bool)
    for index, contains in enumerate(CLASSES.values()):
        rows = labels == index
        result[rows] = contains(u[rows], v[rows])
    return result


def _polygon(sides: int, inner: float) -> Callable[[Floats, Floats], Bools]:
    """A regular star with tips at radius 1 and notches at `inner`; a convex polygon where inner = cos(π / sides)."""
    half = np.pi / sides
    notch_x, notch_y = inner * np.cos(half), inner * np.sin(half)

    def contains(u: Floats, v: Floats) -> Bools:
        radius, angle = np.hypot(u, v), np.arctan2(v, u)
        folded = np.abs((angle + half) % (2 * half) - half)
        x, y = radius * np.cos(folded), radius * np.sin(folded)
        side: Bools = (1.0 - x) * notch_y - y * (1.0 - notch_x) >= 0
        return side

    return contains


def _heart(u: Floats, v: Floats) -> Bools:
    x, y = 1.36 * u, 1.36 * v + 0.1
    bulge = x * x + y * y - 1.0
    inside: Bools = bulge * bulge * bulge - x * x * y * y * y <= 0
    return inside


def _arrow(u: Floats, v: Floats) -> Bools:
    shaft = (np.abs(v) <= 0.27) & (np.abs(u) <= 0.95)
    head = (u >= -0.1) & (np.abs(v) <= 0.78 * (0.95 - u))
    return (shaft & (u <= 0.3)) | head


def _ring(u: Floats, v: Floats) -> Bools:
    squared = u * u + v * v
    return (squared <= 0.95) & (squared >= 0.2)


CLASSES: dict[str, Callable[[Floats, Floats], Bools]] = {
    "disc": lambda u, v: u * u + v * v <= 0.75,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) <= 0.7,
    "triangle": _polygon(3, np.cos(np.pi / 3)),
    "star": _polygon(5, 0.5),
    "cross": lambda u, v: (np.minimum(np.abs(u), np.abs(v)) <= 0.33) & (np.maximum(np.abs(u), np.abs(v)) <= 0.92),
    "ring": _ring,
    "crescent": lambda u, v: (u * u + v * v <= 0.95) & ((u - 0.65) ** 2 + v * v >= 0.5),
    "heart": _heart,
    "hexagon": _polygon(6, np.cos(np.pi / 6)),
    "arrow": _arrow,
}
"""Name of each class, in the order of the labels, and the test whether a point of the unit circle belongs to it."""

NOTHING = len(CLASSES)
"""Label of an image without an object."""

LABELS = (*CLASSES, "nothing")
"""Name of each label."""


def _patchwork(draws: _Draws, size: int, light: Floats) -> Floats:
    """float32 (N, S, S, 3): a background of two textures that meet along a ragged line somewhere."""
    patches = [_textured(draws, size, light, contrast=(0.0, top), noise=draws.pixels[:, 0]) for top in (0.3, 0.15)]
    return np.where(_blotches(draws, size)[..., None] > draws.uniform(0.1, 0.9)[..., None, None], *patches)


def _textured(draws: _Draws, size: int, light: Floats, contrast: tuple[float, float], noise: Floats) -> Floats:
    """float32 (N, S, S, 3): two colours around a lightness, mixed by one of the textures.

    Args:
        draws: the images' random numbers.
        size: S.
        light: float32, (N, 1), mean lightness, 0–1.
        contrast: range of the half difference between the two colours.
        noise: float32, (N, S, S), 0–1, one number a pixel.
    """
    chroma = draws.uniform(-0.22, 0.22, width=3)
    colour = light + chroma - chroma.mean(axis=1, keepdims=True)
    swing = draws.uniform(*contrast) * np.sign(draws.uniform(-1, 1, width=3))
    field = _texture(draws, size, noise) - 0.5
    grain = draws.uniform(0.0, 0.12)[..., None] * (noise - 0.5)
    result: Floats = colour[:, None, None] + (2.0 * field)[..., None] * swing[:, None, None] + grain[..., None]
    return result


def _texture(draws: _Draws, size: int, noise: Floats) -> Floats:
    """float32 (N, S, S) in [0, 1]: stripes, checker, dots, blotches, grain, or plain (three in eight)."""
    kind = draws.choice(8)
    angle, period, phase = draws.uniform(0, 2 * np.pi), draws.uniform(0.07, 0.2), draws.uniform(width=2)
    soft = _blotches(draws, size)
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    cosine, sine = np.cos(angle) / period, np.sin(angle) / period
    u = (grid * cosine + phase[:, :1])[:, None, :] + (grid * sine)[:, :, None]
    v = (grid * cosine + phase[:, 1:])[:, :, None] - (grid * sine)[:, None, :]
    result = np.full(u.shape, 0.5, dtype=np.float32)
    stripes, checker, dots, blotches, grain = (kind == index for index in range(5))
    result[stripes] = u[stripes] % 1.0 > 0.5
    result[checker] = (u[checker] % 1.0 > 0.5) ^ (v[checker] % 1.0 > 0.5)
    result[dots] = (u[dots] % 1.0 - 0.5) ** 2 + (v[dots] % 1.0 - 0.5) ** 2 < 0.08
    result[blotches] = soft[blotches]
    result[grain] = noise[grain]
    return result


def _blotches(draws: _Draws, size: int) -> Floats:
    """float32 (N, S, S) in [0, 1]: coarse noise, enlarged bilinearly from corner to corner."""
    cells = draws.uniform(width=NOISE_CELLS * NOISE_CELLS).reshape(-1, NOISE_CELLS, NOISE_CELLS)
    place = np.linspace(0, NOISE_CELLS - 1, size, dtype=np.float32)
    weights = np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(NOISE_CELLS, dtype=np.float32)))
    result: Floats = weights @ cells @ weights.T
    return result


def _scatter_distractors(images: Floats, draws: _Draws) -> None:
    """Paint blobs and strokes onto images (N, S, S, 3), in place: each a thick segment inside a small patch."""
    count, size = images.shape[:2]
    patch = size // 4
    grid = np.arange(patch, dtype=np.float32) + 0.5 - patch / 2
    rows = np.arange(count)[:, None, None]
    wanted = 1 + draws.choice(DISTRACTORS)
    for number in range(DISTRACTORS):
        corner = (draws.uniform(width=2) * (size - patch + 1)).astype(np.int64)
        angle, length, thick = draws.uniform(0, np.pi), draws.uniform(0.0, 0.4), draws.uniform(0.015, 0.04)
        colour = draws.uniform(width=3)
        along_x, along_y = np.cos(angle)[..., None], np.sin(angle)[..., None]
        x, y = grid[None, None, :], grid[None, :, None]
        along = np.clip(along_x * x + along_y * y, *(patch * length[..., None] * side for side in (-1, 1)))
        painted = (x - along * along_x) ** 2 + (y - along * along_y) ** 2 <= (thick[..., None] * size) ** 2
        painted &= (number < wanted)[:, None, None]
        at = rows, corner[:, 1, None, None] + np.arange(patch)[:, None], corner[:, 0, None, None] + np.arange(patch)
        images[at] = np.where(painted[..., None], colour[:, None, None], images[at])
