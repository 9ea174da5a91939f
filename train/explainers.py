"""The explainers: one forward pass from features or pixels, and a class, to a saliency map.

Both families share one end: a raw map is standardised per image, which fixes its *ranking*, and lowered by a level
predicted for the image, which fixes its *area*. saliency = sigmoid((standardised map − level) / TEMPERATURE). Keeping
the two apart is what makes training steady: a map that cannot drift in scale or offset cannot collapse to all-ones or
all-zeros, and the level is one number an image, learned by asking hard masks whether they keep the class.

Letters: B batch, C classes, h w the saliency's size.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whymask.train.cam import class_evidence
from whymask.train.classifier import FrozenClassifier
from whymask.train.config import ExplainerConfig
from whymask.train.detail import Detail
from whymask.train.levels import Breaking, LevelHead, absence, confidence
from whymask.train.masks import resize_to, standardise

TEMPERATURE = 0.5
"""Of the sigmoid over the standardised map. Constant: annealing it made the maps rough and lost what had been
learned."""

ROW_WIDTH = 64
"""Width of a learned class embedding where the classifier has no final linear layer."""

CENTRE_GAIN = 0.5
"""Weight of the centre prior before training, beside a class evidence of weight 1."""

AUTOENCODER_WIDTHS = {"small": (16, 32, 64, 96), "medium": (32, 64, 128, 192), "large": (64, 128, 256, 448)}
"""Channels at strides 2, 4, 8, 16: about 0.2, 0.6 and 2.4 million parameters."""


class Explainer(nn.Module):
    """Base of the families: class rows, and the shared end.

    Args:
        classifier: its final layer's rows describe the classes; they are neither trained nor saved.
        config: gives `retention`, the predicted chance of keeping the class at which the map is cut.
    """

    kind: str
    rows: Tensor
    out: nn.Conv2d  # of every family: the last layer, to one channel
    level: LevelHead

    def __init__(self, classifier: FrozenClassifier, config: ExplainerConfig) -> None:
        super().__init__()
        self.retention = config.retention
        weight = classifier.head_weight
        self.embedding: nn.Embedding | None = None
        if weight is None:
            self.embedding = nn.Embedding(classifier.num_classes, ROW_WIDTH)
            self.row_width = ROW_WIDTH
        else:
            self.register_buffer("rows", F.normalize(weight.clone(), dim=1), persistent=False)
            self.row_width = weight.shape[1]

    def rows_of(self, target: Tensor, against: Tensor | None = None) -> Tensor:
        """int64 (B,) → float (B, D), rows of unit length; with `against`, what speaks for one class and not another.

        The final layer is linear, so the difference of two rows reads the difference of two logits.
        """
        rows = self._rows(target)
        if against is None:
            return rows
        other = self._rows(against.clamp_min(0)) * (against >= 0)[:, None]
        return F.normalize(rows - other, dim=1)

    def _rows(self, target: Tensor) -> Tensor:
        if self.embedding is None:
            return F.embedding(target, self.rows)
        return F.normalize(self.embedding(target), dim=1)

    def forward(
        self,
        features: list[Tensor],
        x: Tensor,
        logits: Tensor,
        target: Tensor,
        against: Tensor | None = None,
        predicted: bool = False,
    ) -> Tensor:
        """Saliency logits for one class an image.

        Args:
            features: the classifier's taps, (B, channels, ·, ·), finest first.
            x: normalised image, (B, 3, H, W).
            logits: the classifier's, (B, C).
            target: int64 (B,), the class to explain.
            against: int64 (B,), the class that it is held against, −1 for none; None for none at all.
            predicted: whether the target is known to be the predicted class: it need not be asked whether it is there.

        Returns:
            float32 (B, h, w); the saliency is its sigmoid. Far below zero everywhere for a class that is not there.
        """
        return self._saliency(self.encode(features, x), logits, target, against, predicted)

    def forward_classes(self, features: list[Tensor], x: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
        """Saliency logits for several classes an image; what does not depend on the class is computed once.

        Args:
            features, x, logits: as `forward`.
            targets: int64 (B, K), the classes to explain.

        Returns:
            float32 (B, K, h, w).
        """
        count = int(targets.shape[1])
        repeated = [_repeat(part, count) for part in self.encode(features, x)]
        maps = self._saliency(repeated, _repeat(logits, count), targets.flatten(), None, False)
        return maps.view(-1, count, *maps.shape[1:])

    def ranking_and_breaking(
        self,
        features: list[Tensor],
        x: Tensor,
        logits: Tensor,
        target: Tensor,
        against: Tensor | None = None,
        absent: Tensor | None = None,
    ) -> tuple[Tensor, Breaking]:
        """What training learns from; see `forward`.

        Args:
            features, x, logits, target, against: as `forward`.
            absent: int64 (B,), another class, of which only its presence is asked; needs a learned presence.

        Returns:
            the standardised map, float32 (B, 1, h, w), and where the decision breaks on it.
        """
        encoded = self.encode(features, x)
        ranking, breaking = self.decode(encoded, logits, target, against)
        if absent is not None:
            breaking = breaking._replace(absent=self.breaking(encoded, logits, self.rows_of(absent), absent).presence)
        return ranking, breaking

    def breaking(self, encoded: list[Tensor], logits: Tensor, rows: Tensor, target: Tensor) -> Breaking:
        """Where the decision breaks, from the coarsest map alone."""
        found: Breaking = self.level(self.coarse(encoded, rows).detach(), rows, confidence(logits, target))
        return found

    def encode(self, features: list[Tensor], x: Tensor) -> list[Tensor]:
        """What does not depend on the class: tensors (B, ·, ·, ·) that `decode` takes."""
        raise NotImplementedError

    def coarse(self, encoded: list[Tensor], rows: Tensor) -> Tensor:
        """The coarsest decoded map, float (B, channels, ·, ·)."""
        raise NotImplementedError

    def decode(
        self, encoded: list[Tensor], logits: Tensor, target: Tensor, against: Tensor | None = None
    ) -> tuple[Tensor, Breaking]:
        """From `encode` and a class to the standardised map and where the decision breaks on it."""
        raise NotImplementedError

    def _saliency(
        self, encoded: list[Tensor], logits: Tensor, target: Tensor, against: Tensor | None, predicted: bool
    ) -> Tensor:
        ranking, breaking = self.decode(encoded, logits, target, against)
        level = breaking.level_for(self.retention)
        if breaking.presence is not None and not predicted:
            level = level + absence(breaking.presence, logits, target)
        return (ranking - level)[:, 0] / TEMPERATURE


def _repeat(part: Tensor, count: int) -> Tensor:
    """(B, …) → (B · count, …), each row `count` times in a row."""
    return part[:, None].expand(-1, count, *part.shape[1:]).flatten(0, 1)


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """Depthwise 3 × 3 then pointwise, normalised: an eighth of a full convolution's multiply-adds."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Lateral(nn.Module):
    """One tap brought to the decoder's width, gated by the class, with the class evidence laid over it."""

    def __init__(self, inputs: int, channels: int, row_width: int, evidence: bool) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Conv2d(inputs, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        self.gate = nn.Linear(row_width, channels)
        self.evidence = nn.Conv2d(1, channels, 1) if evidence else None

    def forward(self, projected: Tensor, rows: Tensor, evidence: Tensor | None) -> Tensor:
        """What `project` made of the tap, (B, channels, h, w), (B, D) and (B, 1, ·, ·) → (B, channels, h, w)."""
        out: Tensor = projected * self.gates(rows)[:, :, None, None]
        if self.evidence is not None and evidence is not None:
            out = out + self.evidence(resize_to(evidence, out))
        return out

    def gates(self, rows: Tensor) -> Tensor:
        """How much of each channel a class lets through: rows (B, D) → (B, channels) in (0, 2)."""
        # Unit rows have entries of about 1/sqrt(D); 8 brings the gate's input to a useful range for D of 64 to 4096.
        return 2.0 * torch.sigmoid(self.gate(8.0 * rows))


def centre_prior(like: Tensor) -> Tensor:
    """How near each place is to the picture's centre: (1, 1, h, w), standardised, highest in the middle.

    The squared distance, which is the logarithm of a Gaussian. Photographers put what they mean in the middle, and a
    map that does not know it loses to a plain centre box where little else tells places apart: models of human
    fixations add the same term (the centre bias of DeepGaze, Kümmerer et al. 2014, arXiv 1411.1045).

    Args:
        like: (B, ·, h, w), whose size, dtype and device are wanted.
    """
    height, width = (int(side) for side in like.shape[-2:])
    rows, columns = (torch.linspace(-1.0, 1.0, side, device=like.device) for side in (height, width))
    distance = rows.square()[:, None] + columns.square()[None]
    return standardise(-distance[None, None]).to(like.dtype)


class TappedExplainer(Explainer):
    """A small top-down decoder on the frozen classifier's own activations.

    Coarse taps are decoded first and added to finer ones (a feature pyramid, Lin et al. 2017, arXiv 1612.03144).
    Where the final layer reads the deepest tap, the class activation map is an input at every stage and a residual at
    the end, so that the untrained explainer already ranks as CAM does. Nearness to the centre is a second residual.
    With `config.detail` textures of the picture take the map to its full size.
    """

    kind = "tapped"

    def __init__(self, classifier: FrozenClassifier, config: ExplainerConfig) -> None:
        super().__init__(classifier, config)
        channels = config.channels
        self.has_evidence = classifier.has_class_evidence
        self.laterals = nn.ModuleList(
            Lateral(tap.channels, channels, self.row_width, self.has_evidence) for tap in classifier.tap_specs
        )
        self.mixes = nn.ModuleList(
            nn.Sequential(separable(channels, channels), separable(channels, channels)) for _ in classifier.tap_specs
        )
        self.out = nn.Conv2d(channels, 1, 1)
        self.evidence_gain = nn.Parameter(torch.ones(()))
        self.centre_gain = nn.Parameter(torch.full((), CENTRE_GAIN))
        self.level = LevelHead(channels, self.row_width, config.presence)
        self.detail = Detail(channels, config.detail) if config.detail else None

    def encode(self, features: list[Tensor], x: Tensor) -> list[Tensor]:
        """Every tap at the decoder's width, finest first, the deepest tap itself, and the textures of `x` if any."""
        laterals = cast("Iterable[Lateral]", self.laterals)
        projected = [lateral.project(tap) for lateral, tap in zip(laterals, features, strict=True)]
        textures = [] if self.detail is None else [self.detail.textures(x)]
        return [*projected, features[-1], *textures]

    def parts(self, encoded: list[Tensor]) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """What `encode` gave: the taps at the decoder's width, the deepest tap itself, and the textures."""
        stages = len(self.laterals)
        return encoded[:stages], encoded[stages], encoded[stages + 1] if self.detail is not None else None

    def decode(
        self, encoded: list[Tensor], logits: Tensor, target: Tensor, against: Tensor | None = None
    ) -> tuple[Tensor, Breaking]:
        """See the base class."""
        projected, deepest, textures = self.parts(encoded)
        rows = self.rows_of(target, against)
        evidence = self._evidence(deepest, rows)
        decoded = coarse = self._mix(-1, projected[-1], rows, evidence)
        for index in range(len(projected) - 2, -1, -1):
            decoded = self._mix(index, projected[index], rows, evidence, decoded)
        ranking = self.out(decoded)
        if evidence is not None:
            ranking = ranking + self.evidence_gain * resize_to(evidence, ranking)
        ranking = standardise(ranking + self.centre_gain * centre_prior(ranking))
        breaking: Breaking = self.level(coarse.detach(), rows, confidence(logits, target))
        if self.detail is None:
            return ranking, breaking
        full: Tensor = self.detail(ranking, decoded, textures)
        return standardise(full), breaking._replace(unfiltered=ranking)

    def coarse(self, encoded: list[Tensor], rows: Tensor) -> Tensor:
        """See the base class."""
        projected, deepest, _ = self.parts(encoded)
        return self._mix(-1, projected[-1], rows, self._evidence(deepest, rows))

    def _evidence(self, deepest: Tensor, rows: Tensor) -> Tensor | None:
        return standardise(class_evidence(deepest, rows)).to(deepest.dtype) if self.has_evidence else None

    def _mix(
        self, index: int, projected: Tensor, rows: Tensor, evidence: Tensor | None, above: Tensor | None = None
    ) -> Tensor:
        mixed = self.laterals[index](projected, rows, evidence)
        if above is not None:
            mixed = mixed + resize_to(above, mixed)
        out: Tensor = self.mixes[index](mixed)
        return out


class Autoencoder(Explainer):
    """Image → map, blind to the classifier's activations, as in *Activation Matching* (arXiv 2509.23051).

    Amortized, though: trained once. Four strided stages, a top-down decoder with skips up to a quarter of the input
    size, the class gated in at the bottleneck.
    """

    kind = "autoencoder"

    def __init__(self, classifier: FrozenClassifier, config: ExplainerConfig) -> None:
        super().__init__(classifier, config)
        widths = AUTOENCODER_WIDTHS[config.size]
        self.encoder = nn.ModuleList(
            nn.Sequential(_strided(inputs, outputs), separable(outputs, outputs))
            for inputs, outputs in zip((3, *widths[:-1]), widths, strict=True)
        )
        self.bottleneck = Lateral(widths[-1], widths[-1], self.row_width, evidence=False)
        self.decoder = nn.ModuleList(separable(widths[i + 1] + widths[i], widths[i]) for i in (2, 1))
        self.out = nn.Conv2d(widths[1], 1, 1)
        self.level = LevelHead(widths[-1], self.row_width, config.presence)

    def encode(self, features: list[Tensor], x: Tensor) -> list[Tensor]:
        """The two skips, finer first, and the projected bottleneck; `features` are not read."""
        del features
        outputs = []
        out = x
        for stage in self.encoder:
            out = stage(out)
            outputs.append(out)
        return [outputs[1], outputs[2], self.bottleneck.project(out)]

    def decode(
        self, encoded: list[Tensor], logits: Tensor, target: Tensor, against: Tensor | None = None
    ) -> tuple[Tensor, Breaking]:
        """See the base class."""
        fine, middle, projected = encoded
        rows = self.rows_of(target, against)
        out = bottleneck = self.bottleneck(projected, rows, None)
        for stage, skip in zip(self.decoder, (middle, fine), strict=True):
            out = stage(torch.cat([resize_to(out, skip), skip], dim=1))
        return standardise(self.out(out)), self.level(bottleneck.detach(), rows, confidence(logits, target))

    def coarse(self, encoded: list[Tensor], rows: Tensor) -> Tensor:
        """See the base class."""
        out: Tensor = self.bottleneck(encoded[-1], rows, None)
        return out


def _strided(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def build_explainer(config: ExplainerConfig, classifier: FrozenClassifier) -> Explainer:
    """An untrained explainer for a classifier, with the guided filter behind it where it is asked for."""
    from whymask.train.guided import GuidedExplainer  # which is an explainer itself

    made = TappedExplainer(classifier, config) if config.kind == "tapped" else Autoencoder(classifier, config)
    return GuidedExplainer(made, config.sharpen, config.flat) if config.sharpen else made
