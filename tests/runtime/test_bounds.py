"""Which bounds apply to two forms of a model, and which forms are of one model."""

from __future__ import annotations

import dataclasses
import re
from types import SimpleNamespace
from typing import Any

import pytest
from colour_graph import Options, card_of

from whymask.runtime.bounds import Form, bounds_of, check_alike, check_one_model, form_of, tolerances_from
from whymask.runtime.card import Card
from whymask.runtime.errors import ArtefactError
from whymask.runtime.parity import TOLERANCES

CARD = card_of(Options())


def card(precision: str, **bounds: float) -> Card:
    """The card of an export, with some of its tolerances changed."""
    return dataclasses.replace(CARD, precision=precision, tolerances=TOLERANCES[precision].as_dict() | bounds)


def form(name: str, precision: str, **bounds: float) -> Form:
    return Form(name, precision, card(precision, **bounds))


def test_between_two_precisions_the_looser_one_decides_and_its_card_is_named():
    bounds = bounds_of([form("a.onnx", "fp32", logits_max=1e-6), form("b.onnx", "fp16", logits_max=0.01)])
    assert (bounds.precision, bounds.tolerances.logits_max) == ("fp16", 0.01)
    assert bounds.source == "recorded in the card of b.onnx"


def test_of_two_cards_of_one_precision_each_bound_is_the_stricter_one():
    first = form("a.onnx", "fp16", logits_max=0.03, mask_iou_min=0.99)
    second = form("b.plan", "fp16", logits_max=0.01, mask_iou_min=0.9)
    bounds = bounds_of([first, second])
    assert (bounds.tolerances.logits_max, bounds.tolerances.mask_iou_min) == (0.01, 0.99)
    assert bounds.source == "recorded in the card of a.onnx and b.plan"


@pytest.mark.parametrize(
    "forms",
    [[Form("run", "fp32", CARD)], [Form("x.plan", "fp16", card("fp32"))]],
    ids=["no tolerances", "of another precision"],
)
def test_where_no_card_records_bounds_the_table_has_them_and_that_is_said(forms: list[Form]):
    bounds = bounds_of(forms)
    assert bounds.tolerances == TOLERANCES[forms[0].precision]
    assert bounds.source == "of this version of whymask: no card records them"


def test_an_engine_counts_by_the_precision_that_it_was_built_in():
    graph: Any = SimpleNamespace(card=card("fp32"))
    engine: Any = SimpleNamespace(card=card("fp32"), engine_card=SimpleNamespace(precision="fp16"))
    assert form_of(graph, "a.onnx").precision == "fp32"
    assert form_of(engine, "a.plan").precision == "fp16"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits_maximum": 1.0}, "unknown key 'logits_maximum' in x; did you mean 'logits_max'?"),
        ({"logits_max": "1e-4"}, "x: logits_max is '1e-4', expected a number; export the graph again"),
    ],
)
def test_tolerances_that_cannot_be_bounds_are_refused(change: dict[str, Any], message: str):
    with pytest.raises(ArtefactError, match=re.escape(message)):
        tolerances_from(TOLERANCES["fp32"].as_dict() | change, "x")


def test_a_missing_tolerance_is_named():
    with pytest.raises(ArtefactError, match="x lacks logits_max, logits_p99, "):
        tolerances_from({"top1_agreement_min": 1.0}, "x")


def test_precision_labels_and_metrics_may_differ():
    other = dataclasses.replace(card("fp16"), metrics={"area": 0.1}, classifier=CARD.classifier)
    check_one_model(Form("a", "fp32", CARD), Form("b", "fp16", other))


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("classifier", {"sha256": "cd" * 32}, "classifier of sha256 (ab){8}… against of sha256 (cd){8}…"),
        ("explainer", {"parameters": 6}, "explainer tapped of 5 parameters, which reads pool against tapped of 6 "),
        ("explainer", {"kind": "autoencoder", "taps": ()}, "against autoencoder of 5 parameters, which reads pixels"),
        ("input", {"width": 40}, r"input 32 × 32 \(squash 1\) against 32 × 40 \(squash 1\)"),
    ],
)
def test_forms_of_two_models_are_refused_with_what_differs(part: str, value: dict[str, Any], message: str):
    other = dataclasses.replace(CARD, **{part: dataclasses.replace(getattr(CARD, part), **value)})
    with pytest.raises(ArtefactError, match=f"a and b are forms of two models: .*{message}.*one run directory"):
        check_one_model(Form("a", "fp32", CARD), Form("b", "fp32", other))


def test_graphs_of_other_numbers_of_attributes_are_not_compared():
    def graph(**outputs: int) -> Any:
        return SimpleNamespace(outputs={name: SimpleNamespace(shape=("B", count)) for name, count in outputs.items()})

    check_alike(graph(attributes=4, classes=2), graph(classes=2), ("a", "b"))
    with pytest.raises(ArtefactError, match=r"a has 4 attributes and b has 6 attributes, .*the same --attributes RUN"):
        check_alike(graph(attributes=4), graph(attributes=6), ("a", "b"))


def test_another_threshold_is_another_explainer():
    with pytest.raises(ArtefactError, match=r"two models: threshold 0\.5 against 0\.25\. Give two"):
        check_one_model(Form("a", "fp32", CARD), Form("b", "fp32", dataclasses.replace(CARD, threshold=0.25)))
