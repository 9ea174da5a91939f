"""A teacher's maps on disk: one file for every few pictures, so that an interruption loses a minute.

DIR/teacher.json          what made the maps: method, settings, digests of classifier and pictures
DIR/00000.safetensors     maps float32 (B, s, t), target int64 (B,); as metadata the key's digest and the seconds spent

Every file is whole or absent. A folder of another classifier, other pictures, another method or other settings is
refused, and so is a file of another key.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from whymask.runtime.errors import ArtefactError
from whymask.runtime.files import write_atomically

KEY_FILE = "teacher.json"
KIND, SCHEMA_VERSION = "whymask.teacher", 1
ENDING = ".safetensors"


class Shard(NamedTuple):
    """The maps of a few pictures.

    Attributes:
        maps: float32 (B, s, t), larger is more relevant.
        target: int64 (B,), the classes that were explained.
        seconds: that the teacher took for them.
        cpu_seconds: processor time of the same.
    """

    maps: Tensor
    target: Tensor
    seconds: float
    cpu_seconds: float


class TeacherCache:
    """The maps of one teacher for one list of pictures.

    Args:
        folder: made if absent.
        key: everything that the maps depend on, as JSON can hold it.

    Raises:
        ArtefactError: the folder holds maps of another key, or something else.
    """

    def __init__(self, folder: Path, key: dict[str, Any]) -> None:
        self.folder = folder
        record = json.loads(json.dumps({"kind": KIND, "schema": SCHEMA_VERSION, **key}))
        self.digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
        path = folder / KEY_FILE
        if not path.is_file():
            # Another process may be about to write the same: its half file is no stranger, and its key is looked at.
            if _holds_strangers(folder, path) and not path.is_file():
                raise ArtefactError(f"{folder} exists and has no {KEY_FILE}; give another folder with --teacher-cache")
            if not path.is_file():
                write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        _refuse_other(path, record)

    def __contains__(self, index: int) -> bool:
        """Whether a shard is there."""
        return self._path(index).is_file()

    def write(self, index: int, shard: Shard) -> None:
        """Keep a shard, whole or not at all."""
        tensors = {"maps": shard.maps.float().cpu().contiguous(), "target": shard.target.cpu().contiguous()}
        times = {"seconds": repr(shard.seconds), "cpu_seconds": repr(shard.cpu_seconds)}
        metadata = {"key": self.digest, **times}
        write_atomically(self._path(index), save(tensors, metadata))

    def read(self, index: int) -> Shard:
        """A shard that is there.

        Raises:
            ArtefactError: damaged, or of another key.
        """
        path = self._path(index)
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                times = [float(metadata.get(name, "nan")) for name in ("seconds", "cpu_seconds")]
                shard = Shard(file.get_tensor("maps"), file.get_tensor("target"), *times)
        except (OSError, SafetensorError, ValueError) as error:
            raise ArtefactError(f"{path} cannot be read ({error}); remove it, and it is made again") from None
        if metadata.get("key") != self.digest:
            raise ArtefactError(f"{path} holds maps of another teacher than {KEY_FILE} beside it says; remove it")
        if not bool(torch.isfinite(shard.maps).all()):
            raise ArtefactError(f"{path} holds maps that are no numbers; remove it, and try fewer --teacher-steps")
        return shard

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:05d}{ENDING}"


def _holds_strangers(folder: Path, key: Path) -> bool:
    if not folder.is_dir():
        return folder.exists()
    return any(not each.name.startswith(f".{key.stem}.") for each in folder.iterdir())


def _refuse_other(path: Path, record: dict[str, Any]) -> None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} cannot be read ({error}); give another --teacher-cache") from None
    if not isinstance(found, dict):
        raise ArtefactError(f"{path} is no key of a teacher's maps; give another --teacher-cache")
    names = [name for name in record.keys() | found.keys() if found.get(name) != record.get(name)]
    if names:
        said = "; ".join(f"{name} {_brief(found.get(name))}, now {_brief(record.get(name))}" for name in sorted(names))
        raise ArtefactError(
            f"{path.parent} holds the maps of another teacher ({said}); give another folder with --teacher-cache, or "
            "remove this one"
        )


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 24 else f"{text[:12]}…"
