"""Class activation maps weighted by gradients, by the package pytorch-grad-cam, at the classifier's last feature map.

A^k is channel k of the last feature map, y the logit of the class, Z the number of its cells. The maps are

- `grad_cam`: ReLU(Σ_k (1/Z Σ_p ∂y/∂A^k(p)) A^k), Selvaraju et al. 2017 (arXiv 1610.02391), eq. 1–2;
- `grad_cam_pp`: the weights of eq. 19 of Chattopadhay et al. 2018 (arXiv 1710.11063);
- `layer_cam`: ReLU(Σ_k ReLU(∂y/∂A^k) ⊙ A^k), Jiang et al. 2021 (doi 10.1109/TIP.2021.3089943), eq. 5–7;
- `hires_cam`: ReLU(Σ_k ∂y/∂A^k ⊙ A^k), Draelos and Carin 2020 (arXiv 2011.08891), eq. 3.

All four are scaled by the package to 0…1 a picture and resized bilinearly to (H, W).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from whymask.benchmarks.rivals.rival import Maps
from whymask.benchmarks.rivals.torch_maps import CutClassifier, Layer, normalised
from whymask.runtime.errors import MissingExtra
from whymask.train.classifier import FrozenClassifier

CLASSES = {
    "grad_cam": "GradCAM",
    "grad_cam_pp": "GradCAMPlusPlus",
    "layer_cam": "LayerCAM",
    "hires_cam": "HiResCAM",
}
"""Class of the package by name of the map."""


def gradcam_maps(classifier: FrozenClassifier, layer: Layer, name: str) -> Maps:
    """One of the maps above, as a function on uint8 pictures.

    Args:
        classifier: read only.
        layer: where it is explained.
        name: a key of `CLASSES`.

    Raises:
        MissingExtra: pytorch-grad-cam is not installed.
    """
    package = _package()
    method, goal = getattr(package, CLASSES[name]), package.utils.model_targets.ClassifierOutputTarget

    def maps(images: NDArray[np.uint8], target: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float32]:
        del places
        cut = CutClassifier(classifier, layer.tap, layer.calls)
        with torch.inference_mode(False), torch.enable_grad():
            cam = method(cut, [cut.point], reshape_transform=layer.tap.to_map)
            relevance: NDArray[np.float32] = cam(normalised(classifier, images), [goal(int(c)) for c in target])
        return relevance

    return maps


def _package() -> Any:
    try:
        import pytorch_grad_cam
        import pytorch_grad_cam.utils.model_targets
    except ImportError:
        raise MissingExtra("grad-cam", "evaluate", "compute class activation maps by gradients") from None
    return pytorch_grad_cam
