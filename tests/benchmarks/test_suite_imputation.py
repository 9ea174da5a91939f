"""The fast imputation is that of ROAD's equations, solved exactly by scipy and by the package grad-cam."""

from __future__ import annotations

import numpy as np
import pytest

from whymask.benchmarks.baselines import centre_map, random_map
from whymask.benchmarks.masking import blurred
from whymask.benchmarks.suite.imputation import impute
from whymask.benchmarks.suite.road import removed
from whymask.runtime.images import resize_map

SIZE = (61, 80)


def picture(seed: int = 0) -> np.ndarray:
    """Coarse structure and fine noise, (1, H, W, 3)."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.integers(0, 256, (8, 10, 3)), np.ones((8, 8, 1)))[: SIZE[0], : SIZE[1]]
    smooth = blurred(coarse[None].astype(np.uint8))[0].astype(np.float64)
    return np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)[None]


def known_pixels(kind: str, removed: float) -> np.ndarray:
    maps = {
        "blobs": resize_map(random_map(16, 20, np.random.default_rng(1))[None], *SIZE)[0],
        "centre": centre_map(*SIZE),
        "rim": -centre_map(*SIZE),
        "scattered": np.random.default_rng(2).random(SIZE),
    }
    return (maps[kind] < np.quantile(maps[kind], 1 - removed))[None]


def solved_by_scipy(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Each unknown pixel equals the weighted mean of its neighbours, weights rescaled where the picture ends."""
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import spsolve

    height, width = known.shape
    number = np.full(known.shape, -1)
    number[~known] = np.arange((~known).sum())
    rows, columns, values, right = [], [], [], np.zeros(((~known).sum(), 3))
    for i, j in np.argwhere(~known):
        degree = 0
        for di, dj in np.ndindex(3, 3):
            y, x = i + di - 1, j + dj - 1
            if (di, dj) == (1, 1) or not (0 <= y < height and 0 <= x < width):
                continue
            weight = 2 if 1 in (di, dj) else 1
            degree += weight
            if known[y, x]:
                right[number[i, j]] += weight * image[y, x].astype(np.float64)
            else:
                rows.append(number[i, j])
                columns.append(number[y, x])
                values.append(-weight)
        rows.append(number[i, j])
        columns.append(number[i, j])
        values.append(degree)
    result = image.astype(np.float64)
    result[~known] = spsolve(coo_array((values, (rows, columns))).tocsc().astype(np.float64), right)
    return result


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("kind", ["blobs", "centre", "rim", "scattered"])
def test_it_is_within_two_grey_levels_of_the_exact_solution(kind: str, share: float):
    pytest.importorskip("scipy")
    image, known = picture(), known_pixels(kind, share)
    error = np.abs(impute(image, known)[0] - solved_by_scipy(image[0], known[0]))
    assert error[known[0]].max() == 0
    assert error[~known[0]].mean() <= 2
    assert error.max() <= 15


def test_more_cycles_come_nearer_to_the_exact_solution():
    pytest.importorskip("scipy")
    image, known = picture(), known_pixels("blobs", 0.8)
    exact = solved_by_scipy(image[0], known[0])
    errors = [np.abs(impute(image, known, cycles)[0] - exact).mean() for cycles in (0, 1, 2, 3, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")
def test_it_solves_the_equations_of_grad_cams_imputer():
    pytest.importorskip("pytorch_grad_cam")
    import torch
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    image, known = picture(), known_pixels("blobs", 0.5)
    planes = torch.from_numpy(image[0].transpose(2, 0, 1).astype(np.float32))
    theirs = NoisyLinearImputer(noise=0.0)(planes, torch.from_numpy(known[0].astype(np.float32)))
    # Its noise, left out here, is 0.01 of whatever units it is given; ours is 0.01 of the pixels' range.
    error = np.abs(impute(image, known, cycles=12)[0] - theirs.numpy().transpose(1, 2, 0))
    assert error.max() < 0.1


@pytest.mark.parametrize("size", [(4, 4), (3, 3), (2, 7), (1, 9), (33, 5)])
def test_small_and_odd_pictures_are_filled_with_what_surrounds_them(size: tuple[int, int]):
    images = np.full((3, *size, 3), 77, np.uint8)
    known = np.zeros((3, *size), np.bool_)
    known[:, 0, 0] = True
    images[~known] = 200
    assert impute(images, known) == pytest.approx(77.0, abs=0.01)


def test_what_lies_at_removed_pixels_and_in_other_pictures_does_not_matter():
    image, known = picture(), known_pixels("blobs", 0.5)
    hidden = np.where(known[..., None], image, 0).astype(np.uint8)
    np.testing.assert_array_equal(impute(image, known), impute(hidden, known))
    pair = impute(np.concatenate([picture(5), image]), np.concatenate([known_pixels("rim", 0.2), known]))
    np.testing.assert_allclose(pair[1], impute(image, known)[0], atol=1e-3)


def test_noise_is_added_where_pixels_are_removed_and_nowhere_else():
    image, masks = picture(), ~known_pixels("blobs", 0.5)
    noise = np.full(image.shape, 4, np.float32)
    plain, rough = removed(image, masks, 0 * noise), removed(image, masks, noise)
    np.testing.assert_array_equal(rough[~masks], image[~masks])
    changed = rough[masks].astype(int) - plain[masks]
    assert (changed[plain[masks] <= 251] == 4).all()
