"""From a folder of records to its page: what the studies' `page` commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from whymask.runtime.errors import InputError
from whymask.runtime.files import write_atomically

Record = dict[str, Any]


def write_page(
    folder: Path,
    read: Callable[[Path], Record],
    page: Callable[[Sequence[Record]], str],
    made_by: str,
    leave_out: str = "",
) -> None:
    """Write `README.md` of a folder's records, and print it.

    Args:
        folder: of the records, JSON files.
        read: gives a record of a file.
        page: gives the page of all records, in the order of their names.
        made_by: the command that makes records, for who has none.
        leave_out: what the stem of a file that is no record ends in.

    Raises:
        InputError: the folder holds no record.
        ArtefactError: as of `read`.
    """
    paths = sorted(path for path in folder.glob("*.json") if not (leave_out and path.stem.endswith(leave_out)))
    if not paths:
        raise InputError(f"{folder} holds no results; make them with: {made_by}")
    text = page([read(path) for path in paths])
    write_atomically(folder / "README.md", text)
    typer.echo(text)
