"""Per-image optimisation, on a classifier whose evidence lies in one quadrant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from quadrant_module import quadrant_classifier, quadrant_pictures
from tiny_run import make_run

from whymask.runtime.card import Card
from whymask.runtime.errors import ArtefactError, InputError
from whymask.train import refine as refining
from whymask.train.classifier import FrozenClassifier
from whymask.train.config import TrainConfig
from whymask.train.masks import mask_from_saliency
from whymask.train.optimise import Asked, OptimiseConfig, _draws, ask_once, optimise, own_backgrounds, weighted_terms
from whymask.train.refine import (
    config_from_run,
    least_area,
    ranking_from_saliency,
    refine,
    refiner_from_run,
    saliency_at_area,
)
from whymask.train.run import save_run
from whymask.train.step import Draw

SIZE = 32
OBJECTIVE = TrainConfig("", (), necessity=0.2)
FILL = (200.0, 116.0, 104.0)
"""Red, which no picture here is: nothing is kept where nothing is shown."""


@pytest.fixture
def classifier() -> FrozenClassifier:
    return quadrant_classifier(SIZE, normalised=True)


def share_in_quadrant(maps: torch.Tensor, best: int = 12) -> float:
    """Share of each map's best cells that lie in the quadrant, averaged."""
    side = maps.shape[-1]
    top = maps.flatten(1).topk(best).indices
    return float(((top // side >= side // 2) & (top % side >= side // 2)).float().mean())


def config(**values: object) -> OptimiseConfig:
    settings = {"steps": 40, "draws": 2, "size": (8, 8), "fill": FILL, "objective": OBJECTIVE}
    return OptimiseConfig(**{**settings, **values})  # type: ignore[arg-type]


def test_the_quadrant_that_decides_is_found(classifier: FrozenClassifier):
    pixels, target = quadrant_pictures(4, SIZE)
    blind = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    found = optimise(classifier, pixels, target, config(), blind)
    assert found.shape == (4, 8, 8)
    assert found.dtype == torch.float32
    assert torch.allclose(found.mean((1, 2)), torch.zeros(4), atol=1e-5)
    assert torch.allclose(found.square().mean((1, 2)), torch.ones(4), atol=1e-2)
    assert share_in_quadrant(blind) < 0.4
    assert share_in_quadrant(found) > 0.8


def test_a_good_start_is_not_lost_and_a_bad_one_is_left(classifier: FrozenClassifier):
    pixels, target = quadrant_pictures(2, SIZE)
    good = torch.zeros(2, 8, 8)
    good[:, 4:, 4:] = 1.0
    bad = good.flip(1, 2)
    assert share_in_quadrant(optimise(classifier, pixels, target, config(steps=10), good)) > 0.95
    assert share_in_quadrant(bad) == 0.0
    assert share_in_quadrant(optimise(classifier, pixels, target, config(steps=60), bad)) > 0.5


def test_no_step_gives_the_start_in_the_size_that_was_asked_for(classifier: FrozenClassifier):
    pixels, target = quadrant_pictures(1, SIZE)
    start = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = (start - start.mean()) / start.std(correction=0)
    assert torch.allclose(optimise(classifier, pixels, target, config(steps=0), start)[0], expected[0], atol=0.01)
    assert optimise(classifier, pixels, target, config(steps=1, size=(5, 6))).shape == (1, 5, 6)
    assert optimise(classifier, pixels, target, config(steps=1, size=None)).shape == (1, 8, 8)


def test_batch_mates_and_order_do_not_matter(classifier: FrozenClassifier):
    pixels, target = quadrant_pictures(3, SIZE)
    together = optimise(classifier, pixels, target, config(steps=6))
    alone = optimise(classifier, pixels[1:2], target[1:2], config(steps=6))
    turned = optimise(classifier, pixels.flip(0), target.flip(0), config(steps=6)).flip(0)
    assert torch.allclose(together[1:2], alone, atol=1e-3)
    assert torch.allclose(together, turned, atol=1e-3)


def test_a_seed_repeats_and_another_one_differs(classifier: FrozenClassifier):
    pixels, target = quadrant_pictures(1, SIZE)
    first, again, other = (optimise(classifier, pixels, target, config(steps=5, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


@pytest.mark.parametrize("term", ["kl", "ce", "activation", "tv", "binarisation", "necessity"])
@pytest.mark.parametrize("hard", [False, True])
def test_every_weighted_term_has_a_gradient(classifier: FrozenClassifier, term: str, hard: bool):
    pixels, target = quadrant_pictures(2, SIZE)
    asked = ask_once(classifier, pixels, target, FILL)
    theta = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    draw = Draw(torch.tensor([False]), torch.tensor([hard]), torch.tensor([0.3]))
    terms = weighted_terms(classifier, asked, theta, draw, own_backgrounds(asked, config(), 0), OBJECTIVE)
    assert terms[term].shape == (2,)
    (gradient,) = torch.autograd.grad(terms[term].sum(), theta)
    assert (gradient.abs().amax((1, 2, 3)) > 0).all()


def test_a_class_that_is_not_the_predicted_one_is_asked_for_alone(classifier: FrozenClassifier):
    pixels, target = quadrant_pictures(2, SIZE)
    asked = ask_once(classifier, pixels, 3 - target, FILL)
    theta = torch.randn(2, 1, 8, 8)
    draw = Draw(torch.tensor([False]), torch.tensor([False]), torch.tensor([0.3]))
    terms = weighted_terms(classifier, asked, theta, draw, own_backgrounds(asked, config(), 0), OBJECTIVE)
    assert terms["kl"].tolist() == terms["activation"].tolist() == [0.0, 0.0]
    assert (terms["ce"] > 0).all()


def test_the_classifier_is_bit_identical_and_untouched(classifier: FrozenClassifier):
    before, modes = classifier.sha256(), [module.training for module in classifier.modules()]
    pixels, target = quadrant_pictures(2, SIZE)
    optimise(classifier, pixels, target, config(steps=3))
    assert classifier.sha256() == before
    assert [module.training for module in classifier.modules()] == modes
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in classifier.parameters())
    assert not any(module._forward_hooks for module in classifier.modules())


def test_steps_are_told(classifier: FrozenClassifier):
    pixels, target = quadrant_pictures(1, SIZE)
    told: list[int] = []
    optimise(classifier, pixels, target, config(steps=3), on_step=told.append)
    assert told == [1, 2, 3]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": -1}, "optimise: -1 steps, 2 draws, learning rate 0.1; expected no negative number of steps"),
        ({"draws": 0}, "40 steps, 0 draws"),
        ({"learning_rate": 0.0}, "a learning rate above 0"),
        ({"size": (1, 8)}, "optimise: size is (1, 8), expected a height and a width of at least 2 cells"),
    ],
)
def test_settings_that_move_nothing_are_refused(values: dict[str, object], message: str):
    with pytest.raises(InputError) as raised:
        config(**values)
    assert message in str(raised.value)


def test_a_refined_saliency_is_cut_at_the_least_area(classifier: FrozenClassifier):
    pixels, target = quadrant_pictures(4, SIZE)
    ranking = optimise(classifier, pixels, target, config())
    least = least_area(classifier, pixels, target, ranking, FILL)
    assert (least < 0.3).all()
    saliency = saliency_at_area(ranking, least)
    assert float(saliency.min()) >= 0.0
    assert float(saliency.max()) <= 1.0
    mask = mask_from_saliency(saliency, SIZE, SIZE, 0.5)
    assert torch.allclose(mask.mean((1, 2, 3)), least, atol=0.06)
    x, colour = classifier.normalise(pixels), classifier.normalise(torch.tensor(FILL).view(1, 3, 1, 1))
    assert torch.equal(classifier(mask * x + (1 - mask) * colour).argmax(1), target)


def test_a_class_that_no_mask_keeps_gets_the_whole_picture(classifier: FrozenClassifier):
    pixels, target = quadrant_pictures(2, SIZE)
    ranking = ranking_from_saliency(torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)))
    least = least_area(classifier, pixels, target, ranking, FILL, areas=())
    assert least.tolist() == [1.0, 1.0]
    assert float(mask_from_saliency(saliency_at_area(ranking, least), SIZE, SIZE, 0.5).min()) == 1.0


def test_a_saliency_gives_back_the_ranking_behind_it():
    ranking = ranking_from_saliency(torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)))
    again = ranking_from_saliency(saliency_at_area(ranking, torch.tensor([0.2, 0.9])))
    assert torch.allclose(again, ranking, atol=1e-2)


def test_refining_never_enlarges_a_least_mask(classifier: FrozenClassifier, monkeypatch: pytest.MonkeyPatch):
    pixels, target = quadrant_pictures(2, SIZE)
    start = torch.full((2, 8, 8), 0.1)
    start[:, 4:, 4:] = 0.9
    worse = ranking_from_saliency(start.flip(1, 2))
    monkeypatch.setattr(refining, "optimise", lambda *_: worse)
    refined = refine(classifier, pixels, target, start, config())
    before = least_area(classifier, pixels, target, ranking_from_saliency(start), FILL)
    assert torch.equal(refined, saliency_at_area(ranking_from_saliency(start), before))


def test_a_runs_refiner_takes_and_gives_numpy_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = make_run(tmp_path / "run", "tapped")
    save_run(run)
    monkeypatch.setattr(refining, "load_run", lambda path: run)
    refiner = refiner_from_run(run.path, run.card, 2)
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    told: list[int] = []
    maps = refiner(images, np.array([0, 1]), np.full((2, 16, 16), 0.5, np.float32), told.append)
    assert (maps.shape, maps.dtype, told) == ((2, 16, 16), np.float32, [1, 2])
    assert config_from_run(run, 2).fill == (120.0, 0.0, 255.0)
    assert config_from_run(run, 2).objective is run.config


def test_a_run_of_another_classifier_or_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = make_run(tmp_path / "run", "tapped")
    monkeypatch.setattr(refining, "load_run", lambda path: run)
    other = replace(run.card, classifier=replace(run.card.classifier, sha256="ab" * 32))
    with pytest.raises(ArtefactError, match="the graph one of abababababab…; give with --run the run directory"):
        refiner_from_run(run.path, other, 1)
    larger: Card = replace(run.card, input=replace(run.card.input, height=64))
    with pytest.raises(ArtefactError, match="the run takes 32 × 32 pixels by its own rule, the graph 64 × 32"):
        refiner_from_run(run.path, larger, 1)


@pytest.mark.parametrize("draws", [1, 2])
def test_an_area_does_not_foretell_the_background(draws: int):
    """Both of one seed, a large area came with a plain background and a small one with a random one."""
    settings = config(draws=draws, steps=1000)
    x = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    asked = Asked(x, torch.tensor([0]), torch.zeros(1, 2), [], torch.zeros(1, 3, 1, 1))
    areas, backgrounds = [], []
    for step in range(1000):
        for number, draw in enumerate(_draws(settings, step)):
            areas.append(float(draw.area))
            backgrounds.append(own_backgrounds(asked, settings, step * draws + number).flatten())
    plain = torch.tensor([bool((each == 0).all()) for each in backgrounds])
    area = torch.tensor(areas).log()
    assert 0.3 < plain.float().mean() < 0.7
    assert abs(float(torch.corrcoef(torch.stack([area, plain.float()]))[0, 1])) < 0.15
