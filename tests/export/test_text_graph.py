"""The fused graph of texts: what is exported, that it answers as torch does, and the runtime that reads it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import typer
from tiny_text import texts, tiny_classifier, tiny_text_run
from typer.testing import CliRunner

from whymask.export import onnx_from_text_run
from whymask.export.onnx_from_text_run import export_text_run, text_parity
from whymask.export.text_cli import export_text
from whymask.export.text_graph import FusedTextGraph
from whymask.runtime import ArtefactError, InputError, ParityError, TextExplainer, load, load_text
from whymask.runtime.cli import guarded
from whymask.runtime.text_card import METADATA_KEY, TextCard
from whymask.runtime.text_files import texts_from_file
from whymask.train.text.amortized_run import TextRun
from whymask.train.text.by_graph import rationale_from_graph
from whymask.train.text.cli import rationale
from whymask.train.text.rationale import spans_from_mask
from whymask.train.text.train_cli import train_text


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TextRun:
    return tiny_text_run(tmp_path_factory.mktemp("text"), tiny_classifier())


@pytest.fixture(scope="module")
def graph(run: TextRun) -> Path:
    out = run.path / "fused.onnx"
    export_text_run(run, out, texts=[text for text, _ in texts(40, 21)])
    return out


@pytest.fixture(scope="module")
def explainer(graph: Path) -> TextExplainer:
    return load_text(graph, provider="cpu", threads=1)


def test_the_file_holds_its_contract_and_card(run: TextRun, graph: Path):
    model = onnx.load(graph)
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    tokens = ["batch", "tokens"]
    assert shapes == {
        "input_ids": tokens,
        "attention_mask": tokens,
        "logits": ["batch", 2],
        "saliency": tokens,
        "mask": tokens,
    }
    assert model.opset_import[0].version == 17
    card = TextCard.from_json({each.key: each.value for each in model.metadata_props}[METADATA_KEY])
    assert card.threshold == run.card.threshold
    assert (card.metrics["parity_top1_agreement"], card.metrics["parity_mask_iou"]) == (1.0, 1.0)
    assert card.metrics["parity_texts"] == 40.0
    assert (graph.parent / "fused.classifier.onnx").is_file()


def test_the_runtime_answers_as_torch_does(run: TextRun, explainer: TextExplainer):
    together = [text for text, _ in texts(12, 31)]
    for text, why in zip(together, explainer.explain_batch(together), strict=True):
        tokens = run.classifier.tokenise(text)
        saliency = run.saliency(tokens)
        alone = explainer.explain(text)
        assert np.allclose(why.saliency, saliency.numpy(), atol=1e-4)
        assert np.allclose(alone.saliency, why.saliency, atol=1e-4)
        wanted = spans_from_mask(tokens, saliency, run.card.threshold)
        assert [(each.start, each.end) for each in why.spans] == [(each.start, each.end) for each in wanted]
        assert why.label == run.classifier.labels[int(why.logits.argmax())]
        assert why.area == pytest.approx(float((saliency >= run.card.threshold).float().mean()))


@torch.no_grad()
def test_a_certificate_asks_about_both_parts(run: TextRun, explainer: TextExplainer):
    for text, _ in texts(10, 41):
        why = explainer.explain(text)
        found = explainer.certify(why)
        ids, keep = torch.tensor(why.ids), torch.tensor(why.mask).bool()
        parts = torch.stack([torch.where(shown, ids, run.card.pad_id) for shown in (keep, ~keep)])
        logits = run.classifier.logits(run.classifier.embed(parts))
        predicted = run.classifier.labels.index(why.label)
        alone, without = logits.softmax(1)[:, predicted].tolist()
        assert (found.confidence, found.confidence_without) == pytest.approx((alone, without), abs=1e-4)
        stands = (logits.argmax(1) == predicted).tolist()
        assert (found.kept, found.necessary) == (stands[0], bool(keep.any()) and not stands[1])
    record = rationale_from_graph(explainer, text)
    assert (record.kept_confidence, record.left_confidence) == (found.confidence, found.confidence_without)
    assert record.to_record()["settings"] is None
    assert record.cut == run.card.threshold


def test_special_tokens_are_never_marked(run: TextRun):
    word = run.classifier.tokenise("fine").ids[0]
    framed = replace(run, card=replace(run.card, special_ids=(word,)))
    ids = torch.tensor([[word, 3, 4, word]])
    _, saliency, mask = FusedTextGraph(framed).eval()(ids, torch.ones_like(ids))
    assert saliency[0, [0, 3]].tolist() == mask[0, [0, 3]].tolist() == [0, 0]
    assert float(saliency[0, 1:3].detach().min()) > 0.0


def test_a_graph_that_disagrees_is_not_written(
    run: TextRun, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fused, alone = onnx.load(graph), onnx.load(graph.parent / "fused.classifier.onnx")
    for tensor in fused.graph.initializer:
        if "rows" in tensor.name:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values + 3.0 * values[::-1] - 1.0, tensor.name))
    made = iter((fused, alone))
    monkeypatch.setattr(onnx_from_text_run, "_exported", lambda *arguments: next(made))
    with pytest.raises(ParityError, match=r"the graph disagrees with the torch modules: .*Nothing was written"):
        export_text_run(run, tmp_path / "fused.onnx")
    assert list(tmp_path.iterdir()) == []


def test_parity_sees_every_length_of_made_up_texts(run: TextRun, graph: Path):
    made_up = onnx_from_text_run._made_up(run)
    assert {len(each.ids) for each in made_up} == set(range(1, run.card.max_tokens + 1))
    alone = (graph.parent / "fused.classifier.onnx").read_bytes()
    figures = text_parity(run, graph.read_bytes(), alone, made_up)
    assert figures["top1_agreement_min"] == 1.0
    assert figures["classifier_max"] == 0.0


def test_what_cannot_be_explained_is_one_message(explainer: TextExplainer, graph: Path):
    with pytest.raises(InputError, match="text of 25 tokens: small transformer reads 24 at most; shorten it"):
        explainer.explain("a " * 25)
    with pytest.raises(InputError, match="no token to explain"):
        explainer.explain("  ")
    with pytest.raises(InputError, match="expected a list of at least one text"):
        explainer.explain_batch("text")
    with pytest.raises(InputError, match=r"int32 \(1, 2\) and int64 \(1, 2\); expected two of int64"):
        explainer.run(np.zeros((1, 2), np.int32), np.ones((1, 2), np.int64))  # type: ignore[arg-type]
    with pytest.raises(ArtefactError, match="this graph has no text card"):
        load_text(graph.parent / "fused.classifier.onnx", provider="cpu")
    with pytest.raises(
        ArtefactError, match="a graph of texts, expected one of pictures; load it with load_text, and ti"
    ):
        load(graph)


def test_another_tokenizer_is_the_callers(run: TextRun, graph: Path, explainer: TextExplainer):
    def letters_first(text: str):
        tokens = run.classifier.tokenise(text)
        return tokens.ids, tokens.spans

    text = texts(1, 51)[0][0]
    with load_text(graph, tokenizer=letters_first, provider="cpu", threads=1) as other:
        assert other.explain(text).spans == explainer.explain(text).spans
    bare = replace(explainer.card, vocabulary=())
    with pytest.raises(ArtefactError, match=r"which the file does not hold; give it: load_text\(path, tokenizer=…\)"):
        TextExplainer(explainer._backend, bare, None, "fused.onnx")
    short = TextExplainer(explainer._backend, bare, lambda text: ((2, 3), ((0, 1),)), "fused.onnx")
    with pytest.raises(InputError, match="tokenizer: 2 ids and 1 spans"):
        short.explain("ab")


def test_the_command_line_goes_from_texts_to_a_rationale(run: TextRun, tmp_path: Path):
    app = typer.Typer()
    for command in (train_text, export_text, rationale):
        app.command()(guarded(command))
    (tmp_path / "texts.txt").write_text("\n".join(text for text, _ in texts(60, 61)) + "\n\n")
    folder, out, page = (str(tmp_path / name) for name in ("run", "fused.onnx", "why.html"))
    trained = CliRunner().invoke(
        app, ["train-text", run.model, "--texts", str(tmp_path / "texts.txt"), "-o", folder, "--steps", "8"]
    )
    assert trained.exit_code == 0, trained.output
    assert "48 texts, seed 0" in trained.stdout
    assert f"next: whymask export-text {folder}" in trained.stdout
    made = CliRunner().invoke(app, ["export-text", folder, "-o", out, "--json"])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["card"]["metrics"]["parity_synthetic"] == 1.0
    told = CliRunner().invoke(app, ["rationale", "we saw a fine day", "--model", out, "-o", page])
    assert told.exit_code == 0, told.output
    assert "one pass of a fused graph" in Path(page).read_text()
    refused = CliRunner().invoke(app, ["rationale", "we saw", "--model", out, "--target", "bad"])
    assert refused.exit_code == 1
    assert "explains the predicted class alone" in refused.stderr


@pytest.mark.parametrize(
    ("content", "message"), [(b"\n \n", "holds no text"), (b"\xff\xfe", "cannot be read"), (None, "cannot be read")]
)
def test_texts_that_cannot_be_read_are_one_message(tmp_path: Path, content: bytes | None, message: str):
    file = tmp_path / "texts.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        texts_from_file(file)


def test_a_text_of_a_file_may_hold_breaks_that_are_no_line_feeds(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes("\ufeffa dull\u2028film\r\n\nnot\x0bbad\n".encode())
    assert texts_from_file(file) == ["a dull\u2028film", "not\x0bbad"]
