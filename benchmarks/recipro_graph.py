"""Recipro-CAM as a graph of its own, as toolkits export it: the classifier, and its head once more for every cell.

The method is that of `whymask.benchmarks.rivals.recipro_cam` (Byun and Lee 2022, arXiv 2209.14074). Here it is a torch
module that exports: the layers before the last feature map run once, what follows runs on the map itself and on its h·w
maskings in one pass, and the predicted class's probability is each cell's relevance. A mask is not made: the method has
no threshold.

Letters: B batch, C classes, H W input size, h w the feature map's size.
"""

from __future__ import annotations

import onnx
import torch
from torch import Tensor

from whymask.benchmarks.rivals.recipro_cam import check_carries, gaussian_masks, in_layout, standardised
from whymask.benchmarks.rivals.torch_maps import last_layer, replaced
from whymask.export.fuse import ClassifierGraph, pixels_from
from whymask.export.onnx_from_module import onnx_from_module
from whymask.runtime.card import IMAGE, LOGITS, SALIENCY
from whymask.train.classifier import FrozenClassifier


class ReciproGraph(ClassifierGraph):
    """uint8 image in; logits and Recipro-CAM's map of the predicted class out.

    Args:
        classifier: in float32; read only.

    Raises:
        InputError: no feature map decides anything, or what follows it cannot carry more maps than pictures.
    """

    masks: Tensor

    def __init__(self, classifier: FrozenClassifier) -> None:
        super().__init__(classifier)
        self.layer = last_layer(classifier)
        check_carries(classifier, self.layer)
        tap = self.layer.tap
        masks = in_layout(tap, gaussian_masks(tap.height, tap.width))
        # The first of the 1 + h·w maps is left as it is: its logits are the classifier's own.
        self.register_buffer("masks", torch.cat([torch.ones_like(masks[:1]), masks]))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """image: uint8, (B, H, W, 3), RGB 0–255 → logits: float32, (B, C), and saliency: float32, (B, h, w), 0…1."""
        tap = self.layer.tap
        with replaced(self.classifier.model, tap.name, self.layer.calls, self._masked):
            each = self.logits_of(pixels_from(image)).unflatten(0, (-1, len(self.masks)))  # (B, 1 + h·w, C)
        logits = each[:, 0]
        likeliest = logits.argmax(1)[:, None, None].expand(-1, len(self.masks) - 1, 1)
        relevance = each[:, 1:].softmax(2).gather(2, likeliest)[..., 0]
        return logits, standardised(relevance).unflatten(1, (tap.height, tap.width))

    def _masked(self, output: Tensor) -> Tensor:
        """A module's output (B, …) → (B · (1 + h·w), …)."""
        return (output[:, None] * self.masks).flatten(0, 1)


def recipro_onnx(classifier: FrozenClassifier, opset: int = 17, batch: int = 1) -> onnx.ModelProto:
    """The graph as ONNX, of a fixed batch, which is what a runtime runs best.

    Args:
        classifier: in float32.
        opset: ONNX operator set.
        batch: B.

    Raises:
        InputError: see `ReciproGraph`.
        ArtefactError: it does not export.
    """
    rule = classifier.rule
    image = torch.zeros(batch, rule.height, rule.width, 3, dtype=torch.uint8)
    return onnx_from_module(
        ReciproGraph(classifier).eval(), (image,), (IMAGE,), (LOGITS, SALIENCY), opset, max_batch=None
    )
