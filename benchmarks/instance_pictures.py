"""Pictures with a known number of objects of one class, and the exact pixels of each.

Letters: H W a picture's height and width, K objects of the class in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.shapes import LABELS, ShapeSet, make_shapes, make_twins
from whymask.runtime.errors import InputError
from whymask.runtime.explainer import Explainer, class_index
from whymask.runtime.images import Picture, fit, rgb_from

BATCH = 32
DIAGONALS = ((0, 3), (1, 2))
"""Tiles of a mosaic, in reading order, that share no side."""


@dataclass(frozen=True)
class ObjectPicture:
    """One picture.

    Attributes:
        image: uint8, (H, W, 3), RGB, 0–255.
        objects: bool, (K, H, W), the pixels of each object of the class; they do not overlap.
        label: index of the class, in the graph's numbering.
    """

    image: Picture
    objects: NDArray[np.bool_]
    label: int


@dataclass(frozen=True)
class PictureSet:
    """Pictures of one kind.

    Attributes:
        name: of the set.
        counted: what is in a picture, and what an object is.
        pictures: all of them.
    """

    name: str
    counted: str
    pictures: tuple[ObjectPicture, ...]


def one_of_its_class(explainer: Explainer, count: int, seed: int) -> PictureSet:
    """Shapes with a smaller object of another class: one object is to be found.

    Args:
        explainer: of a classifier of shapes.
        count: number of pictures.
        seed: of the drawing.
    """
    drawn = make_shapes(count, _side(explainer), seed, two_objects=1.0)
    labels = _graph_labels(explainer, drawn)
    pictures = zip(drawn.images, drawn.masks.astype(bool), labels, strict=True)
    return PictureSet(
        "one shape and another's",
        "a picture shows one shape of the explained class and a smaller one of another class; one object is right",
        tuple(ObjectPicture(image, mask[None], label) for image, mask, label in pictures),
    )


def two_of_its_class(explainer: Explainer, count: int, seed: int) -> PictureSet:
    """Shapes with a second one of the same class, apart from the first: two objects are to be found.

    Args:
        explainer: of a classifier of shapes.
        count: number of pictures.
        seed: of the drawing.
    """
    drawn = make_twins(count, _side(explainer), seed)
    objects = np.stack([drawn.masks, drawn.second_masks], axis=1).astype(bool)
    pictures = zip(drawn.images, objects, _graph_labels(explainer, drawn), strict=True)
    return PictureSet(
        "two shapes of one class",
        "a picture shows two shapes of the explained class, apart from each other; two objects are right",
        tuple(ObjectPicture(*each) for each in pictures),
    )


def mosaics(explainer: Explainer, files: Sequence[Path], count: int, seed: int) -> PictureSet:
    """Four photographs in a square, two of one class on a diagonal and two of others: two objects are to be found.

    Each photograph has a place of its own. Its class is what the classifier calls it when it is shown there alone, the
    rest filled, so that each of the two tiles does keep the class: what is judged is the explanation, not the
    classifier. A photograph that it calls something else by itself is left out: the filled frame made that class.

    Args:
        explainer: of any classifier.
        files: photographs, of any size.
        count: number of mosaics; a photograph may return in several.
        seed: of the places and the choice.

    Raises:
        InputError: no class has photographs at both ends of a diagonal, or one cannot be decoded.
    """
    card = explainer.card.input
    tile = dataclasses.replace(card, height=card.height // 2, width=card.width // 2, resize="squash")
    rng = np.random.default_rng(seed)
    tiles = np.stack([fit(rgb_from(file), tile) for file in files])
    places = rng.permutation(len(files)) % 4
    shown = (_placed(explainer.card.fill, {int(place): each}) for place, each in zip(places, tiles, strict=True))
    labels = _named(explainer, shown)
    sure = labels == _named(explainer, files)
    tiles, places, labels = tiles[sure], places[sure], labels[sure]
    pairs = [pair for diagonal in DIAGONALS for pair in _pairs(labels, places, diagonal)]
    if not pairs:
        raise InputError(
            f"mosaics: {len(labels)} of {len(files)} photographs keep their class as a tile, of "
            f"{len(np.unique(labels))} classes, none of which has two on a diagonal beside two of others; "
            "give more photographs of fewer classes"
        )
    chosen = (pairs[int(rng.integers(len(pairs)))] for _ in range(count))
    return PictureSet(
        "mosaics of photographs",
        "a picture shows four photographs, two of which the classifier calls by the explained class when each is shown "
        "alone in its place; two objects, each a whole tile, are right, so that overlap with a tile says where a mask "
        "lies and not how tight it is",
        tuple(_mosaic(tiles, labels, places, pair, rng) for pair in chosen),
    )


def is_of_shapes(explainer: Explainer) -> bool:
    """Whether the classifier knows the procedural shapes by their names."""
    return set(LABELS[:-1]) <= set(explainer.card.classifier.labels)


def _side(explainer: Explainer) -> int:
    return explainer.card.input.height


def _graph_labels(explainer: Explainer, drawn: ShapeSet) -> list[int]:
    return [class_index(explainer.card, LABELS[label]) for label in drawn.labels]


def _named(explainer: Explainer, pictures: Iterable[object]) -> NDArray[np.int64]:
    """int64, (n,): what the classifier calls each picture."""
    return np.array([result.index for result in explainer.explain_batch(pictures, BATCH)], np.int64)


def _pairs(
    labels: NDArray[np.int64], places: NDArray[np.int64], diagonal: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Photographs of one class at both ends of a diagonal, where both other places have one of another class."""
    others = [place for place in range(4) if place not in diagonal]
    for label in np.unique(labels):
        if all(((places == place) & (labels != label)).any() for place in others):
            first, second = (np.flatnonzero((places == place) & (labels == label)) for place in diagonal)
            yield from ((int(a), int(b)) for a in first for b in second)


def _mosaic(
    tiles: Picture,
    labels: NDArray[np.int64],
    places: NDArray[np.int64],
    pair: tuple[int, int],
    rng: np.random.Generator,
) -> ObjectPicture:
    label, own = int(labels[pair[0]]), [int(places[each]) for each in pair]
    shown = dict(zip(own, tiles[list(pair)], strict=True))
    for place in range(4):
        if place not in own:
            shown[place] = tiles[rng.choice(np.flatnonzero((places == place) & (labels != label)))]
    height, width = tiles.shape[1:3]
    numbers = np.arange(4).reshape(2, 2).repeat(height, axis=0).repeat(width, axis=1)
    return ObjectPicture(_placed((0, 0, 0), shown), np.stack([numbers == place for place in own]), label)


def _placed(fill: Sequence[float], shown: Mapping[int, Picture]) -> Picture:
    """Tiles at their places, in reading order, on a fill: uint8, twice as high and wide as a tile."""
    height, width = next(iter(shown.values())).shape[:2]
    canvas = np.empty((2 * height, 2 * width, 3), np.uint8)
    canvas[:] = np.rint(fill)
    for place, each in shown.items():
        row, column = place // 2 * height, place % 2 * width
        canvas[row : row + height, column : column + width] = each
    return canvas
