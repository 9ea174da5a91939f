"""One report in several forms: which files an output names, and writing them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.files import nearest_existing, write_atomically

Report = TypeVar("Report")


def targets(output: Path, stem: str, endings: Iterable[str]) -> list[Path]:
    """The files that an output names: itself, or one of each form in a folder.

    Args:
        output: a file, or a folder, which has no ending or exists.
        stem: of the files in a folder.
        endings: of the forms that there are, such as `.json`.

    Raises:
        InputError: an ending that is none of these.
    """
    if output.is_dir() or not output.suffix:
        return [output / f"{stem}{ending}" for ending in endings]
    if output.suffix.lower() not in endings:
        raise InputError(
            f"{output}: ending {output.suffix!r}, expected one of {', '.join(endings)}, or none for a folder of all"
        )
    return [output]


def check_targets(output: Path, stem: str, endings: Iterable[str]) -> None:
    """Refuse an output that names no form or cannot be written, before hours of work and not after them.

    Args:
        output, stem, endings: see `targets`.

    Raises:
        ArtefactError: a file would lie below another file, in a folder that cannot be written to, or on a folder.
        InputError: an ending that is none of `endings`.
    """
    for file in targets(output, stem, endings):
        folder = nearest_existing(file.absolute().parent)
        reason = "" if folder.is_dir() else f"{folder} is a file"
        if not reason and not os.access(folder, os.W_OK):
            reason = f"{folder} cannot be written to"
        if file.is_dir():
            reason = "it is a folder"
        if reason:
            raise ArtefactError(f"{file}: cannot be written ({reason}); choose a folder that can be written to")


def write_forms(report: Report, output: Path, stem: str, writers: Mapping[str, Callable[[Report], str]]) -> list[Path]:
    """Write what `targets` names, and return it.

    Args:
        report: what is written.
        output, stem: see `targets`.
        writers: by ending, what makes the text of a form.

    Raises:
        ArtefactError: a file cannot be written.
        InputError: an ending that is none of `writers`.
    """
    files = targets(output, stem, writers)
    for file in files:
        write_atomically(file, writers[file.suffix.lower()](report))
    return files
