"""MaRC for pictures: the windowed sum against its definition, its memory, the confidence, and a known answer."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from quadrant_module import Quadrant, quadrant_classifier, quadrant_pictures
from torch import nn

from whymask.runtime.errors import InputError
from whymask.train.classifier import FrozenClassifier, InputRule
from whymask.train.marc.confidence import log_confidence
from whymask.train.marc.pictures import (
    CONVOLUTIONAL,
    OTHER,
    Family,
    MarcConfig,
    backgrounds_of,
    explain_images,
    family_for,
    losses,
    marc_masks,
    mask_of,
    variation,
)
from whymask.train.marc.windowed_sum import reach_of, rings, windowed_sum

SIZE = 16


@pytest.fixture(scope="module")
def classifier() -> FrozenClassifier:
    return quadrant_classifier(SIZE)


def direct_sum(weight: torch.Tensor, sigma: torch.Tensor, radius: int) -> torch.Tensor:
    """The definition, with every pair of pixels held at once."""
    height, width = weight.shape[1:]
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    apart = places[:, None] - places[None]  # (p, q)
    inside = apart.abs().amax(2) <= radius
    squares = apart.square().sum(2).to(weight.dtype)
    spread = torch.exp(-squares / sigma.flatten(1)[:, None]) * inside
    return (spread * weight.flatten(1)[:, None]).sum(2).view_as(weight)


@pytest.mark.parametrize(("radius", "widest"), [(20, 4.0), (3, 40.0), (0, 2.0), (5, 0.7)])
def test_the_windowed_sum_and_its_gradients_are_those_of_the_definition(radius: int, widest: float):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(2, 11, 14, generator=generator, dtype=torch.float64).requires_grad_(True)
    sigma = (0.6 + (widest - 0.6) * torch.rand(2, 11, 14, generator=generator, dtype=torch.float64)).requires_grad_(
        True
    )
    arriving = torch.randn(2, 11, 14, generator=generator, dtype=torch.float64)
    found, expected = windowed_sum(weight, sigma, radius), direct_sum(weight, sigma, radius)
    assert torch.allclose(found, expected, atol=1e-9)
    for ours, theirs in zip(
        torch.autograd.grad(found, (weight, sigma), arriving),
        torch.autograd.grad(expected, (weight, sigma), arriving),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-9)


def test_the_rings_are_the_window():
    offsets = [offset for _, ring in rings(20) for offset in ring]
    assert len(offsets) == len(set(offsets)) == 41 * 41
    assert all(row * row + column * column == square for square, ring in rings(20) for row, column in ring)


def test_a_full_window_takes_a_tenth_of_what_unfolding_would():
    """In a process of its own, since a peak is never taken back. σ = 14 lets every offset of the window count."""
    code = f"""
import resource, torch
torch.set_num_threads(1)
from whymask.train.marc.windowed_sum import windowed_sum
def step(side):
    w = torch.full((1, side, side), 0.5, requires_grad=True)
    windowed_sum(w, torch.full_like(w, 14.0).requires_grad_(True)).sum().backward()
step(8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step(224)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * {1024 if sys.platform == "linux" else 1})
"""
    grown = int(subprocess.check_output([sys.executable, "-c", code], text=True))
    unfolded = 41 * 41 * 224 * 224 * 4
    assert grown < unfolded / 10, f"grew by {grown / 1e6:.0f} MB"


@pytest.mark.parametrize(
    ("weight", "sigma", "radius"), [((2, 4, 4), (2, 4, 5), 2), ((4, 4), (4, 4), 2), ((1, 4, 4), (1, 4, 4), -1)]
)
def test_what_cannot_be_summed_is_refused(weight: tuple[int, ...], sigma: tuple[int, ...], radius: int):
    with pytest.raises(InputError, match=r"windowed sum: weight .* expected two of the same"):
        windowed_sum(torch.ones(weight), torch.ones(sigma), radius)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_the_confidence_is_softmax_and_a_share_of_sigmoid(share: float):
    logits, target = torch.tensor([[1.0, -0.5, 2.0], [0.3, 0.1, -4.0]]), torch.tensor([0, 2])
    sure, unsure = log_confidence(logits, target, share)
    own = logits.gather(1, target[:, None])[:, 0]
    probability = (1 - share) * logits.softmax(1).gather(1, target[:, None])[:, 0] + share * own.sigmoid()
    assert torch.allclose(sure.exp(), probability)
    assert torch.allclose(unsure.exp(), 1 - probability)


def test_a_certain_class_still_has_a_gradient():
    logits = torch.tensor([[80.0, -80.0]], requires_grad=True)
    _, unsure = log_confidence(logits, torch.tensor([0]), 0.1)
    (gradient,) = torch.autograd.grad(unsure.sum(), logits)
    assert torch.isfinite(unsure).all()
    assert float(gradient.abs().max()) > 0.5


def test_the_loss_of_a_picture_is_the_papers_sum(classifier: FrozenClassifier):
    """By hand for a constant mask, of which TV is 0: radius 0 makes m = sigmoid(w)."""
    pixels, target = quadrant_pictures(1, SIZE)
    x = classifier.normalise(pixels)
    config = MarcConfig(radius=0)
    family = family_for(classifier, config)
    backgrounds = backgrounds_of(classifier, x, "colours")
    weight, sigma = torch.full((1, SIZE, SIZE), 0.5), torch.full((1, SIZE, SIZE), 1.2)
    m = 1 / (1 + math.exp(-0.5))
    decision = 0.0
    for b in backgrounds:
        for share, sign in ((m, 1), (1 - m, -1)):
            logits = classifier(share * x + (1 - share) * b)[0]
            p = 0.9 * logits.softmax(0)[target[0]] + 0.1 * logits[target[0]].sigmoid()
            decision -= math.log(p if sign > 0 else 1 - p) / 3
    expected = decision - 1.2 * math.log(1.2) + 0.6 * m**2
    loss, mean = losses(classifier, x, target, backgrounds, weight, sigma, config, family)
    assert float(loss) == pytest.approx(expected, abs=1e-5)
    assert float(mean) == pytest.approx(m)


def test_every_term_of_the_loss_moves_weights_or_widths(classifier: FrozenClassifier):
    pixels, target = quadrant_pictures(1, SIZE)
    x = classifier.normalise(pixels)
    generator = torch.Generator().manual_seed(2)
    backgrounds = backgrounds_of(classifier, x, "colours")

    def gradient(**weights: float) -> torch.Tensor:
        weight = torch.randn(1, SIZE, SIZE, generator=generator.manual_seed(2)).requires_grad_(True)
        sigma = torch.full_like(weight, 1.2).requires_grad_(True)
        off = {"smoothness": 0.0, "sparsity": 0.0, "tv": 0.0}
        config = MarcConfig(**{**off, **weights})
        family = family_for(classifier, config)
        loss, _ = losses(classifier, x, target, backgrounds, weight, sigma, config, family)
        return torch.cat([each.flatten() for each in torch.autograd.grad(loss.sum(), (weight, sigma))])

    decision = gradient()
    assert float(decision.abs().sum()) > 0
    for term in ("smoothness", "sparsity", "tv"):
        assert float((gradient(**{term: 1.0}) - decision).abs().sum()) > 1e-3, term


def test_variation_is_the_squared_step_to_four_neighbours_a_pixel():
    mask = torch.tensor([[[0.0, 1.0], [0.0, 0.5]]])
    down, right, falling, rising = 0.0 + 0.25, 1.0 + 0.25, 0.25, 1.0
    assert variation(mask).tolist() == pytest.approx([(down + right + falling + rising) / 4])


def test_outside_the_picture_weights_and_widths_go_on_as_at_its_rim():
    """A constant picture has a constant mask; a bright rim spreads from outside, too."""
    weight, sigma = torch.full((1, 9, 11), 0.3), torch.full((1, 9, 11), 1.5)
    flat = mask_of(weight, sigma, 20)
    assert torch.allclose(flat, flat[:, :1, :1].expand_as(flat), atol=1e-6)
    weight[0, :, -1] = 2.0
    reach = reach_of(sigma)
    wide_weight = torch.cat([weight, weight[:, :, -1:].expand(-1, -1, reach)], 2)
    by_hand = mask_of(wide_weight, torch.full_like(wide_weight, 1.5), 20)[:, :, :11]
    assert torch.allclose(mask_of(weight, sigma, 20), by_hand, atol=1e-6)


def test_a_rim_of_the_reach_is_as_good_as_one_of_the_whole_window():
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(2, 12, 12, generator=generator, dtype=torch.float64)
    sigma = 0.6 + torch.rand(2, 12, 12, generator=generator, dtype=torch.float64)
    assert reach_of(sigma) < 20
    wide = [nn.functional.pad(each[:, None], [20] * 4, mode="replicate")[:, 0] for each in (weight, sigma)]
    whole = torch.sigmoid(direct_sum(wide[0], wide[1], 20)[:, 20:-20, 20:-20])
    assert torch.allclose(mask_of(weight, sigma, 20), whole, atol=1e-9)


def test_the_quadrant_that_decides_is_found():
    side = 32  # TV is a sum over edges a pixel: on fewer pixels it holds the mask together
    classifier = quadrant_classifier(side)
    pixels, target = quadrant_pictures(2, side)
    masks = explain_images(classifier, pixels, target, steps=300)
    assert masks.shape == (2, side, side)
    assert masks.dtype == torch.float32
    assert 0.0 <= float(masks.min()) <= float(masks.max()) <= 1.0
    half = side // 2
    inside, whole = masks[:, half:, half:].mean((1, 2)), masks.mean((1, 2))
    assert (inside > 2 * (4 * whole - inside) / 3).all()
    kept = (masks >= 0.5).float()[:, None]
    assert torch.equal(classifier(kept * classifier.normalise(pixels)).argmax(1), target)


def test_pictures_do_not_depend_on_their_neighbours(classifier: FrozenClassifier):
    pixels, target = quadrant_pictures(2, SIZE)
    together = explain_images(classifier, pixels, target, steps=8)
    alone = explain_images(classifier, pixels[1:], target[1:], steps=8, seed=5)
    assert torch.allclose(together[1:], alone, atol=1e-4)


def steps_until(classifier: FrozenClassifier, pixels: torch.Tensor, target: torch.Tensor, config: MarcConfig) -> int:
    """How many steps these pictures took."""
    told: list[int] = []
    marc_masks(classifier, pixels, target, config, told.append)
    assert told == list(range(1, len(told) + 1))
    return len(told)


def test_a_settled_mask_ends(classifier: FrozenClassifier):
    """The step after the least is the first that may be the last, as published."""
    asked = quadrant_pictures(1, SIZE)
    settled = MarcConfig(steps=30, least_steps=3, settled=1.0, widest=1.0)
    assert steps_until(classifier, *asked, settled) == 4
    assert steps_until(classifier, *asked, replace(settled, settled=-1.0)) == 30
    assert steps_until(classifier, *asked, replace(settled, widest=0.1)) == 30


def test_a_mask_that_has_settled_rests_while_others_go_on(classifier: FrozenClassifier):
    """Adam's momentum would move it on."""
    pixels, target = quadrant_pictures(2, SIZE)
    plain = torch.full_like(pixels[:1], 128.0)
    both, classes = torch.cat([pixels[:1], plain]), torch.cat([target[:1], target[:1]])
    config = MarcConfig(steps=40, least_steps=5, settled=0.05, widest=1.0)
    ended = [steps_until(classifier, both[i : i + 1], classes[i : i + 1], config) for i in range(2)]
    assert ended[0] < ended[1] < 40
    together = marc_masks(classifier, both, classes, config)
    for i in range(2):
        alone = marc_masks(classifier, both[i : i + 1], classes[i : i + 1], config)
        assert torch.allclose(together[i : i + 1], alone, atol=1e-4)


def test_no_step_gives_the_start_and_leaves_the_classifier(classifier: FrozenClassifier):
    before = classifier.sha256()
    pixels, target = quadrant_pictures(1, SIZE)
    start = marc_masks(classifier, pixels, target, MarcConfig(steps=0))
    assert float(start[0, SIZE // 2, SIZE // 2]) == pytest.approx(1 / (1 + math.exp(-1.885)), abs=1e-3)
    marc_masks(classifier, pixels, target, MarcConfig(steps=2, background="blur"))
    assert classifier.sha256() == before


def test_a_transformer_gets_the_settings_of_its_family(classifier: FrozenClassifier):
    class Windows(Quadrant):
        def __init__(self) -> None:
            super().__init__(SIZE, gain=1.0, normalised=False)
            self.back = nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """The same, through a map with its channels last."""
            seen = self.back(self.cells(x).permute(0, 2, 3, 1))
            logits: torch.Tensor = self.head(seen.mean((1, 2)))
            return logits

    other = FrozenClassifier(Windows(), "tests:windows", InputRule(SIZE, SIZE), taps=("back",))
    own = MarcConfig()
    assert (family_for(classifier, own), family_for(other, own)) == (CONVOLUTIONAL, OTHER)
    assert CONVOLUTIONAL == Family(sigmoid_share=0.1, sparsity=0.6, background="colours")
    assert OTHER == Family(sigmoid_share=0.0, sparsity=0.25, background="blur")
    given = MarcConfig(sparsity=0.0, background="colours")
    assert family_for(other, given) == Family(sigmoid_share=0.0, sparsity=0.0, background="colours")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": -1}, "marc: -1 steps, 250 at least, learning rate 0.03; expected no negative"),
        ({"least_steps": -1}, "marc: 7500 steps, -1 at least, learning rate 0.03; expected no negative"),
        ({"least_sigma": 2.0}, "expected 0 < least_sigma ≤ sigma"),
        ({"background": "grey"}, "marc: background is 'grey', expected one of colours, blur"),
    ],
)
def test_settings_that_move_nothing_are_refused(values: dict[str, object], message: str):
    with pytest.raises(InputError) as raised:
        MarcConfig(**values)  # type: ignore[arg-type]
    assert message in str(raised.value)
