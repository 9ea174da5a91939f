"""Does a map keep what the classifier decides on? Judged on the file that ships, by feeding it its own explanations.

For each map and each area, exactly that share of the pixels is kept, the rest takes a background, and the picture is
given to the same graph as if it were new. Retention is the share of pictures whose top-1 class stays. The card's
threshold is judged in the same way with the mask that the graph itself returns, every baseline at the same area in the
same picture. A table never stands without the maps of `baselines.py` beside it.

Nothing here needs torch: class activation maps come in as a function.

Letters: B batch, H W the graph's input height and width, h w a map's own resolution, n pictures.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks import baselines
from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.baselines import ClassMaps
from whymask.benchmarks.intervals import CONFIDENCE, Difference, Interval, clopper_pearson, paired_difference
from whymask.benchmarks.masking import (
    BLUR,
    FILL,
    FILLS,
    background_from_fill,
    blurred,
    compose,
    keep_first,
    pixel_count,
    pixel_order,
)
from whymask.benchmarks.pictures import Image, chunks, read_pictures
from whymask.runtime.card import LOGITS, MASK, SALIENCY
from whymask.runtime.errors import InputError
from whymask.runtime.explainer import Explainer
from whymask.runtime.images import resize_map
from whymask.runtime.progress import track

AREAS = (0.05, 0.10, 0.20, 0.30, 0.50)
QUANTILES = (0.05, 0.25, 0.50, 0.75, 0.95)


@dataclass(frozen=True)
class FaithfulnessConfig:
    """How maps are judged.

    Attributes:
        areas: shares of the pixels to keep, in (0, 1); the published trials used these five.
        fills: backgrounds, of `fill` (the card's colour) and `blur`; one alone rewards a map that fits that background.
        seed: of random maps, ties and bootstrap.
        batch_size: pictures a pass; less where the graph allows less.
        confidence: coverage of all intervals, in (0, 1).
    """

    areas: tuple[float, ...] = AREAS
    fills: tuple[str, ...] = FILLS
    seed: int = 0
    batch_size: int = 32
    confidence: float = CONFIDENCE

    def __post_init__(self) -> None:
        """Refuse settings that no measurement can have."""
        for area in self.areas:
            if not 0.0 < area < 1.0:
                raise InputError(f"areas: {area} is not a share of the pixels, expected numbers between 0 and 1")
        for fill in self.fills:
            if fill not in FILLS:
                raise InputError(f"fills: {fill!r} is unknown, expected one of {', '.join(FILLS)}")
        if not self.fills or self.batch_size < 1 or not 0.0 < self.confidence < 1.0:
            raise InputError(
                f"faithfulness: {len(self.fills)} fills, batch size {self.batch_size}, confidence {self.confidence}; "
                "expected at least one fill, a batch size of 1 or more and a confidence between 0 and 1"
            )


class Case(NamedTuple):
    """One cell of a table: a map, a background, and an area, None for the card's threshold."""

    map: str
    fill: str
    area: float | None


@dataclass(frozen=True)
class Faithfulness:
    """What was measured on one set of pictures; every figure of a table can be recomputed from it.

    Attributes:
        name: of the set.
        files: names of the pictures, in the order of all other fields.
        unreadable: files that could not be decoded, with the reason; they count nowhere.
        top1: int64, (n,), the class of the whole picture.
        areas: float64, (n,), share of pixels that the graph's own mask keeps.
        kept: by case, bool (n,): whether the class stayed.
        confidence: coverage of intervals.
        seed: of the bootstrap.
        passes: pictures that went through the graph.
        seconds: wall clock, with reading and masking.
        graph_seconds: the part of it inside the graph.
    """

    name: str
    files: tuple[str, ...]
    unreadable: tuple[str, ...]
    top1: NDArray[np.int64]
    areas: NDArray[np.float64]
    kept: dict[Case, NDArray[np.bool_]] = field(repr=False)
    confidence: float = CONFIDENCE
    seed: int = 0
    passes: int = 0
    seconds: float = 0.0
    graph_seconds: float = 0.0

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the judged maps, in the order of the table."""
        return tuple(dict.fromkeys(case.map for case in self.kept))

    @property
    def images_per_second(self) -> float:
        """Pictures a second through the graph, masking and reading included."""
        return self.passes / self.seconds if self.seconds else 0.0

    def retention(self, case: Case) -> Interval:
        """Share of pictures that kept their class, with its exact interval."""
        kept = self.kept[case]
        return clopper_pearson(int(kept.sum()), len(kept), self.confidence)

    def difference(self, case: Case) -> Difference:
        """The explainer's retention minus that of the case's map, same background and area, same pictures."""
        explainer = self.kept[case._replace(map=baselines.EXPLAINER)]
        return paired_difference(explainer, self.kept[case], self.seed, self.confidence)

    def area_quantiles(self) -> dict[str, float]:
        """Quantiles over pictures of the area that the graph's own mask keeps, by name."""
        values = np.quantile(self.areas, QUANTILES)
        return {f"p{100 * q:.0f}": float(value) for q, value in zip(QUANTILES, values, strict=True)}


def measure_faithfulness(
    explainer: Explainer,
    images: Sequence[Image],
    config: FaithfulnessConfig | None = None,
    class_maps: ClassMaps | None = None,
    name: str = "images",
) -> Faithfulness:
    """Judge a fused graph's maps on a set of pictures.

    Args:
        explainer: a loaded graph, from `whymask.runtime.load`.
        images: paths, or uint8 (height, width, 3) arrays of any size; brought to (H, W) by the card's rule.
        config: how; the published settings by default.
        class_maps: class activation maps of the same classifier; without it the row is left out.
        name: of the set, for tables and progress.

    Returns:
        The measurement. It owns its arrays.

    Raises:
        InputError: no picture could be read.
    """
    config = config or FaithfulnessConfig()
    graph, judge = AskedGraph(explainer, config.batch_size), _Judge(explainer, config, class_maps)
    files: list[str] = []
    unreadable: list[str] = []
    parts: list[_Part] = []
    start = time.perf_counter()
    with track(len(images), f"evaluate {name}", "pictures") as bar:
        for chunk in chunks(images, config.batch_size):
            names, pictures, failed = read_pictures(chunk, len(files) + len(unreadable), explainer.card.input)
            unreadable += failed
            if names:
                parts.append(judge.part(graph, np.stack(pictures), len(files)))
                files += names
            bar.advance(len(chunk), note=f"{graph.passes / (time.perf_counter() - start):.0f} passes/s")
    if not parts:
        listed = "; ".join(unreadable[:3]) or "the list is empty"
        raise InputError(f"evaluate {name}: none of {len(images)} pictures could be read ({listed})")
    return Faithfulness(
        name=name,
        files=tuple(files),
        unreadable=tuple(unreadable),
        top1=np.concatenate([part.top1 for part in parts]),
        areas=np.concatenate([part.areas for part in parts]),
        kept={case: np.concatenate([part.kept[case] for part in parts]) for case in parts[0].kept},
        confidence=config.confidence,
        seed=config.seed,
        passes=graph.passes,
        seconds=time.perf_counter() - start,
        graph_seconds=graph.seconds,
    )


@dataclass(frozen=True)
class _Part:
    """The fields of `Faithfulness` for one chunk."""

    top1: NDArray[np.int64]
    areas: NDArray[np.float64]
    kept: dict[Case, NDArray[np.bool_]]


class _Judge:
    """Makes every case's masks for a chunk of pictures, and asks the graph about them."""

    def __init__(self, explainer: Explainer, config: FaithfulnessConfig, class_maps: ClassMaps | None) -> None:
        self._card = explainer.card
        self._config = config
        self._class_maps = class_maps

    def part(self, graph: AskedGraph, images: NDArray[np.uint8], first: int) -> _Part:
        """Judge uint8 (B, H, W, 3); `first` is the position of the first picture in the set, which seeds it."""
        outputs = graph.run(images, (LOGITS, SALIENCY, MASK))
        top1 = outputs[LOGITS].argmax(axis=1)
        mask = outputs[MASK].astype(np.bool_)
        orders = self._orders(images, outputs[SALIENCY].astype(np.float32), top1, first)
        backgrounds = {FILL: background_from_fill(self._card.fill)}
        if BLUR in self._config.fills:
            backgrounds[BLUR] = blurred(images)
        kept = {
            case: graph.top1(compose(images, masks, backgrounds[case.fill])) == top1
            for case, masks in self._cases(orders, mask)
        }
        return _Part(top1, mask.mean(axis=(1, 2), dtype=np.float64), kept)

    def _orders(
        self, images: NDArray[np.uint8], saliency: NDArray[np.float32], top1: NDArray[np.int64], first: int
    ) -> dict[str, NDArray[np.int64]]:
        """Pixels of each picture by relevance, by map: int64 (B, H·W)."""
        batch, height, width = images.shape[:3]
        rngs = [np.random.default_rng([self._config.seed, first + i, 0]) for i in range(batch)]
        noise = [baselines.random_map(saliency.shape[1], saliency.shape[2], rng) for rng in rngs]
        maps = {
            baselines.EXPLAINER: resize_map(saliency, height, width),
            baselines.RANDOM: resize_map(np.stack(noise), height, width),
            baselines.CENTRE: np.broadcast_to(baselines.centre_map(height, width), (batch, height, width)),
        }
        if self._class_maps is not None:
            maps[baselines.CAM] = resize_map(self._class_maps(images, top1), height, width)
        return {name: np.stack([self._order(m, first + i) for i, m in enumerate(each)]) for name, each in maps.items()}

    def _order(self, relevance: NDArray[np.float32], position: int) -> NDArray[np.int64]:
        return pixel_order(relevance, np.random.default_rng([self._config.seed, position, 1]))

    def _cases(
        self, orders: dict[str, NDArray[np.int64]], mask: NDArray[np.bool_]
    ) -> Iterator[tuple[Case, NDArray[np.bool_]]]:
        """Each case with its masks, bool (B, H, W)."""
        height, width = mask.shape[1:]
        own_counts = [int(m.sum()) for m in mask]
        for fill in self._config.fills:
            for name, order in orders.items():
                for area in self._config.areas:
                    counts = [pixel_count(area, height, width)] * len(mask)
                    yield Case(name, fill, area), _keep(order, counts, height, width)
                own = mask if name == baselines.EXPLAINER else _keep(order, own_counts, height, width)
                yield Case(name, fill, None), own
            for name, value in ((baselines.ALL_ONES, True), (baselines.ALL_ZEROS, False)):
                yield Case(name, fill, None), np.full_like(mask, value)


def _keep(order: NDArray[np.int64], counts: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    return np.stack([keep_first(o, count, height, width) for o, count in zip(order, counts, strict=True)])
