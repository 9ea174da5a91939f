"""Maps that know little or nothing: what an explainer has to beat at the same area.

A random map keeps more of a classifier's decisions on easy data than one expects, and so does the centre of a
photograph: a retention figure means nothing without them beside it.

Letters: B batch, H W picture height and width, h w a map's own resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.masking import box_mean
from whymask.runtime.errors import MissingExtra

if TYPE_CHECKING:
    from whymask.train.classifier import FrozenClassifier

EXPLAINER = "explainer"
RANDOM = "random"
CENTRE = "centre"
CAM = "cam"
ALL_ONES = "all-ones"
ALL_ZEROS = "all-zeros"

RANDOM_CELLS = 7
"""Random blobs are a seventh of the side wide, as a cell of a classifier's last 7 × 7 features: finer noise is a weaker
opponent, since it leaves no connected piece of any object."""

STATED = {
    EXPLAINER: "the graph's saliency, resized bilinearly (half-pixel) to the input size",
    RANDOM: f"normal noise on the saliency's grid, smoothed evenly over 1/{RANDOM_CELLS} of the side, resized like it",
    CENTRE: "minus the Chebyshev distance from the picture's centre: a centred box of the picture's proportions",
    CAM: "class activation map of the same classifier for its predicted class (Zhou et al. 2016), resized like it",
    ALL_ONES: "every pixel kept: checks that the graph answers the same picture in the same way",
    ALL_ZEROS: "no pixel kept: the share that the background alone retains",
}
"""What each row of a table is, in one line."""

ClassMaps = Callable[[NDArray[np.uint8], NDArray[np.int64]], NDArray[np.float32]]
"""(images uint8 (B, H, W, 3), targets int64 (B,)) → maps float32 (B, h, w), larger is more relevant."""


def random_map(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Smoothed normal noise: float32, (h, w), at the rims as strong as inside.

    It is cut from a larger field: smoothed up to its own edges, noise is strongest in the corners, where no object is,
    and a random map would be worse than chance.
    """
    boxes = [round(length / RANDOM_CELLS) // 2 * 2 + 1 for length in (height, width)]
    noise = rng.standard_normal((height + boxes[0] - 1, width + boxes[1] - 1)).astype(np.float32)
    for axis, box in enumerate(boxes):
        noise = box_mean(noise, box, axis)
    top, left = (box // 2 for box in boxes)
    return np.ascontiguousarray(noise[top : top + height, left : left + width])


def centre_map(height: int, width: int) -> NDArray[np.float32]:
    """Minus the distance from the centre in half sides: float32, (h, w), −1 at the border; its top is a box."""
    rows = np.abs(np.arange(height) + 0.5 - height / 2) / (height / 2)
    columns = np.abs(np.arange(width) + 0.5 - width / 2) / (width / 2)
    result: NDArray[np.float32] = -np.maximum(rows[:, None], columns[None, :]).astype(np.float32)
    return result


def class_maps_from_classifier(classifier: FrozenClassifier) -> ClassMaps:
    """The classifier's own class activation maps, as a function on uint8 pictures.

    Raises:
        MissingExtra: torch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtra("torch", "train", "compute class activation maps") from None
    from whymask.train.cam import class_activation_map
    from whymask.train.data import pixels_from_pictures

    def class_maps(images: NDArray[np.uint8], targets: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.inference_mode():
            x = classifier.normalise(pixels_from_pictures(images))
            maps = class_activation_map(classifier, x, torch.from_numpy(targets))
        result: NDArray[np.float32] = maps.float().numpy()
        return result

    return class_maps
