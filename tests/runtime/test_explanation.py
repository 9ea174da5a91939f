from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from colour_graph import FILL

from whymask.runtime.errors import InputError
from whymask.runtime.explainer import Explainer, load
from whymask.runtime.images import Picture
from whymask.runtime.prediction import Prediction


def test_confidence_is_the_softmax_of_the_logits(explainer: Explainer, red_square: Picture):
    result = explainer.explain(red_square)
    logits = red_square.mean(axis=(0, 1)) / 10
    expected = np.exp(logits) / np.exp(logits).sum()
    assert np.allclose(result.probabilities, expected, atol=1e-6)
    assert result.confidence == pytest.approx(expected[0], abs=1e-6)
    assert result.top(2) == [
        Prediction("red", 0, result.confidence),
        Prediction("blue", 2, pytest.approx(expected[2], abs=1e-6)),
    ]
    assert "label='red'" in repr(result)
    assert result.summary() == f"red  {expected[0]:.0%}  area {result.area:.0%}"


def test_huge_logits_do_not_overflow(explainer: Explainer):
    result = explainer.explain(np.full((32, 32, 3), (255, 0, 0), np.uint8))
    result.logits[:] = (3e4, 0, -3e4)
    assert result.probabilities.tolist() == [1.0, 0.0, 0.0]


def test_the_mask_is_the_graphs_own_and_on_the_object(explainer: Explainer, red_square: Picture):
    result = explainer.explain(red_square)
    assert result.mask is result.outputs["mask"]
    assert (result.mask.shape, result.mask.dtype, result.saliency.shape) == ((32, 32), np.uint8, (4, 4))
    assert result.mask[10:22, 0:14].all()
    assert not result.mask[red_square[..., 0] == 0].any()
    assert result.area == result.mask.mean() == pytest.approx(0.25, abs=0.02)


def test_a_recomputed_mask_equals_the_graphs_at_its_threshold(explainer: Explainer):
    for image in np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8):
        own, recomputed = explainer.explain(image), explainer.explain(image, threshold=explainer.card.threshold)
        assert np.array_equal(own.mask, recomputed.mask)


def test_a_lower_threshold_keeps_more(explainer: Explainer, red_square: Picture):
    result = explainer.explain(red_square, threshold=0.2)
    assert result.threshold == 0.2
    assert result.area > 0.25


@pytest.mark.parametrize("area", [0.05, 0.3, 0.5])
def test_an_area_is_kept_as_asked(explainer: Explainer, area: float):
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    assert explainer.explain(image, area=area).area == pytest.approx(area, abs=0.01)


def test_the_mask_at_another_size_is_the_saliency_resized_and_compared(explainer: Explainer, red_square: Picture):
    result = explainer.explain(red_square)
    large = result.mask_at(320, 160)
    assert large.dtype == np.uint8
    assert large.mean() == pytest.approx(result.area, abs=0.01)
    assert np.array_equal(large == 1, result.saliency_at(320, 160) >= result.threshold)
    assert result.mask_at(32, 32) is result.mask
    with pytest.raises(InputError, match="got 0, expected whole numbers of at least 1 pixel"):
        result.mask_at(0, 5)


def test_a_cropping_graph_answers_in_the_callers_frame(graph: Callable[..., Path]):
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, 64:, 0] = 255
    result = load(graph(resize="crop", crop_fraction=0.5)).explain(picture)
    mask = result.mask_at(64, 128)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 47, 64, 79)
    assert result.area == pytest.approx(0.5)
    assert not load(graph(resize="crop", crop_fraction=0.5)).explain(picture, threshold=0.0).mask_at(64, 128)[0].any()


def test_the_explanation_shows_the_fill_where_pixels_are_dropped(graph: Callable[..., Path], red_square: Picture):
    result = load(graph(explanation=True)).explain(red_square)
    kept = result.mask == 1
    assert np.array_equal(result.explanation()[kept], red_square[kept])
    assert (result.explanation()[~kept] == FILL).all()
    assert np.array_equal(result.explanation(), result.outputs["explanation"])


def test_the_explanation_has_the_callers_size(explainer: Explainer, red_square: Picture):
    large = red_square.repeat(4, axis=0).repeat(5, axis=1)
    result = explainer.explain(large)
    assert result.explanation().shape == result.overlay().shape == (128, 160, 3)
    assert (result.explanation()[50, 10] == (255, 0, 0)).all()


def test_a_certificate_is_read_from_the_second_pass(explainer: Explainer, red_square: Picture):
    assert (explainer.explain(red_square).kept, explainer.explain(red_square).necessary) == (True, True)
    assert explainer.explain(red_square, target="green").kept is False


def test_no_certificate_for_another_mask_or_another_graph(
    explainer: Explainer, graph: Callable[..., Path], red_square: Picture
):
    assert explainer.explain(red_square, threshold=0.5).kept is None
    plain = load(graph()).explain(red_square)
    assert (plain.kept, plain.necessary) == (None, None)
