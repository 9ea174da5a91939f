"""Other methods as ONNX graphs, so that they are timed in the same runtime with the same threads as the fused graph.

CAM (Zhou et al. 2016, arXiv 1512.04150, eq. 2) reads one pass; Recipro-CAM (Byun and Lee 2022, arXiv 2209.14074) takes
h·w more feature maps through what follows the last feature map. Both end like a fused graph: logits of the picture, a
saliency scaled to 0…1, and a mask at the input's size, cut at half.

Letters: B batch, H W input size, h w the map's resolution, n = h·w cells, C classes.
"""

from __future__ import annotations

import onnx
import torch
from torch import Tensor

from whymask.benchmarks.rivals.recipro_cam import check_carries, gaussian_masks, in_layout, standardised
from whymask.benchmarks.rivals.torch_maps import Layer, last_layer, replaced
from whymask.export.fuse import ClassifierGraph, pixels_from
from whymask.export.onnx_from_module import onnx_from_module
from whymask.runtime.card import IMAGE, LOGITS, MASK, SALIENCY
from whymask.runtime.errors import InputError
from whymask.train.cam import class_evidence
from whymask.train.classifier import FrozenClassifier
from whymask.train.masks import mask_from_saliency

CAM, RECIPRO_CAM = "cam", "recipro-cam"
CUT = 0.5
OPSET = 17


class CamGraph(ClassifierGraph):
    """One pass; the final layer's row of the predicted class weighs the last feature map.

    Raises:
        InputError: the final layer does not read the last feature map's channels.
    """

    rows: Tensor

    def __init__(self, classifier: FrozenClassifier) -> None:
        super().__init__(classifier)
        weight = classifier.head_weight
        if weight is None or not classifier.has_class_evidence:
            raise InputError(
                f"{classifier.id}: no CAM; its final layer does not read the channels of {classifier.taps[-1]!r}"
            )
        self.register_buffer("rows", weight, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """image: uint8, (B, H, W, 3) → logits float32 (B, C), saliency float32 (B, h, w), mask uint8 (B, H, W)."""
        logits, features = self.classifier.with_taps(self.body_input(pixels_from(image)))
        evidence = class_evidence(features[-1], self.rows[logits.argmax(1)])[:, 0]
        return _outputs(logits, evidence, image)


class ReciproCamGraph(ClassifierGraph):
    """The whole map, and the map with each cell left alone, in one pass from the last feature map on.

    Raises:
        InputError: the rest of the classifier cannot carry more maps than pictures.
    """

    weights: Tensor

    def __init__(self, classifier: FrozenClassifier, layer: Layer) -> None:
        super().__init__(classifier)
        check_carries(classifier, layer)
        self.layer, tap = layer, layer.tap
        masks = torch.cat([torch.ones(1, tap.height, tap.width), gaussian_masks(tap.height, tap.width)])
        self.register_buffer("weights", in_layout(tap, masks), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """image: uint8, (B, H, W, 3) → logits float32 (B, C), saliency float32 (B, h, w), mask uint8 (B, H, W)."""
        tap = self.layer.tap
        with replaced(self.classifier.model, tap.name, self.layer.calls, self._carried):
            every = self.classifier(self.body_input(pixels_from(image)))  # (B·(n + 1), C), the whole map's first
        every = every.view(len(image), len(self.weights), -1)
        predicted = every[:, 0].argmax(1).view(-1, 1, 1).expand(-1, len(self.weights) - 1, 1)
        scores = every[:, 1:].softmax(2).gather(2, predicted)[..., 0]  # (B, n)
        return _outputs(every[:, 0], scores.view(-1, tap.height, tap.width), image)

    def _carried(self, output: Tensor) -> Tensor:
        """(B, …) → (B·(n + 1), …), the feature map under each factor."""
        return (output[:, None] * self.weights[None]).flatten(0, 1)


def rival_graph(name: str, classifier: FrozenClassifier, batch: int) -> onnx.ModelProto:
    """A method as a graph of a fixed batch: uint8 `image` in; `logits`, `saliency`, `mask` out.

    Args:
        name: `cam` or `recipro-cam`.
        classifier: read only.
        batch: B.

    Raises:
        InputError: the classifier is not made for the method.
        ArtefactError: it does not export.
    """
    graph = CamGraph(classifier) if name == CAM else ReciproCamGraph(classifier, last_layer(classifier))
    example = torch.zeros(batch, classifier.rule.height, classifier.rule.width, 3, dtype=torch.uint8)
    return onnx_from_module(graph.eval(), (example,), (IMAGE,), (LOGITS, SALIENCY, MASK), OPSET, None)


def _outputs(logits: Tensor, relevance: Tensor, image: Tensor) -> tuple[Tensor, ...]:
    height, width = image.shape[1:3]
    saliency = standardised(relevance.float().flatten(1)).view(relevance.shape)
    mask = mask_from_saliency(saliency, height, width, CUT)
    return logits.float(), saliency, mask[:, 0].to(torch.uint8)
