"""How the studies, which are programs of their own beside `whymask`, end: a known error is its message alone."""

from __future__ import annotations

import typer

from whymask.runtime.errors import WhymaskError


def run_program(app: typer.Typer) -> None:
    """Run a command line; a WhymaskError goes alone to standard error, with exit code 1.

    Args:
        app: its commands.
    """
    try:
        app()
    except WhymaskError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(1) from None
