"""A classifier of transformers as one file: its tokenizer travels in it, held to the classifier's own."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_bert import SPECIAL, save_tiny_bert
from tiny_text import NEUTRAL, OPINIONS, texts

from whymask.export.onnx_from_text_run import check_special, check_tokenizer, export_text_run
from whymask.runtime import ArtefactError, MissingExtra, ParityError, load_text
from whymask.runtime.describe_text import describe_text, is_text, text_guarantee_in_words, text_lines
from whymask.runtime.text_card import TextCard
from whymask.runtime.text_tokenizer import tokenizer_from_json
from whymask.train.text.amortized_config import AmortizedConfig
from whymask.train.text.amortized_run import TextRun, train_run
from whymask.train.text.classifier import Tokens
from whymask.train.text.hugging_face import HuggingFaceClassifier, load_hugging_face

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
PIECES = (*NEUTRAL, *OPINIONS["bad"], *OPINIONS["good"])
TEXTS = [text for text, _ in texts(40, 5)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TextRun:
    folder = tmp_path_factory.mktemp("bert")
    classifier = load_hugging_face(str(save_tiny_bert(folder / "classifier", PIECES)))
    return train_run(classifier, TEXTS, str(folder / "classifier"), folder / "run", AmortizedConfig(steps=2, width=8))


@pytest.fixture(scope="module")
def graph(run: TextRun) -> Path:
    out = run.path / "fused.onnx"
    export_text_run(run, out, texts=TEXTS)
    return out


def test_one_file_explains_texts_as_torch_does(run: TextRun, graph: Path):
    with load_text(graph, provider="cpu", threads=1) as explainer:
        for text, why in zip(TEXTS[:8], explainer.explain_batch(TEXTS[:8]), strict=True):
            tokens = run.classifier.tokenise(text)
            assert why.ids.tolist() == list(tokens.ids)
            assert why.own.tolist() == [not special for special in tokens.special]
            assert np.allclose(why.saliency, run.saliency(tokens).numpy(), atol=1e-4)
            assert all(text[span.start : span.end] == span.text for span in why.spans)


def test_inspect_tells_of_a_graph_of_texts_and_of_its_folder(run: TextRun, graph: Path, tmp_path: Path):
    told = "\n".join(text_lines(describe_text(graph)))
    assert is_text(graph) and is_text(run.path)
    assert "cut by the tokenizer in the file" in told
    assert f"sha256 {run.card.sha256}" in told and "LABEL_0, LABEL_1, LABEL_2" in told
    record = describe_text(graph).to_record()
    assert record["card"] == json.loads(TextCard.from_json(json.dumps(record["card"])).to_json())
    assert record["operators"]["MatMul"] > 0 and record["files"] == {graph.name: graph.stat().st_size}
    assert "text-explainer.safetensors" in "\n".join(text_lines(describe_text(run.path)))
    assert not is_text(tmp_path) and not is_text(tmp_path / "absent.onnx")
    assert not is_text(graph.with_name("fused.classifier.onnx"))
    (tmp_path / "text-card.json").write_bytes(b"\xff")
    with pytest.raises(ArtefactError, match=r"text-card\.json: cannot be read .*train again"):
        describe_text(tmp_path)


@pytest.mark.parametrize(("met", "words"), [(True, "for at least 90 % of texts"), (False, "no more than 75 %")])
def test_the_promise_of_a_text_card_is_told_in_words(run: TextRun, met: bool, words: str):
    promise = replace(run.card.guarantee, alpha=0.1, met=met, lower_bound=0.75)
    assert words in text_guarantee_in_words(replace(run.card, guarantee=promise))


def test_a_graph_is_not_loaded_where_tokenizers_is_absent(graph: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtra, match=r'Run: pip install "whymask\[tokenizers\]"'):
        load_text(graph, provider="cpu")
    with load_text(graph, lambda text: ([2, 5, 3], [(0, 0), (0, len(text)), (0, 0)]), provider="cpu") as explainer:
        assert explainer.explain("box").offsets == ((0, 0), (0, 3), (0, 0))


def test_what_the_tokenizer_says_of_shortening_and_filling_up_is_not_followed(run: TextRun):
    record = json.loads(run.classifier.tokenizer_json)
    record["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    record["padding"] = {
        "strategy": {"Fixed": 12}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": SPECIAL[0],
    }  # fmt: skip
    ids, spans = tokenizer_from_json(json.dumps(record), "reviews.onnx")("we saw the red bag")
    assert len(ids) == len(spans) == 7
    assert spans[0] == spans[-1] == (0, 0)


def test_no_tokenizer_is_one_message():
    with pytest.raises(ArtefactError, match=r"reviews\.onnx: holds a tokenizer that tokenizers cannot read"):
        tokenizer_from_json("{}", "reviews.onnx")


def test_a_token_that_is_special_to_one_alone_stops_the_export(run: TextRun):
    tokens = run.classifier.tokenise(TEXTS[0])
    check_special(run.classifier, [tokens])
    with pytest.raises(
        ParityError, match=r"token 2 of '.+' is not special to the tokenizer; the special ones are \[0, 2, 3\]"
    ):
        check_special(run.classifier, [replace(tokens, special=(False,) * len(tokens.ids))])


def test_a_tokenizer_that_cuts_otherwise_stops_the_export(run: TextRun, tmp_path: Path):
    classifier = load_hugging_face(str(save_tiny_bert(tmp_path / "other", (*reversed(PIECES),))))
    other = HuggingFaceClassifier(run.classifier.module, classifier.tokeniser, "other")
    with pytest.raises(ParityError, match=r"other: its tokenizer\.json cuts '.+' into \d+ tokens otherwise"):
        check_tokenizer(other, [run.classifier.tokenise(TEXTS[0])])

    class Half(HuggingFaceClassifier):
        def tokenise(self, text: str) -> Tokens:
            return replace(super().tokenise(text.upper()[::-1]), text=text)

    broken = Half(run.classifier.module, classifier.tokeniser, "half")
    with pytest.raises(ParityError, match="Nothing was written"):
        export_text_run(replace(run, classifier=broken), tmp_path / "fused.onnx", texts=TEXTS[:8])
    assert not (tmp_path / "fused.onnx").exists()
