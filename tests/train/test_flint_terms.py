"""The terms of FLINT and what attributes say of a decision, against their formulas."""

from __future__ import annotations

import pytest
import scipy.stats
import torch
from torch import nn

from whymask.runtime.errors import InputError
from whymask.train.classifier import FrozenClassifier
from whymask.train.flint import losses
from whymask.train.flint.config import FlintConfig
from whymask.train.flint.fit import new_interpreter, step_terms
from whymask.train.flint.interpreter import decoded_size, grid_side
from whymask.train.flint.relevance import Judged, conciseness_of, global_relevance, local_relevance
from whymask.train.taps import Tap

CONFIG = FlintConfig("tiny.py:build", ("photos",), attributes=6)


def terms_of(classifier: FrozenClassifier, maps_grad: bool = False) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    interpreter = new_interpreter(classifier, CONFIG)
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    classifier.model.requires_grad_(maps_grad)
    seen = (x, *classifier.with_taps(x))
    return interpreter, step_terms(interpreter, seen, torch.arange(8) % 5, CONFIG)


@pytest.mark.parametrize("name", [losses.OUTPUT, losses.INPUT, losses.CONCISE, losses.DIVERSE, losses.SPARSE], ids=str)
def test_each_weighted_term_moves_the_attributes(classifier: FrozenClassifier, name: str) -> None:
    interpreter, terms = terms_of(classifier)
    terms[name].backward()
    gradients = [p.grad for p in interpreter.phi.parameters()]
    assert all(g is not None and float(g.abs().max()) > 0 for g in gradients)


@pytest.mark.parametrize(
    ("name", "moves"), [(losses.OUTPUT, "head"), (losses.INPUT, "decoder")], ids=["output", "input"]
)
def test_fidelity_moves_what_reads_the_attributes(classifier: FrozenClassifier, name: str, moves: str) -> None:
    interpreter, terms = terms_of(classifier)
    terms[name].backward()
    assert all(float(p.grad.abs().max()) > 0 for p in getattr(interpreter, moves).parameters())


def test_by_design_every_term_but_none_else_moves_the_classifier(classifier: FrozenClassifier) -> None:
    _, terms = terms_of(classifier, maps_grad=True)
    first = next(classifier.model.parameters())
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(term, first, retain_graph=True)
        assert float(gradient.abs().max()) > 0, name
    assert set(terms) == {losses.PREDICTION, losses.OUTPUT, losses.INPUT, "conciseness", "diversity", "sparsity"}


def test_a_weight_of_nothing_takes_its_term_out(classifier: FrozenClassifier) -> None:
    import dataclasses

    interpreter = new_interpreter(classifier, CONFIG)
    x = torch.randn(4, 3, 32, 32)
    without = dataclasses.replace(CONFIG, conciseness=0.0, input_fidelity=0.0)
    terms = step_terms(interpreter, (x, *classifier.with_taps(x)), None, without)
    assert {name for name, value in terms.items() if float(value.detach()) != 0} == {losses.OUTPUT}


def test_entropy_is_that_of_the_softmax() -> None:
    values = torch.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]])
    expected = scipy.stats.entropy(values.softmax(1).numpy(), axis=1)
    torch.testing.assert_close(losses.entropy(values), torch.tensor(expected, dtype=torch.float32))


def test_output_fidelity_moves_the_interpreter_towards_the_classifier_and_not_back() -> None:
    interpreted, logits = (torch.randn(4, 3, requires_grad=True) for _ in range(2))
    losses.output_fidelity(interpreted, logits).backward()
    assert interpreted.grad is not None and float(interpreted.grad.abs().max()) > 0
    assert logits.grad is None


def test_output_fidelity_is_least_where_the_interpreter_is_sure_of_the_classifiers_class() -> None:
    logits = torch.tensor([[3.0, 0.0, -1.0]])
    right, wrong = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[0.0, 9.0, 0.0]])
    expected = -(logits.softmax(1) * right.softmax(1).log()).sum()
    torch.testing.assert_close(losses.output_fidelity(right, logits), expected)
    assert losses.output_fidelity(right, logits) < losses.output_fidelity(wrong, logits)


def test_diversity_rewards_other_attributes_in_other_pictures() -> None:
    same, other = torch.tensor([[5.0, 0.0], [5.0, 0.0]]), torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    assert losses.diversity(other) < losses.diversity(same)
    torch.testing.assert_close(losses.conciseness(other), losses.conciseness(same))


def test_relevance_is_the_contribution_over_the_largest() -> None:
    phi, weight = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]), torch.tensor([[9.0, 9.0, 9.0], [3.0, -2.0, 7.0]])
    relevance = local_relevance(phi, weight, torch.tensor([1, 1]))
    torch.testing.assert_close(relevance, torch.tensor([[0.75, -1.0, 0.0], [0.0, 0.0, 0.0]]))


def test_global_relevance_is_the_mean_over_the_predicted_class() -> None:
    relevance = torch.tensor([[1.0, 0.0], [0.5, 1.0], [0.0, 1.0]])
    found = global_relevance(relevance, torch.tensor([2, 2, 0]), 3)
    torch.testing.assert_close(found[2], torch.tensor([0.75, 0.5]))
    torch.testing.assert_close(found[0], torch.tensor([0.0, 1.0]))
    assert found[1].isnan().all()


def test_conciseness_counts_relevances_above_one_over_tau() -> None:
    relevance = torch.tensor([[1.0, 0.5, 0.21, -1.0], [1.0, 0.2, 0.0, 0.0]])
    assert conciseness_of(relevance, 2.0).tolist() == [1, 1]
    assert conciseness_of(relevance, 5.0).tolist() == [3, 1]
    judged = Judged(torch.tensor([0, 1]), torch.tensor([0, 0]), relevance, relevance)
    assert judged.conciseness((2.0, 5.0)) == {"2": 1.0, "5": 2.0}
    assert judged.fidelity == 0.5
    with pytest.raises(InputError, match=r"tau is 1, expected a number above 1"):
        conciseness_of(relevance, 1)


def test_sizes_of_reconstruction_and_grid() -> None:
    assert decoded_size(8, 8) == (8, 8)
    assert decoded_size(224, 112) == (32, 16)
    assert [grid_side(Tap("a", "nchw", 8, side, side)) for side in (8, 6, 7)] == [4, 3, 1]
