"""Files that are either whole or not there: written under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whymask.runtime.errors import ArtefactError

CHUNK_BYTES = 1 << 20


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the body succeeds, remove it when it raises.

    The temporary name keeps the suffix, since writers choose a format by it. Missing folders are made.

    Args:
        path: where the finished file goes; an older file there is replaced in one step.

    Raises:
        ArtefactError: the folder cannot be made or the file cannot be renamed.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        with _writing(path):
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a whole file, or leave the old one as it was.

    Args:
        path: where to; missing folders are made.
        content: bytes, or text that is written as UTF-8.

    Raises:
        ArtefactError: the file cannot be written.
    """
    raw = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as temporary, _writing(path):
        temporary.write_bytes(raw)


def sha256_of(path: Path) -> str:
    """Digest of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ArtefactError(f"{path}: cannot be written ({reason}); choose a folder that can be written to") from error
