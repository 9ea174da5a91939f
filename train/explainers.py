"""The explainers: one forward pass from features or pixels, and a class, to a saliency map.

Both families share one end: a raw map is standardised per image, which fixes its *ranking*, and lowered by a level
predicted for the image, which fixes its *area*. saliency = sigmoid((standardised map − level) / TEMPERATURE). Keeping
the two apart is what makes training steady: a map that cannot drift in scale or offset cannot collapse to all-ones or
all-zeros, and the level is one number an image, learned by asking hard masks whether they keep the class.

Letters: B batch, C classes, h w the saliency's size.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whymask.train.cam import class_evidence
from whymask.train.classifier import FrozenClassifier
from whymask.train.config import ExplainerConfig
from whymask.train.masks import standardise

TEMPERATURE = 0.5
"""Of the sigmoid over the standardised map. Constant: annealing it made the maps rough and lost what had been
learned."""

MAX_LEVEL = 4.0
"""Bound of a breaking level in deviations of the map: beyond it a mask holds everything, or nothing."""

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
        retention: predicted chance of keeping the class at which the map is cut, in (0, 1).
    """

    kind: str
    rows: Tensor
    out: nn.Conv2d  # of every family: the last layer, to one channel

    def __init__(self, classifier: FrozenClassifier, retention: float) -> None:
        super().__init__()
        self.retention = retention
        weight = classifier.head_weight
        self.embedding: nn.Embedding | None = None
        if weight is None:
            self.embedding = nn.Embedding(classifier.num_classes, ROW_WIDTH)
            self.row_width = ROW_WIDTH
        else:
            self.register_buffer("rows", F.normalize(weight.clone(), dim=1), persistent=False)
            self.row_width = weight.shape[1]

    def rows_of(self, target: Tensor) -> Tensor:
        """int64 (B,) → float (B, D), rows of unit length."""
        return self.embedding(target) if self.embedding is not None else F.embedding(target, self.rows)

    def forward(self, features: list[Tensor], x: Tensor, logits: Tensor, target: Tensor) -> Tensor:
        """Saliency logits for one class an image.

        Args:
            features: the classifier's taps, (B, channels, ·, ·), finest first.
            x: normalised image, (B, 3, H, W).
            logits: the classifier's, (B, C).
            target: int64 (B,), the class to explain.

        Returns:
            float32 (B, h, w); the saliency is its sigmoid.
        """
        ranking, breaking = self.ranking_and_breaking(features, x, logits, target)
        return (ranking - breaking.level_for(self.retention))[:, 0] / TEMPERATURE

    def ranking_and_breaking(
        self, features: list[Tensor], x: Tensor, logits: Tensor, target: Tensor
    ) -> tuple[Tensor, Breaking]:
        """The standardised map, float32 (B, 1, h, w), and where the decision breaks on it."""
        raise NotImplementedError


CONFIDENCE_FIGURES = 3
SMALLEST_SCALE = 0.05


class Breaking(NamedTuple):
    """Where an image's decision breaks: centre and scale of the breaking level, float32 (B, 1, 1, 1)."""

    centre: Tensor
    scale: Tensor

    def level_for(self, retention: float) -> Tensor:
        """The highest level at which the class is kept with a predicted chance of `retention`, in (0, 1)."""
        return self.centre - self.scale * math.log(retention / (1.0 - retention))


def confidence(logits: Tensor, target: Tensor) -> Tensor:
    """How sure the classifier is of a class: p, log p / 4 (not below −2), and its entropy as a share of log C.

    Args:
        logits: float (B, C).
        target: int64 (B,).

    Returns:
        float32 (B, CONFIDENCE_FIGURES), computed in float32 whatever the precision of the logits.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    of_target = log_p.gather(1, target[:, None])
    entropy = -(log_p.exp() * log_p).sum(1, keepdim=True) / math.log(max(2, logits.shape[1]))
    return torch.cat([of_target.exp(), of_target.clamp_min(-8.0) / 4.0, entropy], dim=1)


class LevelHead(nn.Module):
    """Predicts where an image's decision breaks: the distribution of the level at which a hard mask loses the class.

    The chance that a cut at level l keeps the class is modelled as sigmoid((centre − l) / scale), a logistic
    distribution with its own centre and scale an image. From pooled features, the class, and the classifier's
    confidence, which tells best how much the decision can bear.
    """

    def __init__(self, channels: int, row_width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * channels, 32)
        self.row = nn.Linear(row_width, 32, bias=False)
        self.confidence = nn.Linear(CONFIDENCE_FIGURES, 32, bias=False)
        self.out = nn.Linear(32, 2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Tensor, rows: Tensor, figures: Tensor) -> Breaking:
        """(B, channels, h, w), (B, D) and (B, CONFIDENCE_FIGURES) → centre and scale."""
        pooled = torch.cat([features.mean((-2, -1)), features.amax((-2, -1))], dim=1)
        figures = self.confidence(figures.to(features.dtype))
        raw = self.out(F.relu(self.hidden(pooled) + self.row(rows) + figures)).float()
        centre = MAX_LEVEL * torch.tanh(raw[:, :1] / MAX_LEVEL)
        return Breaking(centre[:, :, None, None], (F.softplus(raw[:, 1:]) + SMALLEST_SCALE)[:, :, None, None])


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

    def forward(self, features: Tensor, rows: Tensor, evidence: Tensor | None) -> Tensor:
        """(B, inputs, h, w), (B, D), (B, 1, ·, ·) → (B, channels, h, w)."""
        # Unit rows have entries of about 1/sqrt(D); 8 brings the gate's input to a useful range for D of 64 to 4096.
        out: Tensor = self.project(features) * (2.0 * torch.sigmoid(self.gate(8.0 * rows)))[:, :, None, None]
        if self.evidence is not None and evidence is not None:
            out = out + self.evidence(resize_to(evidence, out))
        return out


def resize_to(maps: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize of (B, ·, ·, ·) to the spatial size of another map."""
    size = (int(like.shape[-2]), int(like.shape[-1]))
    if maps.shape[-2:] == like.shape[-2:]:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


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
    """

    kind = "tapped"

    def __init__(self, classifier: FrozenClassifier, retention: float, channels: int) -> None:
        super().__init__(classifier, retention)
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
        self.level = LevelHead(channels, self.row_width)

    def ranking_and_breaking(
        self, features: list[Tensor], x: Tensor, logits: Tensor, target: Tensor
    ) -> tuple[Tensor, Breaking]:
        """See the base class; `x` is not read."""
        del x
        rows = self.rows_of(target)
        evidence = None
        if self.has_evidence:
            evidence = standardise(class_evidence(features[-1], rows)).to(features[-1].dtype)
        decoded = coarse = self._mix(-1, features[-1], rows, evidence)
        for index in range(len(features) - 2, -1, -1):
            decoded = self._mix(index, features[index], rows, evidence, decoded)
        ranking = self.out(decoded)
        if evidence is not None:
            ranking = ranking + self.evidence_gain * resize_to(evidence, ranking)
        ranking = ranking + self.centre_gain * centre_prior(ranking)
        return standardise(ranking), self.level(coarse.detach(), rows, confidence(logits, target))

    def _mix(
        self, index: int, features: Tensor, rows: Tensor, evidence: Tensor | None, above: Tensor | None = None
    ) -> Tensor:
        mixed = self.laterals[index](features, rows, evidence)
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

    def __init__(self, classifier: FrozenClassifier, retention: float, size: str) -> None:
        super().__init__(classifier, retention)
        widths = AUTOENCODER_WIDTHS[size]
        self.encoder = nn.ModuleList(
            nn.Sequential(_strided(inputs, outputs), separable(outputs, outputs))
            for inputs, outputs in zip((3, *widths[:-1]), widths, strict=True)
        )
        self.bottleneck = Lateral(widths[-1], widths[-1], self.row_width, evidence=False)
        self.decoder = nn.ModuleList(separable(widths[i + 1] + widths[i], widths[i]) for i in (2, 1))
        self.out = nn.Conv2d(widths[1], 1, 1)
        self.level = LevelHead(widths[-1], self.row_width)

    def ranking_and_breaking(
        self, features: list[Tensor], x: Tensor, logits: Tensor, target: Tensor
    ) -> tuple[Tensor, Breaking]:
        """See the base class; `features` are not read."""
        del features
        rows = self.rows_of(target)
        skips = []
        out = x
        for stage in self.encoder:
            out = stage(out)
            skips.append(out)
        out = bottleneck = self.bottleneck(out, rows, None)
        for stage, skip in zip(self.decoder, (skips[2], skips[1]), strict=True):
            out = stage(torch.cat([resize_to(out, skip), skip], dim=1))
        return standardise(self.out(out)), self.level(bottleneck.detach(), rows, confidence(logits, target))


def _strided(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def build_explainer(config: ExplainerConfig, classifier: FrozenClassifier) -> Explainer:
    """An untrained explainer for a classifier."""
    if config.kind == "tapped":
        return TappedExplainer(classifier, config.retention, config.channels)
    return Autoencoder(classifier, config.retention, config.size)
