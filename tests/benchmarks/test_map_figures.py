"""Figures of a map on masks and pictures whose right numbers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from quadrant import SIZE, explainer, oracle, pictures

from whymask.benchmarks import map_figures
from whymask.benchmarks.map_figures import (
    AREAS,
    edge_agreement,
    edge_length,
    figures_of_set,
    keeping_figures,
    kl_divergence,
    losing_figures,
    middle_share,
    rim,
    shape_figures,
)
from whymask.runtime.errors import InputError


def files(folder: Path, count: int = 6) -> list[Path]:
    paths = [folder / f"{index}.png" for index in range(count)]
    for path, picture in zip(paths, pictures(count), strict=True):
        Image.fromarray(picture).save(path)
    return paths


def measured(folder: Path, saliency: np.ndarray) -> dict[str, np.ndarray]:
    def measure(graph, chunk):
        return keeping_figures(graph, chunk) | losing_figures(graph, chunk) | shape_figures(chunk)

    return figures_of_set(explainer(saliency), files(folder), measure)


def test_a_map_of_the_evidence_keeps_everything_and_its_loss_costs_the_class(tmp_path: Path):
    figures = measured(tmp_path, oracle())
    assert figures["retention"].tolist() == [1.0] * 6
    assert figures["own_kept"].tolist() == figures["own_flip"].tolist() == [1.0] * 6
    assert figures["own_area"].tolist() == [0.25] * 6
    assert figures["robust"].mean() > 0.6
    # 5, 10 and 20 % leave some of the quadrant, which still says the class; 30 and 50 % take all of it.
    assert figures["flip"].tolist() == [2 / len(AREAS)] * 6


def test_a_map_of_all_but_the_evidence_keeps_nothing(tmp_path: Path):
    figures = measured(tmp_path, 1.0 - oracle())
    assert figures["retention"].tolist() == figures["own_kept"].tolist() == figures["flip"].tolist() == [0.0] * 6
    assert (figures["kl"] > 1.0).all()
    assert figures["p_without"] == pytest.approx(np.ones(6))


def test_another_picture_has_no_say_where_all_are_of_one_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def two_kinds(images, target, fill, first, seed):
        return {"fill": np.broadcast_to(fill, images.shape), "other": images}

    monkeypatch.setattr(map_figures, "backgrounds", two_kinds)
    both, green = files(tmp_path), files(tmp_path)[::2]
    wrong = explainer(1.0 - oracle())
    assert figures_of_set(wrong, both, keeping_figures)["robust"].tolist() == [0.5] * 6
    assert figures_of_set(wrong, green, keeping_figures)["robust"].tolist() == [0.0] * 3


def square(side: int, first: int = 2) -> np.ndarray:
    mask = np.zeros((1, 10, 10), np.bool_)
    mask[0, first : first + side, first : first + side] = True
    return mask


@pytest.mark.parametrize(("side", "length"), [(1, 1.0), (2, 1.0), (3, 8 / 9), (4, 12 / 16)])
def test_the_rim_of_a_square_is_its_outer_ring(side: int, length: float):
    assert edge_length(square(side)).tolist() == pytest.approx([length])


def test_the_pictures_border_is_no_rim():
    assert not rim(np.ones((1, 5, 5), np.bool_)).any()
    assert rim(square(3, 0)).sum() == 5
    assert np.isnan(edge_length(np.zeros((1, 5, 5), np.bool_))[0])


def test_a_rim_on_the_pictures_edge_agrees_and_one_beside_it_does_not():
    image = np.zeros((1, 10, 10, 3), np.uint8)
    image[:, :, 5:] = 200
    on, beside = np.zeros((2, 1, 10, 10), np.bool_)
    on[:, :, 5:], beside[:, :, 8:] = True, True
    # The gradient is the same on the two columns at the edge and zero elsewhere: five times its mean.
    assert edge_agreement(image, on).tolist() == pytest.approx([5.0])
    assert edge_agreement(image, beside).tolist() == [0.0]
    assert np.isnan(edge_agreement(np.zeros_like(image), on)[0])


def test_one_part_is_counted_for_a_square_and_the_middle_is_what_is_undecided(tmp_path: Path):
    assert measured(tmp_path, oracle() * np.arange(1, SIZE + 1))["components"].tolist() == [1.0] * 6
    assert middle_share(np.array([[[0.0, 0.1], [0.5, 0.95]]], np.float32)).tolist() == [0.25]


def test_the_divergence_is_that_of_the_formula():
    whole, kept = np.log(np.array([[0.8, 0.2]], np.float32)), np.log(np.array([[0.5, 0.5]], np.float32))
    expected = 0.8 * np.log(0.8 / 0.5) + 0.2 * np.log(0.2 / 0.5)
    assert kl_divergence(whole, kept).tolist() == pytest.approx([expected], abs=1e-6)
    assert kl_divergence(kept, kept).tolist() == pytest.approx([0.0])


def test_a_set_with_a_picture_that_cannot_be_read_is_refused(tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="2 of 3 pictures can be read, expected all"):
        figures_of_set(explainer(oracle()), [*files(tmp_path, 2), tmp_path / "broken.png"], lambda *_: {})
