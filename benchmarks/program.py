"""How studies begin and end, which are programs of their own beside `whymask`: a known error is its message alone."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from whymask.benchmarks.records import json_from_report
from whymask.runtime.errors import InputError, WhymaskError
from whymask.runtime.files import write_atomically


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


def chosen(only: Sequence[str], known: Sequence[str]) -> list[str]:
    """Names of a study's classifiers, in its order; all where none is named.

    Args:
        only: what `--only` named.
        known: what the study has.

    Raises:
        InputError: a name is not in the study.
    """
    for name in only:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1) or known
            raise InputError(f"--only {name}: not in the study; expected one of {', '.join(near)}")
    return [name for name in known if not only or name in only]


def check_json(out: Path, page: str = ".md") -> None:
    """Refuse another ending before an hour of training, not after it: the page could fall on the record.

    Args:
        out: the record's file.
        page: ending of the page.

    Raises:
        InputError: the file does not end in `.json`.
    """
    if out.suffix != ".json":
        raise InputError(f"{out.name}: expected a name ending in .json; the page goes beside it, ending in {page}")


def publish(out: Path, record: dict[str, Any], page: str) -> None:
    """Write a study's record and, beside it, its page; print the page.

    Args:
        out: the JSON file; Markdown goes beside it.

    Raises:
        InputError: see `check_json`.
    """
    check_json(out)
    write_atomically(out, json_from_report(record) + "\n")
    write_atomically(out.with_suffix(".md"), page)
    typer.echo(page)
    typer.echo(f"Written: {out} and {out.with_suffix('.md').name}")
