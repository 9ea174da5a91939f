"""Refine single-pass masks for their own pictures, offline: what `whymask explain --refine` calls.

Each graph's saliency starts an optimum of its own (`optimise.py`). Of the two, what is given back is the map that keeps
the class on the smaller area, cut there: refining can lose time, never a mask.

Letters: B batch, H W input size, h w the map's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whymask.runtime.card import Card
from whymask.runtime.errors import ArtefactError
from whymask.train.backgrounds import fill_background, masked
from whymask.train.classifier import FrozenClassifier
from whymask.train.data import pixels_from_pictures
from whymask.train.explainers import TEMPERATURE
from whymask.train.masks import level_of_area, mask_from_saliency, standardise
from whymask.train.objective import is_upheld
from whymask.train.optimise import OptimiseConfig, optimise
from whymask.train.run import Run, load_run

LEAST_AREAS = tuple(0.01 * 1.2**power for power in range(26))
"""Areas at which a map is asked whether it keeps the class: from 1 % in steps of a fifth to 95 %."""

LEVEL_SLACK = 1e-4
"""Below the cell at the cut, in deviations: rounding of the resize may not lose a pixel of the least mask."""

SURE = 1e-6
"""Saliencies nearer to 0 or 1 have lost their order to rounding."""


def ranking_from_saliency(saliency: Tensor) -> Tensor:
    """The standardised map behind a saliency: float (B, h, w) in [0, 1] → float32 (B, h, w)."""
    return standardise(TEMPERATURE * torch.logit(saliency.float(), eps=SURE)[:, None])[:, 0]


def saliency_at_area(ranking: Tensor, area: Tensor) -> Tensor:
    """The saliency whose cut at 0.5 keeps a share of the map.

    Args:
        ranking: standardised, float32 (B, h, w).
        area: float (B,) in (0, 1].

    Returns:
        float32 (B, h, w) in [0, 1].
    """
    level = level_of_area(ranking[:, None], area) - LEVEL_SLACK
    return torch.sigmoid((ranking - level[:, 0]) / TEMPERATURE)


@torch.no_grad()
def least_area(
    classifier: FrozenClassifier,
    pixels: Tensor,
    target: Tensor,
    ranking: Tensor,
    fill: tuple[float, float, float],
    areas: Sequence[float] = LEAST_AREAS,
) -> Tensor:
    """The least area of a grid on which a map's hard mask keeps the class, asked of the classifier.

    A class that is not the predicted one is kept where its probability is no lower than the whole picture's.

    Args:
        pixels: float (B, 3, H, W) in 0–255.
        target: int64 (B,).
        ranking: standardised, float32 (B, h, w).
        fill: RGB in 0–255 of dropped pixels.
        areas: the grid, each in (0, 1).

    Returns:
        float32 (B,); 1 where none of them keeps it.
    """
    x = classifier.normalise(pixels.float())
    logits = classifier(x)
    background = fill_background(x, classifier.normalise(torch.tensor(fill, device=x.device).view(1, 3, 1, 1)))
    least = torch.ones(len(x), device=x.device)
    for area in sorted(areas, reverse=True):
        wanted = torch.full_like(least, area)
        mask = mask_from_saliency(saliency_at_area(ranking, wanted), x.shape[-2], x.shape[-1], 0.5)
        upheld = is_upheld(logits, classifier(masked(x, mask, background)), target, None)
        least = torch.where(upheld, wanted, least)
    return least


def refine(
    classifier: FrozenClassifier,
    pixels: Tensor,
    target: Tensor,
    saliency: Tensor,
    config: OptimiseConfig,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Saliencies whose cut at 0.5 is the least area found on which the class is kept.

    Args:
        pixels: float (B, 3, H, W) in 0–255.
        target: int64 (B,).
        saliency: of a single pass, float (B, h, w) in [0, 1].
        config: its `size` is not read: the saliency's own is kept.
        on_step: told after each step how many are done.

    Returns:
        float32 (B, h, w) in [0, 1].
    """
    start = ranking_from_saliency(saliency)
    height, width = start.shape[-2:]
    ranking = optimise(classifier, pixels, target, replace(config, size=(height, width)), start, on_step)
    before, after = (least_area(classifier, pixels, target, each, config.fill) for each in (start, ranking))
    better = after <= before
    return saliency_at_area(torch.where(better[:, None, None], ranking, start), torch.where(better, after, before))


class RunRefiner:
    """`refine` on numpy arrays, as `whymask.runtime.refiner.Refiner` asks for.

    Args:
        run: its classifier is asked, its objective descended.
        config: how.
    """

    def __init__(self, run: Run, config: OptimiseConfig) -> None:
        self._classifier, self._config = run.classifier, config

    def __call__(
        self,
        pictures: NDArray[np.uint8],
        target: NDArray[np.int64],
        saliency: NDArray[np.float32],
        on_step: Callable[[int], None],
    ) -> NDArray[np.float32]:
        """See `Refiner`: uint8 (B, H, W, 3), int64 (B,), float32 (B, h, w) → float32 (B, h, w)."""
        pixels = pixels_from_pictures(pictures)
        start = torch.from_numpy(np.array(saliency, np.float32))
        result = refine(self._classifier, pixels, torch.from_numpy(target), start, self._config, on_step)
        refined: NDArray[np.float32] = result.numpy()
        return refined


def refiner_from_run(path: Path, card: Card, steps: int) -> RunRefiner:
    """The refiner for a graph, by the run that it was exported from; the entry point of `whymask.refiners`.

    Args:
        path: the run directory.
        card: the graph's card.
        steps: of optimisation a picture, at least 1.

    Raises:
        ArtefactError: no run directory, or that of another classifier or input than the graph's.
    """
    run = load_run(path)
    ours, theirs = run.card.classifier.sha256, card.classifier.sha256
    if ours != theirs:
        raise ArtefactError(
            f"{path}: the run explains a classifier of sha256 {ours[:12]}…, the graph one of {theirs[:12]}…; "
            "give with --run the run directory that the graph was exported from"
        )
    if run.card.input != card.input:
        raise ArtefactError(
            f"{path}: the run takes {run.card.input.height} × {run.card.input.width} pixels by its own rule, the graph "
            f"{card.input.height} × {card.input.width} by another; give with --run the run that it was exported from"
        )
    return RunRefiner(run, config_from_run(run, steps))


def config_from_run(
    run: Run, steps: int, size: tuple[int, int] | None = None, seed: int | None = None
) -> OptimiseConfig:
    """Per-image optimisation with the objective of a run and its card's fill, rounded to what a picture can hold.

    Args:
        run: the run.
        steps: of Adam.
        size: h, w of the map; None takes the finest tap's.
        seed: None takes the run's own.
    """
    red, green, blue = (float(value) for value in np.rint(run.card.fill))
    own = run.config.seed if seed is None else seed
    return OptimiseConfig(steps, size=size, seed=own, fill=(red, green, blue), objective=run.config)
