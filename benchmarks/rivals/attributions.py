"""Attributions to pixels, by the package captum: integrated gradients and occlusion.

Both take a pixel away by giving it the card's fill, as the explainer's masks do.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whymask.benchmarks.masking import box_mean
from whymask.benchmarks.rivals.rival import Maps
from whymask.benchmarks.rivals.torch_maps import normalised, normalised_fill
from whymask.runtime.errors import MissingExtra
from whymask.train.classifier import FrozenClassifier

STEPS = 16
"""Points on the path of integrated gradients, by Gauss and Legendre."""
SMOOTHING = 20
"""The smoothing's box is a twentieth of the side wide; three passes come near a Gaussian of half its width."""
WINDOW, STRIDE = 5, 10
"""Occlusion: the window is a fifth of the side, its step a tenth."""
ROWS = 32
"""Most pictures in one pass: a pass with gradients keeps every activation."""


def integrated_gradients_maps(classifier: FrozenClassifier, fill: NDArray[np.uint8]) -> Maps:
    """Absolute integrated gradients, summed over colours and smoothed, as a function on uint8 pictures.

    Args:
        classifier: read only.
        fill: uint8, (3,), the picture's background where the path starts.

    Raises:
        MissingExtra: captum is not installed.
    """
    _captum()
    size = max(1, ROWS // STEPS)

    def maps(images: NDArray[np.uint8], target: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float32]:
        del places
        starts = range(0, len(images), size)
        blocks = [(images[i : i + size], target[i : i + size]) for i in starts]
        parts = [integrated_gradients(classifier, fill, *block).abs().sum(1).cpu().numpy() for block in blocks]
        return smoothed(np.concatenate(parts))

    return maps


def integrated_gradients(
    classifier: FrozenClassifier, fill: NDArray[np.uint8], images: NDArray[np.uint8], target: NDArray[np.int64]
) -> Tensor:
    """Sundararajan et al. 2017 (arXiv 1703.01365), eq. 1 and 3, of the class's logit, from the fill to the picture.

    Args:
        classifier: read only.
        fill: uint8, (3,).
        images: uint8, (B, H, W, 3), 0–255.
        target: int64, (B,).

    Returns:
        float32, (B, 3, H, W); sums to the logit of the picture minus that of the fill, up to the 16 steps.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = normalised(classifier, images)
        start = normalised_fill(classifier, fill).expand_as(x)
        classes = torch.from_numpy(np.ascontiguousarray(target)).to(x.device)
        method = _captum().IntegratedGradients(classifier)
        attribution: Tensor = method.attribute(x, baselines=start, target=classes, n_steps=STEPS)
    return attribution.detach()


def smoothed(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Three box passes over a twentieth of each side of (B, H, W), since single pixels' gradients are mostly noise."""
    for axis in (1, 2):
        box = round(maps.shape[axis] / SMOOTHING) // 2 * 2 + 1
        for _ in range(3):
            maps = box_mean(maps, box, axis)
    return maps


def occlusion_maps(classifier: FrozenClassifier, fill: NDArray[np.uint8]) -> Maps:
    """How much the class loses under a sliding window of fill, as a function on uint8 pictures.

    Zeiler and Fergus 2014 (arXiv 1311.2901), section 4.2: the fall of the softmax probability of the class; a pixel has
    the mean over the windows that cover it.

    Args:
        classifier: read only.
        fill: uint8, (3,), what the window shows.

    Raises:
        MissingExtra: captum is not installed.
    """
    method = _captum().Occlusion(lambda x: classifier(x).softmax(1))

    @torch.no_grad()
    def maps(images: NDArray[np.uint8], target: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float32]:
        del places
        x = normalised(classifier, images)
        windows, steps = zip(*(window_and_step(length) for length in x.shape[2:]), strict=True)
        attribution = method.attribute(
            x,
            sliding_window_shapes=(3, *windows),
            strides=(3, *steps),
            baselines=normalised_fill(classifier, fill).expand(1, *x.shape[1:]),
            target=torch.from_numpy(np.ascontiguousarray(target)).to(x.device),
            perturbations_per_eval=max(1, ROWS // len(images)),
        )
        relevance: NDArray[np.float32] = attribution[:, 0].float().cpu().numpy()
        return relevance

    return maps


def window_and_step(length: int) -> tuple[int, int]:
    """Width of the window and of its step along a side of `length` pixels, at least 1."""
    return max(1, round(length / WINDOW)), max(1, round(length / STRIDE))


def occlusion_passes(height: int, width: int) -> int:
    """Passes that the occlusion of one picture takes: the whole picture, and each place of the window."""
    places = (
        math.ceil((length - window) / step) + 1
        for length in (height, width)
        for window, step in [window_and_step(length)]
    )
    return 1 + math.prod(places)


def _captum() -> Any:
    try:
        import captum.attr
    except ImportError:
        raise MissingExtra("captum", "evaluate", "compute integrated gradients and occlusion") from None
    return captum.attr
