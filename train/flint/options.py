"""`whymask train --method flint`: which of the command's options it takes. Light to import."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import typer

from whymask.runtime.errors import InputError
from whymask.train.config import TrainConfig
from whymask.train.flint.config import FlintConfig

MASK, FLINT = "mask", "flint"
METHODS = (MASK, FLINT)
_MASK_FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}
OWN = tuple(field for field in dataclasses.fields(FlintConfig) if field.name not in _MASK_FIELDS)
"""Fields that `TrainConfig` does not have; on the command line None stands for "not given"."""


def split_options(method: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options that belong to a method, checked.

    Args:
        method: `mask` or `flint`.
        options: all of the command's, by field; FLINT's own are None where they were not given.

    Returns:
        fields of `TrainConfig`, or of `FlintConfig`, without `model`.

    Raises:
        InputError: an unknown method, or an option of the other one was given.
    """
    if method not in METHODS:
        raise InputError(f"--method is {method!r}, expected one of {', '.join(METHODS)}")
    own = {field.name: options[field.name] for field in OWN if options.get(field.name) is not None}
    rest = {name: value for name, value in options.items() if name in _MASK_FIELDS}
    if method == MASK:
        _refuse(own, method, "it is FLINT's: add --method flint")
        return rest
    shared = {field.name for field in dataclasses.fields(FlintConfig)}
    foreign = {n: v for n, v in rest.items() if n not in shared and v != _MASK_FIELDS[n].default}
    _refuse(foreign, method, "it belongs to the mask explainer: leave it out")
    return {name: value for name, value in rest.items() if name in shared} | own


def _refuse(given: dict[str, Any], method: str, words: str) -> None:
    if given:
        raise InputError(f"--{next(iter(given)).replace('_', '-')} has no meaning for --method {method}; {words}")


def run_flint(model: str, out: Path, resume: bool, options: dict[str, Any]) -> None:
    """Learn attributes and say what came out.

    Args:
        model, out: as `whymask train` takes them.
        resume: refused; a run takes minutes.
        options: fields of `FlintConfig`.
    """
    if resume:
        raise InputError("--resume has no meaning for --method flint, which keeps no checkpoints; train again")
    from whymask.train.flint.run import train

    card = train(FlintConfig(model=model, **options), out).card
    figures = card.figures
    mode = "by design" if card.by_design else "post hoc, the classifier bit-identical"
    few = figures["conciseness"]
    accuracy = f", accuracy {figures['accuracy']:.1%}" if "accuracy" in figures else ""
    typer.echo(
        f"{out}: {len(card.names)} attributes of {', '.join(card.layers)}, {mode}, seed {card.seed}, "
        f"{card.training['steps']} steps, {card.training['images']} images, "
        f"{card.training['unreadable_images']} unreadable"
    )
    typer.echo(
        f"on {card.training['held_out_images']} held-out images: fidelity {figures['fidelity']:.1%}{accuracy}; "
        f"{few['1.5']:.2f} to {few['5']:.2f} important attributes (τ 1.5 to 5)"
    )
    typer.echo(
        f"next: whymask export RUN --attributes {out} -o fused.onnx   # RUN: a mask explainer of this classifier"
    )
