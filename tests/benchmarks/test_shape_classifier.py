from __future__ import annotations

import numpy as np
import pytest
import torch

from whymask.benchmarks.shape_classifier import (
    MEAN,
    STD,
    ClassifierConfig,
    ShapeClassifier,
    accuracy,
    normalised,
    shape_classifier,
    train_classifier,
)
from whymask.benchmarks.shapes import LABELS, make_shapes
from whymask.runtime import InputError, TrainingError


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_network_is_small_and_has_a_class_activation_map():
    model = shape_classifier().eval()
    assert sum(p.numel() for p in model.parameters()) < 400_000
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = model.stage3(model.stage2(model.stage1(x)))
    logits = (features.mean((2, 3)) @ model.head.weight.T) + model.head.bias
    assert logits.shape == (2, len(LABELS))
    assert torch.allclose(model(x), logits, atol=1e-5)


def test_stages_give_maps_at_three_resolutions():
    model = shape_classifier().eval()
    sizes, x = [], torch.zeros(1, 3, 64, 64)
    for stage in (model.stage1, model.stage2, model.stage3):
        x = stage(x)
        sizes.append(x.shape[-1])
    assert sizes == [32, 16, 8]


def test_it_learns_in_a_short_run():
    shapes = make_shapes(256, 32, seed=0, two_objects=0.0)
    losses: list[float] = []
    config = ClassifierConfig(epochs=6, batch_size=32)
    model = train_classifier(shapes, config, lambda step, total, loss: losses.append(loss))
    assert len(losses) == 6 * 8
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:8])
    # Ten classes: chance is 0.1.
    assert accuracy(model, make_shapes(200, 32, seed=1, two_objects=0.0)) > 0.2


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_smoke_test_may_have_very_few_steps(epochs: int):
    steps: list[tuple[int, int]] = []
    config = ClassifierConfig(epochs=epochs, batch_size=16)
    train_classifier(make_shapes(16, 32, seed=0), config, lambda step, total, loss: steps.append((step, total)))
    assert steps == [(step, epochs) for step in range(1, epochs + 1)]


def test_training_is_a_function_of_its_seed():
    shapes = make_shapes(64, 32, seed=0)
    one, same, other = (
        train_classifier(shapes, ClassifierConfig(epochs=1, batch_size=16, seed=seed)).head.weight for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_it_comes_back_frozen():
    model = train_classifier(make_shapes(32, 32, seed=0), ClassifierConfig(epochs=1, batch_size=16))
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_pixels_are_normalised_as_the_constants_say():
    image = torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)
    expected = [(value / 255 - mean) / std for value, mean, std in zip((0, 128, 255), MEAN, STD, strict=True)]
    assert normalised(image).flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_accuracy_counts_the_right_ones():
    shapes = make_shapes(40, 32, seed=0)

    class Always(ShapeClassifier):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.eye(len(LABELS))[torch.full((len(x),), 2)]

    assert accuracy(Always().eval(), shapes, batch_size=16) == pytest.approx((shapes.labels == 2).mean())


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(TrainingError, match="8 images, expected at least one batch of 64"):
        train_classifier(make_shapes(8, 32, seed=0), ClassifierConfig())
    with pytest.raises(InputError, match="epochs 0"):
        ClassifierConfig(epochs=0)
