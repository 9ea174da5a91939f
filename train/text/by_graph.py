"""A rationale by one pass of a fused graph, as the record that per-text methods give. Without torch."""

from __future__ import annotations

from whymask.runtime.text_explainer import TextExplainer
from whymask.train.text.record import Rationale


def rationale_from_graph(explainer: TextExplainer, text: str) -> Rationale:
    """Explain a text, and ask the graph about both parts.

    Raises:
        InputError: no word, or more tokens than the classifier reads.
        BackendError: the graph fails.
    """
    why = explainer.explain(text)
    told = explainer.certify(why)
    return Rationale(
        explainer.card.classifier,
        text,
        why.label,
        why.label,
        why.confidence,
        told.confidence,
        told.confidence_without,
        tuple(offset for offset, own in zip(why.offsets, why.own, strict=True) if own),
        tuple(map(float, why.saliency[why.own])),
        why.spans,
        None,
        explainer.card.threshold,
    )
