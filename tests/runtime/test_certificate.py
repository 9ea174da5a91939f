from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from colour_graph import FILL
from part_backend import WHITE, PartBackend, squares

from whymask.runtime.certificate import shown, softmax
from whymask.runtime.explainer import Explainer, load
from whymask.runtime.images import Picture


@pytest.mark.parametrize(
    ("evidence", "kept", "necessary"),
    [
        ({(2, 2): 2.0}, True, True),
        ({(2, 2): 2.0, (9, 9): 2.0}, True, False),
        ({(2, 2): 1.0, (9, 9): 1.0}, False, True),
        ({(9, 9): 2.0}, False, False),
    ],
)
def test_a_mask_is_asked_about_alone_and_left_out(evidence: dict, kept: bool, necessary: bool):
    backend = PartBackend(squares((2, 2)), evidence)
    result = Explainer(backend).explain(WHITE)
    certificate = result.certify()
    assert backend.batches == [1, 2]
    assert (certificate.kept, certificate.necessary) == (kept, necessary)
    assert certificate.confidence == pytest.approx(1 / (1 + np.exp(1.5 - evidence.get((2, 2), 0))), abs=1e-6)
    assert certificate.confidence_without == pytest.approx(1 / (1 + np.exp(1.5 - evidence.get((9, 9), 0))), abs=1e-6)


def test_it_agrees_with_the_graphs_own_and_goes_beyond(graph: Callable[..., Path], red_square: Picture):
    result = load(graph(certify="both")).explain(red_square)
    asked = result.certify()
    assert (asked.kept, asked.necessary) == (result.kept, result.necessary) == (True, True)
    own = softmax(result.outputs["kept_logits"])[result.index]
    assert asked.confidence == pytest.approx(float(own), abs=1e-5)
    plain = load(graph("plain.onnx"))
    assert plain.explain(red_square).kept is None
    assert plain.explain(red_square).certify() == asked
    assert not plain.explain(red_square, area=0.02).certify().necessary


def test_a_graph_that_certifies_what_is_kept_leaves_the_rest_to_be_asked(
    graph: Callable[..., Path], red_square: Picture
):
    result = load(graph(certify="kept")).explain(red_square)
    asked = result.certify()
    assert (result.kept, result.necessary, asked.necessary) == (True, None, True)
    assert result.confidence_kept == pytest.approx(asked.confidence, abs=1e-5)
    other = load(graph(certify="kept")).explain(red_square, area=0.02)
    assert (other.kept, other.confidence_kept) == (None, None)


def test_dropped_pixels_show_the_cards_fill(explainer: Explainer):
    keep = np.zeros((2, 16, 16), bool)
    keep[1, 3, 4] = True
    pictures = shown(WHITE, keep, explainer.card)
    assert (pictures.shape, pictures.dtype) == ((2, 16, 16, 3), np.uint8)
    assert (pictures[1, 3, 4] == 255).all()
    assert (pictures[~keep] == FILL).all()
