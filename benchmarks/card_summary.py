"""What a record of an evaluation says of the graph's card."""

from __future__ import annotations

from typing import Any

from whymask.runtime.card import Card


def card_summary(card: Card) -> dict[str, Any]:
    """What tells one evaluated graph from another, as JSON can hold it.

    Args:
        card: of the graph; a factory's file is named without its folder, for records are passed on.
    """
    guarantee = card.guarantee
    return {
        "classifier": card.classifier.id.rpartition("/")[2] if ".py:" in card.classifier.id else card.classifier.id,
        "classifier_sha256": card.classifier.sha256,
        "explainer": card.explainer.kind,
        "explainer_parameters": card.explainer.parameters,
        "height": card.input.height,
        "width": card.input.width,
        "saliency_height": card.explainer.height,
        "saliency_width": card.explainer.width,
        "resize": card.input.resize,
        "threshold": card.threshold,
        "fill": list(card.fill),
        "precision": card.precision,
        "seed": card.seed,
        "promised_retention": guarantee.lower_bound if guarantee else None,
        "guarantee_met": guarantee.met if guarantee else None,
        "calibration_images": guarantee.n if guarantee else None,
    }
