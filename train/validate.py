"""Held-out figures during training: how well hard masks keep the decision, at fixed areas and at the images' own."""

from __future__ import annotations

import torch
from torch import Tensor

from whymask.train.backgrounds import fill_background, masked
from whymask.train.classifier import FrozenClassifier
from whymask.train.data import ImageStore
from whymask.train.explainers import Explainer
from whymask.train.masks import level_of_area, mask_from_saliency, resize
from whymask.train.objective import is_kept

AREAS = (0.05, 0.1, 0.2, 0.3, 0.5)
BATCH = 32


@torch.no_grad()
def held_out_saliency(
    classifier: FrozenClassifier, explainer: Explainer, store: ImageStore, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Saliency float32 (N, h, w) and predicted class int64 (N,) of every image of a store."""
    saliency, target = [], []
    for indices in store.batches(BATCH):
        x = classifier.normalise(store[indices].to(device).float())
        logits, features = classifier.with_taps(x)
        predicted = logits.argmax(1)
        saliency.append(torch.sigmoid(explainer(features, x, logits, predicted)))
        target.append(predicted)
    return torch.cat(saliency), torch.cat(target)


@torch.no_grad()
def kept_at(
    classifier: FrozenClassifier,
    store: ImageStore,
    saliency: Tensor,
    target: Tensor,
    fill: Tensor,
    *,
    threshold: float | None = None,
    area: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Which images keep their class, bool (N,), and their masks' areas, float32 (N,), at a threshold or at an area."""
    kept, areas = [], []
    for indices in store.batches(BATCH):
        x = classifier.normalise(store[indices].to(saliency.device).float())
        part = saliency[indices]
        cut: float | Tensor = 0.5 if threshold is None else threshold
        if area is not None:
            wanted = torch.full((len(part),), area, device=part.device)
            cut = level_of_area(resize(part, x.shape[-2], x.shape[-1]), wanted)
        mask = mask_from_saliency(part, x.shape[-2], x.shape[-1], cut)
        areas.append(mask.flatten(1).mean(1))
        if bool((mask == 1).all()):  # nothing is dropped, so the decision is the classifier's own
            kept.append(torch.ones(len(part), dtype=torch.bool, device=part.device))
            continue
        logits = classifier(masked(x, mask, fill_background(x, fill)))
        kept.append(is_kept(logits, target[indices]))
    return torch.cat(kept), torch.cat(areas)


def validate(
    classifier: FrozenClassifier, explainer: Explainer, store: ImageStore, fill: Tensor, device: torch.device
) -> dict[str, float]:
    """Retention at AREAS, their mean, and retention and mean area at the images' own levels, each in [0, 1]."""
    was_training = explainer.training
    explainer.eval()
    saliency, target = held_out_saliency(classifier, explainer, store, device)
    explainer.train(was_training)
    figures = {}
    for area in AREAS:
        kept, _ = kept_at(classifier, store, saliency, target, fill, area=area)
        figures[f"retention_at_{round(100 * area)}"] = float(kept.float().mean())
    figures["retention_over_areas"] = sum(figures.values()) / len(AREAS)
    kept, areas = kept_at(classifier, store, saliency, target, fill, threshold=0.5)
    return {**figures, "own_retention": float(kept.float().mean()), "own_area": float(areas.mean())}
