"""A prediction whose picture was not explained, because a trigger did not choose it."""

from __future__ import annotations

from functools import cached_property
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.card import LOGITS, Card
from whymask.runtime.errors import InputError
from whymask.runtime.explanation import Explanation
from whymask.runtime.images import Map, Picture


class Unexplained(Explanation):
    """An explanation without its mask: label, probabilities and picture as usual.

    `explained` is False; whatever needs the mask raises an InputError that says why.

    Args:
        logits: float32, (C,), of the classifier alone.
        card: the graph's card.
        picture: uint8, (height, width, 3), RGB, 0–255, as the caller gave it.
        spec: the trigger that did not choose it.
        target: index of the class that was asked for, or None for the predicted one.
        against: index of the class that it is held against, or None.
    """

    explained = False

    def __init__(
        self,
        logits: NDArray[np.float32],
        card: Card,
        picture: Picture,
        spec: str,
        target: int | None = None,
        against: int | None = None,
    ) -> None:
        super().__init__({LOGITS: logits}, card, picture, target, against=against)
        self.spec = spec

    def __repr__(self) -> str:
        """What, in one line."""
        return f"Explanation(label={self.label!r}, confidence={self.confidence:.3f}, not explained)"

    @property
    def saliency(self) -> Map:
        """There is none."""
        self._refuse("saliency")

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """There is none."""
        self._refuse("mask")

    def summary(self) -> str:
        """Label and confidence in a few words, and that there is no mask."""
        return f"{self.label}  {self.confidence:.0%}  not explained"

    def cut_at(self, threshold: float) -> Explanation:
        """There is nothing to cut."""
        self._refuse("cut_at")

    def top_explanations(self) -> list[Explanation]:
        """There are none."""
        self._refuse("top_explanations")

    def _asked(self, method: str) -> NoReturn:
        self._refuse(method)

    def _refuse(self, name: str) -> NoReturn:
        raise InputError(
            f"{name}: this picture was not explained, since the trigger {self.spec!r} did not choose it; look at "
            "`explained` first, or explain it with when='always'"
        )
