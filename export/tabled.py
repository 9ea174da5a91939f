"""The tapped explainer as it is deployed: the same function in fewer nodes.

A small decoder in a runtime costs nodes, not arithmetic: on MobileNetV2 at 224 px it adds 4 % of multiply-adds and 127
kernels of a few microseconds. So what a class alone decides (gates, its share of the level head) is computed once for
every class and looked up by one Gather; the class evidence is one product of matrices; the level head is two; the
standardisation keeps one division, which the sigmoid's temperature goes into.

Letters: B batch, C classes, D the classifier's row width, S the stages, W the decoder's width, h w the map's size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whymask.train.explainers import TEMPERATURE, Explainer, Lateral, TappedExplainer, centre_prior
from whymask.train.guided import GuidedExplainer
from whymask.train.levels import LOG_P_SCALE, LOWEST_LOG_P, MAX_LEVEL, SMALLEST_SCALE, LevelHead, absence
from whymask.train.masks import STANDARDISATION_EPSILON, resize_to


def deployed(explainer: Explainer) -> Explainer:
    """The explainer in the form that is exported: tabled where it is a tapped one, filtered or not, else as it is."""
    if isinstance(explainer, GuidedExplainer):
        return GuidedExplainer(deployed(explainer.inner), explainer.radius, explainer.epsilon)
    return TabledExplainer(explainer) if type(explainer) is TappedExplainer else explainer


class TabledExplainer(Explainer):
    """A trained tapped explainer with what a class decides looked up; it gives the same saliency, rounding apart.

    Only its saliency can be asked for, not what training learns from. A contrast of two classes is none of the C rows,
    and takes the explainer's own way.

    Args:
        explainer: in eval mode; it stays as it is. Tables and products have the dtype of its weights.
    """

    kind = TappedExplainer.kind
    table: Tensor

    def __init__(self, explainer: TappedExplainer) -> None:
        nn.Module.__init__(self)
        self.inner, self.retention = explainer, explainer.retention
        with torch.no_grad():
            parts = class_table(explainer)
        self.sizes = [part.shape[1] for part in parts]
        self.register_buffer("table", torch.cat(parts, dim=1), persistent=False)
        self.level_end = LevelEnd(explainer.level, explainer.retention, len(self.table))

    def encode(self, features: list[Tensor], x: Tensor) -> list[Tensor]:
        """As of `TappedExplainer`."""
        return self.inner.encode(features, x)

    def _saliency(
        self, encoded: list[Tensor], logits: Tensor, target: Tensor, against: Tensor | None, predicted: bool
    ) -> Tensor:
        if against is not None:
            made: Tensor = self.inner._saliency(encoded, logits, target, against, predicted)
            return made
        projected, deepest, textures = self.inner.parts(encoded)
        found = torch.split(F.embedding(target, self.table), self.sizes, dim=1)
        *gates, hidden = found[-len(projected) - 1 :]
        evidence = self._evidence(deepest, found[0]) if self.inner.has_evidence else None
        decoded, coarse = self._maps(projected, gates, evidence)
        level, presence = self.level_end(coarse, hidden, logits, None if predicted else target)
        if presence is not None and not predicted:
            level = level + absence(presence, logits, target) / TEMPERATURE
        ranking = self._ranking(decoded, evidence)
        if self.inner.detail is not None:
            ranking = self.inner.detail(tempered_standard(ranking, 1.0), decoded, textures)
        lowered: Tensor = tempered_standard(ranking, TEMPERATURE) - level
        return lowered.squeeze(1)

    def _evidence(self, deepest: Tensor, rows: Tensor) -> Tensor:
        return tempered_standard(class_product(deepest, rows), 1.0).to(deepest.dtype)

    def _maps(
        self, projected: Sequence[Tensor], gates: Sequence[Tensor], evidence: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The finest and the coarsest decoded map."""
        maps: list[Tensor] = []  # coarsest first
        for index in range(len(projected) - 1, -1, -1):
            mixed = projected[index] * gates[index][:, :, None, None]
            lateral = cast("Lateral", self.inner.laterals[index])
            if lateral.evidence is not None and evidence is not None:
                mixed = mixed + lateral.evidence(resize_to(evidence, mixed))
            if maps:
                mixed = mixed + resize_to(maps[-1], mixed)
            maps.append(self.inner.mixes[index](mixed))
        return maps[-1], maps[0]

    def _ranking(self, decoded: Tensor, evidence: Tensor | None) -> Tensor:
        ranking: Tensor = self.inner.out(decoded)
        if evidence is not None:
            ranking = ranking + self.inner.evidence_gain * resize_to(evidence, ranking)
        return ranking + self.inner.centre_gain * centre_prior(ranking)


def class_table(explainer: TappedExplainer) -> list[Tensor]:
    """What each class decides, computed in float32 and stored in the dtype of the weights.

    Returns:
        The rows (C, D) where there is class evidence; the gates of each stage, (C, W); the level head's share with
        its bias, (C, 32).
    """
    exact = deepcopy(explainer).float()
    weight = exact.level.row.weight
    classes = exact.rows.shape[0] if exact.embedding is None else exact.embedding.num_embeddings
    rows = exact.rows_of(torch.arange(classes, device=weight.device))
    parts = [rows] if exact.has_evidence else []
    parts.extend(lateral.gates(rows) for lateral in cast("Iterable[Lateral]", exact.laterals))
    parts.append(rows @ weight.T + exact.level.hidden.bias)
    return [part.to(explainer.level.row.weight.dtype) for part in parts]


def class_product(features: Tensor, rows: Tensor) -> Tensor:
    """`whymask.train.cam.class_evidence` as one product of matrices: (B, D, h, w) and (B, D) → (B, 1, h, w)."""
    height, width = features.shape[-2:]
    return torch.unflatten(rows[:, None] @ features.flatten(2), 2, (int(height), int(width)))


def tempered_standard(maps: Tensor, temperature: float) -> Tensor:
    """`whymask.train.masks.standardise`, divided by a temperature: (B, 1, h, w) → float32.

    With n places the deviation is the norm over √n, so that both divisions become one.
    """
    full = maps.float()
    root = math.sqrt(int(maps.shape[-2]) * int(maps.shape[-1]))
    centred = full - full.mean((-2, -1), keepdim=True)
    norm = torch.linalg.vector_norm(centred, dim=(-2, -1), keepdim=True)
    standard: Tensor = centred / (norm * (temperature / root) + STANDARDISATION_EPSILON * temperature)
    return standard


class LevelEnd(nn.Module):
    """The level head at one retention: from pooled features to the level over the temperature.

    Args:
        head: trained; its weights are copied, side by side and with the scales of the figures in them.
        retention: chance of keeping the class at which maps are cut, in (0, 1).
        classes: C.
    """

    weight: Tensor

    def __init__(self, head: LevelHead, retention: float, classes: int) -> None:
        super().__init__()
        self.head, self.odds = head, math.log(retention / (1.0 - retention))
        scales = torch.tensor([1.0, LOG_P_SCALE, -1.0 / math.log(max(2, classes))])
        figures = head.confidence.weight.detach().float() * scales.to(head.confidence.weight.device)
        weight = torch.cat([head.hidden.weight.detach(), figures.to(head.hidden.weight.dtype)], dim=1)
        self.register_buffer("weight", weight, persistent=False)

    def forward(
        self, features: Tensor, rows: Tensor, logits: Tensor, target: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """(B, W, h, w), (B, 32), (B, C) and (B,), None for the predicted class → level / TEMPERATURE and presence.

        Returns:
            float32 (B, 1, 1, 1), and the logit of being there, float32 (B,), None where that is not learned.
        """
        figures = [each.to(self.weight.dtype) for each in unscaled_figures(logits, target)]
        pooled = torch.cat([features.mean((-2, -1)), features.amax((-2, -1)), *figures], dim=1)
        hidden = F.relu(torch.addmm(rows, pooled, self.weight.T))
        raw = self.head.out(hidden).float()
        centre = (MAX_LEVEL / TEMPERATURE) * torch.tanh(raw[:, :1] / MAX_LEVEL)
        scale = (F.softplus(raw[:, 1:]) + SMALLEST_SCALE) * (self.odds / TEMPERATURE)
        presence = None if self.head.presence is None else self.head.presence(hidden).float()[:, 0]
        return (centre - scale)[:, :, None, None], presence


def unscaled_figures(logits: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """p, log p (not below LOWEST_LOG_P) and Σ p log p, of which `whymask.train.levels.confidence` is made.

    Args:
        logits: float (B, C).
        target: int64 (B,), or None for the predicted class, whose log p is the largest.

    Returns:
        float32 (B, 1) each.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    of_target = log_p.amax(1, keepdim=True) if target is None else log_p.gather(1, target[:, None])
    return of_target.exp(), of_target.clamp_min(LOWEST_LOG_P), (log_p.exp() * log_p).sum(1, keepdim=True)
