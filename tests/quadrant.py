"""A classifier whose whole evidence lies in one quadrant, with any saliency: its right answers are known."""

from __future__ import annotations

import numpy as np

from whymask.runtime.backends import TensorInfo
from whymask.runtime.card import Card, ClassifierCard, ExplainerCard, InputCard
from whymask.runtime.explainer import Explainer

SIZE = 16
FILL = (124.0, 116.0, 104.0)
"""More red than green or blue, so that a filled quadrant is called red, which no picture here is."""


class QuadrantBackend:
    """Logits are the mean colour of the top left quadrant; saliency is fixed. Keeps every picture that it is shown."""

    provider = "numpy"

    def __init__(self, saliency: np.ndarray, batch: int | str = "B", takes_target: bool = False) -> None:
        self.saliency = saliency.astype(np.float32)
        self.fixed_batch = batch if isinstance(batch, int) else None
        self.batch_range = (batch, batch) if isinstance(batch, int) else (1, None)
        self.seen: list[np.ndarray] = []
        plane = (batch, SIZE, SIZE)
        self.inputs = {"image": TensorInfo("image", "uint8", (*plane, 3))}
        if takes_target:
            self.inputs["target"] = TensorInfo("target", "int64", (batch,))
        self.outputs = {
            "logits": TensorInfo("logits", "float32", (batch, 3)),
            "saliency": TensorInfo("saliency", "float32", plane),
            "mask": TensorInfo("mask", "uint8", plane),
        }
        self.card = Card(
            ClassifierCard("tests:quadrant", "00" * 32, 3, ("red", "green", "blue")),
            InputCard(SIZE, SIZE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
            ExplainerCard("tapped", 0, (), SIZE, SIZE),
            fill=FILL,
        )

    def run(self, feeds, outputs=None):
        images = feeds["image"]
        assert self.fixed_batch in (None, len(images))
        if "target" in self.inputs:
            assert feeds["target"].tolist() == [-1] * len(images)
        self.seen.append(images.copy())
        half = SIZE // 2
        saliency = np.broadcast_to(self.saliency, (len(images), SIZE, SIZE))
        results = {
            "logits": images[:, :half, :half].astype(np.float32).mean(axis=(1, 2)),
            "saliency": saliency,
            "mask": (saliency >= self.card.threshold).astype(np.uint8),
        }
        return {name: results[name] for name in outputs or results}

    def close(self) -> None:
        pass


def oracle() -> np.ndarray:
    """1 in the quadrant that decides, 0 elsewhere."""
    saliency = np.zeros((SIZE, SIZE))
    saliency[: SIZE // 2, : SIZE // 2] = 1.0
    return saliency


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """Noise with a top left quadrant of plain green or plain blue."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    for position, image in enumerate(images):
        image[: SIZE // 2, : SIZE // 2] = np.eye(3)[1 + position % 2] * 255
    return list(images)


def explainer(saliency: np.ndarray, **options) -> Explainer:
    return Explainer(QuadrantBackend(saliency, **options))
