"""Whether a mode reached what it was asked for, and how that is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from quadrant import explainer, oracle, pictures

from whymask.benchmarks import modes
from whymask.benchmarks.variants import Row, Study, Variant


def area_row(asked: float, areas: np.ndarray) -> Row:
    variant = Variant(f"area {asked}", {"mode": "area", "target_area": asked})
    return Row(variant, {"area": areas[None], "kept": np.ones((1, len(areas)))}, ({},))


def kept_row(asked: float, kept: int, n: int) -> Row:
    outcome = (np.arange(n) < kept).astype(np.float64)[None]
    variant = Variant(f"constraint {asked}", {"mode": "constraint", "retention": asked})
    return Row(variant, {"area": np.full((1, n), 0.3), "kept": outcome}, ({},))


@pytest.mark.parametrize(("reached", "met"), [(0.2, True), (0.219, True), (0.23, False), (0.17, False)])
def test_the_bar_of_an_area_is_two_points(reached: float, met: bool):
    found = modes.reached(area_row(0.2, np.full(400, reached)))
    assert (found.met, found.interval.value) == (met, pytest.approx(reached))


def test_an_uncertain_mean_widens_the_bar_by_half_its_interval_and_says_so():
    areas = np.repeat([0.0, 0.46], 50)
    found = modes.reached(area_row(0.2, areas))
    half = (found.interval.high - found.interval.low) / 2
    assert found.met
    assert found.said == f"off by 3.0%, allowed {0.02 + half:.1%}"


@pytest.mark.parametrize(
    ("kept", "met", "said"),
    [
        (360, True, "holds it"),
        (340, False, "below what was asked"),
        (390, True, "above: keeps more than was asked"),
    ],
)
def test_a_retention_is_met_unless_its_interval_lies_below(kept: int, met: bool, said: str):
    found = modes.reached(kept_row(0.9, kept, 400))
    assert (found.met, found.said) == (met, said)


def test_the_page_counts_what_was_met():
    rows = (area_row(0.2, np.full(400, 0.2)), kept_row(0.9, 340, 400))
    page = modes.page([Study("modes", "shapes", ("",) * 400, modes.COLUMNS, rows)])
    assert "| shapes | area | area 20% | 20.0% (20.0% to 20.0%) | 20.0% | met: off by 0.0%, allowed 2.0% |" in page
    assert "**not met**: below what was asked" in page
    assert "Met in 1 of 2 rows." in page


def test_masks_are_cut_at_one_half_whatever_the_cards_threshold_is(tmp_path: Path):
    for index, picture in enumerate(pictures(4)):
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
    saliency = 0.3 + 0.4 * oracle()
    judged = explainer(saliency)
    object.__setattr__(judged.backend.card, "threshold", 0.9)
    figures = modes.judge(judged, sorted(tmp_path.glob("*.png")))
    assert figures["area"].tolist() == [0.25] * 4
    assert figures["kept"].tolist() == [1.0] * 4
