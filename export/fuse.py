"""Classifier and explainer as one module: uint8 image in; logits, saliency, mask out.

Letters: B batch, H W input size, h w the explainer's resolution, C classes, K the likeliest that are explained at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whymask.export.config import ExportConfig
from whymask.export.half import body_dtype
from whymask.runtime.card import DROPPED_LOGITS, KEPT_LOGITS, Card
from whymask.runtime.feeds import NO_CONTRAST
from whymask.train.classifier import FrozenClassifier
from whymask.train.explainers import Explainer
from whymask.train.flint.interpreter import Interpreter
from whymask.train.flint.relevance import local_relevance
from whymask.train.masks import mask_from_saliency
from whymask.train.taps import recording


class _Graph(nn.Module):
    """The common entry of both graphs.

    Args:
        classifier: its float32 normalisation feeds a body of any floating dtype.
    """

    def __init__(self, classifier: FrozenClassifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.dtype = body_dtype(classifier)

    def classify(self, image: Tensor) -> Tensor:
        """image: uint8, (B, H, W, 3), RGB 0–255 → logits: float32, (B, C)."""
        return self.logits_of(self.body_input(pixels_from(image)))

    def logits_of(self, x: Tensor) -> Tensor:
        """x: as `body_input` gives it, (B, 3, H, W) → logits: float32, (B, C)."""
        logits: Tensor = self.classifier(x)
        return logits.float()

    def body_input(self, pixels: Tensor) -> Tensor:
        """pixels: float32, (B, 3, H, W), 0–255 → normalised in float32, then of the body's dtype."""
        return self.classifier.normalise(pixels).to(self.dtype)


class ClassifierGraph(_Graph):
    """The classifier alone, behind the same input: what an explanation's cost is measured against."""

    def forward(self, image: Tensor) -> Tensor:
        """image: uint8, (B, H, W, 3), RGB 0–255 → logits: float32, (B, C)."""
        return self.classify(image)


class SeveralClasses(nn.Module):
    """An explainer that is asked for the likeliest classes at once. A module, so that its nodes are named after it."""

    def __init__(self, explainer: Explainer) -> None:
        super().__init__()
        self.explainer = explainer

    def forward(
        self,
        features: list[Tensor],
        x: Tensor,
        logits: Tensor,
        classes: Tensor,
        target: Tensor | None,
        against: Tensor | None,
    ) -> Tensor:
        """Saliency logits of the asked class first, then of each of the likeliest.

        Args:
            features, x, logits: as `Explainer.forward` takes them.
            classes: int64, (B, K), best first.
            target, against: as `FusedGraph.forward` takes them.

        Returns:
            (B, K + 1, h, w); (B, K, h, w) without `target`, where the asked class is the likeliest.
        """
        if target is None:
            return self.explainer.forward_classes(features, x, logits, classes)
        asked = asked_class(target, classes[:, 0])
        if against is None:
            # One more row, so that what all rows share runs once.
            rows = torch.cat([asked[:, None], classes], dim=1)
            return self.explainer.forward_classes(features, x, logits, rows)
        first = self.explainer(features, x, logits, asked, held_against(against, asked))
        return torch.cat([first[:, None], self.explainer.forward_classes(features, x, logits, classes)], dim=1)


def asked_class(target: Tensor, predicted: Tensor) -> Tensor:
    """The class to explain, int64 (B,): `target`, and the predicted one where that is −1."""
    return torch.where(target < 0, predicted, target)


def held_against(against: Tensor | None, asked: Tensor) -> Tensor | None:
    """The class that the asked one is held against, int64 (B,): −1 where it is the asked one itself."""
    return None if against is None else against.masked_fill(against == asked, NO_CONTRAST)


class FusedGraph(_Graph):
    """The graph of the contract.

    Args:
        classifier, explainer: in float32, or both in half (`whymask.export.half.half_copies`).
        card: gives the input size, the threshold and the fill.
        config: which optional tensors there are.
        interpreter: of the attributes, where `config` asks for them; its Φ of the same dtype as the classifier.
    """

    dropped_rgb: Tensor
    dropped_input: Tensor

    def __init__(
        self,
        classifier: FrozenClassifier,
        explainer: Explainer,
        card: Card,
        config: ExportConfig,
        interpreter: Interpreter | None = None,
    ) -> None:
        super().__init__(classifier)
        self.interpreter = interpreter if config.attributes else None
        self.explainer = SeveralClasses(explainer) if config.top else explainer
        self.config, self.threshold = config, card.threshold
        self.height, self.width = card.input.height, card.input.width
        # Rounded, so that the certificate is about the very pixels that `explanation` shows.
        fill = torch.tensor(card.fill, dtype=torch.float32).round().clamp(0, 255)
        self.register_buffer("dropped_rgb", fill.view(1, 3, 1, 1))
        self.register_buffer("dropped_input", self.body_input(self.dropped_rgb))

    def forward(self, image: Tensor, target: Tensor | None = None, against: Tensor | None = None) -> tuple[Tensor, ...]:
        """Decide and explain.

        Args:
            image: uint8, (B, H, W, 3), RGB 0–255.
            target: int64, (B,), the class to explain; −1, or None, means the predicted one.
            against: int64, (B,), the class that it is held against; −1, None or the same class means none.

        Returns:
            The tensors named by `ExportConfig.outputs`, in that order.
        """
        pixels = pixels_from(image)
        x = self.body_input(pixels)
        body_logits, features, read = self._pass(x)
        logits = body_logits.float()
        if self.config.top:
            classes = logits.topk(self.config.top, dim=1).indices
            maps = torch.sigmoid(self.explainer(features, x, body_logits, classes, target, against).float())
            saliency, of_classes = maps[:, 0], maps[:, -self.config.top :]
        else:
            saliency = torch.sigmoid(self._map(features, x, body_logits, target, against).float())
        keep = mask_from_saliency(saliency, self.height, self.width, self.threshold)  # (B, 1, H, W), 0 or 1
        outputs = [logits, saliency, keep.squeeze(1).to(torch.uint8), *self._optional(pixels, x, keep)]
        if self.config.top:
            outputs += [classes, of_classes, self._masks(of_classes)]
        if self.interpreter is not None:
            predicted = logits.argmax(dim=1)
            asked = predicted if target is None else asked_class(target, predicted)
            phi = self.interpreter.phi(read).float()
            outputs += [phi, local_relevance(phi, self.interpreter.weight, asked)]
        return tuple(outputs)

    def _pass(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """One pass of the classifier: its logits, the explainer's maps, and the interpreter's, if there is one."""
        if self.interpreter is None:
            return (*self.classifier.with_taps(x), [])
        taps = self.interpreter.taps
        with recording(self.classifier.model, [tap.name for tap in taps]) as found:
            logits, features = self.classifier.with_taps(x)
        return logits, features, [tap.to_map(found[tap.name]) for tap in taps]

    def _map(
        self, features: list[Tensor], x: Tensor, logits: Tensor, target: Tensor | None, against: Tensor | None
    ) -> Tensor:
        predicted = logits.float().argmax(dim=1)
        if target is None:
            made: Tensor = self.explainer(features, x, logits, predicted, predicted=True)
            return made
        asked = asked_class(target, predicted)
        made = self.explainer(features, x, logits, asked, held_against(against, asked))
        return made

    def _masks(self, saliency: Tensor) -> Tensor:
        """(B, K, h, w) → uint8, (B, K, H, W), 0 or 1."""
        keep = mask_from_saliency(saliency.flatten(0, 1), self.height, self.width, self.threshold)
        # Cast comes last: TensorRT has uint8 at its ends alone.
        return keep.view(-1, self.config.top, self.height, self.width).to(torch.uint8)

    def _optional(self, pixels: Tensor, x: Tensor, keep: Tensor) -> list[Tensor]:
        outputs = []
        if self.config.with_explanation:
            kept = keep * pixels + (1 - keep) * self.dropped_rgb
            outputs.append(kept.permute(0, 2, 3, 1).to(torch.uint8))
        # Chosen among normalised pixels: the same numbers as normalising the chosen ones, in a third of the operations.
        if KEPT_LOGITS in self.config.outputs:
            outputs.append(self.logits_of(torch.where(keep > 0, x, self.dropped_input)))
        if DROPPED_LOGITS in self.config.outputs:
            outputs.append(self.logits_of(torch.where(keep > 0, self.dropped_input, x)))
        return outputs


def pixels_from(image: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) → float32 (B, 3, H, W). Cast comes first: TensorRT refuses to transpose uint8."""
    return image.to(torch.float32).permute(0, 3, 1, 2)
