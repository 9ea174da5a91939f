from __future__ import annotations

import errno
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


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path):
    path = tmp_path / "model.onnx"
    write_atomically(path, b"old")
    with (
        pytest.raises(ArtefactError, match=r"model\.onnx: cannot be written \(No space left on device\); choose a"),
        atomic_path(path) as temporary,
    ):
        temporary.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_to_is_one_clear_error():
    folder = Path("/proc/self")  # read-only for root too
    if not folder.is_dir():
        pytest.skip("needs Linux's /proc")
    with (
        pytest.raises(ArtefactError, match=r"^/proc/self/result\.txt: cannot be written \(.+\); choose a folder"),
        atomic_path(folder / "result.txt") as temporary,
    ):
        temporary.write_bytes(b"x")


def test_a_name_is_too_long_only_where_the_files_own_name_is(tmp_path: Path):
    write_atomically(tmp_path / ("a" * 251 + ".txt"), "x")
    assert [file.name for file in tmp_path.iterdir()] == ["a" * 251 + ".txt"]
    with pytest.raises(ArtefactError, match=r"a\.txt: cannot be written \(File name too long\)"):
        write_atomically(tmp_path / ("a" * 252 + ".txt"), "x")


def test_a_folder_in_the_files_place_is_named(tmp_path: Path):
    (tmp_path / "there").mkdir()
    for path in (tmp_path / "there", Path(".")):
        with pytest.raises(ArtefactError, match=r": cannot be written \(a folder is there\); give the name of a file$"):
            write_atomically(path, "x")


def test_a_foreign_error_inside_is_not_taken_for_a_failed_write(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"absent\.txt"), atomic_path(tmp_path / "out.txt"):
        (tmp_path / "absent.txt").read_bytes()
    with pytest.raises(BrokenPipeError, match="closed"), atomic_path(tmp_path / "out.txt"):
        raise BrokenPipeError(errno.EPIPE, "closed")
    assert list(tmp_path.iterdir()) == []
