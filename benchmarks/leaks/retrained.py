"""Does an explainer that learnt from a classifier without knowledge look like the real one?

The other half of the randomisation check: an explainer is trained anew, as the run was, on the classifier with all its
weights shuffled. What it shares with the real one comes from pictures and architecture, not from the decisions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.intervals import Interval, paired_difference
from whymask.benchmarks.leaks.likeness import likeness
from whymask.benchmarks.leaks.randomised import bars_of, baselines_of, figures_of
from whymask.benchmarks.leaks.record import bar, check_record, interval_figure, mean_figure
from whymask.benchmarks.leaks.retention import best_pixels, blind_maps, kept_class
from whymask.benchmarks.leaks.run_maps import maps_of
from whymask.benchmarks.masking import background_from_fill

if TYPE_CHECKING:
    from whymask.train.run import Run

NAME = "retrained"
AREA = 0.2
REAL, RETRAINED = "explainer", "retrained"

STATED = (
    "Model randomisation (Adebayo et al. 2018, arXiv 1810.03292) with a new training: an explainer of the same kind "
    "learns from the classifier with all weights shuffled, on the run's own pictures. Its maps of the same pictures "
    f"are compared with the real one's, and the real classifier judges whether the best {AREA:.0%} of their pixels "
    "keep its class, beside random and centre maps of the same area, dropped pixels at the card's fill."
)


def retrained(run: Run, images: NDArray[np.uint8], steps: int, seed: int = 0) -> dict[str, Any]:
    """Train and compare.

    Args:
        run: whose configuration and pictures are used; its classifier is bit-identical afterwards.
        images: uint8, (n, H, W, 3), as the graph sees them.
        steps: of the new training.
        seed: of the shuffling and of the baselines.
    """
    logits, maps = maps_of(run, images)
    target = logits.argmax(axis=1)
    other = maps_without_knowledge(run, images, steps, seed)
    figures = figures_of({**baselines_of(maps, seed), RETRAINED: likeness(maps, other, seed)}, seed)
    fill = background_from_fill(run.card.fill)
    kept = {}
    for name, each in {REAL: maps, RETRAINED: other, **blind_maps(len(images), maps.shape[1:], seed)}.items():
        masks = best_pixels(each, (AREA,), images.shape[1:3], seed)[0]
        kept[name] = kept_class(lambda pictures: maps_of(run, pictures)[0], images, masks, fill, target)
    figures |= {f"{name}: class kept at {AREA:.0%}": mean_figure(each, seed) for name, each in kept.items()}
    better, bars = _judged(kept, seed)
    return check_record(NAME, STATED, len(images), {**figures, **better}, [*bars_of(figures, RETRAINED), *bars])


def maps_without_knowledge(run: Run, images: NDArray[np.uint8], steps: int, seed: int) -> NDArray[np.float32]:
    """Maps, float32 (n, h, w), of an explainer that was trained on the shuffled classifier, of what that sees."""
    import torch

    from whymask.benchmarks.leaks.shuffle import EVERYTHING, depths, shuffled
    from whymask.train.explainers import build_explainer
    from whymask.train.fit import fabric_from_config
    from whymask.train.loop import Loop
    from whymask.train.run_images import load_images

    everything = next(depth.modules for depth in depths(run.classifier) if depth.name == EVERYTHING)
    config = replace(run.config, steps=steps, evaluate_every=0, log_every=steps)
    config = replace(config, accelerator="cpu", devices=1, strategy="auto")
    with tempfile.TemporaryDirectory() as folder, shuffled(run.classifier, everything, seed):
        torch.manual_seed(seed)
        explainer = build_explainer(config.explainer_config(), run.classifier)
        pictures = load_images(config, run.classifier, quiet=False)
        Loop(fabric_from_config(config), config, Path(folder), run.classifier, explainer, pictures).run()
        other = replace(run, explainer=explainer.eval(), config=config)
        return maps_of(other, images)[1]


def _judged(kept: Mapping[str, NDArray[np.bool_]], seed: int) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Whether the retrained explainer is no better than the better blind map, and the real one better than it."""
    blind = max(("random", "centre"), key=lambda name: float(kept[name].mean()))
    over, under = (_difference(kept[a], kept[b], seed) for a, b in ((RETRAINED, blind), (REAL, RETRAINED)))
    n = len(kept[blind])
    figures = {f"{RETRAINED} − {blind}": interval_figure(over, n), f"{REAL} − {RETRAINED}": interval_figure(under, n)}
    bars = [
        bar(f"{RETRAINED}: not surely better than {blind} at {AREA:.0%}", over.low <= 0),
        bar(f"{REAL}: surely better than {RETRAINED} at {AREA:.0%}", under.low > 0),
    ]
    return figures, bars


def _difference(first: NDArray[np.bool_], second: NDArray[np.bool_], seed: int) -> Interval:
    return paired_difference(first, second, seed).interval
