"""What attributes stand for, as pictures: samples, activation maximisation, thumbnails and the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_base import MODEL_FILE

from whymask.benchmarks.flint_pictures import page_from_run
from whymask.runtime.errors import InputError
from whymask.train.flint.config import FlintConfig
from whymask.train.flint.examples import Examples
from whymask.train.flint.fit import judge
from whymask.train.flint.relevance import Judged
from whymask.train.flint.run import FlintRun, load_run, train_on
from whymask.train.flint.visualise import Maximisation, maximise, maximum_activating, relevant_pairs, thumbnails
from whymask.train.model_spec import classifier_from_config

QUICK = Maximisation(steps=20)


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
        maximise(run.classifier, run.interpreter, pixels[:2], [0, 1], Maximisation(steps=20, tv=weight)).float()
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
        page_from_run(run, pixels, 1.0, 2)


def test_a_start_brighter_than_the_sample_is_refused() -> None:
    with pytest.raises(InputError, match=r"dim is 1\.5, expected a share in \[0, 1\]"):
        Maximisation(dim=1.5)
