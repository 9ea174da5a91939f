"""Max pooling before the ReLU, and the whole stand-in: the classifier's answers, from a quarter of the pixels."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from whymask.train.classifier import FrozenClassifier, InputRule
from whymask.train.pooling import pool_first
from whymask.train.stand_in import stand_in_for

RULE = InputRule(height=32, width=32)


class Stem(nn.Module):
    """Convolution, ReLU, pooling; the head reads the ReLU's map as well where `reads_twice` says so."""

    def __init__(self, inplace: bool, reads_twice: bool = False) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, 2)
        self.relu = nn.ReLU(inplace)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace))
        self.head = nn.Linear(8, 5)
        self.reads_twice = reads_twice

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.relu(self.convolution(x))
        pooled = self.body(self.pool(maps)).mean((2, 3))
        return self.head(pooled + maps.mean((2, 3)) if self.reads_twice else pooled)


def frozen(model: nn.Module, *taps: str) -> FrozenClassifier:
    return FrozenClassifier(model, "stem", RULE, taps=taps)


def sides_of_relu(classifier: FrozenClassifier, relu: nn.Module) -> list[int]:
    """Rows of every map that a ReLU reads in a pass."""
    seen: list[int] = []
    handle = relu.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape[-2]))
    classifier(torch.zeros(1, 3, 32, 32))
    handle.remove()
    return seen


def answers(classifier: FrozenClassifier) -> list[torch.Tensor]:
    shown = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    logits, features = classifier.with_taps(shown)
    torch.autograd.backward(logits.logsumexp(1).sum() + sum(maps.square().mean() for maps in features))
    assert shown.grad is not None
    return [logits.detach(), *(maps.detach() for maps in features), shown.grad]


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("tap", ["pool", "body"])
def test_answers_and_gradients_stay_to_the_bit_and_the_relu_reads_the_pooled_map(inplace: bool, tap: str) -> None:
    torch.manual_seed(0)
    classifier = frozen(Stem(inplace), tap)
    digest, stand_in = classifier.sha256(), copy.deepcopy(classifier)
    relu = stand_in.model.get_submodule("relu")
    pool_first(stand_in, classifier)
    assert (sides_of_relu(classifier, classifier.model.relu), sides_of_relu(stand_in, relu)) == ([15], [7])
    assert classifier.sha256() == digest
    for expected, got in zip(answers(classifier), answers(stand_in), strict=True):
        assert torch.equal(expected, got)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(("tap", "reads_twice"), [("relu", False), ("body", True)])
def test_a_relu_that_is_tapped_or_read_twice_stays_where_it_is(inplace: bool, tap: str, reads_twice: bool) -> None:
    torch.manual_seed(0)
    classifier = frozen(Stem(inplace, reads_twice), tap)
    stand_in = copy.deepcopy(classifier)
    pool_first(stand_in, classifier)
    assert [name for name, _ in stand_in.named_modules()] == [name for name, _ in classifier.named_modules()]
    for expected, got in zip(answers(classifier), answers(stand_in), strict=True):
        assert torch.equal(expected, got)


def test_a_relu_that_is_called_twice_stays_where_it_is() -> None:
    torch.manual_seed(0)
    relu = nn.ReLU()
    body = nn.Sequential(nn.Conv2d(3, 8, 3), relu, nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), relu)
    classifier = frozen(nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)), "0.3")
    stand_in = copy.deepcopy(classifier)
    pool_first(stand_in, classifier)
    assert [type(module) for module in stand_in.modules()] == [type(module) for module in classifier.modules()]


def test_modules_that_go_by_two_names_are_changed_under_both() -> None:
    torch.manual_seed(0)
    model = Stem(inplace=False)
    model.again = nn.Sequential(model.relu, model.pool)
    classifier = frozen(model, "body")
    stand_in = copy.deepcopy(classifier)
    pool_first(stand_in, classifier)
    assert stand_in.model.again[0] is stand_in.model.relu and type(stand_in.model.relu) is nn.Identity
    assert stand_in.model.again[1] is stand_in.model.pool and type(stand_in.model.pool) is nn.Sequential


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_stand_in_of_training_pools_first_and_has_weights_of_its_precision(precision: str) -> None:
    torch.manual_seed(0)
    classifier = frozen(Stem(inplace=True), "body")
    digest, stand_in = classifier.sha256(), stand_in_for(classifier, precision)
    assert classifier.sha256() == digest
    assert type(stand_in.model.relu) is nn.Identity and type(stand_in.model.pool) is nn.Sequential
    assert stand_in.model.convolution.weight.dtype == (torch.bfloat16 if precision == "bf16-mixed" else torch.float32)
