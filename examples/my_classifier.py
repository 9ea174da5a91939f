"""How to hand whymask a classifier of your own: a file with a function that returns it.

whymask train examples/my_classifier.py:build --weights mine.safetensors --data photos --size 96 -o runs/mine
"""

from itertools import pairwise

from torch import Tensor, nn


class SmallClassifier(nn.Module):
    """Normalised RGB, float32 (B, 3, H, W) → logits (B, classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 128)
        self.features = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
                for a, b in pairwise(widths)
            )
        )
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        logits: Tensor = self.head(self.features(x).mean((2, 3)))
        return logits


def build() -> nn.Module:
    """The classifier as whymask calls for it; `--weights` fills it."""
    return SmallClassifier(classes=10)
