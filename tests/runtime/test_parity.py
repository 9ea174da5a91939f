"""The figures on which two forms of one model are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from whymask.runtime.backends import Arrays
from whymask.runtime.errors import ParityError
from whymask.runtime.parity import TOLERANCES, check, compare, each_image, own_figures, spearman

HALF = TOLERANCES["fp16"]
COUNT, SIZE = 4, 8


def outputs() -> Arrays:
    """Of a model with three classes, which predicts class 0, 1, 2, 0."""
    saliency = np.random.default_rng(0).random((COUNT, SIZE, SIZE), dtype=np.float32)
    logits = np.array([[9, 0, 1], [0, 9, 1], [0, 1, 9], [9, 1, 0]], np.float32)
    return {"logits": logits, "saliency": saliency, "mask": (saliency >= 0.5).astype(np.uint8)}


def test_masks_are_compared_where_both_explain_the_same_class():
    actual = outputs()
    actual["logits"][1, :2] = 9, 0
    actual["mask"][1] ^= 1
    assert compare(outputs(), actual, HALF)["mask_iou_min"] == 1.0


def test_masks_of_a_class_asked_for_are_compared_though_top1_differs():
    actual, targets = outputs(), np.array([-1, 2, -1, -1])
    actual["logits"][1, :2] = 9, 0
    actual["mask"][1] ^= 1
    figures = compare(outputs(), actual, HALF, targets)
    assert figures["mask_flips"] == SIZE * SIZE
    assert figures["top1_agreement_min"] == 0.75


def test_figures_of_each_image_point_at_the_one_that_is_wrong():
    actual = outputs()
    actual["logits"][2, 2] += 0.9
    actual["saliency"][2] = 1 - actual["saliency"][2]
    actual["mask"][2, 0, 0] ^= 1
    rows = each_image(outputs(), actual)
    assert [row["logits_max"] for row in rows] == pytest.approx([0, 0, 0.1, 0])
    assert [row["mask_flips"] for row in rows] == [0, 0, 1, 0]
    assert [row["saliency_rank_min"] for row in rows] == pytest.approx([1, 1, -1, 1])
    assert [row["same_top1"] for row in rows] == [1, 1, 1, 1]


def test_a_bound_that_fails_is_named_with_subject_and_remedy():
    actual = outputs()
    actual["saliency"][0, 0, 0] = np.nan
    message = r"^a\.plan is wrong: saliency_max is nan, allowed ≤ 0\.1; not_finite is 1, allowed ≤ 0\. Build it again$"
    with pytest.raises(ParityError, match=message):
        check(compare(outputs(), actual, HALF), HALF, "a.plan is wrong", "Build it again")


def test_the_stricter_of_two_tolerances_is_taken_field_by_field():
    mixed = TOLERANCES["fp16"].stricter(TOLERANCES["fp32"])
    assert mixed == TOLERANCES["fp32"].stricter(TOLERANCES["fp16"])
    assert (mixed.logits_max, mixed.mask_iou_min, mixed.top1_agreement_min) == (1e-4, 0.999, 1.0)


def right_options(pictures: Any, fill: Any) -> Arrays:
    """Outputs with explanation and certificate of a classifier that means each colour."""
    made = outputs()
    keep = made["mask"][..., None] == 1
    kept, dropped = np.where(keep, pictures, fill), np.where(keep, fill, pictures)
    optional = {"explanation": kept, "kept_logits": colours(kept), "dropped_logits": colours(dropped)}
    return {**made, **optional}


def colours(pictures: Any) -> Any:
    return pictures.mean(axis=(1, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("spoil", "name", "expected"),
    [
        (lambda made: None, "certificate_max", 0.0),
        (lambda made: made["kept_logits"].__iadd__(3), "certificate_max", 0.3),
        (lambda made: made["dropped_logits"].__iadd__(5), "certificate_max", 0.5),
        (lambda made: made["explanation"][0, 0].fill(7), "explanation_wrong", SIZE * 3.0),
    ],
    ids=["right", "kept", "dropped", "explanation"],
)
def test_certificate_and_explanation_are_judged_on_the_forms_own_mask(
    spoil: Callable[[Arrays], None], name: str, expected: float
):
    pictures = np.random.default_rng(1).integers(8, 256, (COUNT, SIZE, SIZE, 3), dtype=np.uint8)
    made = right_options(pictures, np.array([10, 20, 31], np.uint8))
    spoil(made)
    figures = own_figures(made, pictures, np.array([10.4, 19.6, 31.0]), colours, scale=10.0)
    assert figures[name] == pytest.approx(expected, abs=1e-6)


def test_a_form_that_certifies_what_is_kept_alone_is_judged_on_that():
    pictures = np.random.default_rng(1).integers(8, 256, (COUNT, SIZE, SIZE, 3), dtype=np.uint8)
    made = right_options(pictures, np.array([10, 20, 31], np.uint8))
    del made["dropped_logits"]
    made["kept_logits"] += 3
    figures = own_figures(made, pictures, np.array([10.4, 19.6, 31.0]), colours, scale=10.0)
    assert figures["certificate_max"] == pytest.approx(0.3, abs=1e-6)


def test_without_optional_outputs_there_are_no_figures_of_them():
    pictures = np.zeros((COUNT, SIZE, SIZE, 3), np.uint8)
    assert own_figures(outputs(), pictures, np.zeros(3), colours, scale=1.0) == {}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 2, 3], [1, 3, 2, 4], 0.9486833),  # scipy.stats.spearmanr
        ([1, 1, 1, 1], [2, 2, 2, 2], 1.0),
        ([1, 1, 1, 1], [1, 2, 3, 4], 0.0),
    ],
)
def test_spearman_is_the_correlation_of_mean_ranks(first: list[int], second: list[int], expected: float) -> None:
    assert spearman(np.array(first), np.array(second)) == pytest.approx(expected)


def with_classes() -> Arrays:
    """The same model, which explains two classes at once."""
    made = outputs()
    classes = np.argsort(-made["logits"], axis=1, kind="stable")[:, :2]
    saliency = np.random.default_rng(2).random((COUNT, 2, SIZE, SIZE), dtype=np.float32)
    maps = {"class_saliency": saliency, "class_mask": (saliency >= 0.5).astype(np.uint8)}
    return {**made, "classes": classes, **maps}


def test_maps_of_the_likeliest_classes_are_held_to_the_bounds_of_the_one_map():
    figures = compare(with_classes(), with_classes(), HALF)
    assert (figures["classes_agreement_min"], figures["class_mask_iou_min"]) == (1.0, 1.0)
    actual = with_classes()
    actual["class_mask"][0, 1] ^= 1
    with pytest.raises(ParityError, match=r"disagree: class_mask_iou is 0\.\d+, allowed ≥ 0\.98\. "):
        check(compare(with_classes(), actual, HALF), HALF)
    assert "class_mask_iou_min" not in compare(outputs(), with_classes(), HALF)


def test_classes_that_are_a_near_tie_may_change_places():
    reference, actual = with_classes(), with_classes()
    reference["logits"][0] = [9, 1.0001, 1]
    reference["classes"][0], actual["classes"][0] = (0, 1), (0, 2)
    assert compare(reference, actual, HALF)["classes_agreement_min"] == 1.0
    reference["logits"][0] = [9, 2, 1]
    assert compare(reference, actual, HALF)["classes_agreement_min"] == 7 / 8


@pytest.mark.parametrize("level", [-20.0, -16.0, -13.0, 16.0])
def test_maps_that_differ_by_the_rounding_of_a_probability_alone_are_not_told_apart_by_rank(level: float):
    random = np.random.default_rng(3)
    logits = level + random.normal(0, 0.5, (COUNT, SIZE, SIZE))
    reference, actual = with_classes(), with_classes()
    reference["class_saliency"][:, 1] = 1 / (1 + np.exp(-logits))
    rounding = random.uniform(-1, 1, logits.shape) * np.finfo(np.float32).eps
    actual["class_saliency"][:, 1] = np.clip(reference["class_saliency"][:, 1] + rounding, 0, 1)
    figures = compare(reference, actual, TOLERANCES["fp32"])
    assert figures["class_saliency_rank_min"] == pytest.approx(1.0)
    check(figures, TOLERANCES["fp32"])


def test_a_real_difference_in_a_map_of_nearly_nothing_is_caught():
    reference, actual = outputs(), outputs()
    reference["saliency"][0] = actual["saliency"][0] = 1e-9 * reference["saliency"][0]
    reference["mask"][0] = actual["mask"][0] = 0
    actual["saliency"][0, 2, 3] = 0.3
    with pytest.raises(
        ParityError, match=r"saliency_max is 0\.3, allowed ≤ 0\.002; saliency_rank is 0\.\d+, allowed ≥"
    ):
        check(compare(reference, actual, TOLERANCES["fp32"]), TOLERANCES["fp32"])
    actual["saliency"][0] = 1e-5 * actual["saliency"][1]
    reference["saliency"][0] = 1e-5 - actual["saliency"][0]
    assert compare(reference, actual, HALF)["saliency_rank_min"] == pytest.approx(-1.0)


def test_the_card_keeps_its_tolerances_as_they_were():
    assert not [name for name in HALF.as_dict() if name.startswith("class_")]
    assert HALF.bounds()["class_saliency_rank_min"] == HALF.saliency_rank_min
