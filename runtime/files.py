"""Files that are either whole or not there: written under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whymask.runtime.errors import ArtefactError

CHUNK_BYTES = 1 << 20
STEM = 40
"""Characters of a file's name that its temporary name has too: a name that is just short enough must not grow."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the body succeeds, remove it when it raises.

    The temporary name keeps the suffix, since writers choose a format by it. Missing folders are made.

    Args:
        path: where the finished file goes; an older file there is replaced in one step.

    Raises:
        ArtefactError: `path` is a folder, its folder cannot be made, or the file cannot be written or renamed.
    """
    path = Path(path)
    with _writing(path):
        if not path.name or path.is_dir():
            raise ArtefactError(f"{path}: cannot be written (a folder is there); give the name of a file")
        temporary = path.with_name(f".{path.stem[:STEM]}.{secrets.token_hex(4)}{path.suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _writing(path, temporary):
            yield temporary
        with _writing(path):
            os.replace(temporary, path)
    finally:
        # What cannot be removed was never made: a second error here would hide the first.
        with contextlib.suppress(OSError):
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
    with atomic_path(path) as temporary:
        temporary.write_bytes(raw)


def nearest_existing(path: Path) -> Path:
    """The path itself, or the nearest of the folders above it that is there."""
    return next(each for each in (path, *path.parents) if each.exists())


def sha256_of(path: Path) -> str:
    """Digest of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Turn a failed write into an error of ours; with `temporary` only where that file is meant, or none is named."""
    try:
        yield
    except OSError as error:
        named = error.filename is not None and str(error.filename) != str(temporary)
        if temporary is not None and (named or isinstance(error, ConnectionError)):
            raise  # of a file that the body reads, or of a closed terminal that it tells
        reason = error.strerror or error
        raise ArtefactError(f"{path}: cannot be written ({reason}); choose a folder that can be written to") from error
