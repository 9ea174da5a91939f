"""TensorRT's timing cache in a file: kernel times that were measured once and need not be measured again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whymask.runtime.errors import ArtefactError, BackendError
from whymask.runtime.files import write_atomically

NEW, USED, REBUILT = "new", "used", "rebuilt: the file was of another TensorRT or another GPU"


@dataclass(frozen=True)
class TimingCache:
    """A cache that a build reads and extends.

    Attributes:
        path: its file.
        state: `new`, `used`, or `rebuilt: …` where TensorRT refused the file.
        cache: TensorRT's `ITimingCache`, which must live until the build is done.
    """

    path: Path
    state: str
    cache: Any

    def save(self, config: Any) -> None:
        """Write what the build has measured.

        Args:
            config: TensorRT's `IBuilderConfig` after the build.

        Raises:
            BackendError: TensorRT gives no cache.
            ArtefactError: the file cannot be written.
        """
        cache = config.get_timing_cache()
        content = None if cache is None else cache.serialize()
        if content is None:
            raise BackendError(f"{self.path}: TensorRT gave no timing cache to write; build without --timing-cache")
        write_atomically(self.path, bytes(content))


def attach_timing_cache(config: Any, path: Path) -> TimingCache:
    """Give the builder a cache, from the file where TensorRT accepts it.

    Args:
        config: TensorRT's `IBuilderConfig`.
        path: the cache's file, which need not exist.

    Raises:
        ArtefactError: the file is there and cannot be read.
        BackendError: TensorRT accepts not even an empty cache.
    """
    content = _content(path)
    if not content:
        return TimingCache(path, NEW, _attached_empty(config, path))
    cache = config.create_timing_cache(content)
    if cache is not None and _holds_anything(config, cache) and config.set_timing_cache(cache, False):
        return TimingCache(path, USED, cache)
    return TimingCache(path, REBUILT, _attached_empty(config, path))


def _holds_anything(config: Any, cache: Any) -> bool:
    # For a file of another version TensorRT may return an empty cache and say so in its log alone.
    empty = config.create_timing_cache(b"")
    return len(bytes(cache.serialize())) > len(bytes(empty.serialize()))


def _attached_empty(config: Any, path: Path) -> Any:
    cache = config.create_timing_cache(b"")
    if cache is None or not config.set_timing_cache(cache, False):
        raise BackendError(f"{path}: TensorRT makes no timing cache here; build without --timing-cache")
    return cache


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ArtefactError(f"{path}: the timing cache cannot be read ({error.strerror}); name a file") from None
