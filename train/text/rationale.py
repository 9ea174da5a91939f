"""From a token mask to a rationale: runs of tokens, as spans of the text's own characters, with what they do.

Letters: N tokens.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from whymask.runtime.text_explanation import TextSpan, spans_of
from whymask.train.text.classifier import TextClassifier, Tokens, probabilities
from whymask.train.text.marc import OnStep, TextMarcConfig, explain_text, mix
from whymask.train.text.record import CUT, Rationale


def rationale_from_text(
    classifier: TextClassifier,
    text: str,
    target: int | None = None,
    config: TextMarcConfig | None = None,
    on_step: OnStep | None = None,
) -> Rationale:
    """Optimise a mask for a text, cut it, and ask the classifier about both parts.

    Args:
        classifier: asked, never changed.
        text: to explain.
        target: class; None takes the predicted one.
        config: of the optimisation.
        on_step: told after each step how many are done.

    Raises:
        InputError: a text without a token, or longer than the classifier reads.
    """
    config = config or TextMarcConfig()
    tokens = classifier.tokenise(text)
    embeddings, pad = classifier.embed(torch.tensor(tokens.ids)).detach(), classifier.pad().detach()
    predicted = int(probabilities(classifier, embeddings[None])[0].argmax())
    asked = predicted if target is None else target
    mask = explain_text(classifier, tokens, asked, config, on_step)
    kept, special = (mask >= CUT).float(), torch.tensor(tokens.special)
    parts = torch.stack([torch.ones_like(mask), kept, 1.0 - kept]).masked_fill(special, 1.0)
    whole, alone, left = probabilities(classifier, mix(embeddings, pad, parts))[:, asked].tolist()
    return Rationale(
        classifier.name,
        text,
        classifier.labels[predicted],
        classifier.labels[asked],
        whole,
        alone,
        left,
        tuple(tokens.spans[i] for i in tokens.own.tolist()),
        tuple(mask[tokens.own].tolist()),
        spans_from_mask(tokens, mask),
        config,
    )


def spans_from_mask(tokens: Tokens, mask: Tensor, cut: float = CUT) -> tuple[TextSpan, ...]:
    """Runs of the text's own tokens whose mask, float (N,), reaches the cut; a dropped token between parts a run."""
    values = mask.detach().numpy()
    return spans_of(tokens.text, tokens.spans, values, values >= cut, ~np.array(tokens.special))
