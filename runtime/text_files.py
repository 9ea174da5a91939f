"""Texts as commands take them: a file in UTF-8, a text a line."""

from __future__ import annotations

from pathlib import Path

from whymask.runtime.errors import InputError


def lines_of(file: Path) -> list[str]:
    """Lines of a file in UTF-8, cut at line feeds alone (texts may hold other breaks), without a byte order mark.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    return file.read_text(encoding="utf-8-sig").split("\n")


def texts_from_file(file: Path) -> list[str]:
    """The lines of a file that are not blank.

    Raises:
        InputError: it cannot be read as UTF-8, or holds nothing.
    """
    try:
        lines = lines_of(file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--texts {file}: cannot be read ({error}); give a UTF-8 file with a text a line") from None
    found = [line for line in lines if line.strip()]
    if not found:
        raise InputError(f"--texts {file}: holds no text; give a UTF-8 file with a text a line")
    return found
