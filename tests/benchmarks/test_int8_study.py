"""The study of INT8: its page is made from its records alone, in the folder that is named."""

from __future__ import annotations

import shutil
from pathlib import Path

from typer.testing import CliRunner

from whymask.benchmarks import int8
from whymask.runtime.errors import ArtefactError


def test_the_committed_page_is_of_the_committed_records(tmp_path: Path):
    for path in int8.FOLDER.glob("*.json"):
        shutil.copy(path, tmp_path)
    done = CliRunner().invoke(int8.app, ["page", "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "README.md").read_text("utf-8") == (int8.FOLDER / "README.md").read_text("utf-8")


def test_a_folder_without_records_is_one_message(tmp_path: Path):
    done = CliRunner().invoke(int8.app, ["page", "-o", str(tmp_path)])
    assert isinstance(done.exception, ArtefactError)
    assert f"{tmp_path}: no record; make one with: {int8.COMMAND} run CLASSIFIER" in str(done.exception)
