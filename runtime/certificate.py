"""What the classifier says when only some of a picture's pixels are shown, and of the rest without them.

    certificate = result.certify()
    certificate.kept, certificate.necessary, certificate.confidence

For graphs without the outputs of `--certify both`, and for masks of another threshold or area than the graph's own. It
costs one more pass with two pictures. What is asked is whether the explained class *stands*: is top-1, or, in an
explanation of one class against another, has the higher logit of the two.

Letters: N pictures, H W the graph's input size, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.images import Picture, fit

if TYPE_CHECKING:
    from whymask.runtime.card import Card
    from whymask.runtime.explanation import Explanation

Classify: TypeAlias = Callable[[Picture], NDArray[np.float32]]
"""Pictures uint8, (N, H, W, 3), RGB, 0–255, any N → the classifier's logits float32, (N, C)."""


@dataclass(frozen=True)
class Certificate:
    """Whether a mask holds the decision.

    Attributes:
        kept: the class stands when only the mask's pixels are shown. For an empty mask only where it stands on the
            fill alone.
        necessary: the class stood, on the whole picture or on the mask's pixels alone, and does not when these are
            hidden. A class that stands on neither has nothing to lose, nor has one with an empty mask.
        confidence: softmax probability of the class on the mask's pixels alone, in [0, 1].
        confidence_without: the same where the mask's pixels are hidden.
    """

    kept: bool
    necessary: bool
    confidence: float
    confidence_without: float


def certify(whole: Explanation, classify: Classify) -> Certificate:
    """Ask the classifier about an explanation's mask and about what it leaves out.

    Args:
        whole: the explanation; its picture must still hold what was explained.
        classify: the classifier.
    """
    keep = np.stack([whole.mask != 0, whole.mask == 0])
    logits = classify(shown(graph_picture(whole), keep, whole.card))
    alone, without = (float(softmax(row)[whole.index]) for row in logits)
    return Certificate(stands(whole, logits[0]), is_lost(whole, *logits), alone, without)


def stands(whole: Explanation, logits: NDArray[np.float32]) -> bool:
    """Whether the explained class is top-1, or above the class that it is held against.

    Args:
        whole: says which classes these are.
        logits: float32, (C,), of the picture or of a part of it.
    """
    if whole.against is None:
        return bool(logits.argmax() == whole.index)
    return bool(logits[whole.index] > logits[whole.against])


def is_lost(whole: Explanation, kept: NDArray[np.float32], dropped: NDArray[np.float32]) -> bool:
    """Whether hiding the mask's pixels takes from the class what it had; see `Certificate.necessary`.

    Args:
        whole: the explanation.
        kept: float32, (C,), logits of the mask's pixels alone.
        dropped: float32, (C,), logits of the picture without them.
    """
    stood = stands(whole, whole.logits) or stands(whole, kept)
    return stood and not whole.is_empty and not stands(whole, dropped)


def graph_picture(whole: Explanation) -> Picture:
    """The explained picture as the graph saw it: uint8, (H, W, 3)."""
    return fit(whole.picture, whole.card.input)


def shown(picture: Picture, keep: NDArray[np.bool_], card: Card) -> Picture:
    """A picture where pixels are kept, the card's fill elsewhere, rounded to whole numbers.

    Args:
        picture: uint8, (H, W, 3); or one for each mask, (N, H, W, 3).
        keep: bool, (N, H, W).
        card: the graph's card.

    Returns:
        uint8, (N, H, W, 3).
    """
    return np.where(keep[..., None], picture, np.rint(card.fill).astype(np.uint8))


def softmax(logits: NDArray[Any]) -> NDArray[np.float32]:
    """Probabilities of one picture's logits: float32, (C,), in [0, 1]."""
    exponents = np.exp(logits.astype(np.float64) - logits.max())
    shares: NDArray[np.float32] = (exponents / exponents.sum()).astype(np.float32)
    return shares
