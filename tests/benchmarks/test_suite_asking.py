"""Pictures are cut as stated and asked in calls of bounded size, answers in order."""

from __future__ import annotations

import numpy as np
import pytest
from suite_samples import counting_ask

from whymask.benchmarks.masking import compose
from whymask.benchmarks.suite.asking import PICTURES_A_CALL, answers, cut, first_pixels, ranks


@pytest.mark.parametrize(("pictures", "variants"), [(3, 1), (3, 200), (32, 27), (300, 3)])
def test_answers_keep_their_order_in_calls_of_bounded_size(pictures: int, variants: int):
    calls: list[int] = []

    def ask(images):
        calls.append(len(images))
        return counting_ask(images)

    white = np.random.default_rng(0).integers(0, 17, (variants, pictures))
    shown = ((np.arange(16) < each[:, None]).reshape(-1, 4, 4, 1) * np.ones(3) * 255 for each in white)
    given = answers(ask, np.ones(pictures, np.int64), (each.astype(np.uint8) for each in shown))
    assert max(calls) <= PICTURES_A_CALL
    assert sum(calls) == pictures * variants
    assert given.p == pytest.approx(white / 16, abs=1e-6)
    np.testing.assert_array_equal(given.kept, white > 8)


def test_a_cut_is_the_composed_picture():
    rng = np.random.default_rng(0)
    images, behind = rng.integers(0, 256, (2, 5, 6, 7, 3), dtype=np.uint8)
    masks = rng.random((5, 6, 7)) < 0.4
    np.testing.assert_array_equal(cut(images, masks, behind), compose(images, masks, behind))


def test_the_first_pixels_are_the_first_of_the_order():
    order = np.stack([np.random.default_rng(i).permutation(12) for i in range(2)])
    masks = first_pixels(ranks(order), np.array([5, 0]), (2, 3, 4))
    assert sorted(np.flatnonzero(masks[0])) == sorted(order[0, :5])
    assert not masks[1].any()
