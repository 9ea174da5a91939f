"""Any class, one class against another, and the likeliest classes at once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from colour_graph import write_graph

from whymask.runtime.backends import TensorInfo
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.explainer import Explainer, load
from whymask.runtime.images import Picture
from whymask.runtime.ort import OrtBackend


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    """A graph with all inputs and outputs."""
    path = write_graph(tmp_path_factory.mktemp("every") / "fused.onnx", top=3, contrast=True, certify="both")
    return load(path, threads=1)


@pytest.fixture
def purple() -> Picture:
    """Red above a band of half red and full blue above a darker red; no green."""
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:16] = (255, 0, 0)
    picture[16:24] = (160, 0, 255)
    picture[24:] = (150, 0, 0)
    return picture


def test_the_likeliest_classes_come_best_first_each_as_if_asked_for(every: Explainer, purple: Picture):
    result = every.explain(purple)
    found = result.top_explanations()
    assert every.top == 3
    assert [each.label for each in found] == [prediction.label for prediction in result.top(3)]
    assert [each.label for each in found][:2] == ["red", "blue"]
    for each in found:
        alone = every.explain(purple, target=each.index)
        assert np.array_equal(each.saliency, alone.saliency)
        assert np.array_equal(each.mask, alone.mask)
        assert each.confidence == pytest.approx(alone.confidence)


def test_the_first_is_the_predicted_class_and_shares_its_arrays(every: Explainer, purple: Picture):
    result = every.explain(purple)
    first, second, _ = result.top_explanations()
    assert np.array_equal(result.outputs["class_mask"][0], result.mask)
    assert np.shares_memory(first.mask, result.mask)
    assert np.shares_memory(second.mask, result.outputs["class_mask"])
    assert second.picture is result.picture
    assert (first.kept, second.kept) == (True, None)


@pytest.mark.parametrize(("target", "labels"), [(None, ["blue", "green"]), ("blue", ["red", "green"])])
def test_others_are_those_that_are_not_explained_yet(every: Explainer, purple: Picture, target: str, labels: list[str]):
    assert [each.label for each in every.explain(purple, target=target).others] == labels


def test_threshold_and_area_hold_for_every_class(every: Explainer, purple: Picture):
    assert [each.threshold for each in every.explain(purple, threshold=0.25).top_explanations()] == [0.25] * 3
    assert next(each.area for each in every.explain(purple, area=0.25).others) == pytest.approx(0.25, abs=0.05)


def test_each_class_can_be_certified_and_divided(every: Explainer, purple: Picture):
    red, blue, green = every.explain(purple).top_explanations()
    assert (red.certify().kept, blue.certify().kept) == (True, True)
    assert [each.label for each in blue.instances()] == ["blue"]
    assert green.instances() == []


def test_a_class_that_is_not_there_is_empty_and_says_so(every: Explainer, purple: Picture):
    green = every.explain(purple, target="green")
    assert (green.is_empty, green.area) == (True, 0.0)
    assert green.summary() == "green  0%  not seen"
    assert np.array_equal(green.overlay(), purple)
    assert not every.explain(purple).is_empty
    # At the caller's own cut nothing is said of the class.
    assert every.explain(purple, threshold=0.9, target="blue").summary() == "blue  0%  area 6%"
    assert every.explain(purple, threshold=0.9, target="green").summary() == "green  0%  area 0%"


def test_an_empty_mask_keeps_a_class_only_where_the_fill_alone_says_so(every: Explainer, purple: Picture):
    # The fill of this graph is (10, 20, 30): blue is what it shows.
    green = every.explain(purple, target="green")
    assert (green.certify().kept, green.certify().necessary) == (False, False)
    assert (green.kept, green.necessary) == (False, False)
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    blue = every.explain(red, target="blue")
    assert (blue.is_empty, blue.certify().kept, blue.certify().necessary) == (True, True, False)
    assert (blue.kept, blue.necessary) == (True, False)


def test_a_class_that_is_not_predicted_is_certified_by_what_its_own_pixels_say(every: Explainer, purple: Picture):
    blue = every.explain(purple, target="blue")
    certificate = blue.certify()
    # Alone the band says blue; hidden, its loss is that the rest says red, as before.
    assert (certificate.kept, certificate.necessary) == (True, True)
    assert certificate.confidence > blue.confidence > certificate.confidence_without
    assert (blue.kept, blue.necessary) == (certificate.kept, certificate.necessary)


def test_one_class_is_held_against_another(every: Explainer, purple: Picture):
    red = every.explain(purple, target="red")
    contrast = every.explain(purple, target="red", against="blue")
    assert (contrast.against, contrast.against_label, red.against, red.against_label) == (2, "blue", None, None)
    assert red.mask[20].all() and not contrast.mask[20].any()
    assert contrast.mask[:14].all()
    assert contrast.summary().startswith("red, not blue  ")
    assert [each.against for each in every.explain_batch([purple] * 2, target="red", against="blue")] == [2, 2]
    assert pickle.loads(pickle.dumps(contrast)).against == 2
    assert [contrast.with_saliency(red.saliency, 3).against, contrast.cut_at(0.4).against] == [2, 2]


def test_held_against_another_a_class_stands_where_it_is_above_that_one(every: Explainer, purple: Picture):
    # Green is nowhere top-1; against blue it stands on the green band, where blue is less.
    purple[24:] = (255, 130, 0)
    plain, contrast = every.explain(purple, target="green"), every.explain(purple, target="green", against="blue")
    assert plain.mask.any() and np.array_equal(plain.mask, contrast.mask)
    assert (plain.certify().kept, contrast.certify().kept) == (False, True)
    assert (plain.kept, contrast.kept) == (False, True)
    assert [each.kept for each in plain.instances()] == [False]
    assert [each.kept for each in contrast.instances()] == [True]


def test_the_predicted_class_can_be_held_against_another(every: Explainer, purple: Picture):
    assert every.explain(purple, against="blue").summary().startswith("red, not blue")
    itself = every.explain(purple, against="red")
    assert itself.against is None
    assert np.array_equal(itself.mask, every.explain(purple).mask)


def test_classes_of_any_rank_are_explained_in_the_order_given(
    every: Explainer, graph: Callable[..., Path], purple: Picture
):
    found = every.explain_classes(purple, ["green", 0, "2"], threshold=0.3)
    assert [each.label for each in found] == ["green", "red", "blue"]
    fixed = load(graph(batch=2), threads=1).explain_classes(purple, ["green", 0, "2"], threshold=0.3)
    for each, other in zip(found, fixed, strict=True):
        alone = every.explain(purple, target=each.index, threshold=0.3)
        assert np.array_equal(each.mask, alone.mask)
        assert np.array_equal(other.mask, alone.mask)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 1, "against": "yellow"}, "against: no class is called 'yellow'"),
        ({"target": 1, "against": 3}, "against: class 3 does not exist"),
        ({"target": "green", "against": 1}, "against: 1 is the explained class itself; give another one"),
    ],
)
def test_a_contrast_that_cannot_be_is_refused(every: Explainer, purple: Picture, options: dict, message: str):
    with pytest.raises(InputError, match=message):
        every.explain(purple, **options)
    with pytest.raises(InputError, match=message):
        every.explain_batch([purple], **options)


def test_lists_of_classes_that_cannot_be_are_refused(every: Explainer, purple: Picture):
    with pytest.raises(InputError, match=r"targets: got no class, expected at least one"):
        every.explain_classes(purple, [])
    with pytest.raises(InputError, match=r"targets: got the single class 'red', expected a list of classes"):
        every.explain_classes(purple, "red")


def test_a_graph_without_these_says_how_to_export_one(
    explainer: Explainer, graph: Callable[..., Path], purple: Picture
):
    assert explainer.top == 0
    with pytest.raises(InputError, match=r"explains one class at a time; export it again with: .* --top 5"):
        explainer.explain(purple).top_explanations()
    with pytest.raises(InputError, match=r"explains each class by itself; .* --target --contrast"):
        explainer.explain(purple, target=1, against=0)
    with pytest.raises(InputError, match=r"explains the predicted class only; .* --target"):
        load(graph("plain.onnx", target=False)).explain_classes(purple, [1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contrast": True, "target": False}, "has the input 'against' without 'target'"),
        ({"top": 2, "without": ("class_mask",)}, "it has classes, class_saliency alone"),
    ],
)
def test_a_graph_with_half_of_it_is_refused(graph: Callable[..., Path], options: dict, message: str):
    with pytest.raises(ArtefactError, match=message):
        load(graph(**options))


def test_numbers_of_classes_must_agree(every: Explainer, monkeypatch: pytest.MonkeyPatch):
    outputs = {**every.backend.outputs, "classes": TensorInfo("classes", "int64", ("B", 2))}
    monkeypatch.setattr(OrtBackend, "outputs", outputs)
    with pytest.raises(ArtefactError, match="different numbers of classes: classes 2, class_saliency 3, class_mask 3"):
        Explainer(every.backend)
