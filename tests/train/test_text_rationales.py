"""Rationales of a classifier whose evidence is known: masks, spans, measures and baselines against hand examples."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from opinion_classifier import OpinionClassifier

from whymask.runtime.errors import InputError
from whymask.train.text.attributions import gradient_times_input, occlusion, random_scores
from whymask.train.text.classifier import Tokens, class_from_label
from whymask.train.text.marc import PUBLISHED, TextMarcConfig, explain_text, flipped, is_settled, mix, token_mask
from whymask.train.text.measures import (
    agreement,
    aopc,
    best_tokens,
    faithfulness,
    tokens_in_spans,
)
from whymask.train.text.rationale import rationale_from_text, spans_from_mask

TEXT = "We saw the good one there, on a long and quiet way."
OPINION = (11, 15)
SURE = math.exp(2) / (1 + math.exp(2))
"""Probability of "good" where its word is seen."""


def flags(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.bool)


def test_the_token_mask_is_its_definition():
    weight, sigma = torch.tensor([1.0, -0.5, 2.0]), torch.tensor([1.0, 2.0, 0.5])
    expected = [
        sum(
            float(w) * math.exp(-((i - j) ** 2) / float(s) ** 2)
            for i, (w, s) in enumerate(zip(weight, sigma, strict=True))
        )
        for j in range(3)
    ]
    assert token_mask(weight, sigma).tolist() == pytest.approx([1 / (1 + math.exp(-z)) for z in expected])


@pytest.mark.parametrize("framed", [False, True])
def test_the_word_that_decides_is_the_rationale(framed: bool):
    found = rationale_from_text(OpinionClassifier(framed), TEXT, config=TextMarcConfig(steps=120))
    assert found.predicted == found.explained == "good"
    assert found.confidence == found.kept_confidence == pytest.approx(SURE)
    assert found.left_confidence == pytest.approx(0.5)
    assert any(span.start <= OPINION[0] and OPINION[1] <= span.end for span in found.spans)
    assert sum(span.end - span.start for span in found.spans) < len(TEXT) / 2
    assert all(found.text[span.start : span.end] == span.text for span in found.spans)
    assert len(found.tokens) == len(found.mask) == 14


def test_a_seed_repeats_special_tokens_are_out_and_steps_are_told():
    classifier, told = OpinionClassifier(framed=True), []
    tokens = classifier.tokenise(TEXT)
    config = TextMarcConfig(steps=3, seed=4)
    first = explain_text(classifier, tokens, 1, config, told.append)
    assert torch.equal(first, explain_text(classifier, tokens, 1, config))
    assert float(first[0]) == float(first[-1]) == 0.0
    assert told == [1, 2, 3]
    assert not torch.equal(first, explain_text(classifier, tokens, 1, TextMarcConfig(steps=3, seed=5)))


def test_flips_set_a_share_to_nothing_another_to_one_and_leave_what_both_drew():
    mask = torch.full((200, 100), 0.3)
    drawn = flipped(mask, 0.2, torch.Generator().manual_seed(0))
    shares = [float((drawn == value).float().mean()) for value in (0.0, 1.0, 0.3)]
    assert shares == pytest.approx([0.16, 0.16, 0.68], abs=0.01)
    assert len(drawn.unique()) == 3
    assert torch.equal(flipped(mask, 0.0, torch.Generator()), mask)


@pytest.mark.parametrize(
    ("step", "mean", "before", "settled"),
    [
        (200, 0.30, 0.304, True),
        (200, 0.30, 0.306, False),  # still falls
        (150, 0.30, 0.301, False),  # too early for so wide a mask …
        (150, 0.29, 0.291, True),  # … not for this one
        (50, 0.19, 0.20, True),  # a narrow mask may fall faster
        (50, 0.19, 0.21, False),
        (850, 0.45, 0.45, False),  # too wide ever to settle
    ],
)
def test_a_mask_has_settled_by_the_authors_rule(step: int, mean: float, before: float, settled: bool):
    assert is_settled(step, mean, before) == settled


def test_a_settled_mask_ends_before_the_steps_do():
    classifier, told = OpinionClassifier(), []
    mask = explain_text(classifier, classifier.tokenise(TEXT), 1, PUBLISHED, told.append)
    assert told[-1] == len(told) < 900 and len(told) % 50 == 0
    assert float(mask.mean()) < 0.45
    told.clear()
    explain_text(classifier, classifier.tokenise(TEXT), 1, replace(PUBLISHED, settles=False, steps=301), told.append)
    assert len(told) == 301


def test_pieces_of_a_word_share_its_mask():
    text = "un-known goodness, good"
    spans = ((0, 2), (2, 3), (3, 8), (9, 13), (13, 17), (17, 18), (19, 23))
    tokens = Tokens(text, (1, 1, 1, 2, 1, 1, 2), spans, (False,) * 7)
    assert tokens.words.tolist() == [0, 1, 2, 3, 3, 4, 5]
    mask = explain_text(OpinionClassifier(), tokens, 1, TextMarcConfig(steps=20))
    assert mask[3] == mask[4]
    assert len(mask.unique()) == 6
    framed = Tokens("so good", (1, 1, 2, 1), ((0, 0), (0, 2), (3, 7), (0, 0)), (True, False, False, True))
    assert framed.words.tolist() == [0, 1]


def test_mixing_goes_from_pad_to_the_word():
    embeddings, pad = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([1.0, 1.0])
    mixed = mix(embeddings, pad, torch.tensor([[0.0, 0.5]]))
    assert mixed.tolist() == [[[1.0, 1.0], [0.5, 1.5]]]


def test_spans_are_runs_with_their_characters():
    tokens = OpinionClassifier(framed=True).tokenise("not so bad, and good")
    spans = spans_from_mask(tokens, torch.tensor([0.9, 0.6, 0.8, 0.1, 0.5, 0.2, 1.0, 0.9]))
    assert [(span.start, span.end, span.text) for span in spans] == [(0, 6, "not so"), (10, 11, ","), (16, 20, "good")]
    assert [span.weight for span in spans] == pytest.approx([0.7, 0.5, 1.0])


def test_a_text_without_a_word_is_refused():
    with pytest.raises(InputError, match="no token to explain; give a text with at least one word"):
        OpinionClassifier().tokenise("  ")
    with pytest.raises(InputError, match="2 ids, 1 spans, 2 special flags; expected one of each"):
        Tokens("a b", (1, 1), ((0, 1),), (False, False))


@pytest.mark.parametrize("removal", ["pad", "delete"])
def test_sufficiency_and_comprehensiveness_of_a_hand_example(removal: str):
    classifier = OpinionClassifier()
    tokens = classifier.tokenise("a good fine day")
    whole = 1 / (1 + math.exp(-3))
    right = faithfulness(classifier, tokens, 1, flags(0, 1, 0, 0), removal)
    assert right.sufficiency == pytest.approx(whole - 1 / (1 + math.exp(-2)), abs=1e-6)
    assert right.comprehensiveness == pytest.approx(whole - 1 / (1 + math.exp(-1)), abs=1e-6)
    nothing = faithfulness(classifier, tokens, 1, flags(0, 0, 0, 0), removal)
    assert (nothing.sufficiency, nothing.comprehensiveness) == pytest.approx((whole - 0.5, 0.0), abs=1e-6)


def test_aopc_is_the_mean_over_shares_of_the_best_tokens():
    classifier = OpinionClassifier(framed=True)
    tokens = classifier.tokenise("a good fine day")
    scores = torch.tensor([9.0, 0.1, 0.9, 0.5, 0.0, 9.0])  # the frames' scores must not count
    found = aopc(classifier, tokens, 1, scores, bins=(0.25, 0.5))
    one, two, whole = (1 / (1 + math.exp(-z)) for z in (2, 3, 3))
    assert found.sufficiency == pytest.approx(((whole - one) + (whole - two)) / 2, abs=1e-6)
    without_one, without_two = 1 / (1 + math.exp(-1)), 0.5
    assert found.comprehensiveness == pytest.approx(((whole - without_one) + (whole - without_two)) / 2, abs=1e-6)


def test_shares_are_rounded_up_and_ties_go_to_the_earlier_token():
    tokens = OpinionClassifier().tokenise("a b c d e")
    assert best_tokens(tokens, torch.zeros(5), 0.01).tolist() == [True, False, False, False, False]
    assert best_tokens(tokens, torch.tensor([0.0, 1.0, 0.0, 1.0, 0.5]), 0.4).tolist() == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_agreement_of_a_hand_example():
    found = agreement(np.array([True, True, False, False]), np.array([False, True, True, True]))
    assert (found.precision, found.recall) == pytest.approx((1 / 2, 1 / 3))
    assert (found.f1, found.iou) == pytest.approx((0.4, 1 / 4))
    empty = agreement(np.array([False, False]), np.array([True, False]))
    assert (empty.precision, empty.recall, empty.f1, empty.iou) == (0.0, 0.0, 0.0, 0.0)


def test_tokens_that_share_a_character_with_a_span_are_inside():
    tokens = OpinionClassifier(framed=True).tokenise("so very good")
    assert tokens_in_spans(tokens, [(4, 9)]).tolist() == [False, False, True, True, False]
    assert tokens_in_spans(tokens, []).tolist() == [False] * 5


def test_gradient_times_input_and_occlusion_of_a_hand_example():
    classifier = OpinionClassifier(framed=True)
    tokens = classifier.tokenise("a good fine bad day")
    assert gradient_times_input(classifier, tokens, 1)[1:-1].tolist() == [0.0, 2.0, 1.0, 0.0, 0.0]
    whole = 1 / (1 + math.exp(-1))  # 3 for, 2 against
    expected = [0.0, whole - 1 / (1 + math.exp(1)), whole - 0.5, whole - 1 / (1 + math.exp(-3)), 0.0]
    assert occlusion(classifier, tokens, 1)[1:-1].tolist() == pytest.approx(expected, abs=1e-6)
    for scores in (gradient_times_input(classifier, tokens, 1), random_scores(tokens, 3)):
        assert float(scores[0]) == float(scores[-1]) == -math.inf
    assert torch.equal(random_scores(tokens, 3), random_scores(tokens, 3))


def test_a_class_is_found_by_label_or_number():
    assert class_from_label(OpinionClassifier(), "good") == class_from_label(OpinionClassifier(), "1") == 1
    with pytest.raises(InputError, match="target 'worse': opinions has no such class; expected one of bad, good"):
        class_from_label(OpinionClassifier(), "worse")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": -1}, "rationale: -1 steps, 4 draws, learning rate 0.03; expected no negative"),
        ({"draws": 0}, "at least one draw"),
        ({"flips": 0.5}, "expected 0 < least_sigma ≤ sigma, flips in [0, 0.5)"),
        ({"least_sigma": 0.0}, "least_sigma 0.0"),
    ],
)
def test_settings_that_move_nothing_are_refused(values: dict[str, object], message: str):
    with pytest.raises(InputError) as raised:
        TextMarcConfig(**values)  # type: ignore[arg-type]
    assert message in str(raised.value)


@pytest.mark.parametrize("act", ["bins", "removal", "given"])
def test_measures_refuse_what_they_cannot_judge(act: str):
    classifier = OpinionClassifier()
    tokens = classifier.tokenise("a good day")
    calls = {
        "bins": (lambda: aopc(classifier, tokens, 1, torch.zeros(3), bins=(0.0,)), "bins .* expected shares above 0"),
        "removal": (
            lambda: faithfulness(classifier, tokens, 1, flags(1, 0, 0), "blank"),
            "removal is 'blank', expected one of pad, delete",
        ),
        "given": (
            lambda: agreement(np.array([True]), np.array([False])),
            "expected the same tokens, and at least one in the given rationale",
        ),
    }
    call, message = calls[act]
    with pytest.raises(InputError, match=message):
        call()
