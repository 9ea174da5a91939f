"""Pictures whose object is known pixel by pixel, or by its boxes: what localisation is judged on.

    planted_objects   cut-out objects on blurred backgrounds, exact masks
    boxed_images      ImageNet validation pictures with boxes
    mosaics           2 × 2 grids of real pictures: the tile of the asked class is the truth
    procedural        drawn shapes, exact masks
    truth_for         a user's own: `masks:DIR` or `boxes:CSV`

Truth goes through the graph's resize rule as its picture does, with the nearest pixel in place of interpolation. A mask
that explains a decision need not cover its object: these sets tell where a map points, not whether it is right.

Letters: H W the graph's input height and width, C classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.pictures import Image, chunks
from whymask.benchmarks.shapes import CLASSES, make_shapes
from whymask.benchmarks.suite.sample import Ask
from whymask.benchmarks.truth_files import (
    BOX_COLUMNS,
    Box,
    class_index,
    normalised_boxes,
    picture_size,
    pixel_box,
    read_mask,
    read_rows,
)
from whymask.runtime.card import InputCard
from whymask.runtime.errors import InputError
from whymask.runtime.images import find_images, fit, rgb_from, window_of

Truth: TypeAlias = Callable[[int, InputCard], NDArray[np.bool_]]
"""(position in the set, rule of the graph) → bool (H, W), true on the object."""

KINDS = ("masks", "boxes")
HALVES = {"odd": slice(1, None, 2), "even": slice(0, None, 2), "all": slice(None)}
ASKED = 64
"""Pictures of one call of the classifier."""


@dataclass(frozen=True)
class TruthSet:
    """Pictures with their objects.

    Attributes:
        name: of the set.
        images: files or arrays.
        truth: the object's pixels in a picture as the graph sees it; without a true pixel where the rule crops it away.
        classes: the object's class a picture, in the order of `images`; None where nobody knows.
        stated: what the truth is, in one line.
    """

    name: str
    images: tuple[Image, ...]
    truth: Truth
    classes: tuple[int, ...] | None = None
    stated: str = ""

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.images)

    def at(self, positions: Sequence[int]) -> TruthSet:
        """The set of some of its pictures, in the order given."""
        classes = None if self.classes is None else tuple(self.classes[i] for i in positions)
        images = tuple(self.images[i] for i in positions)
        return replace(self, images=images, classes=classes, truth=lambda i, rule: self.truth(positions[i], rule))


def planted_objects(root: Path) -> TruthSet:
    """Composites of a folder with `images/NAME.jpg` and `masks/NAME.png`, listed in the CSV of its name beside it.

    Another MobileNetV2 chose them; keep those that the judged classifier knows by `where_predicted`.

    Args:
        root: such as `planted_objects`, with `planted_objects.csv` beside it.

    Raises:
        InputError: the list or a file is absent or broken.
    """
    rows = list(read_rows(root.with_suffix(".csv"), ("name", "class_index")))
    images = tuple(root / "images" / f"{row['name']}.jpg" for _, row in rows)
    masks = [root / "masks" / f"{row['name']}.png" for _, row in rows]
    classes = tuple(class_index(where, row["class_index"]) for where, row in rows)
    stated = "the exact pixels of an object planted on a blurred background"
    return TruthSet(root.name, images, _truth_from_masks(images, masks), classes, stated)


def boxed_images(root: Path, half: str = "odd") -> TruthSet:
    """ImageNet pictures with any number of boxes, listed in the CSV of the folder's name beside it.

    The study trains on even positions of the sorted files and calibrates thresholds on odd ones. No explainer learnt
    from an odd one, and localisation knows no threshold but that of the own mask: odd ones are the ones to report on.

    Args:
        root: such as `imagenet_val_boxes`, with `imagenet_val_boxes.csv` beside it.
        half: `odd`, `even` or `all` positions of the sorted files.

    Raises:
        InputError: the list is absent or broken, or names no picture of the folder.
    """
    if half not in HALVES:
        raise InputError(f"half: {half!r}, expected one of {', '.join(HALVES)}")
    column = "boxes_xyxy_normalised"
    rows = {
        row["file"]: (where, row) for where, row in read_rows(root.with_suffix(".csv"), ("file", "class_index", column))
    }
    images = tuple(path for path in find_images(root)[HALVES[half]] if path.name in rows)
    if not images:
        raise InputError(f"{root}: no picture that {root.with_suffix('.csv').name} lists; expected them in this folder")
    listed = [rows[path.name] for path in images]
    boxes = [normalised_boxes(where, row[column]) for where, row in listed]
    classes = tuple(class_index(where, row["class_index"]) for where, row in listed)
    return TruthSet(root.name, images, _truth_from_boxes(images, boxes), classes, "the insides of the object's boxes")


@dataclass(frozen=True)
class Mosaics:
    """2 × 2 grids of pictures that the classifier calls differently.

    Attributes:
        images: uint8, (n, H, W, 3), as the graph sees them.
        classes: int64, (n, 4), what the classifier calls the whole picture of each tile; tiles in reading order.
    """

    images: NDArray[np.uint8]
    classes: NDArray[np.int64]

    def tile(self, number: int) -> NDArray[np.bool_]:
        """Pixels of a tile, 0–3 in reading order: bool, (H, W)."""
        inside = np.zeros(self.images.shape[1:3], np.bool_)
        inside[_tile(number, *self.images.shape[1:3])] = True
        return inside

    def truth_set(self) -> TruthSet:
        """Each mosaic once, its tiles asked for in turn. Judge it by a graph with `target`, asked for `classes`."""
        turns = [i % 4 for i in range(len(self.images))]
        classes = tuple(int(self.classes[i, turn]) for i, turn in enumerate(turns))

        def truth(position: int, rule: InputCard) -> NDArray[np.bool_]:
            tile = self.tile(turns[position])
            return fit_mask(tile, tile.shape, rule)

        return TruthSet("mosaics", tuple(self.images), truth, classes, "the tile whose class is asked for")


def mosaics(
    pictures: NDArray[np.uint8], predicted: NDArray[np.int64], rule: InputCard, count: int, seed: int = 0
) -> Mosaics:
    """Draw grids of four pictures with four different predicted classes.

    Args:
        pictures: uint8, (N, H, W, 3), as the graph sees them.
        predicted: int64, (N,), what the classifier calls them.
        rule: of the graph.
        count: how many grids.
        seed: of the draw.

    Raises:
        InputError: fewer than four classes among the pictures.
    """
    known = np.unique(predicted)
    if len(known) < 4:
        raise InputError(f"mosaics: the classifier sees {len(known)} classes in these pictures; at least 4 are needed")
    rng = np.random.default_rng(seed)
    grids = np.empty((count, rule.height, rule.width, 3), np.uint8)
    classes = np.stack([rng.choice(known, 4, replace=False) for _ in range(count)])
    for grid, four in zip(grids, classes, strict=True):
        for number, each in enumerate(four):
            picture = pictures[rng.choice(np.flatnonzero(predicted == each))]
            rows, columns = _tile(number, rule.height, rule.width)
            height, width = rows.stop - rows.start, columns.stop - columns.start
            grid[rows, columns] = fit(picture, replace(rule, height=height, width=width, resize="squash"))
    return Mosaics(grids, classes)


def procedural(count: int, size: int, seed: int = 0) -> TruthSet:
    """Drawn shapes of `whymask.benchmarks.shapes` with exact masks of the larger object, whose class is asked.

    Args:
        count: number of pictures.
        size: side of the square pictures in pixels.
        seed: of the drawing.
    """
    drawn = make_shapes(count, size, seed)

    def truth(position: int, rule: InputCard) -> NDArray[np.bool_]:
        return fit_mask(drawn.masks[position].astype(np.bool_), (size, size), rule)

    stated = f"the exact pixels of one of {len(CLASSES)} drawn shapes"
    return TruthSet("procedural", tuple(drawn.images), truth, tuple(drawn.labels.tolist()), stated)


def truth_for(spec: str, images: Sequence[Path], name: str = "truth") -> TruthSet:
    """A user's ground truth for those of the pictures that have some.

    Args:
        spec: `masks:DIR`, a folder of PNG files with the pictures' stems, where non-zero is object; or `boxes:CSV` with
            the columns file, left, top, right, bottom in pixels of the upright picture, several rows a file where it
            holds several objects.
        images: the pictures.
        name: of the set.

    Raises:
        InputError: another spec, a file that is absent or broken, or none of the pictures has truth.
    """
    kind, _, place = spec.partition(":")
    if kind not in KINDS or not place:
        raise InputError(f"truth: {spec!r}, expected masks:DIR (PNG, non-zero is object) or boxes:CSV")
    reader = masks_in if kind == "masks" else boxes_in
    return reader(Path(place), images, name)


def masks_in(folder: Path, images: Sequence[Path], name: str = "truth") -> TruthSet:
    """Pictures whose mask lies in a folder under the same stem, as PNG of the picture's size; see `truth_for`."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected one with a PNG mask for each picture's stem")
    masks = {path.stem: path for path in find_images(folder) if path.suffix.lower() == ".png"}
    known = tuple(path for path in images if path.stem in masks)
    if not known:
        raise InputError(f"{folder}: {len(masks)} PNG masks, none with the stem of one of the {len(images)} pictures")
    truth = _truth_from_masks(known, [masks[path.stem] for path in known])
    return TruthSet(name, known, truth, stated="the non-zero pixels of a mask")


def boxes_in(path: Path, images: Sequence[Path], name: str = "truth") -> TruthSet:
    """Pictures of which a CSV lists boxes, by file name or by the end of their path; see `truth_for`."""
    listed: dict[str, list[tuple[str, Box]]] = defaultdict(list)
    for where, row in read_rows(path, BOX_COLUMNS):
        listed[row["file"]].append((where, pixel_box(where, row)))
    names = [_listed_name(image, listed) for image in images]
    known = tuple(image for image, name_ in zip(images, names, strict=True) if name_ is not None)
    if not known:
        raise InputError(f"{path}: lists {len(listed)} files, none of them one of the {len(images)} pictures")
    boxes = [_shares_of(image, listed[each]) for image, each in zip(known, filter(None, names), strict=True)]
    return TruthSet(name, known, _truth_from_boxes(known, boxes), stated="the insides of the object's boxes")


def where_predicted(truth_set: TruthSet, ask: Ask, rule: InputCard) -> TruthSet:
    """Those pictures of a set in which the classifier sees the object's class.

    Args:
        truth_set: with classes.
        ask: the judged graph.
        rule: of the same graph.

    Raises:
        InputError: a set without classes, or no picture is left.
    """
    if truth_set.classes is None:
        raise InputError(f"{truth_set.name}: its classes are not known, so nobody can say where they are predicted")
    top1 = [ask(_fitted(part, rule)).argmax(axis=1) for part in chunks(truth_set.images, ASKED)]
    kept = np.flatnonzero(np.concatenate(top1) == np.asarray(truth_set.classes)).tolist()
    if not kept:
        raise InputError(f"{truth_set.name}: the classifier sees the object's class in none of {len(truth_set)}")
    return truth_set.at(kept)


def fit_mask(mask: NDArray[np.bool_], size: tuple[int, int], rule: InputCard) -> NDArray[np.bool_]:
    """Bring a mask to the graph's input by the card's resize rule, the nearest pixel each.

    Args:
        mask: bool, (height, width).
        size: height and width of the picture that it belongs to.
        rule: of the graph.

    Returns:
        bool, (H, W).
    """
    rows, columns = _seen_places(size, rule)
    height, width = mask.shape
    inside: NDArray[np.bool_] = mask[np.ix_((rows * height).astype(np.intp), (columns * width).astype(np.intp))]
    return inside


def _seen_places(size: tuple[int, int], rule: InputCard) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of the graph's rows (H,) and columns (W,) in shares of the picture's height and width."""
    window = window_of(*size, rule)
    rows = window.top + (np.arange(rule.height) + 0.5) / rule.height * window.height
    columns = window.left + (np.arange(rule.width) + 0.5) / rule.width * window.width
    return rows, columns


def _tile(number: int, height: int, width: int) -> tuple[slice, slice]:
    lower, right = divmod(number, 2)
    rows = slice(height // 2, height) if lower else slice(0, height // 2)
    return rows, slice(width // 2, width) if right else slice(0, width // 2)


def _fitted(images: Sequence[Image], rule: InputCard) -> NDArray[np.uint8]:
    return np.stack([fit(rgb_from(image), rule) for image in images])


def _truth_from_masks(images: Sequence[Image], masks: Sequence[Path]) -> Truth:
    def truth(position: int, rule: InputCard) -> NDArray[np.bool_]:
        mask, size = read_mask(masks[position]), picture_size(images[position])
        if mask.shape != size:
            raise InputError(f"{masks[position]}: {mask.shape[0]} × {mask.shape[1]} pixels, its picture {size}")
        return fit_mask(mask, size, rule)

    return truth


def _truth_from_boxes(images: Sequence[Image], boxes: Sequence[Sequence[Box]]) -> Truth:
    def truth(position: int, rule: InputCard) -> NDArray[np.bool_]:
        rows, columns = _seen_places(picture_size(images[position]), rule)
        inside = np.zeros((rule.height, rule.width), np.bool_)
        for left, top, right, bottom in boxes[position]:
            inside |= np.outer((rows >= top) & (rows < bottom), (columns >= left) & (columns < right))
        return inside

    return truth


def _listed_name(image: Path, listed: Mapping[str, object]) -> str | None:
    """The name under which a CSV lists a picture: the end of its path, the longest first."""
    ends = ("/".join(image.parts[first:]) for first in range(len(image.parts)))
    return next((end for end in ends if end in listed), None)


def _shares_of(image: Path, boxes: Sequence[tuple[str, Box]]) -> list[Box]:
    """Boxes in pixels as shares of their picture."""
    height, width = picture_size(image)
    for where, (left, top, *_) in boxes:
        if left >= width or top >= height:
            raise InputError(f"{where}: the box lies outside of its picture of {width} × {height} pixels")
    return [(left / width, top / height, right / width, bottom / height) for _, (left, top, right, bottom) in boxes]
