"""Studies of hours keep the pictures that are done: JSON lines of records, after a first line of their settings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from whymask.runtime.errors import ArtefactError
from whymask.runtime.files import write_atomically


def picture_name(file: Path) -> str:
    """What a picture is called in a record: its name behind its folder's."""
    return f"{file.parent.name}/{file.name}"


def read_work(work: Path, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Records of pictures that are done, by name; none where the file is absent.

    Raises:
        ArtefactError: the file is of other settings.
    """
    if not work.is_file():
        return {}
    first, *lines = work.read_text(encoding="utf-8").splitlines()
    if json.loads(first) != settings:
        raise ArtefactError(f"{work}: pictures done with other settings; remove the file, or name another by --work")
    return {record["picture"]: record for record in map(json.loads, lines)}


def write_work(work: Path, settings: dict[str, Any], records: Iterable[dict[str, Any]]) -> None:
    """Write settings and all records."""
    write_atomically(work, "".join(f"{json.dumps(each)}\n" for each in [settings, *records]))
