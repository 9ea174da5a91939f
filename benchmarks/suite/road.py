"""ROAD: remove pixels without a trace that the classifier could read, by noisy linear imputation.

Rong et al. 2022 (arXiv 2202.00449). A patch of plain colour tells where something was removed; removed pixels are
therefore imputed from their neighbours (`whymask.benchmarks.suite.imputation`) and roughened by a little noise. The
paper states the accuracy that is left; here it is the probability of the explained class, as in the package grad-cam,
whose noise is 0.01 of normalised units where ours is the paper's 0.01 of the pixels' range.

Letters: B pictures, H W the graph's input height and width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.suite.asking import answers, first_pixels, ranks, share_of
from whymask.benchmarks.suite.imputation import impute
from whymask.benchmarks.suite.sample import Ask, Cell, Cells, Column, Metric, Sample

AREAS = (0.20, 0.50, 0.80)
NOISE_DEVIATION = 0.01 * 255
_NOISE = 3
"""Last part of a picture's seed; see `backgrounds`."""

_HOW = f"removed {', '.join(f'{100 * area:.0f}' for area in AREAS)} %, noisy linear imputation (Rong et al. 2022)"
COLUMNS = (
    Column("road_morf", "lower", f"p(class) with the most relevant pixels {_HOW}"),
    Column("road_lerf", "higher", f"p(class) with the least relevant pixels {_HOW}"),
    Column("road", "higher", "half of road_lerf less road_morf"),
)


def measure_road(ask: Ask, sample: Sample, seed: int) -> Cells:
    """Fill `COLUMNS` for every map; the noise of a picture is the same for all maps and areas."""
    noise = np.stack(
        [
            np.random.default_rng([seed, place, _NOISE]).standard_normal(sample.images.shape[1:], np.float32)
            for place in sample.places.tolist()
        ]
    ) * np.float32(NOISE_DEVIATION)
    asked = answers(ask, sample.target, _variants(sample, noise))
    p = asked.p.reshape(2, len(AREAS), len(sample.orders), -1).mean(axis=1)
    cells: Cells = {}
    for place, name in enumerate(sample.orders):
        most_first, least_first = p[:, place]
        cells[Cell(name, "road_morf")] = most_first
        cells[Cell(name, "road_lerf")] = least_first
        cells[Cell(name, "road")] = (least_first - most_first) / 2
    return cells


def _variants(sample: Sample, noise: NDArray[np.float32]) -> Iterator[NDArray[np.uint8]]:
    """The most relevant removed at each area, by map, then the least relevant."""
    pixels, shape = sample.mask[0].size, sample.mask.shape
    every = [ranks(order) for order in sample.orders.values()]
    for area in AREAS:
        count = share_of(sample, area)
        yield from _each_once(sample.images, (first_pixels(rank, count, shape) for rank in every), noise)
    for area in AREAS:
        count = pixels - share_of(sample, area)
        yield from _each_once(sample.images, (~first_pixels(rank, count, shape) for rank in every), noise)


def _each_once(
    images: NDArray[np.uint8], masks: Iterable[NDArray[np.bool_]], noise: NDArray[np.float32]
) -> Iterator[NDArray[np.uint8]]:
    """`removed` for each of the masks. Maps that rank alike, as CAM and Grad-CAM often do, are not imputed again."""
    made: dict[tuple[int, bytes], NDArray[np.uint8]] = {}
    for each in masks:
        keys = [(row, np.packbits(mask).tobytes()) for row, mask in enumerate(each)]
        new = [row for row, key in enumerate(keys) if key not in made]
        if new:
            made.update(zip([keys[row] for row in new], removed(images[new], each[new], noise[new]), strict=True))
        yield np.stack([made[key] for key in keys])


def removed(images: NDArray[np.uint8], masks: NDArray[np.bool_], noise: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Pictures with pixels imputed and roughened.

    Args:
        images: uint8, (B, H, W, 3), 0–255.
        masks: bool, (B, H, W), true where a pixel is removed; at least one a picture is not.
        noise: float32, (B, H, W, 3), in grey levels, added where a pixel is removed.
    """
    values = impute(images, ~masks)
    values += noise * masks[..., None]
    return np.rint(np.clip(values, 0, 255, out=values)).astype(np.uint8)


ROAD = Metric("road", COLUMNS, measure_road)
