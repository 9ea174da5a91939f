"""A token-mask head: what it reads, what trains it, what it leaves alone, and the folder that it is kept in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_text import QUICK, texts, tiny_classifier, tiny_text_run

from whymask.runtime.errors import ArtefactError, InputError
from whymask.train.classifier import module_sha256
from whymask.train.text.amortized_config import AmortizedConfig
from whymask.train.text.amortized_fit import distil_head, fit_head, new_head, one_cycle, scored
from whymask.train.text.amortized_head import NOWHERE
from whymask.train.text.amortized_loss import mask_at_area, own_mean_step, terms, weighted
from whymask.train.text.amortized_run import CARD_FILE, HEAD_FILE, TextRun, load_text_run, split_texts
from whymask.train.text.reading import batch_of
from whymask.train.text.transformer import WordClassifier, save_classifier

WEIGHTS = ("keep", "lose", "sparsity", "smoothness", "ranked")


@pytest.fixture(scope="module")
def classifier() -> WordClassifier:
    return tiny_classifier()


@pytest.fixture(scope="module")
def run(classifier: WordClassifier, tmp_path_factory: pytest.TempPathFactory) -> TextRun:
    return tiny_text_run(tmp_path_factory.mktemp("text"), classifier)


def some(classifier: WordClassifier, count: int = 8, seed: int = 5):
    return [classifier.tokenise(text) for text, _ in texts(count, seed)]


def test_texts_side_by_side_are_read_as_each_alone(classifier: WordClassifier):
    together = some(classifier)
    batch = batch_of(together, classifier.pad_id)
    found = classifier.read(classifier.embed(batch.ids), batch.seen)
    assert len({len(each.ids) for each in together}) > 1
    for row, each in enumerate(together):
        ids = torch.tensor([each.ids])
        alone = classifier.read(classifier.embed(ids), torch.ones_like(ids, dtype=torch.bool))
        assert torch.allclose(found.logits[row], classifier.logits(classifier.embed(ids))[0], atol=1e-5)
        for state, own in zip(found.states, alone.states, strict=True):
            assert torch.allclose(state[row, : len(each.ids)], own[0], atol=1e-5)


@pytest.mark.parametrize("name", WEIGHTS)
def test_every_weighted_term_moves_the_head(classifier: WordClassifier, name: str):
    config = replace(QUICK, **{each: float(each == name) for each in WEIGHTS})
    head = new_head(classifier, config)
    asked, scores = scored(classifier, head, some(classifier))
    found = terms(classifier, asked, scores, config, torch.Generator().manual_seed(0))
    weighted(found, config).backward()
    for parameter, tensor in head.named_parameters():
        # A shift of all scores changes neither the order of tokens nor, so, what is kept at a drawn area.
        if (parameter, name) != ("out.bias", "ranked"):
            assert float(tensor.grad.abs().max()) > 0.0, parameter


def test_a_term_without_weight_does_not_count(classifier: WordClassifier):
    config = replace(QUICK, keep=0.0, lose=0.0, sparsity=2.0, smoothness=0.0)
    asked, scores = scored(classifier, new_head(classifier, config), some(classifier))
    found = terms(classifier, asked, scores, config, torch.Generator().manual_seed(0))
    assert weighted(found, config).item() == pytest.approx(2.0 * found["sparsity"].item())


def test_the_classifier_stays_bit_identical_and_a_seed_repeats(classifier: WordClassifier):
    before, learn = module_sha256(classifier.module), some(classifier, 40)
    config = replace(QUICK, steps=5, ranked=1.0)
    told: list[int] = []
    first = fit_head(classifier, learn, config, on_step=told.append)
    again = fit_head(classifier, learn, config)
    assert module_sha256(classifier.module) == before
    assert not any(each.requires_grad for each in classifier.module.parameters())
    assert not classifier.module.training
    assert told == [1, 2, 3, 4, 5]
    pairs = list(zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    other = fit_head(classifier, learn, replace(config, seed=1))
    assert not torch.equal(first.out.weight, other.out.weight)


def test_a_limit_of_time_ends_training_and_the_rate_goes_up_and_down(classifier: WordClassifier):
    told: list[int] = []
    fit_head(classifier, some(classifier), replace(QUICK, steps=100_000), seconds=0.2, on_step=told.append)
    assert 1 <= len(told) < 2000
    assert [one_cycle(done) for done in (0.0, 0.05, 0.1, 0.55, 1.0)] == pytest.approx([0.1, 0.5, 1.0, 0.5, 0.0])


def test_scores_are_nowhere_outside_a_text(classifier: WordClassifier):
    together = some(classifier)
    _, scores = scored(classifier, new_head(classifier, QUICK), together)
    for row, each in enumerate(together):
        assert bool((scores[row, len(each.ids) :] == NOWHERE).all())
        assert torch.allclose(
            scores[row, : len(each.ids)], scored(classifier, new_head(classifier, QUICK), [each])[1][0], atol=1e-4
        )


def test_the_drawn_area_is_the_share_of_tokens_above_one_half():
    scores = torch.tensor([[3.0, -1.0, 2.0, 0.5, 9.0], [1.0, 4.0, 0.0, 0.0, 0.0]])
    own = torch.tensor([[True, True, True, True, False], [True, True, False, False, False]])
    mask = mask_at_area(scores, own, torch.tensor([0.5, 0.5]))
    assert (mask[own] > 0.5).tolist() == [True, False, True, False, False, True]
    raised = mask_at_area(scores + 7.0, own, torch.tensor([0.5, 0.5]))
    assert torch.allclose(mask[own], raised[own])


def test_steps_between_neighbours_are_the_texts_own():
    mask = torch.tensor([[0.0, 1.0, 0.5, 9.0], [0.25, 9.0, 9.0, 9.0]])
    own = torch.tensor([[True, True, True, False], [True, False, False, False]])
    assert own_mean_step(mask, own).tolist() == pytest.approx([0.75, 0.0])


def test_masks_can_be_copied(classifier: WordClassifier):
    learn = some(classifier, 60)
    masks = [torch.tensor([float(each % 2) for each in tokens.ids]) for tokens in learn]
    head = distil_head(classifier, learn, masks, replace(QUICK, steps=150, max_rate=0.02))
    with torch.no_grad():
        scores = [scored(classifier, head, [tokens])[1][0] for tokens in learn]
    right = torch.cat([(score > 0) == (mask > 0.5) for score, mask in zip(scores, masks, strict=True)])
    assert float(right.float().mean()) > 0.9
    with pytest.raises(InputError, match="60 texts and 59 masks; expected one mask a text"):
        distil_head(classifier, learn, masks[:-1], QUICK)


def test_the_word_that_decides_is_marked_and_the_threshold_promises(run: TextRun):
    hits = 0
    for text, label in texts(40, 9):
        tokens = run.classifier.tokenise(text)
        best = int(run.saliency(tokens).argmax())
        start, end = tokens.spans[best]
        hits += text[start:end] in {"bad": ("poor", "slow"), "good": ("fine", "quick")}[("bad", "good")[label]]
    assert hits >= 36
    promise = run.card.guarantee
    assert promise.met and promise.n == 60
    assert promise.retention >= 0.9
    assert promise.mean_area < 0.5


def test_a_folder_answers_as_what_was_trained(run: TextRun, tmp_path: Path):
    loaded = load_text_run(run.path)
    tokens = run.classifier.tokenise(texts(1, 3)[0][0])
    assert loaded.card == run.card and loaded.config == run.config
    assert torch.equal(loaded.saliency(tokens), run.saliency(tokens))
    moved = tmp_path / "moved"
    save_classifier(run.classifier, moved)  # type: ignore[arg-type]
    assert load_text_run(run.path, model=str(moved)).model == str(moved)


def test_a_folder_that_does_not_fit_is_one_message(run: TextRun, tmp_path: Path):
    with pytest.raises(ArtefactError, match=r"is not a finished folder of whymask train-text: text-card.json"):
        load_text_run(tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in run.path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / HEAD_FILE).write_bytes(b"damaged")
    with pytest.raises(ArtefactError, match="does not fit its configuration"):
        load_text_run(copy)
    record = json.loads((copy / CARD_FILE).read_text())
    (copy / CARD_FILE).write_text(json.dumps(record | {"sha256": "0" * 64}))
    with pytest.raises(ArtefactError, match=r"the run was trained for 000000000000…; give the same classifier"):
        load_text_run(copy)
    (copy / CARD_FILE).write_text(json.dumps(record | {"treshold": 0.5}))
    with pytest.raises(ArtefactError, match="did you mean 'threshold'"):
        load_text_run(copy)


def test_texts_are_split_without_overlap(classifier: WordClassifier):
    learn, held = split_texts(some(classifier, 20), QUICK)
    assert (len(learn), len(held)) == (16, 4)
    with pytest.raises(InputError, match=r"1 texts, a share of 0\.2 for the threshold; give some hundred"):
        split_texts(some(classifier, 1), QUICK)
    with pytest.raises(InputError, match="no text to learn from"):
        fit_head(classifier, [], QUICK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 1}, "1 steps, batch_size 32"),
        ({"reach": 4}, "reach 4; expected at least 1, and an odd number"),
        ({"sparsity": -1.0}, "expected none below 0"),
        ({"least_area": 0.7}, "areas 0.7 to 0.6"),
    ],
)
def test_settings_that_train_nothing_are_refused(change: dict[str, float], message: str):
    with pytest.raises(InputError, match=message):
        AmortizedConfig(**change)  # type: ignore[arg-type]
