from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from whymask.train.backgrounds import KINDS, NOISE_DEVIATION, _background_of, blur, masked, random_background
from whymask.train.classifier import FrozenClassifier
from whymask.train.config import TrainConfig
from whymask.train.distance import energy
from whymask.train.explainers import build_explainer
from whymask.train.levels import Breaking
from whymask.train.objective import (
    activation_distance,
    binarisation,
    breaking_loss,
    kl_divergence,
    necessity,
    quantile_loss,
    total_variation,
)
from whymask.train.step import Objective, draw_masks
from whymask.train.summary import fill_of

TERMS = {"kl": "constraint", "ce": "constraint", "activation": "constraint", "level": "constraint"} | {
    "binarisation": "constraint",
    "tv": "constraint",
    "necessity": "constraint",
    "area": "weighted",
}
"""Each weight, and a mode in which it acts."""


def gradient_norm(config: TrainConfig, classifier: FrozenClassifier) -> float:
    """Of the explainer's parameters after one step's loss, late in training, where every term acts."""
    torch.manual_seed(0)
    explainer = build_explainer(config.explainer_config(), classifier)
    torch.nn.init.normal_(explainer.level.out.weight, std=0.1)  # type: ignore[union-attr]
    pixels = 255 * torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    objective = Objective(config, classifier, fill_of(classifier))
    objective(explainer, pixels, 0.9, torch.Generator().manual_seed(2)).loss.backward()
    return sum(float(p.grad.norm()) for p in explainer.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", ["tapped", "autoencoder"])
@pytest.mark.parametrize("term", TERMS)
def test_every_term_with_a_weight_moves_the_explainer(
    config: TrainConfig, classifier: FrozenClassifier, term: str, kind: str
) -> None:
    silent = {name: 0.0 for name in TERMS}
    # One term of the three that keep the decision must have a weight; it is made too small to count.
    alone = replace(config, explainer=kind, mode=TERMS[term], **{**silent, "ce": 1e-30, term: 1.0})
    assert gradient_norm(alone, classifier) > 1e-6


def test_a_random_background_moves_the_explainer_where_the_fill_would_not(
    config: TrainConfig, classifier: FrozenClassifier
) -> None:
    robust = gradient_norm(replace(config, robustness=1.0), classifier)
    plain = gradient_norm(replace(config, robustness=0.0), classifier)
    assert robust > 0
    assert robust != plain


def test_no_gradient_reaches_the_classifier(config: TrainConfig, classifier: FrozenClassifier) -> None:
    gradient_norm(config, classifier)
    assert all(p.grad is None for p in classifier.parameters())


def test_kl_agrees_with_torch() -> None:
    a, b = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(0))
    expected = F.kl_div(b.log_softmax(1), a.softmax(1), reduction="none").sum(1)
    assert torch.allclose(kl_divergence(a, b), expected, atol=1e-5)


def test_known_values_of_the_terms() -> None:
    features = [torch.ones(1, 2, 2, 2), torch.full((1, 3, 1, 1), 5.0)]
    assert activation_distance(features, [torch.zeros_like(f) for f in features]).item() == pytest.approx(1.0)
    assert binarisation(torch.tensor([0.5, 1.0]).view(1, 1, 1, 2)).item() == pytest.approx(0.125)
    assert necessity(torch.tensor([[0.0, 0.0]]), torch.tensor([0])).item() == 0.0
    assert necessity(torch.tensor([[100.0, 0.0]]), torch.tensor([0])).item() == pytest.approx(100.0 - math.log(2.0))


def test_necessity_is_the_logarithm_of_what_is_left_and_moves_a_sure_complement() -> None:
    logits = (3.0 * torch.randn(6, 5, generator=torch.Generator().manual_seed(0))).requires_grad_(True)
    target = torch.arange(6) % 5
    p = logits.softmax(1).gather(1, target[:, None])[:, 0]
    expected = torch.log((1.0 - 1.0 / 5) / (1.0 - p)).clamp_min(0.0)
    assert torch.allclose(necessity(logits, target), expected, atol=1e-5)
    sure = torch.tensor([[40.0, 0.0, 0.0]], requires_grad=True)
    necessity(sure, torch.tensor([0])).sum().backward()
    assert sure.grad is not None and sure.grad[0, 0].item() == pytest.approx(1.0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_activation_distance_and_its_gradient_are_the_formulas(layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 4, 7, 5), (3, 6, 3, 2))
    image = [torch.randn(shape, generator=generator).contiguous(memory_format=layout) for shape in shapes]
    start = [torch.randn(shape, generator=generator).contiguous(memory_format=layout) for shape in shapes]
    kept, plain = ([each.clone().requires_grad_(True) for each in start] for _ in range(2))
    weight = torch.tensor([1.0, -2.0, 0.5])
    got = activation_distance(image, kept)
    terms = [(a - b).square().mean((1, 2, 3)) / b.square().mean((1, 2, 3)) for a, b in zip(plain, image, strict=True)]
    expected = torch.stack(terms).mean(0)
    assert torch.allclose(got, expected, rtol=1e-5)
    (weight * got).sum().backward()
    (weight * expected).sum().backward()
    for a, b in zip(kept, plain, strict=True):
        assert a.grad is not None and b.grad is not None
        assert torch.allclose(a.grad, b.grad, rtol=1e-5, atol=1e-7)
    assert all(each.grad is None for each in image)


def test_the_distance_of_half_precision_maps_is_a_full_precision_number() -> None:
    kept = torch.full((1, 2, 4, 4), 300.0, dtype=torch.bfloat16, requires_grad=True)
    distance = activation_distance([torch.ones(1, 2, 4, 4, dtype=torch.bfloat16)], [kept])
    distance.sum().backward()
    assert distance.dtype == torch.float32
    assert distance.item() == pytest.approx(299.0**2, rel=1e-2)
    assert kept.grad is not None and kept.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_the_distance_of_half_precision_maps_has_the_formulas_gradient(half: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    image, start = (40_000.0 * torch.randn(3, 4, 7, 5, generator=generator).tanh().to(half) for _ in range(2))
    kept = start.clone().requires_grad_(True)
    wide = start.double().requires_grad_(True)
    scale = 2.0**10 if half == torch.float16 else 1.0  # gradients as loss scaling makes them
    (scale * activation_distance([image], [kept]).sum()).backward()
    expected = (wide - image.double()).square().mean((1, 2, 3)) / image.double().square().mean((1, 2, 3))
    (scale * expected.sum()).backward()
    assert kept.grad is not None and wide.grad is not None
    worst = float((kept.grad.double() - wide.grad).abs().max() / wide.grad.abs().max())
    assert worst < 2.0**-7, "two roundings to eight bits at most"


@pytest.mark.parametrize("shape", [(3, 256, 19, 19), (3, 5, 7, 3), (1, 1, 2, 2)])
def test_the_energy_of_half_precision_maps_is_summed_in_full_precision(shape: tuple[int, ...]) -> None:
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0)).relu().to(torch.bfloat16)
    for layout in (torch.contiguous_format, torch.channels_last):
        got = energy(maps.contiguous(memory_format=layout))
        assert got.dtype == torch.float32
        expected = maps.double().square().sum((1, 2, 3))
        limit = 2.0**-7 if shape[1:] == (1, 2, 2) else 2.0**-9  # of one cell, and of many, whose roundings cancel
        assert float(((got - expected).abs() / expected).max()) < limit


def test_a_masked_picture_and_its_gradient_are_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, 7, generator=generator).contiguous(memory_format=torch.channels_last)
    for shape in ((2, 3, 5, 7), (1, 3, 1, 1)):
        background = torch.randn(shape, generator=generator)
        mask = torch.rand(2, 1, 5, 7, generator=generator).requires_grad_(True)
        plain = mask.detach().clone().requires_grad_(True)
        weight = torch.randn(2, 3, 5, 7, generator=generator)
        got, expected = masked(x, mask, background), plain * x + (1.0 - plain) * background
        assert torch.allclose(got, expected, rtol=1e-5, atol=1e-6)
        (weight * got).sum().backward()
        (weight * expected).sum().backward()
        assert mask.grad is not None and plain.grad is not None
        assert torch.allclose(mask.grad, plain.grad, rtol=1e-4, atol=1e-5)
    cut = (x[:, :1] > 0).float()
    assert torch.equal(masked(x, cut, background), torch.where(cut > 0, background + (x - background), background))


def test_a_map_without_energy_has_a_finite_distance() -> None:
    kept = torch.zeros(1, 1, 2, 2, requires_grad=True)
    distance = activation_distance([torch.zeros(1, 1, 2, 2)], [kept])
    distance.sum().backward()
    assert distance.item() == 0.0
    assert kept.grad is not None and bool((kept.grad == 0).all())


def test_total_variation_does_not_depend_on_the_resolution() -> None:
    def wave(side: int) -> torch.Tensor:
        return torch.sin(torch.linspace(0, 6.28, side)).expand(1, 1, side, side)

    assert total_variation(wave(20)).item() == pytest.approx(total_variation(wave(40)).item(), rel=0.15)


def test_area_acts_in_mode_area_too(config: TrainConfig, classifier: FrozenClassifier) -> None:
    silent = {name: 0.0 for name in TERMS}
    alone = replace(config, mode="area", target_area=0.1, **{**silent, "ce": 1e-30, "area": 1.0})
    assert gradient_norm(alone, classifier) > 1e-6


def test_quantile_loss_is_least_at_the_level_of_the_area() -> None:
    ranking = torch.randn(3, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    level = torch.zeros(3, 1, 1, 1, requires_grad=True)
    quantile_loss(ranking, level, 0.1).sum().backward()
    assert torch.allclose(level.grad, 0.1 - (ranking > 0).float().mean((1, 2, 3), keepdim=True))
    for _ in range(200):  # descend: the hard share is what was asked for, without a soft mask in between
        level.grad = None
        quantile_loss(ranking, level, 0.1).sum().backward()
        level = (level - level.grad).detach().requires_grad_(True)
    assert (ranking > level).float().mean((1, 2, 3)).tolist() == pytest.approx([0.1] * 3, abs=0.006)


def test_breaking_levels_are_recovered_from_answers_alone() -> None:
    """Two kinds of images, one that breaks at −1 and one at +1, with little and with much noise."""
    generator = torch.Generator().manual_seed(0)
    raw = torch.zeros(2, 2, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(400):
        kind = torch.arange(256) % 2
        level = (6 * torch.rand(256, generator=generator) - 3).view(-1, 1, 1, 1)
        noise = torch.tensor([0.1, 0.6])[kind] * torch.logit(torch.rand(256, generator=generator), 1e-6)
        kept = level.flatten() < torch.tensor([-1.0, 1.0])[kind] + noise
        chosen = raw[kind]
        breaking = Breaking(chosen[:, :1, None, None], chosen[:, 1:, None, None].exp())
        loss = breaking_loss(breaking, level, kept).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.allclose(raw[:, 0], torch.tensor([-1.0, 1.0]), atol=0.15)
    assert torch.allclose(raw[:, 1].exp(), torch.tensor([0.1, 0.6]), atol=0.15)


def test_the_level_for_a_higher_retention_is_lower() -> None:
    breaking = Breaking(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.5))
    assert breaking.level_for(0.5).item() == 0.0
    assert breaking.level_for(0.9).item() == pytest.approx(-0.5 * 2.1972, abs=1e-3)


def test_the_search_for_the_area_does_not_move_the_ranking(config: TrainConfig, classifier: FrozenClassifier) -> None:
    silent = {name: 0.0 for name in TERMS}
    explainer = build_explainer(config.explainer_config(), classifier)
    pixels = 255 * torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    alone = replace(config, **{**silent, "ce": 1e-30, "level": 1.0})
    Objective(alone, classifier, fill_of(classifier))(explainer, pixels, 0.9, torch.Generator()).loss.backward()
    moved = {n for n, p in explainer.named_parameters() if p.grad is not None and float(p.grad.abs().max()) > 1e-12}
    assert moved
    assert all(name.startswith("level.") for name in moved)


def test_own_levels_are_drawn_only_in_mode_weighted_and_after_the_ranking_phase(config: TrainConfig) -> None:
    generator = torch.Generator().manual_seed(0)
    weighted = replace(config, mode="weighted")
    assert not draw_masks(weighted, 0.1, 16, generator).own.any()
    assert draw_masks(weighted, 0.5, 16, generator).own.sum() == 4
    assert not draw_masks(config, 0.5, 16, generator).own.any()


def test_backgrounds_are_the_fill_or_each_of_the_kinds() -> None:
    x = torch.randn(64, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    fill = torch.full((1, 3, 1, 1), 0.25)
    plain = random_background(x, fill, 0.0, torch.Generator().manual_seed(1))
    assert torch.equal(plain, fill.expand_as(x))
    mixed = random_background(x, fill, 1.0, torch.Generator().manual_seed(1))
    assert not (mixed == 0.25).flatten(1).all(1).any()
    repeated = random_background(x, fill, 1.0, torch.Generator().manual_seed(1))
    assert torch.equal(mixed, repeated)
    assert len(KINDS) == 4


def test_backgrounds_are_what_drawing_from_the_whole_batch_gives() -> None:
    """The plain way: every kind made of every picture, and rows chosen."""
    x = torch.randn(16, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    fill = torch.full((1, 3, 1, 1), 0.25)
    got = random_background(x, fill, 0.7, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    random = torch.rand(16, generator=generator) < 0.7
    kind = torch.where(random, torch.randint(len(KINDS), (16,), generator=generator), -1)
    for index, source in enumerate((blur(x), blur(x).roll(1, 0), None, x.roll(1, 0))):
        chosen = kind == index
        assert chosen.any()
        if source is not None:
            assert torch.allclose(got[chosen], source[chosen], atol=1e-6)
    assert bool((got[kind == -1] == 0.25).all())


def test_coloured_backgrounds_are_drawn_evenly_from_the_values_of_the_pictures() -> None:
    x = torch.rand(600, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    low, high = torch.tensor([-2.0, 0.0, 1.0]), torch.tensor([-1.0, 5.0, 1.5])
    x = low.view(1, 3, 1, 1) + (high - low).view(1, 3, 1, 1) * x
    generator = torch.Generator().manual_seed(3)
    colours = _background_of("colour", x, generator).mean((2, 3))
    even = (high - low).square() / 12 + NOISE_DEVIATION**2 / 16
    torch.testing.assert_close(colours.mean(0), (low + high) / 2, atol=0.2, rtol=0)
    torch.testing.assert_close(colours.var(0), even, atol=0, rtol=0.15)
    assert _background_of("colour", x, generator)[0].std(dim=(1, 2)).min() > NOISE_DEVIATION / 3
