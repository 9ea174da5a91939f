from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from whymask.runtime.errors import ArtefactError
from whymask.runtime.files import atomic_path, sha256_of, write_atomically


def test_a_file_is_written_with_its_folders(tmp_path: Path):
    write_atomically(tmp_path / "a" / "b.txt", "größer")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "größer".encode()
    assert sha256_of(tmp_path / "a" / "b.txt") == hashlib.sha256("größer".encode()).hexdigest()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "model.onnx"
    write_atomically(path, b"old")
    with pytest.raises(RuntimeError, match="half way"), atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
        assert temporary.suffix == ".onnx"
        raise RuntimeError("half way")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError, match=r"result\.txt: cannot be written \(.+\); choose a folder"):
        write_atomically(tmp_path / "file" / "result.txt", "x")
