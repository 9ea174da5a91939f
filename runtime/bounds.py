"""Which two forms of a model may be compared, and which bounds then apply."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from whymask.runtime.backends import Backend
from whymask.runtime.card import ATTRIBUTES, CLASSES, PRECISIONS, Card
from whymask.runtime.errors import ArtefactError
from whymask.runtime.from_json import dataclass_from_record
from whymask.runtime.parity import TOLERANCES, Tolerances


@dataclass(frozen=True)
class Form:
    """One of the two forms, as far as its bounds go.

    Attributes:
        name: what to call it in messages.
        precision: `fp32` or `fp16`, in which its body really computes.
        card: its card.
    """

    name: str
    precision: str
    card: Card


@dataclass(frozen=True)
class Bounds:
    """What two forms may differ by.

    Attributes:
        precision: whose tolerances these are, `fp32` or `fp16`.
        tolerances: the largest differences allowed.
        source: where they were recorded, as words behind the precision.
    """

    precision: str
    tolerances: Tolerances
    source: str


def form_of(backend: Backend, name: str) -> Form:
    """A loaded graph or engine as one of two forms.

    Args:
        backend: an engine's own precision goes before its graph's: TensorRT 8 can build either from one graph.
        name: what to call it.
    """
    engine = getattr(backend, "engine_card", None)
    return Form(name, backend.card.precision if engine is None else engine.precision, backend.card)


def bounds_of(forms: Iterable[Form]) -> Bounds:
    """The bounds for a comparison of some forms: those of the loosest precision, as their cards record them.

    A card that records none, as a run's does, or those of another precision, has no say; where no card has, the table
    of this version of whymask has.

    Args:
        forms: one or more.

    Raises:
        ArtefactError: a card's tolerances have an unknown name, or lack one.
    """
    forms = list(forms)
    precision = min((form.precision for form in forms), key=PRECISIONS.index)
    recording = [form for form in forms if form.precision == form.card.precision == precision and form.card.tolerances]
    if not recording:
        return Bounds(precision, TOLERANCES[precision], "of this version of whymask: no card records them")
    recorded = [tolerances_from(form.card.tolerances, f"{form.name}: card.tolerances") for form in recording]
    names = " and ".join(form.name for form in recording)
    return Bounds(precision, functools.reduce(Tolerances.stricter, recorded), f"recorded in the card of {names}")


def tolerances_from(record: Mapping[str, Any], name: str) -> Tolerances:
    """Tolerances as a card or a bundle records them.

    Args:
        record: bound by name.
        name: what the record is called in an error.

    Raises:
        ArtefactError: an unknown name, a missing one, or a bound that is no number.
    """
    for key, value in record.items():
        if not isinstance(value, (int, float)):
            raise ArtefactError(f"{name}: {key} is {value!r}, expected a number; export the graph again")
    return dataclass_from_record(Tolerances, name, dict(record))


def check_one_model(first: Form, second: Form) -> None:
    """Refuse to compare forms of two models; their precision, labels and metrics may differ.

    Raises:
        ArtefactError: another classifier, another explainer, another threshold or another input.
    """
    mine, theirs = _identity(first.card), _identity(second.card)
    differing = [f"{name} {mine[name]} against {theirs[name]}" for name in mine if mine[name] != theirs[name]]
    if differing:
        raise ArtefactError(
            f"{first.name} and {second.name} are forms of two models: {'; '.join(differing)}. "
            "Give two that come from one run directory"
        )


def check_alike(first: Backend, second: Backend, names: tuple[str, str]) -> None:
    """Refuse to compare graphs that explain another number of classes at once, or have other attributes.

    Args:
        first, second: loaded; where one of them alone has such outputs, these are not compared.
        names: what to call the two in messages.

    Raises:
        ArtefactError: numbers that differ.
    """
    for output, has, option in (
        (CLASSES, "explains {} classes at once", "the same --top"),
        (ATTRIBUTES, "has {} attributes", "the same --attributes RUN"),
    ):
        if output not in first.outputs or output not in second.outputs:
            continue
        counts = [each.outputs[output].shape[1] for each in (first, second)]
        if counts[0] != counts[1]:
            told = " and ".join(f"{name} {has.format(count)}" for name, count in zip(names, counts, strict=True))
            raise ArtefactError(f"{told}, so their outputs cannot be compared; export both anew with {option}")


def _identity(card: Card) -> dict[str, str]:
    """What makes a model, in words; the explainer's size in pixels is absent, since a run's card lacks it."""
    frame, explainer = card.input, card.explainer
    reads = ", ".join(explainer.taps) or "pixels"
    return {
        "classifier": f"of sha256 {card.classifier.sha256[:16]}…",
        "explainer": f"{explainer.kind} of {explainer.parameters} parameters, which reads {reads}",
        "threshold": f"{card.threshold!r}",
        "input": f"{frame.height} × {frame.width} ({frame.resize} {frame.crop_fraction:g})",
    }
