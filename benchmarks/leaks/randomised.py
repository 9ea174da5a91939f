"""Does the map change when the classifier no longer knows anything?

Adebayo et al. 2018 (arXiv 1810.03292): weights are randomised from the top layer down, and the explainer, as trained,
is run on what is left. A map that stays is an edge detector, or a picture of the photographers' habits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.baselines import centre_map, random_map
from whymask.benchmarks.leaks.likeness import CHANCE_IOU, Likeness, likeness
from whymask.benchmarks.leaks.record import bar, check_record, left_out, mean_figure
from whymask.benchmarks.leaks.run_maps import maps_of

if TYPE_CHECKING:
    from whymask.train.run import Run

NAME = "randomised"
MOST_RANK = 0.5
"""Less than a quarter of the ranks' variance may be shared once all layers are shuffled, what any two maps of a
photograph share about its centre included …"""
MOST_PARTIAL = 0.3
"""… and less than a tenth of it when the centre was regressed out."""

STATED = (
    "Model randomisation (Adebayo et al. 2018, arXiv 1810.03292), cascading: the values of each weight tensor change "
    "places, from the final layer down; the explainer, as trained, explains the class that the whole classifier saw. "
    "Rank correlation (Spearman) with the map on the whole classifier, raw and after the centre was regressed out, and "
    f"IoU of the best fifth of the pixels (two unrelated masks: {CHANCE_IOU:.2f})."
)


def randomised(run: Run, images: NDArray[np.uint8], seed: int = 0) -> dict[str, Any]:
    """Run the check.

    Args:
        run: the trained explainer with its classifier, which is bit-identical afterwards.
        images: uint8, (n, H, W, 3), as the graph sees them.
        seed: of the shuffling and of the baselines.
    """
    from whymask.benchmarks.leaks.shuffle import EVERYTHING, depths, shuffled

    if run.explainer.kind == "autoencoder":
        return left_out(NAME, "an autoencoder reads pixels alone, no shuffled activation reaches it: see `retrained`")
    logits, maps = maps_of(run, images)
    target = logits.argmax(axis=1)
    found = baselines_of(maps, seed)
    for depth in depths(run.classifier):
        with shuffled(run.classifier, depth.modules, seed, run.explainer):
            found[depth.name] = likeness(maps, maps_of(run, images, target)[1], seed)
    figures = figures_of(found, seed)
    return check_record(NAME, STATED, len(images), figures, bars_of(figures, EVERYTHING))


def baselines_of(maps: NDArray[np.float32], seed: int) -> dict[str, Likeness]:
    """What maps without a common cause share: with random maps, with the centre, with another picture's map."""
    height, width = maps.shape[1:]
    random = np.stack([random_map(height, width, np.random.default_rng([seed, i])) for i in range(len(maps))])
    centre = np.broadcast_to(centre_map(height, width), maps.shape)
    others = {"a random map": random, "the centre": centre, "another picture's map": np.roll(maps, 1, axis=0)}
    return {name: likeness(maps, other, seed) for name, other in others.items()}


def figures_of(found: dict[str, Likeness], seed: int) -> dict[str, dict[str, Any]]:
    """Means with intervals, three of each likeness."""
    figures = {}
    for name, like in found.items():
        figures[f"{name}: rank"] = mean_figure(like.rank, seed)
        figures[f"{name}: rank without centre"] = mean_figure(like.partial, seed)
        figures[f"{name}: IoU"] = mean_figure(like.iou, seed)
    return figures


def bars_of(figures: dict[str, dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The two bars on one likeness: they ask the upper ends of the intervals."""
    rank, partial = figures[f"{name}: rank"], figures[f"{name}: rank without centre"]
    return [
        bar(f"{name}: rank correlation surely below {MOST_RANK}", rank["high"] < MOST_RANK),
        bar(f"{name}: below {MOST_PARTIAL} without the centre", partial["high"] < MOST_PARTIAL),
    ]
