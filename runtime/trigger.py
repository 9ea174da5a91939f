"""Explanations for the frames that need one: the others cost the classifier alone.

    explainer = load("fused.onnx", when="confidence<0.6 or every 30")
    result = explainer.explain(frame)
    if result.explained: ...

Expected cost of a frame, with r the share of frames that are explained: classifier alone + r × fused graph where the
trigger looks at the classifier's answer; (1 − r) × classifier alone + r × fused graph where it does not (`every N`).
Since the fused graph runs the classifier too, a trigger on the answer pays only while r stays below
1 − classifier / fused; `whymask bench` measures both. `conditions.py` has the language.

Letters: B batch, H W the graph's input size, C classes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.backends import Arrays
from whymask.runtime.card import LOGITS, Card
from whymask.runtime.certificate import softmax
from whymask.runtime.conditions import Condition, Constant, Seen, condition_from
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.images import Picture

NEAR_TIE = "logits_p99"
"""The card's tolerance within which two forms of one graph may take either class for the likeliest, as in parity."""


class Trigger:
    """Decides which frames of one stream are explained. Thread-safe; frames count in the order in which they come.

    It counts frames and remembers the last class for itself, so give each camera a trigger of its own. A plain text
    handed to `load` or `explain` stands for one trigger of that explainer.

    Args:
        spec: the condition, such as `confidence<0.6`, `class in {zebra, 340}` or `changed or every 30`.

    Raises:
        InputError: `spec` is no condition.
    """

    def __init__(self, spec: str) -> None:
        if not isinstance(spec, str):
            raise InputError(f"when: got {type(spec).__name__}, expected a condition as text, or a Trigger")
        self.spec = spec
        self._condition = condition_from(spec)
        self._lock = threading.Lock()
        self._frames = 0
        self._previous: int | None = None
        self._looked_up: tuple[Card, Condition] | None = None

    def __repr__(self) -> str:
        """The call that makes it."""
        return f"Trigger({self.spec!r})"

    @property
    def always(self) -> bool:
        """Whether it explains every frame, so that nothing but the fused graph is ever needed."""
        return self._condition == Constant(True)

    def check(self, card: Card) -> Condition:
        """The condition with its classes looked up in a graph's card.

        Raises:
            InputError: the graph has no such class.
        """
        looked_up = self._looked_up
        if looked_up is None or looked_up[0] is not card:
            # Returned from here, not read again: another thread may have looked up another card meanwhile.
            self._looked_up = looked_up = card, self._condition.of(card)
        return looked_up[1]

    def frames(self, count: int, card: Card) -> list[Frame]:
        """The next frames, in their order.

        Args:
            count: how many.
            card: of the graph that may explain them.

        Raises:
            InputError: the graph has no such class.
        """
        condition = self.check(card)
        with self._lock:
            first = self._frames
            self._frames += count
        return [Frame(self, condition, Seen(first + row)) for row in range(count)]

    def follow(self, top: int) -> int | None:
        """Remember a frame's class, and give that of the frame before, None for the first."""
        with self._lock:
            previous, self._previous = self._previous, top
        return previous


@dataclass(frozen=True)
class Frame:
    """One frame of a trigger's stream.

    Attributes:
        trigger: whose.
        condition: with its classes looked up.
        seen: what is known before the classifier has run.
    """

    trigger: Trigger
    condition: Condition
    seen: Seen

    @property
    def early(self) -> bool | None:
        """Whether it is explained, as far as that is known without the classifier; None where it is not."""
        return self.condition.judge(self.seen)

    def decide(self, logits: NDArray[np.float32]) -> bool:
        """Whether it is explained. Once a frame, also where `early` knew, for the next one looks back at it.

        Args:
            logits: float32, (C,).
        """
        probabilities = softmax(logits)
        best = np.sort(probabilities)[-2:]
        top = int(logits.argmax())
        margin = float(best[-1] - best[0]) if len(best) > 1 else 1.0
        previous = self.trigger.follow(top)
        seen = replace(self.seen, top=top, confidence=float(best[-1]), margin=margin, previous=previous)
        return bool(self.condition.judge(seen))


def triggered_rows(
    pixels: Picture,
    frames: Sequence[Frame],
    classify: Callable[[Picture], NDArray[np.float32]],
    explain: Callable[[Picture], Arrays],
    card: Card,
) -> list[Arrays]:
    """Each picture's outputs: all of the fused graph where it is explained, the logits alone elsewhere.

    Args:
        pixels: uint8, (B, H, W, 3).
        frames: B of them, in the same order.
        classify: the classifier alone: uint8 (n, H, W, 3) → logits, float32 (n, C).
        explain: the fused graph: uint8 (n, H, W, 3) → its outputs.
        card: of the graph.

    Returns:
        for each picture its outputs by name, without the batch dimension.

    Raises:
        ArtefactError: classifier and fused graph take clearly different classes for the likeliest.
    """
    early = [frame.early is True for frame in frames]
    sure = [row for row, known in enumerate(early) if known]
    asked = [row for row, known in enumerate(early) if not known]
    rows = _rows(explain, pixels, sure)
    if asked:
        rows |= {row: {LOGITS: logits} for row, logits in zip(asked, classify(pixels[asked]), strict=True)}
    # In the frames' order, for `changed` looks back at the frame before.
    fired = [row for row, frame in enumerate(frames) if frame.decide(rows[row][LOGITS])]
    explained = _rows(explain, pixels, [row for row in fired if not early[row]])
    for row, outputs in explained.items():
        _check_same_class(rows[row][LOGITS], outputs[LOGITS], card)
    rows |= explained
    return [rows[row] for row in range(len(frames))]


def _rows(explain: Callable[[Picture], Arrays], pixels: Picture, chosen: list[int]) -> dict[int, Arrays]:
    if not chosen:
        return {}
    outputs = explain(pixels[chosen])
    return {row: {name: values[at] for name, values in outputs.items()} for at, row in enumerate(chosen)}


def _check_same_class(alone: NDArray[np.float32], fused: NDArray[np.float32], card: Card) -> None:
    first, second = int(alone.argmax()), int(fused.argmax())
    gap = float(alone[first] - alone[second])
    if gap > card.tolerances.get(NEAR_TIE, 0.0) * float(np.abs(alone).max()):
        raise ArtefactError(
            f"the classifier alone says {card.label(first)!r} where the fused graph says {card.label(second)!r}, so "
            "they are not of one classifier; export or build both again"
        )
