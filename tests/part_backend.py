"""A classifier whose evidence lies in chosen places, and any saliency: what each region keeps alone is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whymask.runtime.backends import TensorInfo
from whymask.runtime.card import Card, ClassifierCard, ExplainerCard, InputCard
from whymask.runtime.explainer import Explainer
from whymask.runtime.explanation import Explanation

SIZE = 16
WHITE = np.full((SIZE, SIZE, 3), 255, np.uint8)
"""Shows the object everywhere; the card's fill is black."""


class PartBackend:
    """Names an object when enough of its evidence is seen: logits of (object, nothing) are (evidence, 1.5).

    Args:
        saliency: (SIZE, SIZE), in [0, 1].
        evidence: what a visible pixel at row, column adds to the object's logit.
        batch: as in a graph's input; a number is the only batch taken.
    """

    provider = "numpy"

    def __init__(
        self, saliency: np.ndarray, evidence: dict[tuple[int, int], float], batch: int | str = "B", largest: int = 0
    ) -> None:
        self.saliency, self.evidence = saliency.astype(np.float32), evidence
        self.batch_range = (batch, batch) if isinstance(batch, int) else (1, largest or None)
        self.batches: list[int] = []
        plane = (batch, SIZE, SIZE)
        self.inputs = {"image": TensorInfo("image", "uint8", (*plane, 3))}
        self.outputs = {
            "logits": TensorInfo("logits", "float32", (batch, 2)),
            "saliency": TensorInfo("saliency", "float32", plane),
            "mask": TensorInfo("mask", "uint8", plane),
        }
        self.card = Card(
            ClassifierCard("tests:parts", "00" * 32, 2, ("object", "nothing")),
            InputCard(SIZE, SIZE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
            ExplainerCard("tapped", 0, (), SIZE, SIZE),
            fill=(0.0, 0.0, 0.0),
        )

    def run(self, feeds, outputs=None):
        images = feeds["image"]
        self.batches.append(len(images))
        smallest, largest = self.batch_range
        assert smallest <= len(images) <= (largest or len(images))
        seen = sum(weight * (images[:, r, c, 0] > 0) for (r, c), weight in self.evidence.items())
        logits = np.stack([np.asarray(seen, np.float32), np.full(len(images), 1.5, np.float32)], axis=1)
        saliency = np.broadcast_to(self.saliency, (len(images), SIZE, SIZE))
        mask = (saliency >= self.card.threshold).astype(np.uint8)
        results = {"logits": logits, "saliency": saliency, "mask": mask}
        return {name: results[name] for name in outputs or results}

    def close(self) -> None:
        pass


def squares(*corners: tuple[int, int], side: int = 3) -> np.ndarray:
    """Saliency 1 on squares with these upper left corners, 0 elsewhere."""
    saliency = np.zeros((SIZE, SIZE))
    for row, column in corners:
        saliency[row : row + side, column : column + side] = 1.0
    return saliency


def explained(
    corners: Sequence[tuple[int, int]], weights: Sequence[float], **options: object
) -> tuple[PartBackend, Explanation]:
    """A white picture explained by squares whose upper left pixels carry evidence; and the backend, none run yet."""
    evidence = dict(zip(corners, weights, strict=True))
    backend = PartBackend(squares(*corners), evidence, **options)  # type: ignore[arg-type]
    result = Explainer(backend).explain(WHITE)
    backend.batches.clear()
    return backend, result
