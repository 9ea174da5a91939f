from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from whymask.train.classifier import FrozenClassifier
from whymask.train.config import ExplainerConfig, TrainConfig
from whymask.train.explainers import build_explainer
from whymask.train.levels import ABSENT_LEVEL, absence
from whymask.train.objective import asked_loss, is_upheld, lead, presence_loss
from whymask.train.queries import draw_queries, paste
from whymask.train.step import Objective
from whymask.train.summary import fill_of


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=seeded(3))


def test_without_others_every_picture_is_asked_about_its_predicted_class(classifier: FrozenClassifier) -> None:
    x = pictures(6)
    asked = draw_queries(classifier, x, 0.0, seeded())
    assert torch.equal(asked.x, x)
    assert torch.equal(asked.target, classifier(x).argmax(1))
    assert asked.against is None
    assert bool(asked.own.all())
    assert bool(asked.seen.all())


def test_a_share_of_the_pictures_is_changed_or_asked_about_another_class(classifier: FrozenClassifier) -> None:
    x = pictures(16)
    asked = draw_queries(classifier, x, 0.5, seeded())
    assert asked.against is not None
    assert asked.own.tolist() == [False] * 8 + [True] * 8
    changed = (asked.x != x).flatten(1).any(1)
    assert changed.tolist() == [True] * 6 + [False] * 10
    logits, features = classifier.with_taps(asked.x)
    assert torch.allclose(asked.logits, logits, atol=1e-5)
    assert all(torch.allclose(ours, theirs, atol=1e-5) for ours, theirs in zip(asked.features, features, strict=True))
    held = asked.against[asked.against >= 0]
    assert bool((asked.against != asked.target).all())
    assert bool((asked.against[asked.own] == -1).all())
    assert len(held) <= 8


def test_a_class_that_the_classifier_sees_is_never_called_absent(classifier: FrozenClassifier) -> None:
    asked = draw_queries(classifier, pictures(16), 0.5, seeded())
    p = asked.logits.softmax(1).gather(1, asked.absent[:, None])[:, 0]
    assert not bool((asked.is_absent & (p >= 1.0 / classifier.num_classes)).any())


def test_a_pasted_picture_is_whole_and_the_rest_is_the_hosts() -> None:
    host, guest = torch.zeros(3, 3, 40, 40), torch.ones(3, 3, 40, 40)
    out = paste(host, guest, seeded()).round(decimals=5)
    assert set(out.unique().tolist()) <= {0.0, 1.0}
    side = out[0, 0].amax(0).sum()
    assert 0.45 * 40 - 1 <= side <= 0.75 * 40 + 1
    assert torch.equal(out[0, 0].sum(), side * side)
    places = [tuple(each[0].nonzero()[0].tolist()) for each in out]
    assert len(set(places)) > 1


def test_a_contrast_asks_for_the_lead_of_one_class_over_another() -> None:
    logits = torch.tensor([[2.0, 1.0, 5.0]])
    target = torch.tensor([0])
    none, one = torch.tensor([-1]), torch.tensor([1])
    assert lead(logits, target, one).item() == pytest.approx(1.0)
    assert lead(logits, target, none).item() == pytest.approx(float(logits.log_softmax(1)[0, 0]))
    assert asked_loss(logits, target, one).item() == pytest.approx(0.3133, abs=1e-3)  # log(1 + e^−1): the third is out
    assert asked_loss(logits, target, None).item() == pytest.approx(-float(logits.log_softmax(1)[0, 0]))


def test_the_predicted_class_is_upheld_by_staying_and_another_one_by_not_falling() -> None:
    image = torch.tensor([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0], [3.0, 1.0, 0.0]])
    kept = torch.tensor([[1.0, 2.0, 0.0], [1.0, 2.0, 0.0], [9.0, 1.0, 0.0]])
    target = torch.tensor([0, 1, 1])
    assert is_upheld(image, kept, target, None).tolist() == [False, True, False]


def test_presence_is_learned_from_certain_cases_alone() -> None:
    logit, absent = torch.tensor([3.0, 3.0]), torch.tensor([3.0, 3.0])
    yes, no = torch.tensor([True, False]), torch.tensor([False, False])
    loss = presence_loss(logit, yes, absent, no)
    assert loss[0].item() == pytest.approx(0.0486, abs=1e-3)
    assert loss[1].item() == 0.0
    assert presence_loss(logit, no, absent, yes)[0].item() == pytest.approx(3.0486, abs=1e-3)


def test_an_absent_class_gets_an_empty_mask_and_the_predicted_one_never_does(classifier: FrozenClassifier) -> None:
    torch.manual_seed(0)
    explainer = build_explainer(ExplainerConfig("tapped", channels=8, presence=True), classifier).eval()
    assert explainer.level.presence is not None
    torch.nn.init.zeros_(explainer.level.presence.weight)
    torch.nn.init.constant_(explainer.level.presence.bias, -9.0)
    x = pictures(4)
    logits, features = classifier.with_taps(x)
    best, worst = logits.argmax(1), logits.argmin(1)
    assert torch.sigmoid(explainer(features, x, logits, worst)).max() < 1e-3
    predicted = explainer(features, x, logits, best)
    assert torch.equal(predicted, explainer(features, x, logits, best, predicted=True))
    assert torch.sigmoid(predicted).max() > 0.5


def test_presence_raises_the_level_only_below_an_even_chance() -> None:
    logits, target = torch.tensor([[1.0, 0.0]]).expand(3, 2), torch.tensor([1, 1, 0])
    raised = absence(torch.tensor([0.1, -20.0, -20.0]), logits, target).flatten()
    assert raised.tolist() == pytest.approx([0.0, ABSENT_LEVEL, 0.0], abs=1e-3)


@pytest.mark.parametrize("kind", ["tapped", "autoencoder"])
def test_several_classes_at_once_equal_one_after_another(classifier: FrozenClassifier, kind: str) -> None:
    torch.manual_seed(0)
    explainer = build_explainer(ExplainerConfig(kind, channels=8, presence=True), classifier).eval()
    x, targets = pictures(3), torch.tensor([[0, 1], [2, 3], [3, 0]])
    logits, features = classifier.with_taps(x)
    together = explainer.forward_classes(features, x, logits, targets)
    for column in range(2):
        alone = explainer(features, x, logits, targets[:, column])
        assert torch.allclose(together[:, column], alone, atol=1e-4)


def test_no_contrast_is_written_minus_one(classifier: FrozenClassifier) -> None:
    torch.manual_seed(0)
    explainer = build_explainer(ExplainerConfig("tapped", channels=8), classifier).eval()
    x, target = pictures(2), torch.tensor([0, 1])
    logits, features = classifier.with_taps(x)
    plain = explainer(features, x, logits, target)
    assert torch.allclose(plain, explainer(features, x, logits, target, torch.tensor([-1, -1])), atol=1e-5)
    held = explainer(features, x, logits, target, torch.tensor([2, 2]))
    back = explainer(features, x, logits, torch.tensor([2, 2]), target)
    assert not torch.allclose(plain, held, atol=1e-2)
    assert not torch.allclose(held, back, atol=1e-2)


@pytest.mark.parametrize("weight", ["others", "presence"])
def test_asking_for_other_classes_moves_the_explainer(
    config: TrainConfig, classifier: FrozenClassifier, weight: str
) -> None:
    silent = {"kl": 0.0, "ce": 1e-30, "activation": 0.0, "level": 0.0, "binarisation": 0.0, "tv": 0.0}
    # The loss of a query for another class has the weight of KL and CE together.
    changes = {"others": {"others": 1.0, "ce": 1.0}, "presence": {"presence": 1.0}}[weight]
    alone = replace(config, mode="constraint", **{**silent, **changes})
    torch.manual_seed(0)
    explainer = build_explainer(alone.explainer_config(), classifier)
    objective = Objective(alone, classifier, fill_of(classifier))
    pixels = 255 * torch.rand(8, 3, 32, 32, generator=seeded(1))
    result = objective(explainer, pixels, 0.9, seeded(2))
    result.loss.backward()
    moved = explainer.level.presence if weight == "presence" else explainer.out
    assert moved is not None
    assert moved.weight.grad is not None
    assert float(moved.weight.grad.norm()) > 1e-6
    assert {"others": "asked", "presence": "presence"}[weight] in result.figures
