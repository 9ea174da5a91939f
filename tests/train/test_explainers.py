from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from whymask.runtime.errors import InputError
from whymask.train.cam import class_activation_map
from whymask.train.classifier import FrozenClassifier
from whymask.train.config import ExplainerConfig
from whymask.train.explainers import CENTRE_GAIN, build_explainer, centre_prior
from whymask.train.levels import confidence
from whymask.train.masks import resize_to, standardise


@pytest.mark.parametrize("kind", ["tapped", "autoencoder"])
def test_an_explainer_gives_one_map_an_image_for_the_asked_class(classifier: FrozenClassifier, kind: str) -> None:
    torch.manual_seed(0)
    explainer = build_explainer(ExplainerConfig(kind, channels=8), classifier).eval()
    x = torch.randn(2, 3, 32, 32)
    logits, features = classifier.with_taps(x)
    first = explainer(features, x, logits, torch.tensor([0, 1]))
    second = explainer(features, x, logits, torch.tensor([2, 3]))
    assert first.shape == second.shape
    assert first.dtype == torch.float32
    assert not torch.allclose(first, second)


def test_an_untrained_tapped_explainer_ranks_with_the_class_evidence_and_the_centre(
    classifier: FrozenClassifier,
) -> None:
    torch.manual_seed(0)
    explainer = build_explainer(ExplainerConfig("tapped", channels=8), classifier).eval()
    torch.nn.init.zeros_(explainer.out.weight)  # type: ignore[union-attr, arg-type]
    x, target = torch.randn(3, 3, 32, 32), torch.tensor([0, 1, 2])
    logits, features = classifier.with_taps(x)
    saliency = explainer(features, x, logits, target)[:, None]
    cam = resize_to(standardise(class_activation_map(classifier, x, target)[:, None]), saliency)
    expected = standardise(cam + CENTRE_GAIN * centre_prior(saliency))
    for ours, theirs in zip(saliency, expected, strict=True):
        assert torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1] > 0.999


def test_the_centre_prior_is_highest_in_the_middle_and_the_same_at_every_corner() -> None:
    prior = centre_prior(torch.zeros(2, 1, 5, 7))
    assert prior.shape == (1, 1, 5, 7)
    assert prior.argmax() == 2 * 7 + 3
    corners = prior[0, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert torch.allclose(corners, prior.min().expand(4))
    assert prior.mean().abs() < 1e-6


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "magic"}, "explainer is 'magic', expected one of tapped, autoencoder"),
        ({"size": "huge"}, "autoencoder_size is 'huge', expected one of small, medium, large"),
        ({"channels": 2}, "channels is 2, expected 4 to 512"),
    ],
)
def test_unknown_explainers_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(ExplainerConfig(), **wrong)  # type: ignore[arg-type]


def test_the_saved_state_holds_nothing_of_the_classifier(classifier: FrozenClassifier) -> None:
    explainer = build_explainer(ExplainerConfig("tapped", channels=8), classifier)
    assert "rows" not in explainer.state_dict()
    assert not any(name.startswith("classifier") for name in explainer.state_dict())


def test_confidence_is_finite_for_a_certain_classifier_and_in_half_precision() -> None:
    certain = torch.tensor([[60.0, 0.0, 0.0], [0.0, 0.0, 0.0]]).half()
    figures = confidence(certain, torch.tensor([0, 1]))
    assert figures.dtype == torch.float32
    assert torch.allclose(figures[0], torch.tensor([1.0, 0.0, 0.0]), atol=1e-4)
    assert torch.allclose(figures[1], torch.tensor([1 / 3, -1.0986 / 4, 1.0]), atol=1e-3)
