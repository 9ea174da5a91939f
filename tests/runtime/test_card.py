from __future__ import annotations

import dataclasses
import json

import pytest
from colour_graph import Options, card_of

from whymask.runtime import card as names
from whymask.runtime.card import SCHEMA_VERSION, Card, GuaranteeCard
from whymask.runtime.errors import ArtefactError

GOLDEN = (
    '{"classifier": {"id": "tests:colours", "sha256": "' + "ab" * 32 + '", "num_classes": 3, "labels": ["red", '
    '"green", "blue"], "parameters": 7}, "input": {"height": 32, "width": 32, "mean": [0.0, 0.0, 0.0], "std": [1.0, '
    '1.0, 1.0], "resize": "squash", "crop_fraction": 1.0}, "explainer": {"kind": "tapped", "parameters": 5, "taps": '
    '["pool"], "height": 4, "width": 4}, "threshold": 0.5, "fill": [10.0, 20.0, 30.0], "guarantee": null, '
    '"precision": "fp32", "seed": 0, "metrics": {}, "cost": {"classifier_macs": 2000000.0, "explainer_macs": '
    '100000.0, "nodes": 14}, "training": {}, "versions": {}, "licence": "unstated", "tolerances": {}, "schema": 1}'
)


def test_the_tensor_names_are_the_contract():
    found = (names.IMAGE, names.TARGET, names.LOGITS, names.SALIENCY, names.MASK, names.EXPLANATION)
    assert found == ("image", "target", "logits", "saliency", "mask", "explanation")
    assert (names.KEPT_LOGITS, names.DROPPED_LOGITS, names.METADATA_KEY) == ("kept_logits", "dropped_logits", "whymask")


def test_the_card_is_written_as_it_always_was():
    assert card_of(Options()).to_json() == GOLDEN


def test_a_card_comes_back_from_its_text():
    card = dataclasses.replace(card_of(Options()), guarantee=GuaranteeCard(0.1, 0.05, 500, 0.93, 0.2, True, 0.91))
    assert Card.from_json(card.to_json()) == card


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"schema": SCHEMA_VERSION + 1}, "is newer than schema 1.*upgrade whymask", id="newer schema"),
        pytest.param({"schema": "one"}, "schema is 'one', expected a whole number", id="schema of another type"),
        pytest.param({"treshold": 0.5}, "unknown key 'treshold' in card; did you mean 'threshold'", id="misspelt key"),
        pytest.param({"threshold": 1.5}, r"threshold is 1.5, expected a number in \[0, 1\]", id="threshold"),
        pytest.param({"classifier": {"id": "x"}}, "lacks sha256, num_classes", id="missing keys"),
        pytest.param(
            {"threshold": "0.5"},
            "card: threshold is '0.5', expected a number; export the graph again",
            id="text for number",
        ),
        pytest.param({"threshold": True}, "card: threshold is True, expected a number", id="truth for number"),
        pytest.param({"classifier": None}, "card: classifier is None, expected a JSON object", id="null for a part"),
        pytest.param({"fill": [1, 2]}, r"card: fill is \(1, 2\), expected a list of 3, each a number", id="short list"),
        pytest.param({"metrics": {"area": "x"}}, "card: metrics is .*, expected a JSON object", id="text for a figure"),
        pytest.param({"seed": 1.5}, "card: seed is 1.5, expected a whole number", id="fraction for whole number"),
        pytest.param(
            {"classifier": {"id": "x", "sha256": "y", "num_classes": 3, "labels": None}},
            "card.classifier: labels is None, expected a list, each text",
            id="null for a list",
        ),
        pytest.param(
            {"precision": "fp64"}, "card: precision is 'fp64', expected one of int8, fp16, fp32", id="precision"
        ),
        pytest.param({"input": 3}, "input should be a JSON object, got int", id="no object"),
    ],
)
def test_a_wrong_card_is_refused(change: dict[str, object], message: str):
    text = json.dumps({**json.loads(GOLDEN), **change})
    with pytest.raises(ArtefactError, match=message):
        Card.from_json(text)


def test_labels_are_all_or_none():
    with pytest.raises(ArtefactError, match="2 labels for 3 classes"):
        card_of(Options(labels=("a", "b")))
    assert card_of(Options(labels=())).label(2) == "class 2"
