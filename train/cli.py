"""`whymask train`: the command line of training. Light to import: torch comes when the command runs."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from whymask.runtime.errors import InputError, MissingExtra
from whymask.train.config import TrainConfig
from whymask.train.flint.options import FLINT, MASK, OWN, run_flint, split_options

EXAMPLE = """Train an explainer for a frozen classifier and write a run directory.

With --method flint: learn attributes and a linear interpreter on them (arXiv 2010.09345), beside a mask or without one.

Example: whymask train timm:resnet18 --weights resnet18.safetensors --data photos -o runs/resnet18
"""


def run_training(model: str, out: Path, resume: bool, options: dict[str, Any]) -> None:
    """Build the configuration from the options, train, and say what came out."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    from whymask.train.fit import train as fit
    from whymask.train.run import UNREADABLE_FILE

    run = fit(TrainConfig(model=model, **options), out, resume=resume)
    if getattr(rank_zero_only, "rank", 0):
        return  # every process runs this command; the first speaks for all
    guarantee, card = run.card.guarantee, run.card
    unreadable = out / UNREADABLE_FILE
    if unreadable.is_file():
        typer.echo(f"left out, could not be decoded:\n{unreadable.read_text(encoding='utf-8')}", err=True, nl=False)
    typer.echo(
        f"{out}: {card.explainer.kind} explainer, {card.explainer.parameters:,} parameters, seed {card.seed}, "
        f"{card.training['steps']} steps ({card.training['stopped']}), {card.training['images']} images, "
        f"{card.training['unreadable_images']} unreadable"
    )
    if run.config.teacher:
        typer.echo(
            f"teacher {run.config.teacher}: {card.training['teacher_steps']} steps on each of "
            f"{card.training['teacher_images']} images, {card.training['teacher_seconds']} s; the student "
            f"{card.training['seconds']} s"
        )
    if guarantee is not None:
        verdict = "met" if guarantee.met else f"NOT met: only {guarantee.lower_bound:.1%} can be promised"
        typer.echo(
            f"threshold {card.threshold:.3f}: keeps {guarantee.retention:.1%} of {guarantee.n} calibration decisions "
            f"with {guarantee.mean_area:.1%} of the pixels; "
            f"retention ≥ {1 - guarantee.alpha:.0%} at confidence {1 - guarantee.delta:.0%}: {verdict}"
        )
    typer.echo(f"next: whymask export {out} -o {out / 'fused.onnx'}")


def parse_size(text: str | None) -> tuple[int, int] | None:
    """`224` or `192x256` (height x width) → (height, width)."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise InputError(f"--size is {text!r}, expected one number like 224, or HEIGHTxWIDTH like 192x256")
    return int(sides[0]), int(sides[-1])


def parse_triple(text: str | None) -> tuple[float, float, float] | None:
    """`0.5,0.5,0.5` → three numbers."""
    if text is None:
        return None
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{text!r}: expected three numbers like 0.485,0.456,0.406") from None
    return red, green, blue


PARSERS: dict[str, Callable[[Any], Any]] = {
    "size": parse_size,
    "mean": parse_triple,
    "std": parse_triple,
    "taps": lambda names: tuple(names) if names else None,
    "calibration_data": lambda names: tuple(names) if names else None,
    "data": tuple,
}
"""How options whose command-line form is not their type become fields."""


def option_of(field: dataclasses.Field[Any]) -> inspect.Parameter:
    """The command-line option that mirrors a field of `TrainConfig`."""
    many = {"data": list[str], "taps": list[str] | None, "calibration_data": list[str] | None}
    kind: Any = many.get(field.name) or get_type_hints(TrainConfig)[field.name]
    if field.name in ("size", "mean", "std"):
        kind = str | None
    required = field.default is dataclasses.MISSING
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else field.default,
        annotation=Annotated[kind, typer.Option(f"--{field.name.replace('_', '-')}", help=field.metadata["help"])],
    )


def own_option_of(field: dataclasses.Field[Any]) -> inspect.Parameter:
    """The command-line option that mirrors a field which `FlintConfig` alone has; None where it is not given."""
    kind: Any = {"bool": bool, "int": int, "float": float}[str(field.type)]
    help = f"Method flint: {field.metadata['help']} [default: {field.default}]"
    option = typer.Option(f"--{field.name.replace('_', '-')}", help=help, show_default=False)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def train(model: str, out: Path, resume: bool, method: str, **options: Any) -> None:
    """See EXAMPLE; the options are those of `TrainConfig`, and those that `FlintConfig` alone has."""
    parsed = {name: PARSERS.get(name, lambda value: value)(value) for name, value in options.items()}
    fields = split_options(method, parsed)
    try:
        (run_flint if method == FLINT else run_training)(model, out, resume, fields)
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "train", "train") from None


def _mirror() -> inspect.Signature:
    """MODEL, -o, --resume and --method, then one option a field of `TrainConfig`, then FLINT's own."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    fields = {field.name: field for field in dataclasses.fields(TrainConfig)}
    model: Any = Annotated[str, typer.Argument(metavar="MODEL", help=fields.pop("model").metadata["help"])]
    out: Any = Annotated[Path, typer.Option("-o", "--out", help="Run directory to write.")]
    resume: Any = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the run directory.")]
    method: Any = Annotated[
        str, typer.Option("--method", help="mask, or flint for attributes; see also their options.")
    ]
    own = [
        inspect.Parameter("model", keyword, annotation=model),
        inspect.Parameter("out", keyword, annotation=out),
        inspect.Parameter("resume", keyword, default=False, annotation=resume),
        inspect.Parameter("method", keyword, default=MASK, annotation=method),
    ]
    options = [*(option_of(field) for field in fields.values()), *(own_option_of(field) for field in OWN)]
    return inspect.Signature(own + options)


# Typer reads a function's signature; mirroring the dataclass keeps options and fields the same by construction.
_command: Any = train
_command.__signature__ = _mirror()
_command.__annotations__ = {name: option.annotation for name, option in _command.__signature__.parameters.items()}
_command.__doc__ = EXAMPLE
