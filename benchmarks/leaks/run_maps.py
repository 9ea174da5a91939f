"""The map of a run's modules for a given class: what changes when the classifier's weights are touched.

Letters: n pictures, H W the input size, h w the explainer's resolution, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from whymask.train.run import Run

CALL = 32
"""Pictures of one pass."""


def maps_of(
    run: Run, images: NDArray[np.uint8], target: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Ask classifier and explainer as they are now.

    Args:
        run: its modules.
        images: uint8, (n, H, W, 3).
        target: int64, (n,), the class to explain; None takes the predicted one.

    Returns:
        logits float32 (n, C), and maps float32 (n, h, w): the saliency before its sigmoid, which ranks alike and does
        not saturate where a class is held to be absent.
    """
    import torch

    from whymask.train.data import pixels_from_pictures

    logits, maps = [], []
    for first in range(0, len(images), CALL):
        with torch.inference_mode():
            x = run.classifier.normalise(pixels_from_pictures(images[first : first + CALL]))
            answer, features = run.classifier.with_taps(x)
            asked = answer.argmax(1) if target is None else torch.from_numpy(target[first : first + CALL])
            maps.append(run.explainer(features, x, answer, asked).float().numpy())
            logits.append(answer.float().numpy())
    return np.concatenate(logits), np.concatenate(maps)
