"""The card of the tiny graphs and of the engines that stand for them; needs no onnx."""

from __future__ import annotations

from whymask.runtime.card import Card, ClassifierCard, ExplainerCard, InputCard

SIZE = 8
CLASSES = 3


def card() -> Card:
    """The card of the tiny fused graph."""
    return Card(
        ClassifierCard("torchvision:tiny", "00" * 32, CLASSES, ("red", "green", "blue")),
        InputCard(SIZE, SIZE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ExplainerCard("tapped", 0, (), SIZE, SIZE),
    )
