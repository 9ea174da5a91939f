"""Where text classifiers come from: our own folder, and Hugging Face's, by public names and where it is installed."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_bert import save_tiny_bert
from torch import nn

from whymask.runtime.errors import ArtefactError, InputError, MissingExtra
from whymask.runtime.words import UNKNOWN_ID
from whymask.train.text.fit_transformer import TextFitConfig, fit_word_classifier, text_accuracy
from whymask.train.text.hugging_face import HuggingFaceClassifier, load_hugging_face
from whymask.train.text.marc import TextMarcConfig
from whymask.train.text.rationale import rationale_from_text
from whymask.train.text.reading import batch_of
from whymask.train.text.transformer import (
    DESCRIPTION,
    WEIGHTS,
    TransformerShape,
    WordClassifier,
    load_word_classifier,
    save_classifier,
)
from whymask.train.text.words import WordTokeniser, vocabulary_from_texts

HUB, HUB_CLASSIFIER = "huggingface.co", "hf-internal-testing/tiny-random-BertForSequenceClassification"
TEXTS = ["a good day", "a bad day", "the good one", "the bad one"]
CLASSES = [1, 0, 1, 0]
SMALL = TextFitConfig(steps=30, batch_size=4, max_rate=0.02, shape=TransformerShape(8, 2, 1, 16))


@pytest.fixture(scope="module")
def trained() -> WordClassifier:
    return fit_word_classifier(TEXTS, CLASSES, ("bad", "good"), SMALL)


def test_words_stand_where_the_text_has_them():
    tokeniser = WordTokeniser(vocabulary_from_texts(["No, not so", "so far"]))
    assert tokeniser.vocabulary == ("[PAD]", "[UNK]", "so", ",", "far", "no", "not")
    tokens = tokeniser("So? No!")
    assert tokens.ids == (2, UNKNOWN_ID, 5, UNKNOWN_ID)
    assert [tokens.text[start:end] for start, end in tokens.spans] == ["So", "?", "No", "!"]


def test_the_small_transformer_learns_and_a_seed_repeats(trained: WordClassifier):
    assert text_accuracy(trained, TEXTS, CLASSES) == 1.0
    again = fit_word_classifier(TEXTS, CLASSES, ("bad", "good"), SMALL)
    assert all(torch.equal(a, b) for a, b in zip(trained.net.parameters(), again.net.parameters(), strict=True))
    assert not any(parameter.requires_grad for parameter in trained.net.parameters())


def test_a_saved_classifier_answers_the_same(trained: WordClassifier, tmp_path: Path):
    save_classifier(trained, tmp_path / "clf")
    loaded = load_word_classifier(tmp_path / "clf")
    assert (loaded.labels, loaded.name) == (("bad", "good"), "clf")
    embeddings = trained.embed(torch.tensor(trained.tokenise("a good one").ids))[None]
    assert torch.equal(loaded.logits(embeddings), trained.logits(embeddings))


def test_a_damaged_folder_is_one_message(trained: WordClassifier, tmp_path: Path):
    with pytest.raises(ArtefactError, match=r"cannot be read .*train and save the classifier again"):
        load_word_classifier(tmp_path)
    save_classifier(trained, tmp_path)
    record = json.loads((tmp_path / DESCRIPTION).read_text())
    (tmp_path / DESCRIPTION).write_text(json.dumps({**record, "vocabulary": record["vocabulary"][:-1]}))
    with pytest.raises(ArtefactError, match="does not fit its description"):
        load_word_classifier(tmp_path)
    del record["labels"]
    (tmp_path / DESCRIPTION).write_text(json.dumps(record))
    with pytest.raises(ArtefactError, match="lacks labels"):
        load_word_classifier(tmp_path)
    (tmp_path / DESCRIPTION).write_text(json.dumps({"schema": 99}))
    with pytest.raises(ArtefactError, match="schema 99 is newer"):
        load_word_classifier(tmp_path)
    assert (tmp_path / WEIGHTS).is_file()


def test_texts_that_cannot_be_learnt_or_read_are_refused(trained: WordClassifier):
    with pytest.raises(InputError, match="2 texts, 1 classes, 2 labels; expected one class a text"):
        fit_word_classifier(["a", "b"], [0], ("x", "y"), SMALL)
    with pytest.raises(InputError, match="a text of 17 tokens, the network reads 16; raise max_tokens"):
        fit_word_classifier(["a " * 17], [0], ("x", "y"), SMALL)
    with pytest.raises(InputError, match="text of 17 tokens: small transformer reads 16 at most; shorten it"):
        trained.tokenise("a " * 17)
    with pytest.raises(InputError, match=r"1 steps, batch_size 32, dropped 0.3; expected at least 2"):
        TextFitConfig(steps=1)
    with pytest.raises(InputError, match="a width that heads divide"):
        TransformerShape(width=7, heads=2)


class StandInModel(nn.Module):
    """The public names of a sequence classifier of transformers."""

    def __init__(self, labels: int = 2) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 4)
        self.head = nn.Linear(4, labels)
        self.config = SimpleNamespace(
            num_labels=labels, id2label={i: f"L{i}" for i in range(labels)}, max_position_embeddings=8
        )
        self.masks: list[torch.Tensor] = []

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def forward(self, inputs_embeds: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        self.masks.append(attention_mask)
        return SimpleNamespace(logits=self.head(inputs_embeds.mean(1)))


class StandInTokeniser:
    """The public names of a fast tokeniser: [CLS] words [SEP]."""

    is_fast, pad_token_id, model_max_length = True, 0, 10**30

    def __call__(self, text: str, *, return_offsets_mapping: bool, return_special_tokens_mask: bool, verbose: bool):
        assert return_offsets_mapping
        assert return_special_tokens_mask
        spans = [(start, start + len(word)) for start, word in _words(text)]
        return {
            "input_ids": [1, *(3 + len(text[a:b]) % 9 for a, b in spans), 2],
            "offset_mapping": [(0, 0), *spans, (0, 0)],
            "special_tokens_mask": [1, *([0] * len(spans)), 1],
        }


def _words(text: str) -> list[tuple[int, str]]:
    found, at = [], 0
    for word in text.split(" "):
        found.append((at, word))
        at += len(word) + 1
    return found


def test_a_hugging_face_classifier_is_read_by_its_public_names():
    torch.manual_seed(0)
    model = StandInModel()
    classifier = HuggingFaceClassifier(model, StandInTokeniser(), "stand-in")
    assert classifier.labels == ("L0", "L1")
    found = rationale_from_text(classifier, "so it goes", config=TextMarcConfig(steps=2))
    assert found.tokens == ((0, 2), (3, 5), (6, 10))
    assert all(bool(mask.all()) for mask in model.masks)
    assert torch.equal(classifier.pad(), model.words.weight[0])
    with pytest.raises(InputError, match="text of 9 tokens: stand-in reads 8 at most"):
        classifier.tokenise("a b c d e f g")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_fast": False}, "tells no character offsets; save it with a fast one"),
        ({"pad_token_id": None}, "has no PAD token, which dropped tokens become"),
    ],
)
def test_a_tokeniser_that_does_not_do_is_refused(change: dict[str, object], message: str):
    tokeniser = StandInTokeniser()
    vars(tokeniser).update(change)
    with pytest.raises(InputError, match=message):
        HuggingFaceClassifier(StandInModel(), tokeniser, "stand-in")


def test_a_regressor_is_refused():
    with pytest.raises(InputError, match="has 1 output; expected a classifier of at least 2 classes"):
        HuggingFaceClassifier(StandInModel(1), StandInTokeniser(), "stand-in")


def test_without_transformers_the_install_line_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r'Run: pip install "whymask\[text\]"'):
        load_hugging_face("some/model")


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised BERT of two layers with its tokeniser, saved as Hugging Face saves."""
    return save_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_real_bert_is_loaded_and_explained(tiny_bert: Path):
    classifier = load_hugging_face(str(tiny_bert))
    tokens = classifier.tokenise("The case is sturdy.")
    assert [tokens.text[a:b] for a, b in tokens.spans] == ["", "The", "case", "is", "stur", "dy", ".", ""]
    by_ids = classifier.model(input_ids=torch.tensor([tokens.ids])).logits
    assert torch.allclose(classifier.logits(classifier.embed(torch.tensor(tokens.ids))[None]), by_ids, atol=1e-6)
    found = rationale_from_text(classifier, tokens.text, config=TextMarcConfig(steps=2))
    assert len(found.mask) == 6
    assert found.predicted in classifier.labels


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_model_without_a_head_is_refused_rather_than_made_up(tiny_bert: Path, tmp_path: Path):
    from transformers import AutoTokenizer, BertModel

    BertModel.from_pretrained(tiny_bert).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path)
    with pytest.raises(ArtefactError, match=r"lacks \d+ of the classifier's tensors \(classifier"):
        load_hugging_face(str(tmp_path))


def test_a_folder_of_nothing_is_one_message(tiny_bert: Path, tmp_path: Path):
    del tiny_bert
    with pytest.raises(ArtefactError, match=r"cannot be loaded .* give a folder of save_pretrained"):
        load_hugging_face(str(tmp_path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_real_bert_shows_its_hidden_states_for_texts_of_two_lengths(tiny_bert: Path):
    classifier = load_hugging_face(str(tiny_bert))
    batch = batch_of([classifier.tokenise(text) for text in ("The case is sturdy.", "the case")], classifier.pad_id)
    found = classifier.read(classifier.embed(batch.ids), batch.seen)
    assert [tuple(state.shape) for state in found.states] == [(2, 8, 16)] * 3
    alone = classifier.embed(batch.ids[1:, :4])
    assert torch.allclose(found.logits[1], classifier.logits(alone)[0], atol=1e-5)
    assert classifier.special_ids and set(classifier.special_ids) >= {classifier.pad_id}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_classifier_comes_from_the_hub_where_it_can_be_reached():
    try:
        socket.create_connection((HUB, 443), timeout=3).close()
    except OSError as error:
        pytest.skip(f"{HUB} cannot be reached: {error}")
    classifier = load_hugging_face(HUB_CLASSIFIER)
    found = rationale_from_text(classifier, "A dull film.", config=TextMarcConfig(steps=2))
    assert found.predicted in classifier.labels


GPT_WORDS = ("[PAD]", "[UNK]", "the", "case", "is", "sturdy", ".")


def tiny_gpt(pad_token_id: int | None, attention_to_pad: bool = False) -> HuggingFaceClassifier:
    """A randomly initialised GPT-2 of two layers, which reads its last token."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from transformers import GPT2Config, GPT2ForSequenceClassification, PreTrainedTokenizerFast

    cut = Tokenizer(WordLevel({word: number for number, word in enumerate(GPT_WORDS)}, unk_token="[UNK]"))
    cut.pre_tokenizer = BertPreTokenizer()
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(GPT_WORDS), n_positions=16, n_embd=16, n_layer=2, n_head=2, num_labels=3, bos_token_id=0
    )
    config.eos_token_id, config.pad_token_id = 0, pad_token_id
    model = GPT2ForSequenceClassification(config)
    if attention_to_pad:
        model.readout = model.score  # under another name, only asking tells that it reads PAD
        del model.score
        model.score = lambda states: model.readout(states)
    tokeniser = PreTrainedTokenizerFast(tokenizer_object=cut, pad_token="[PAD]", unk_token="[UNK]")
    return HuggingFaceClassifier(model, tokeniser, "gpt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("pad_token_id", [0, None])
def test_a_decoder_answers_for_a_text_beside_longer_ones_as_for_it_alone(pad_token_id: int | None):
    classifier = tiny_gpt(pad_token_id)
    texts = [classifier.tokenise(text) for text in ("the case is sturdy .", "the case", "sturdy", "is the case .")]
    batch = batch_of(texts, classifier.pad_id)
    found = classifier.read(classifier.embed(batch.ids), batch.seen)
    for row, each in enumerate(texts):
        alone = classifier.logits(classifier.embed(torch.tensor(each.ids))[None])[0]
        by_ids = classifier.model(input_ids=torch.tensor([each.ids])).logits[0]
        assert torch.allclose(found.logits[row], alone, atol=1e-5)
        assert torch.allclose(found.logits[row], by_ids, atol=1e-5)
    twice = classifier.logits(classifier.embed(batch.ids[:1]).expand(2, -1, -1))
    assert torch.allclose(twice[0], found.logits[0], atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_decoder_whose_head_is_not_known_is_refused_rather_than_read_at_pad():
    classifier = tiny_gpt(0, attention_to_pad=True)
    batch = batch_of([classifier.tokenise(text) for text in ("the case is sturdy .", "the case")], classifier.pad_id)
    with pytest.raises(InputError, match=r"gpt: answers otherwise where a longer text is beside a text \(GPT2For"):
        classifier.read(classifier.embed(batch.ids), batch.seen)
