"""The stand-in of training: the classifier's answers and gradients, with fewer passes."""

from __future__ import annotations

import torch
from torch import nn

from whymask.train.classifier import FrozenClassifier, InputRule
from whymask.train.config import TrainConfig
from whymask.train.explainers import build_explainer
from whymask.train.folding import folded, round_weights
from whymask.train.step import Objective
from whymask.train.summary import fill_of

RULE = InputRule(height=16, width=16)


def count(classifier: FrozenClassifier) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in classifier.modules())


def with_statistics(model: nn.Module) -> nn.Module:
    """The same model with batch statistics and gains that are none of 0 and 1, as after training."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                assert values is not None
                values.copy_(0.5 + torch.rand(values.shape, generator=generator))
    return model


class Shared(nn.Module):
    """One convolution, read by a normalisation and by the sum after it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, 2, 1)
        self.normalisation = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.convolution(x)
        return self.head((maps + self.normalisation(maps)).relu().mean((2, 3)))


def test_no_normalisation_is_left_and_answers_and_gradients_stay(classifier: FrozenClassifier) -> None:
    with_statistics(classifier.model)
    digest = classifier.sha256()
    stand_in = folded(classifier)
    assert (count(classifier), count(stand_in)) == (3, 0)
    assert classifier.sha256() == digest
    assert not any(each.requires_grad for each in stand_in.parameters())
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    results = []
    for each in (classifier, stand_in):
        shown = x.clone().requires_grad_(True)
        logits, features = each.with_taps(shown)
        torch.autograd.backward(logits.logsumexp(1).sum() + sum(maps.square().mean() for maps in features))
        results.append((logits.detach(), *(maps.detach() for maps in features), shown.grad))
    for expected, got in zip(*results, strict=True):
        assert expected is not None
        assert torch.allclose(expected, got, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_a_step_costs_the_same_with_either(config: TrainConfig, classifier: FrozenClassifier) -> None:
    with_statistics(classifier.model)
    pixels = 255 * torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    figures = []
    for each in (classifier, folded(classifier)):
        torch.manual_seed(0)
        explainer = build_explainer(config.explainer_config(), classifier)
        objective = Objective(config, each, fill_of(classifier))
        figures.append(objective(explainer, pixels, 0.9, torch.Generator().manual_seed(2)).figures)
    expected, got = ([row[name] for name in figures[0]] for row in figures)
    assert torch.allclose(torch.tensor(expected), torch.tensor(got), rtol=1e-3, atol=1e-5)


def test_rounded_weights_answer_as_autocast_does(classifier: FrozenClassifier) -> None:
    stand_in, rounded = folded(classifier), folded(classifier)
    round_weights(rounded, torch.bfloat16)
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    results = []
    for each in (stand_in, rounded):
        shown = x.clone().requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16):
            logits, features = each.with_taps(shown)
        torch.autograd.backward(logits.float().logsumexp(1).sum())
        results.append((logits, *features, shown.grad))
    assert results[1][0].dtype == torch.bfloat16
    for expected, got in zip(*results, strict=True):
        assert expected is not None and torch.equal(expected, got)


def test_a_convolution_that_is_tapped_or_read_twice_is_left_as_it_is() -> None:
    torch.manual_seed(0)
    tapped = FrozenClassifier(
        with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(256, 5))),
        "tapped",
        RULE,
        taps=("0",),
    )
    assert count(folded(tapped)) == 1
    shared = FrozenClassifier(with_statistics(Shared()), "shared", RULE, taps=("convolution",))
    untapped = FrozenClassifier(with_statistics(Shared()), "shared", RULE, taps=("normalisation",))
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for each in (shared, untapped):
        assert count(folded(each)) == 1
        assert torch.equal(folded(each)(x), each(x))


class Bound(nn.Module):
    """Its weight was computed from another one, as old weight normalisation leaves it: torch refuses to copy that."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.ones(4, 3, 3, 3))
        self.weight = 2 * self.start
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(nn.functional.conv2d(x, self.weight.detach(), stride=2).mean((2, 3)))


def test_a_classifier_that_cannot_be_copied_stands_for_itself() -> None:
    whole = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), Bound())
    classifier = FrozenClassifier(whole, "bound", RULE, taps=("1",))
    assert folded(classifier) is classifier


def test_a_weight_that_is_computed_anew_in_each_pass_is_not_folded() -> None:
    for parametrised in (nn.utils.parametrizations.spectral_norm, nn.utils.parametrizations.weight_norm):
        body = nn.Sequential(parametrised(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
        model = nn.Sequential(body, nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
        classifier = FrozenClassifier(with_statistics(model), "tests:parametrised", RULE, taps=("0",))
        assert count(folded(classifier)) == 2
        x = torch.randn(2, 3, 16, 16)
        torch.testing.assert_close(folded(classifier)(x), classifier(x))
