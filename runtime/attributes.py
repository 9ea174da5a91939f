"""What a graph's attributes say of one picture: how strongly each answers, and what it adds to the class.

Letters: J attributes.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.card import AttributesCard

Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class Attribute:
    """One attribute in one picture.

    Attributes:
        name: as the card has it.
        index: 0 … J − 1.
        value: its activation, ≥ 0.
        relevance: its contribution to the explained class over the largest one's size, in [−1, 1].
        picture: what it answers to most, the bytes of a PNG; None where the card holds no pictures.
    """

    name: str
    index: int
    value: float
    relevance: float
    picture: bytes | None = None


class Attributes:
    """All attributes of one picture.

    Args:
        values, relevance: float32, (J,), as the graph gives them.
        card: their names and pictures.
    """

    def __init__(self, values: Numbers, relevance: Numbers, card: AttributesCard) -> None:
        self.values, self.relevance, self.card = values, relevance, card

    def __repr__(self) -> str:
        """The three that matter most, in one line."""
        shown = ", ".join(f"{each.name} {each.relevance:+.2f}" for each in self.top(3))
        return f"Attributes({shown} of {len(self)})"

    def __len__(self) -> int:
        """J."""
        return len(self.values)

    def __getitem__(self, index: int) -> Attribute:
        """One attribute by its index, 0 … J − 1."""
        picture = base64.b64decode(self.card.pictures[index]) if self.card.pictures else None
        value, relevance = float(self.values[index]), float(self.relevance[index])
        return Attribute(self.names[index], index % len(self), value, relevance, picture)

    @property
    def names(self) -> tuple[str, ...]:
        """One name an attribute."""
        return self.card.names

    def top(self, k: int = 3) -> list[Attribute]:
        """The attributes that speak most for the explained class, best first.

        Args:
            k: how many; fewer come back where fewer have a relevance above 0.
        """
        order = np.argsort(-self.relevance, kind="stable")[: max(k, 0)]
        return [self[int(index)] for index in order if self.relevance[index] > 0]
