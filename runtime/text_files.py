"""Texts as commands take them: a file in UTF-8, a text a line."""

from __future__ import annotations

from pathlib import Path

from whymask.runtime.errors import InputError


def texts_from_file(file: Path) -> list[str]:
    """The lines of a file that are not blank.

    Raises:
        InputError: it cannot be read as UTF-8, or holds nothing.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--texts {file}: cannot be read ({error}); give a UTF-8 file with a text a line") from None
    found = [line for line in lines if line.strip()]
    if not found:
        raise InputError(f"--texts {file}: holds no text; give a UTF-8 file with a text a line")
    return found
