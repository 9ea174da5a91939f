"""What attributes stand for, as pictures: samples, activation maximisation, thumbnails and the page."""

from __future__ import annotations

import base64
import copy
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_base import MODEL_FILE
from typer.testing import CliRunner

from whymask.benchmarks import flint
from whymask.benchmarks.flint_pictures import page_from_run
from whymask.runtime.errors import InputError
from whymask.train.flint.config import FlintConfig
from whymask.train.flint.examples import Examples
from whymask.train.flint.fit import judge
from whymask.train.flint.relevance import Judged
from whymask.train.flint.run import FlintRun, load_run, train_on
from whymask.train.flint.visualise import (
    PUBLISHED,
    Maximisation,
    Stage,
    maximise,
    maximum_activating,
    relevant_pairs,
    thumbnails,
)
from whymask.train.model_spec import classifier_from_config

QUICK = Maximisation((Stage(2, 6, 10, steps=10, rounds=2),), dim=0.3)


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, pixels: torch.Tensor) -> FlintRun:
    folder = tmp_path_factory.mktemp("flint")
    (folder / "tiny.py").write_text(MODEL_FILE)
    config = FlintConfig(
        f"{folder / 'tiny.py'}:build", ("x",), size=(32, 32), attributes=4, steps=10, batch_size=4, pictures=True
    )
    return train_on(classifier_from_config(config), Examples(pixels), Examples(pixels), config, folder / "run")


def test_samples_are_those_of_the_class_that_answer_most() -> None:
    phi = torch.tensor([[1.0], [5.0], [3.0], [9.0]])
    judged = Judged(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 0, 1]), phi, phi)
    assert maximum_activating(judged, 0, 0, 2) == [1, 2]
    assert maximum_activating(judged, 0, 1) == [3]


def test_pairs_are_those_above_the_threshold_best_first() -> None:
    relevance = torch.tensor([[1.0, 0.6], [0.2, 1.0]])
    judged = Judged(torch.tensor([0, 2]), torch.tensor([0, 2]), relevance, relevance)
    assert [pair[:2] for pair in relevant_pairs(judged, 3, 2.0)] == [(0, 0), (0, 1), (2, 1)]


def test_maximisation_raises_the_attribute_above_its_dim_start(run: FlintRun, pixels: torch.Tensor) -> None:
    judged = judge(run.classifier, run.interpreter, pixels)
    attribute = int(judged.phi.mean(0).argmax())
    before = run.classifier.sha256()
    start = (pixels[:2].float() * QUICK.dim).round().to(torch.uint8)
    raised = maximise(run.classifier, run.interpreter, pixels[:2], [attribute] * 2, QUICK)
    begun, ended = (judge(run.classifier, run.interpreter, each).phi[:, attribute] for each in (start, raised))
    assert bool((ended > begun).all())
    assert run.classifier.sha256() == before
    assert all(p.grad is None for p in run.classifier.parameters())


def test_a_larger_variation_weight_gives_a_smoother_picture(run: FlintRun, pixels: torch.Tensor) -> None:
    rough, smooth = (
        maximise(
            run.classifier,
            run.interpreter,
            pixels[:2],
            [0, 1],
            Maximisation((Stage(2, weight, 10, 20, rounds=1),), 0.3),
        ).float()
        for weight in (0.0, 500.0)
    )
    assert float(smooth.diff(dim=3).abs().mean()) < float(rough.diff(dim=3).abs().mean())


def test_the_card_holds_a_picture_of_each_attribute(run: FlintRun, pixels: torch.Tensor) -> None:
    card = load_run(run.path).card
    assert len(card.pictures) == 4
    row = int(judge(run.classifier, run.interpreter, pixels).phi[:, 2].argmax())
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(card.pictures[2]))))
    np.testing.assert_array_equal(shown, pixels[row].permute(1, 2, 0).numpy())


def test_a_picture_that_travels_is_small() -> None:
    phi = torch.tensor([[1.0], [2.0]])
    judged = Judged(torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), phi, phi)
    pixels = torch.stack([torch.zeros(3, 64, 96), torch.full((3, 64, 96), 200.0)]).to(torch.uint8)
    shown = Image.open(io.BytesIO(base64.b64decode(thumbnails(judged, pixels)[0])))
    assert shown.size == (48, 32)
    assert np.asarray(shown).min() == 200


def test_the_page_is_one_file_with_its_pictures(run: FlintRun, pixels: torch.Tensor, tmp_path: Path) -> None:
    page = page_from_run(run, pixels, 1.2, 2, QUICK)
    assert page.count("<img") == page.count("data:image/png;base64,") >= 2
    assert "http" not in page
    assert "16 pictures searched" in page and "global relevance" in page
    with pytest.raises(InputError, match="no attribute has a global relevance above 1/1 for any class"):
        page_from_run(run, pixels, 1.0, 2, QUICK)


def test_a_start_brighter_than_the_sample_and_no_stage_are_refused() -> None:
    with pytest.raises(InputError, match=r"dim is 1\.5, expected a share in \[0, 1\]"):
        Maximisation(QUICK.stages, dim=1.5)
    with pytest.raises(InputError, match="no stage was given"):
        Maximisation((), dim=0.5)
    with pytest.raises(InputError, match="steps is 50, rounds 0"):
        Stage(1, 1, 1, rounds=0)


def test_the_published_numbers_of_steps() -> None:
    assert {name: each.steps for name, each in PUBLISHED.items()} == {"digits": 600, "cifar": 600, "cub": 4560}


def test_a_start_in_deviations_is_dimmed_towards_their_mean(run: FlintRun, pixels: torch.Tensor) -> None:
    still = Stage(0, 0, 0, 1, rounds=1)  # no weight at all: x stays where it began
    ended = maximise(
        run.classifier, run.interpreter, pixels[:1], [0], Maximisation((still,), 0.5, (0.5,) * 3, (0.2,) * 3)
    )
    expected = 255 * 0.5 + (pixels[:1].float() - 255 * 0.5) / 2
    assert float((ended.float() - expected).abs().max()) <= 1


def test_values_outside_their_bounds_come_back(run: FlintRun, pixels: torch.Tensor) -> None:
    held, free = (
        maximise(run.classifier, run.interpreter, pixels[:1], [0], Maximisation((stage,), 1.0, high=0.5)).float()
        for stage in (Stage(0, 0, weight, 50, rounds=1) for weight in (10.0, 0.0))
    )
    assert float(free.max()) > 250
    assert float(held.max()) <= 128 + 255 * 0.05


def test_an_attribute_that_is_zero_at_the_start_still_has_a_slope(run: FlintRun, pixels: torch.Tensor) -> None:
    net = copy.deepcopy(run.interpreter.phi)
    _, maps = run.classifier.with_taps(run.classifier.normalise(pixels[:2].float()))
    torch.testing.assert_close(net.sloped(maps).clamp_min(0), net(maps))
    torch.nn.init.constant_(net.mix.bias, -100.0)
    maps = [each.detach().requires_grad_() for each in maps]
    assert not bool(net(maps).any())
    slopes = torch.autograd.grad(net.sloped(maps).sum(), maps)
    assert all(float(each.abs().max()) > 0 for each in slopes)


def test_a_shift_takes_pixels_round_the_rims_and_is_seeded(run: FlintRun, pixels: torch.Tensor) -> None:
    first, again, other = (
        maximise(run.classifier, run.interpreter, pixels[:1], [0], Maximisation(QUICK.stages, 0.3, jitter=4, seed=seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_command_says_by_whose_numbers_it_raised(run: FlintRun, pixels: torch.Tensor, tmp_path: Path) -> None:
    for row, picture in enumerate(pixels):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / f"{row}.png")
    command = ["pictures", str(run.path), "--data", str(tmp_path), "--tau", "1.2", "--pairs", "1"]
    result = CliRunner().invoke(flint.app, [*command, "--as-published", "digits", "-o", str(tmp_path / "page.html")])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "30% of its intensity and changed by 600 steps" in page
    assert "12 rounds, weights 2 activation, 6 total variation, 10 bounds" in page
    result = CliRunner().invoke(flint.app, [*command, "--as-published", "mnist"])
    assert result.exit_code != 0
    assert "--as-published: got 'mnist', expected digits, cifar, cub" in str(result.exception)
