"""A class and how likely it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """One class and its probability, in [0, 1]."""

    label: str
    index: int
    confidence: float
