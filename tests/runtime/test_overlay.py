from __future__ import annotations

import sys

import numpy as np
import pytest

from whymask.runtime.errors import MissingExtra
from whymask.runtime.overlay import CONTOUR, PART_CONTOURS, UNCERTIFIED_CONTOUR, contour, draw, draw_parts


@pytest.fixture
def kept() -> np.ndarray:
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 0:30] = 1
    return mask


def test_inside_is_untouched_the_rim_is_coloured_and_the_rest_dimmed(kept: np.ndarray):
    picture = np.full((60, 80, 3), (200, 100, 0), np.uint8)
    drawn = draw(picture, kept)
    assert (drawn[30, 10] == (200, 100, 0)).all()
    assert (drawn[20, 10] == CONTOUR).all()
    assert (drawn[50, 50] == 35).all()
    assert (picture == (200, 100, 0)).all()


def test_the_rim_follows_the_mask_but_not_the_pictures_edge(kept: np.ndarray):
    rim = contour(kept.astype(bool), 2)
    assert rim[20:22, 0:30].all()
    assert rim[30, 28:30].all()
    assert not rim[30, 0:28].any()
    assert not rim[:20].any()


@pytest.mark.parametrize("value", [0, 1])
def test_empty_and_full_masks_have_no_rim(value: int):
    assert not contour(np.full((9, 9), value, bool), 1).any()


def test_each_part_has_a_contour_of_its_own_and_white_where_it_is_not_certified(kept: np.ndarray):
    others = [np.roll(kept, shift, axis=1) for shift in (31, 49)]
    drawn = draw_parts(np.full((60, 80, 3), 150, np.uint8), [kept, *others], [True, True, False])
    assert [tuple(drawn[20, column]) for column in (10, 40, 70)] == [*PART_CONTOURS[:2], UNCERTIFIED_CONTOUR]
    assert (drawn[30, 10] == 150).all()
    assert (drawn[50, 50] == 52).all()


def test_no_part_leaves_everything_dimmed(kept: np.ndarray):
    assert (draw_parts(np.full((60, 80, 3), 100, np.uint8), [], []) == 35).all()


def test_a_caption_is_a_strip_at_the_lower_edge(kept: np.ndarray):
    picture = np.full((60, 80, 3), 200, np.uint8)
    plain, captioned = draw(picture, kept), draw(picture, kept, "a very long caption — ünïcode, 92 %, area 14 %")
    assert captioned.shape == plain.shape
    assert np.array_equal(captioned[:48], plain[:48])
    assert captioned[48:].max() > 200
    assert (captioned[59] == 0).all()


def test_a_picture_too_small_for_text_has_none():
    picture = np.full((16, 16, 3), 200, np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    assert np.array_equal(draw(picture, mask, "text"), draw(picture, mask))


def test_only_the_caption_needs_pillow(kept: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    picture = np.zeros((60, 80, 3), np.uint8)
    assert draw(picture, kept).shape == picture.shape
    with pytest.raises(MissingExtra, match=r'write a caption.*"whymask\[image\]"'):
        draw(picture, kept, "red")


def test_an_empty_mask_leaves_the_picture_as_it_is(kept: np.ndarray):
    picture = np.full((60, 80, 3), (200, 100, 0), np.uint8)
    assert np.array_equal(draw(picture, np.zeros_like(kept)), picture)


def test_what_was_drawn_may_be_drawn_over_with_a_caption_too(kept: np.ndarray):
    picture = np.full((60, 80, 3), 200, np.uint8)
    picture.flags.writeable = False
    for caption in (None, "red"):
        drawn = draw(picture, kept, caption)
        drawn[0, 0] = (1, 2, 3)
        assert drawn[0, 0].tolist() == [1, 2, 3]


def test_a_caption_of_several_lines_is_one_line(kept: np.ndarray):
    picture = np.full((60, 80, 3), 200, np.uint8)
    assert np.array_equal(draw(picture, kept, "red\n92 %"), draw(picture, kept, "red 92 %"))
