"""Words with their characters, runs of kept tokens, and the card of a graph of texts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from whymask.runtime.card import GuaranteeCard
from whymask.runtime.errors import ArtefactError
from whymask.runtime.text_card import TextCard
from whymask.runtime.text_explanation import TextExplanation, own_tokens, spans_of
from whymask.runtime.words import UNKNOWN_ID, ids_with_spans

TEXT = "Not so, but good"
OFFSETS = ((0, 0), (0, 3), (4, 6), (6, 7), (8, 11), (12, 16), (0, 0))
CARD = TextCard(
    *("reviews", "0" * 64, ("bad", "good"), 24, 0, (1, 2), 0.4),
    GuaranteeCard(0.1, 0.05, 60, 0.98, 0.2, True, 0.92),
    *(100, 0, {"texts": 240}, {"whymask": "0.1.0"}, ("[PAD]", "[UNK]", "so")),
)


def test_words_stand_where_the_text_has_them():
    assert ids_with_spans("So? É!", {"so": 2, "é": 3}) == (
        (2, UNKNOWN_ID, 3, UNKNOWN_ID),
        ((0, 2), (2, 3), (4, 5), (5, 6)),
    )
    assert ids_with_spans("  ", {}) == ((), ())


def test_spans_are_runs_of_kept_tokens_and_special_ones_part_nothing():
    saliency = np.array([0.9, 0.8, 0.6, 0.1, 0.2, 1.0, 0.9], np.float32)
    own = own_tokens(OFFSETS)
    spans = spans_of(TEXT, OFFSETS, saliency, saliency >= 0.5, own)
    assert [(each.start, each.end, each.text) for each in spans] == [(0, 6, "Not so"), (12, 16, "good")]
    assert [each.weight for each in spans] == pytest.approx([0.7, 1.0])
    assert spans_of(TEXT, OFFSETS, saliency, np.zeros(7, bool), own) == ()


def test_the_area_counts_the_texts_own_tokens():
    mask = np.array([0, 1, 1, 0, 0, 1, 0], np.uint8)
    numbers = np.arange(7)
    why = TextExplanation(
        TEXT, "good", 0.9, np.zeros(2, np.float32), mask.astype(np.float32), mask, numbers, OFFSETS, ()
    )
    assert why.area == pytest.approx(3 / 5)
    assert why.own.tolist() == [False, True, True, True, True, True, False]


def test_a_card_is_read_as_it_was_written():
    assert TextCard.from_json(CARD.to_json()) == CARD
    record = json.loads(CARD.to_json())
    assert (record["kind"], record["schema"]) == ("whymask.text-explainer", 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"schema": 2}, "schema 2 is newer than schema 1"), ({"treshold": 1}, "did you mean 'threshold'")],
)
def test_a_card_that_cannot_be_read_is_one_message(change: dict[str, int], message: str):
    with pytest.raises(ArtefactError, match=message):
        TextCard.from_json(json.dumps(json.loads(CARD.to_json()) | change))
