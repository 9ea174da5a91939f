from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from whymask.runtime.images import resize_map
from whymask.train.masks import (
    bilinear,
    bilinear_by_product,
    level_of_area,
    mask_from_saliency,
    resize,
    standardise,
    straight_through,
)


def test_the_mask_is_the_one_that_the_runtime_computes() -> None:
    saliency = torch.rand(3, 7, 5, generator=torch.Generator().manual_seed(0))
    mask = mask_from_saliency(saliency, 28, 20, 0.6)
    numpy_mask = resize_map(saliency.numpy(), 28, 20) >= 0.6
    assert (mask[:, 0].numpy().astype(bool) == numpy_mask).all()


@pytest.mark.parametrize("area", [0.05, 0.3, 0.7])
def test_a_level_keeps_the_asked_area(area: float) -> None:
    maps = torch.randn(4, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    kept = (maps >= level_of_area(maps, torch.full((4,), area))).float().mean((1, 2, 3))
    assert torch.allclose(kept, torch.full((4,), area), atol=1e-3)


def test_standardised_maps_forget_scale_and_offset_and_survive_a_constant() -> None:
    maps = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(standardise(maps), standardise(1000 * maps + 7), atol=5e-3)
    assert torch.equal(standardise(torch.full((1, 1, 4, 4), 3.0)), torch.zeros(1, 1, 4, 4))


def test_half_precision_maps_are_standardised_in_single() -> None:
    maps = (300 * torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))).half()
    assert standardise(maps).dtype == torch.float32
    assert torch.isfinite(standardise(maps)).all()


def test_straight_through_is_hard_forwards_and_soft_backwards() -> None:
    probability = torch.tensor([[0.2, 0.8], [0.4, 0.6]]).view(2, 1, 1, 2).requires_grad_()
    mask = straight_through(probability, torch.tensor([True, False]))
    assert torch.equal(mask.flatten(), torch.tensor([0.0, 1.0, 0.4, 0.6])), "hard is 0 or 1 to the bit"
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(2, 1, 1, 2)
    (weight * mask).sum().backward()
    assert torch.equal(probability.grad, weight)  # type: ignore[arg-type]


def test_resize_has_half_pixel_centres() -> None:
    ramp = torch.tensor([[[0.0, 1.0]]])
    assert torch.allclose(resize(ramp, 1, 4).flatten(), torch.tensor([0.0, 0.25, 0.75, 1.0]))


def test_a_map_of_the_size_that_is_wanted_is_not_touched() -> None:
    maps = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resize(maps, 5, 7), maps[:, None])


@pytest.mark.parametrize(("inputs", "outputs"), [((5, 7), (32, 24)), ((9, 9), (9, 9)), ((8, 6), (5, 11))])
def test_resizing_by_product_is_resizing_with_its_gradient(inputs: tuple[int, int], outputs: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    start, weight = torch.rand(3, 1, *inputs, generator=generator), torch.randn(3, 1, *outputs, generator=generator)
    results = []
    for function in (bilinear, bilinear_by_product):
        maps = start.clone().requires_grad_(True)
        resized = function(maps, *outputs)
        (weight * resized).sum().backward()
        assert maps.grad is not None
        results.append((resized.detach(), maps.grad))
    for expected, got in zip(*results, strict=True):
        assert torch.allclose(expected, got, atol=1e-5)


@pytest.mark.parametrize("size", [(11, 9), (32, 17), (32, 24)])
def test_resizing_by_product_averages_where_it_is_asked_to(size: tuple[int, int]) -> None:
    pictures = torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(pictures, size, mode="bilinear", antialias=True)
    assert torch.allclose(bilinear_by_product(pictures, *size, antialias=True), expected, atol=1e-5)
    assert size == (32, 24) or not torch.allclose(bilinear_by_product(pictures, *size), expected, atol=1e-2)


def test_resizing_by_product_keeps_full_precision_under_autocast() -> None:
    maps = torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(bilinear_by_product(maps, 32, 32), bilinear(maps, 32, 32), atol=1e-6)
