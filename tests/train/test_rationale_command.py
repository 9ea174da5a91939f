"""`whymask rationale`: what it reads, prints and writes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import typer
from opinion_classifier import OpinionClassifier
from typer.testing import CliRunner

from whymask.runtime.cli import guarded
from whymask.runtime.errors import InputError
from whymask.train.text import cli
from whymask.train.text.cli import load_text_classifier, rationale, text_from_argument
from whymask.train.text.fit_transformer import TextFitConfig, fit_word_classifier
from whymask.train.text.marc import PUBLISHED, TextMarcConfig
from whymask.train.text.rationale import rationale_from_text
from whymask.train.text.show import HIGHLIGHT, page, rich_text
from whymask.train.text.transformer import TransformerShape, WordClassifier, save_classifier

APP = typer.Typer()
APP.command()(guarded(rationale))
TEXT = "We saw the <good> one there, on a long and quiet way."


@pytest.fixture
def opinions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "load_text_classifier", lambda model: OpinionClassifier())


def run(*arguments: str):
    return CliRunner().invoke(APP, [*arguments, "--model", "any", "--steps", "90"])


def test_the_record_holds_spans_with_character_offsets(opinions: None):
    done = run(TEXT, "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert (record["kind"], record["schema"], record["model"]) == ("whymask.rationale", 1, "opinions")
    assert record["predicted"] == record["explained"] == "good"
    assert any("good" in span["text"] for span in record["spans"])
    assert all(TEXT[part["start"] : part["end"]] == part["text"] for part in record["spans"] + record["tokens"])
    assert record["settings"]["steps"] == 90


def test_the_authors_settings_can_be_asked_for(opinions: None):
    done = CliRunner().invoke(APP, [TEXT, "--json", "--model", "any", "--as-published", "--seed", "3"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["settings"] == asdict(replace(PUBLISHED, seed=3))
    own = json.loads(run(TEXT, "--json").stdout)["settings"]
    assert own == asdict(TextMarcConfig(steps=90))


@pytest.mark.parametrize("option", [["--as-published"], ["--steps", "3"]])
def test_a_graph_is_not_told_how_to_optimise(option: list[str]):
    done = CliRunner().invoke(APP, [TEXT, "--model", "reviews.onnx", *option])
    assert done.exit_code != 0
    assert f"{option[0]}: reviews.onnx is a graph, whose one pass optimises nothing" in " ".join(done.output.split())


def test_another_class_is_explained_from_a_file_into_a_page(opinions: None, tmp_path: Path):
    (tmp_path / "text.txt").write_text("a good day, a bad day")
    done = run(str(tmp_path / "text.txt"), "--target", "bad", "-o", str(tmp_path / "why.html"))
    assert done.exit_code == 0, done.output
    assert "bad (predicted: " in done.stdout.replace("\n", " ") or "bad, 50% sure" in done.stdout
    assert f"written: {tmp_path / 'why.html'}" in done.stdout.replace("\n", "")
    assert "<mark" in (tmp_path / "why.html").read_text()


def test_the_page_escapes_the_text_and_keeps_all_of_it():
    found = rationale_from_text(OpinionClassifier(), TEXT, config=TextMarcConfig(steps=90))
    shown = page(found)
    assert "<good>" not in shown
    body = shown.split('<p class="text">')[1].split("</p>")[0]
    plain = "".join(part.partition(">")[2] if "mark" in part[:6] else part for part in body.split("<"))
    assert plain.replace("&lt;", "<").replace("&gt;", ">") == TEXT


def test_the_terminal_highlights_the_spans_characters():
    found = rationale_from_text(OpinionClassifier(), TEXT, config=TextMarcConfig(steps=90))
    marked = [(span.start, span.end) for span in rich_text(found).spans if span.style == HIGHLIGHT]
    assert marked == [(span.start, span.end) for span in found.spans]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TEXT, "-o", "why.pdf"), "-o why.pdf: expected a file that ends with .html or .json"),
        ((TEXT, "--target", "worse"), "expected one of bad, good"),
        (("absent.txt",), "absent.txt: no such file; give a text"),
        (("  ",), "no token to explain"),
    ],
)
def test_what_cannot_be_explained_is_one_message(opinions: None, arguments: tuple[str, ...], message: str):
    done = run(*arguments)
    assert done.exit_code == 1
    assert message in done.stderr


def test_files_that_are_no_text_are_refused_and_long_texts_are_texts(tmp_path: Path):
    (tmp_path / "data").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as UTF-8 text"):
        text_from_argument(str(tmp_path / "data"))
    assert text_from_argument("word " * 2000) == "word " * 2000


def test_a_folder_of_ours_is_read_by_what_it_holds(tmp_path: Path):
    shape = TransformerShape(8, 2, 1, 8)
    trained = fit_word_classifier(["a", "b"], [0, 1], ("x", "y"), TextFitConfig(steps=2, batch_size=2, shape=shape))
    save_classifier(trained, tmp_path)
    assert isinstance(load_text_classifier(str(tmp_path)), WordClassifier)
