from __future__ import annotations

import numpy as np
import pytest

from whymask.runtime.regions import RIM_POINTS, distances, grown, join_specks, label_regions, rim_points


def drawn(*rows: str) -> np.ndarray:
    return np.array([[character != "." for character in row] for row in rows], np.uint8)


def flooded(mask: np.ndarray) -> np.ndarray:
    """Labels by flooding from each pixel in reading order: slow, and plainly right."""
    labels, count = np.zeros(mask.shape, np.int32), 0
    for start in zip(*np.nonzero(mask), strict=True):
        if labels[start]:
            continue
        count += 1
        todo = [start]
        while todo:
            row, column = todo.pop()
            inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
            if inside and mask[row, column] and not labels[row, column]:
                labels[row, column] = count
                todo += [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return labels


@pytest.mark.parametrize("density", [0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (23, 17), (30, 31)])
def test_regions_are_those_of_a_flood(density: float, shape: tuple[int, int]):
    mask = (np.random.default_rng(int(density * 10)).random(shape) < density).astype(np.uint8)
    labels, count = label_regions(mask)
    assert labels.dtype == np.int32
    assert np.array_equal(labels, flooded(mask))
    assert count == labels.max()


@pytest.mark.parametrize(
    ("mask", "count"),
    [
        pytest.param(drawn("x..", ".x.", "..x"), 1, id="corners touch"),
        pytest.param(drawn("x.x", "x.x", "xxx"), 1, id="joined at the end"),
        pytest.param(drawn("xxxxx", "....x", "xxx.x", "x...x", "xxxxx"), 1, id="spiral"),
        pytest.param(drawn("..x", "...", "x.."), 2, id="end of one row, start of the next but one"),
        pytest.param(drawn("..x", "x.."), 2, id="end of a row, start of the next"),
        pytest.param(drawn("...", "..."), 0, id="empty"),
        pytest.param(drawn("xxx", "xxx"), 1, id="full"),
    ],
)
def test_what_touches_belongs_together(mask: np.ndarray, count: int):
    labels, found = label_regions(mask)
    assert found == count
    assert np.array_equal(labels != 0, mask != 0)


def test_specks_go_to_the_nearest_large_region():
    mask = drawn("xxx.......x..xxx", "xxx..........xxx", "xxx..x.......xxx")
    labels, count = label_regions(mask)
    assert count == 4
    joined, large = join_specks(labels, count, 0.1)
    assert large == 2
    assert joined[2, 5] == joined[0, 0] == 1
    assert joined[0, 10] == joined[0, 15] == 2
    assert np.array_equal(joined != 0, mask != 0)


def test_of_specks_alone_the_largest_is_the_region():
    labels, count = label_regions(drawn("xx..x..x..x", "xx........."))
    joined, large = join_specks(labels, count, 1.0)
    assert large == 1
    assert np.array_equal(joined, labels != 0)


def test_without_specks_nothing_changes():
    labels, count = label_regions(drawn("xx..xx", "xx..xx"))
    joined, large = join_specks(labels, count, 0.5)
    assert (joined.tolist(), large) == (labels.tolist(), 2)


def test_distances_are_between_nearest_points():
    labels, count = label_regions(drawn("xxx....x", "xxx.....", "xxx.....", "........", "........", "xx......"))
    gaps = distances(labels, count)
    assert gaps.shape == (3, 3)
    assert (gaps[0, 1], gaps[0, 2]) == (5.0, 3.0)
    assert np.array_equal(gaps, gaps.T)
    assert (np.diag(gaps) == 0).all()


def test_a_long_rim_is_thinned_evenly():
    mask = np.zeros((200, 220), np.uint8)
    mask[10:190, 10:100] = 1
    mask[100:103, 150:153] = 1
    points, owners = rim_points(label_regions(mask)[0])
    assert np.bincount(owners).tolist() == [0, RIM_POINTS, 8]
    large = points[owners == 1]
    assert (large.min(), large[:, 0].max() > 180) == (10.0, True)
    assert distances(label_regions(mask)[0], 2)[0, 1] == pytest.approx(51, abs=8)


def test_growing_adds_one_pixel_around_and_keeps_what_is_there():
    labels, _ = label_regions(drawn("x.....", "......", "...x.x"))
    wider = grown(labels)
    assert wider.tolist() == [[1, 1, 0, 0, 0, 0], [1, 1, 2, 2, 3, 3], [0, 0, 2, 2, 3, 3]]
