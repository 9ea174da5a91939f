"""The study of FLINT: its digits, its record and its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from whymask.benchmarks import flint
from whymask.benchmarks.digits_classifier import load_digits
from whymask.benchmarks.flint_page import page_of, read_record
from whymask.runtime.errors import ArtefactError


def record(interpreted: list[int], important: dict[str, list[int]]) -> dict[str, object]:
    part = {
        "seed": 1,
        "by_design": True,
        "settings": {"model": "x.py:digits_classifier", "attributes": 25, "steps": 3, "batch_size": 4},
        "learned_from": 9,
        "cpu_seconds": 2.0,
        "used_attributes": 7,
        "predicted": [0, 1, 2, 3],
        "interpreted": interpreted,
        "true": [0, 1, 2, 9],
        "important": important,
    }
    head = {"kind": "flint", "schema": 1, "command": "c", "data": "d", "machine": {"cpu": "z"}, "versions": {}}
    return head | {"parts": [part]}


def test_digits_are_split_without_overlap_and_by_seed() -> None:
    train, test = load_digits(1)
    assert (len(train.pixels), len(test.pixels)) == (1437, 360)
    assert train.pixels.shape[1:] == (3, 8, 8) and train.pixels.dtype == torch.uint8 and int(train.pixels.max()) == 255
    other = load_digits(2)[1]
    assert not torch.equal(test.pixels, other.pixels)
    assert torch.equal(test.pixels, load_digits(1)[1].pixels)


def test_the_page_counts_and_judges_in_the_open() -> None:
    page = page_of([record([0, 1, 2, 3], {"1.5": [1, 1, 1, 1], "5": [1, 1, 1, 2]})])
    assert "| 100.0 (39.8 to 100.0; 4/4) | 75.0 (19.4 to 99.4; 3/4) | 1.00 | 1.25 | 7 of 25 |" in page
    assert "fidelity met; conciseness 1.00 to 1.25, met" in page
    page = page_of([record([0, 1, 2, 0], {"1.5": [1, 1, 1, 1], "5": [1, 2, 1, 2]})])
    assert "fidelity not met; conciseness 1.00 to 1.50, not met" in page


def test_digits_are_learned_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flint, "SEEDS", (4,))
    result = CliRunner().invoke(flint.app, ["digits", "--steps", "3", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    made = read_record(tmp_path / "digits.json")
    part = made["parts"][0]
    assert len(part["predicted"]) == 360 and len(part["important"]["1.5"]) == 360
    assert str(Path(flint.__file__).parent) not in json.dumps(made)
    assert CliRunner().invoke(flint.app, ["table", "--out", str(tmp_path)]).exit_code == 0
    assert (tmp_path / "README.md").read_text().startswith("# FLINT\n")


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "digits.json").write_text("{}")
    with pytest.raises(ArtefactError, match="not a record of this study; make it again with"):
        read_record(tmp_path / "digits.json")


def test_the_committed_page_is_that_of_the_committed_records() -> None:
    records = [read_record(path) for path in sorted(flint.FOLDER.glob("*.json"))]
    assert records
    assert (flint.FOLDER / "README.md").read_text("utf-8") == page_of(records)


def test_what_the_digits_attributes_stand_for_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flint, "PAIRS", 1)
    result = CliRunner().invoke(flint.app, ["digit-pictures", "--steps", "20", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "digits.html").read_text("utf-8")
    assert "360 pictures searched" in page and "data:image/png;base64," in page


def test_the_committed_page_of_digits_shows_the_committed_runs_fidelity() -> None:
    (first, *_) = read_record(flint.FOLDER / "digits.json")["parts"]
    same = sum(a == b for a, b in zip(first["predicted"], first["interpreted"], strict=True))
    assert f"fidelity on them {same / len(first['predicted']):.1%}" in (flint.FOLDER / "digits.html").read_text("utf-8")
