"""The fused graph of texts: the frozen classifier and its token-mask head as one module, numbers of tokens in.

Letters: B batch, N tokens of the longest text, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whymask.train.text.amortized_run import TextRun
from whymask.train.text.reading import Reading


class TextClassifierGraph(nn.Module):
    """The classifier alone.

    Args:
        run: whose classifier.
    """

    def __init__(self, run: TextRun) -> None:
        super().__init__()
        # Registered, so that the exporter finds its weights; called through the classifier.
        self.module = run.classifier.module
        self.classifier = run.classifier

    def read(self, input_ids: Tensor, attention_mask: Tensor) -> Reading:
        """Logits and states of int64 (B, N) both."""
        return self.classifier.read(self.classifier.embed(input_ids), attention_mask > 0)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """float32 (B, C) of int64 (B, N) both."""
        return self.read(input_ids, attention_mask).logits


class FusedTextGraph(TextClassifierGraph):
    """Decision and rationale of the predicted class.

    Args:
        run: classifier, head, threshold and special tokens.
    """

    def __init__(self, run: TextRun) -> None:
        super().__init__(run)
        self.head, self.threshold, self.special_ids = run.head, run.card.threshold, run.card.special_ids

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """See `whymask.runtime.text_card.OUTPUTS`.

        Args:
            input_ids: int64 (B, N).
            attention_mask: int64 (B, N), 1 at tokens and 0 after a text's end.

        Returns:
            float32 (B, C), float32 (B, N), uint8 (B, N).
        """
        logits, states = self.read(input_ids, attention_mask)
        own = attention_mask > 0
        for special in self.special_ids:
            own = own & (input_ids != special)
        saliency = torch.sigmoid(self.head(states, own, logits.argmax(1))) * own
        return logits, saliency, (saliency >= self.threshold).to(torch.uint8) * own.to(torch.uint8)
