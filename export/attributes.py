"""A mask run and a FLINT run of one classifier, to be exported as one graph."""

from __future__ import annotations

from dataclasses import replace

from whymask.runtime.card import AttributesCard
from whymask.runtime.errors import InputError
from whymask.train.flint.run import FlintRun
from whymask.train.run import Run


def with_attributes(run: Run, flint: FlintRun) -> Run:
    """The run with the other's interpreter, and with its attributes in the card.

    Args:
        run: gives the mask; left as it is.
        flint: gives the attributes.

    Raises:
        InputError: they belong to two classifiers, or to two input sizes or normalisations.
    """
    mine, theirs = run.card.classifier.sha256, flint.card.classifier.sha256
    if mine != theirs:
        raise InputError(
            f"attributes: {flint.path} interprets a classifier of sha256 {theirs[:12]}…, {run.path} explains one of "
            f"{mine[:12]}…; train both on one classifier (by design: its weights lie in the FLINT run)"
        )
    if run.card.input != flint.card.input:
        raise InputError(
            f"attributes: {flint.path} was trained on {flint.card.input}, {run.path} on {run.card.input}; give both "
            "the same --size, --resize, --mean and --std"
        )
    card = AttributesCard(
        flint.card.names,
        flint.card.layers,
        float(flint.card.figures["fidelity"]),
        flint.card.by_design,
        flint.card.pictures,
        flint.card.seed,
    )
    return replace(run, interpreter=flint.interpreter, card=replace(run.card, attributes=card))
