"""`whymask rationale --rationales`: rationales that people gave, read, compared and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from opinion_classifier import OpinionClassifier
from typer.testing import CliRunner

from whymask.runtime.cli import guarded
from whymask.runtime.errors import InputError
from whymask.train.text import cli
from whymask.train.text.given import GivenRationale, agreement_with, read_given
from whymask.train.text.record import Rationale

APP = typer.Typer()
APP.command()(guarded(cli.rationale))


def rationale(mask: tuple[float, ...], cut: float) -> Rationale:
    tokens = ((0, 2), (3, 6), (7, 11))
    return Rationale("m", "It not good", "a", "a", 1.0, 1.0, 0.0, tokens, mask, (), None, cut)


@pytest.mark.parametrize(
    ("mask", "cut", "precision", "recall"),
    [((0.1, 0.9, 0.9), 0.5, 1.0, 1.0), ((0.9, 0.9, 0.1), 0.5, 0.5, 0.5), ((0.9, 0.9, 0.1), 0.05, 2 / 3, 1.0)],
)
def test_tokens_are_compared_at_the_rationales_own_cut(
    mask: tuple[float, ...], cut: float, precision: float, recall: float
):
    found = agreement_with(rationale(mask, cut), GivenRationale("It not good", ((3, 11),)))
    assert (found.precision, found.recall) == pytest.approx((precision, recall))


def test_a_file_is_judged_text_by_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli, "load_text_classifier", lambda model: OpinionClassifier())
    file, out = tmp_path / "given.jsonl", tmp_path / "found.json"
    rows = [
        {"text": "We saw the good one there, on a long and quiet way.", "spans": [[11, 15]]},
        {"text": "It was a bad day for us all, so we went home.", "spans": [[9, 12]]},
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    done = CliRunner().invoke(APP, ["--rationales", str(file), "--model", "any", "--steps", "90", "-o", str(out)])
    assert done.exit_code == 0, done.output
    record = json.loads(out.read_text())
    assert (record["n"], len(record["texts"])) == (2, 2)
    assert record["mean"]["recall"] == 1.0
    assert record["mean"]["f1"] == pytest.approx(sum(each["f1"] for each in record["texts"]) / 2, abs=1e-6)
    assert f"2 texts, tokens against {file}: precision" in done.stdout.replace("\n", "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "holds no rationale; expected lines such as"),
        ("{", "line 1: JSONDecodeError"),
        ('{"text": "a"}', "line 1: KeyError: 'spans'"),
        ('{"text": "ab", "spans": [[1, 3]]}', r"spans \(\(1, 3\),\) of a text of 2 characters"),
        ('{"text": "ab", "spans": []}', r"spans \(\) of a text"),
    ],
)
def test_a_file_that_is_not_as_expected_is_one_message(tmp_path: Path, line: str, message: str):
    file = tmp_path / "given.jsonl"
    file.write_text(line)
    with pytest.raises(InputError, match=message):
        read_given(file)


def test_a_text_and_a_file_are_not_asked_at_once(tmp_path: Path):
    for arguments in ([], ["text", "--rationales", str(tmp_path / "given.jsonl")]):
        done = CliRunner().invoke(APP, [*arguments, "--model", "any"])
        assert done.exit_code == 1
        assert "expected either a text or --rationales FILE" in done.stderr


def test_a_text_may_hold_breaks_that_are_no_line_feeds(tmp_path: Path):
    row = json.dumps({"text": "It was\u2028a bad day.", "spans": [[9, 12]]}, ensure_ascii=False)
    (tmp_path / "given.jsonl").write_text(f"\ufeff{row}\r\n{row}\n", encoding="utf-8", newline="")
    assert [each.text for each in read_given(tmp_path / "given.jsonl")] == ["It was\u2028a bad day."] * 2
