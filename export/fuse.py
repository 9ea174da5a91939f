"""Classifier and explainer as one module: uint8 image in; logits, saliency, mask out.

Letters: B batch, H W input size, h w the explainer's resolution, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whymask.export.config import ExportConfig
from whymask.export.half import body_dtype
from whymask.runtime.card import Card
from whymask.train.classifier import FrozenClassifier
from whymask.train.explainers import Explainer
from whymask.train.masks import mask_from_saliency


class _Graph(nn.Module):
    """The common entry of both graphs.

    Args:
        classifier: its float32 normalisation feeds a body of any floating dtype.
    """

    def __init__(self, classifier: FrozenClassifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.dtype = body_dtype(classifier)

    def logits_of(self, pixels: Tensor) -> Tensor:
        """pixels: float32, (B, 3, H, W), 0–255 → logits: float32, (B, C)."""
        logits: Tensor = self.classifier(self.body_input(pixels))
        return logits.float()

    def body_input(self, pixels: Tensor) -> Tensor:
        """pixels: float32, (B, 3, H, W), 0–255 → normalised in float32, then of the body's dtype."""
        return self.classifier.normalise(pixels).to(self.dtype)


class ClassifierGraph(_Graph):
    """The classifier alone, behind the same input: what an explanation's cost is measured against."""

    def forward(self, image: Tensor) -> Tensor:
        """image: uint8, (B, H, W, 3), RGB 0–255 → logits: float32, (B, C)."""
        return self.logits_of(pixels_from(image))


class FusedGraph(_Graph):
    """The graph of the contract.

    Args:
        classifier, explainer: in float32, or both in half (`whymask.export.half.half_copies`).
        card: gives the input size, the threshold and the fill.
        config: which optional tensors there are.
    """

    dropped_rgb: Tensor

    def __init__(self, classifier: FrozenClassifier, explainer: Explainer, card: Card, config: ExportConfig) -> None:
        super().__init__(classifier)
        self.explainer = explainer
        self.config, self.threshold = config, card.threshold
        self.height, self.width = card.input.height, card.input.width
        # Rounded, so that the certificate is about the very pixels that `explanation` shows.
        fill = torch.tensor(card.fill, dtype=torch.float32).round().clamp(0, 255)
        self.register_buffer("dropped_rgb", fill.view(1, 3, 1, 1))

    def forward(self, image: Tensor, target: Tensor | None = None) -> tuple[Tensor, ...]:
        """Decide and explain.

        Args:
            image: uint8, (B, H, W, 3), RGB 0–255.
            target: int64, (B,), the class to explain; −1, or None, means the predicted one.

        Returns:
            The tensors named by `ExportConfig.outputs`, in that order.
        """
        pixels = pixels_from(image)
        x = self.body_input(pixels)
        body_logits, features = self.classifier.with_taps(x)
        logits = body_logits.float()
        predicted = logits.argmax(dim=1)
        asked = predicted if target is None else torch.where(target < 0, predicted, target)
        saliency = torch.sigmoid(self.explainer(features, x, body_logits, asked).float())
        keep = mask_from_saliency(saliency, self.height, self.width, self.threshold)  # (B, 1, H, W), 0 or 1
        return (logits, saliency, keep.squeeze(1).to(torch.uint8), *self._optional(pixels, keep))

    def _optional(self, pixels: Tensor, keep: Tensor) -> list[Tensor]:
        kept = keep * pixels + (1 - keep) * self.dropped_rgb
        outputs = [kept.permute(0, 2, 3, 1).to(torch.uint8)] if self.config.with_explanation else []
        if self.config.certify:
            dropped = (1 - keep) * pixels + keep * self.dropped_rgb
            outputs += [self.logits_of(kept), self.logits_of(dropped)]
        return outputs


def pixels_from(image: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) → float32 (B, 3, H, W). Cast comes first: TensorRT refuses to transpose uint8."""
    return image.to(torch.float32).permute(0, 3, 1, 2)
