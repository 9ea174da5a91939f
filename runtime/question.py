"""What a picture is asked: which class, against which other one, and where its mask is cut."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Collection
from dataclasses import dataclass

from whymask.runtime.card import AGAINST, TARGET, Card
from whymask.runtime.errors import InputError
from whymask.runtime.explanation import check_options
from whymask.runtime.feeds import NO_CONTRAST, PREDICTED


@dataclass(frozen=True)
class Question:
    """A checked question.

    Attributes:
        target, against: classes by index; None where not asked for.
        threshold, area: as `Explainer.explain` takes them.
    """

    target: int | None
    against: int | None
    threshold: float | None
    area: float | None

    @property
    def asked(self) -> int:
        """As the graph's `target` has it."""
        return PREDICTED if self.target is None else self.target

    @property
    def held(self) -> int:
        """As the graph's `against` has it."""
        return NO_CONTRAST if self.against is None else self.against


def question_for(
    card: Card,
    inputs: Collection[str],
    target: int | str | None,
    against: int | str | None,
    threshold: float | None,
    area: float | None,
) -> Question:
    """Check what a caller asks.

    Args:
        card: the graph's card.
        inputs: names of the graph's inputs.
        target, against, threshold, area: as `Explainer.explain` takes them.

    Raises:
        InputError: a class that does not exist, or that the graph cannot be asked for; a mask that cannot be.
    """
    check_options(threshold, area)
    if target is not None and TARGET not in inputs:
        raise InputError(
            f"target: {target!r} was asked for, and this graph explains the predicted class only; "
            "export it again with: whymask export RUN -o FILE.onnx --target"
        )
    if against is not None and AGAINST not in inputs:
        raise InputError(
            f"against: {against!r} was asked for, and this graph explains each class by itself; "
            "export it again with: whymask export RUN -o FILE.onnx --target --contrast"
        )
    index = None if target is None else class_index(card, target)
    other = None if against is None else class_index(card, against, "against")
    if index is not None and index == other:
        raise InputError(f"against: {against!r} is the explained class itself; give another one, or leave it out")
    # Plain numbers, for a record in JSON takes no others.
    plain = (None if value is None else float(value) for value in (threshold, area))
    return Question(index, other, *plain)


def class_index(card: Card, target: int | str, name: str = "target") -> int:
    """Index of a class given by label or number.

    Args:
        card: the graph's card.
        target: a label, an index, or an index written as text where no label is written so.
        name: what the class is called in an error.

    Raises:
        InputError: no such class, or a label that several classes have.
    """
    classes, labels = card.classifier.num_classes, card.classifier.labels
    if isinstance(target, str):
        named = [index for index, label in enumerate(labels) if label == target]
        if len(named) == 1:
            return named[0]
        if named:
            numbers = " and ".join(str(index) for index in named)
            raise InputError(f"{name}: {target!r} is the label of classes {numbers}; give the number instead")
        if not target.isdecimal():
            raise InputError(f"{name}: no class is called {target!r}; {_hint(target, labels, classes)}")
    try:
        index = int(target) if isinstance(target, str) else operator.index(target)
    except TypeError:
        raise InputError(f"{name}: got {type(target).__name__}, expected a label, an index or None") from None
    if not 0 <= index < classes:
        raise InputError(f"{name}: class {index} does not exist, expected an index from 0 to {classes - 1}")
    return index


def _hint(target: str, labels: tuple[str, ...], classes: int) -> str:
    if not labels:
        return f"the card has no labels, so give an index from 0 to {classes - 1}"
    folded = {label.casefold(): label for label in labels}
    nearest = difflib.get_close_matches(target.casefold(), folded, 1, cutoff=0.0)
    return f"the nearest label is {folded[nearest[0]]!r}"
