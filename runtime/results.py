"""Explanations as files: overlay pictures and one JSON line a picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.explanation import Explanation
from whymask.runtime.files import atomic_path
from whymask.runtime.images import Picture, find_images
from whymask.runtime.overlay import draw, draw_parts

if TYPE_CHECKING:
    from whymask.runtime.instances import Instance

LEGIBLE_PIXELS = 224
"""Smaller pictures are drawn enlarged, so that contour and caption can be read."""


def pictures_from(paths: Iterable[Path], out: Path) -> list[Path]:
    """The picture files that are meant, each once, in the order given; a folder's files are sorted.

    Args:
        paths: files and folders; what lies in `out` is left out, since it was made here.
        out: the folder of the results.

    Raises:
        InputError: a path that does not exist, a folder that is `out` itself, or no picture at all.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        if path.is_dir() and path.resolve() == out.resolve():
            raise InputError(f"{path}: pictures would be read from and written to this folder; choose another for -o")
        files = _below(path, out) if path.is_dir() else [path]
        for file in files:
            found.setdefault(file.resolve(), file)
    if not found:
        raise InputError(f"no picture in {', '.join(str(path) for path in paths)}; expected JPEG, PNG, WebP, …")
    return list(found.values())


def overlay_names(pictures: Iterable[Path], out: Path) -> dict[Path, Path]:
    """Where each picture's overlay goes: its stem with `.png`, numbered where another took the name.

    Args:
        pictures: files, each once; none of them is ever overwritten.
        out: the folder of the results.
    """
    pictures = list(pictures)
    # Names are compared in lower case: some file systems take Cat.png and cat.png for one file.
    taken = {file.name.lower() for file in pictures if file.resolve().parent == out.resolve()}
    names = {}
    for file in pictures:
        name, number = f"{file.stem}.png", 2
        while name.lower() in taken:
            name, number = f"{file.stem}-{number}.png", number + 1
        taken.add(name.lower())
        names[file] = out / name
    return names


def record(
    result: Explanation,
    file: Path,
    overlay: Path | None,
    instances: Sequence[Instance] | None = None,
    classes: Sequence[Explanation] | None = None,
) -> dict[str, Any]:
    """One line of `explanations.jsonl`.

    Args:
        result: the explanation.
        file: the picture.
        overlay: its overlay, or None where there is none.
        instances: its instances, or None where they were not asked for.
        classes: explanations of the likeliest classes, or None where they were not asked for.

    Returns:
        plain values. `mask` is COCO's uncompressed run-length code at the picture's own size: lengths of runs of 0 and
        1 in turn, column by column, beginning with 0. `box` is [left, top, right, bottom] in pixels, the last two
        exclusive, or None for an empty mask. `kept` and `confidence_kept` (of the class on the mask's pixels alone) are
        there where the graph was exported with `--certify kept` or `both`, `necessary` with `both`. `instances`, where
        asked for, is a list, the surest first: of each `kept` (whether the class stays top-1 when it alone is shown;
        only the last can be false), `confidence` (of the class then), `area`, `box` and `mask` as above. Their masks
        do not overlap, and hold pixels that the whole's has not where a region had to grow. `against`, where asked for,
        is the index of the class that the explained one is held against. `classes`, where asked for, is a list, the
        likeliest first: of each `label`, `index`, `confidence`, `area`, `box` and `mask`. Where a trigger did not
        choose the picture, `explained` is False, and all that needs the mask is left out.
    """
    decision = {
        "file": str(file),
        "overlay": None if overlay is None else overlay.name,
        "label": result.label,
        "index": result.index,
        "confidence": round(result.confidence, 6),
        "explained": result.explained,
        "target": result.target,
        **({} if result.against is None else {"against": result.against}),
    }
    return decision | (_extent(result, instances, classes) if result.explained else {})


def _extent(
    result: Explanation, instances: Sequence[Instance] | None, classes: Sequence[Explanation] | None
) -> dict[str, Any]:
    """What a record says of the mask."""
    sure = result.confidence_kept
    certificate = {
        "kept": result.kept,
        "confidence_kept": None if sure is None else round(sure, 6),
        "necessary": result.necessary,
    }
    return {
        "area": round(result.area, 6),
        "threshold": result.threshold,
        **_mask_record(result, result.picture),
        **{name: value for name, value in certificate.items() if value is not None},
        **({} if instances is None else {"instances": [_instance_record(each) for each in instances]}),
        **({} if classes is None else {"classes": [_class_record(each) for each in classes]}),
    }


def run_lengths(mask: NDArray[np.uint8]) -> list[int]:
    """COCO's uncompressed run-length code of a mask: column by column, beginning with a run of 0.

    Args:
        mask: uint8, (height, width), 0 or 1.
    """
    flat = mask.ravel(order="F")
    borders = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], borders, [flat.size]])).tolist()
    return [0, *counts] if flat[0] else list(counts)


def bounding_box(mask: NDArray[np.uint8]) -> list[int] | None:
    """[left, top, right, bottom] of the kept pixels, the last two exclusive; None where none is kept.

    Args:
        mask: uint8, (height, width), 0 or 1.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def write_overlay(
    result: Explanation,
    path: Path,
    instances: Sequence[Instance] | None = None,
    classes: Sequence[Explanation] | None = None,
) -> None:
    """Write an overlay with its caption as PNG; small pictures are enlarged by a whole factor.

    Args:
        result: the explanation.
        path: of the PNG file.
        instances: draws a contour for each of these in place of the mask's, and counts those that keep the class.
        classes: draws the picture once for each of these too, side by side, the explained class first unless it is
            among them by itself.

    Raises:
        MissingExtra: Pillow is not installed.
        ArtefactError: the file cannot be written.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("Pillow", "image", "write overlays") from None
    picture = _legible(result.picture)
    among = any(each.index == result.index for each in classes or ()) and result.against is None and instances is None
    panels = [] if among else [_panel(result, picture, instances)]
    drawn = np.concatenate(panels + [_panel(each, picture) for each in classes or ()], axis=1)
    with atomic_path(path) as temporary:
        Image.fromarray(drawn).save(temporary, format="PNG")


def json_line(values: dict[str, Any]) -> str:
    """One record as one line of JSON."""
    return json.dumps(values, ensure_ascii=False) + "\n"


def _instance_record(instance: Instance) -> dict[str, Any]:
    return {
        "kept": instance.kept,
        "confidence": round(instance.confidence, 6),
        "area": round(instance.area, 6),
        **_mask_record(instance, instance.whole.picture),
    }


def _class_record(result: Explanation) -> dict[str, Any]:
    return {
        "label": result.label,
        "index": result.index,
        "confidence": round(result.confidence, 6),
        "area": round(result.area, 6),
        **_mask_record(result, result.picture),
    }


def _mask_record(masked: Explanation | Instance, picture: Picture) -> dict[str, Any]:
    height, width = picture.shape[:2]
    mask = masked.mask_at(height, width)
    return {"box": bounding_box(mask), "mask": {"size": [height, width], "counts": run_lengths(mask)}}


def _panel(result: Explanation, picture: Picture, instances: Sequence[Instance] | None = None) -> Picture:
    height, width = picture.shape[:2]
    if instances is None:
        return draw(picture, result.mask_at(height, width), result.summary())
    kept = [each.kept for each in instances]
    caption = f"{result.summary()}  instances {sum(kept)}"
    return draw_parts(picture, [each.mask_at(height, width) for each in instances], kept, caption)


def _below(folder: Path, out: Path) -> list[Path]:
    results = out.resolve()
    return [file for file in find_images(folder) if results not in file.resolve().parents]


def _legible(picture: Picture) -> Picture:
    factor = -(-LEGIBLE_PIXELS // min(picture.shape[:2]))
    return picture if factor == 1 else picture.repeat(factor, axis=0).repeat(factor, axis=1)
