"""Activation matching: every term pushes, robustness only where it is asked to, and pictures do not meet."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from quadrant_module import quadrant_classifier, quadrant_pictures
from torch import nn

from whymask.runtime.errors import InputError
from whymask.train.classifier import FrozenClassifier, InputRule
from whymask.train.matching.config import LEAST, NETWORKS, PLAIN, UNET, MatchingConfig, Weights
from whymask.train.matching.layers import cosine_distance, matched_layers, read, standardised_squares
from whymask.train.matching.loop import explain_images, match
from whymask.train.matching.networks import Autoencoders, fresh_network
from whymask.train.matching.objective import (
    Step,
    eight_neighbour_variation,
    evaluate,
    look_at,
    necessity,
    random_backgrounds,
    softened_divergence,
)

SIZE = 32
EVERY_TERM = Weights(necessity=20.0)
TERMS = ("activation", "ce", "kl", "area", "binarisation", "tv", "robustness", "necessity")
ABDUCTIVE = ("robustness", "necessity")


class TinyResNet(nn.Module):
    """The names of a ResNet, and little else."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1, self.relu = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU()
        self.pool, self.norm2 = nn.MaxPool2d(3, 1, 1), nn.BatchNorm2d(8)
        self.layer1, self.layer2 = nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 6, 3, 2, 1)
        self.layer3, self.layer4 = nn.Conv2d(6, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) → (B, 5)."""
        x = self.layer1(self.pool(self.relu(self.norm1(self.conv1(x)))))
        logits: torch.Tensor = self.fc(self.norm2(self.layer4(self.layer3(self.layer2(x)))).mean((2, 3)))
        return logits


@pytest.fixture
def quadrant() -> FrozenClassifier:
    return quadrant_classifier(SIZE, gain=1.0)


def quick(**values: object) -> MatchingConfig:
    settings = {"network": PLAIN, "width": 4, "steps": 4, "learning_rate": 1e-3}
    return MatchingConfig(**{**settings, **values})  # type: ignore[arg-type]


def step(classifier: FrozenClassifier, probability: torch.Tensor, config: MatchingConfig) -> Step:
    pixels, target = quadrant_pictures(len(probability), SIZE)
    layers = matched_layers(classifier)
    picture = look_at(classifier, layers, pixels, target, config.fill)
    backgrounds = random_backgrounds(classifier, SIZE, SIZE, 0, 0)
    return evaluate(classifier, layers, picture, probability, backgrounds, config)


def soft_masks(count: int = 2) -> torch.Tensor:
    noise = torch.rand(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    return noise.requires_grad_(True)


def test_the_defaults_are_the_published_settings():
    config, weights = MatchingConfig(), Weights()
    assert (config.steps, config.learning_rate, config.temperature, config.network) == (880, 5e-5, 2.0, UNET)
    assert (weights.activation, weights.ce, weights.kl, weights.robustness) == (10.0, 15.0, 5.0, 100.0)
    assert (weights.area, weights.binarisation, weights.tv) == (100.0, 1.0, 500.0)
    assert config.as_published is False


@pytest.mark.parametrize(("network", "millions"), [(UNET, 7.8), (PLAIN, 1.1)])
def test_the_networks_have_the_published_sizes(network: str, millions: float):
    parameters = sum(p.numel() for p in fresh_network(MatchingConfig(network=network)).parameters())
    assert round(parameters / 1e6, 1) == millions


@pytest.mark.parametrize("term", TERMS)
def test_every_weighted_term_pushes_every_mask(quadrant: FrozenClassifier, term: str):
    probability = soft_masks()
    terms = step(quadrant, probability, quick(weights=EVERY_TERM)).terms
    assert tuple(terms) == TERMS
    assert terms[term].shape == (2,)
    (gradient,) = torch.autograd.grad(terms[term].sum(), probability)
    assert (gradient.abs().amax((1, 2, 3)) > 0).all()


def test_as_published_robustness_and_necessity_have_the_same_value_and_no_gradient(quadrant: FrozenClassifier):
    probability = soft_masks()
    ours = step(quadrant, probability, quick(weights=EVERY_TERM)).terms
    published = step(quadrant, probability, quick(weights=EVERY_TERM, as_published=True)).terms
    for name in TERMS:
        assert torch.equal(published[name], ours[name])
        assert published[name].requires_grad == (name not in ABDUCTIVE)
    assert (ours["robustness"] > 0).all()


def test_the_gradient_of_robustness_changes_what_is_found(quadrant: FrozenClassifier):
    pixels, target = quadrant_pictures(1, SIZE)
    ours, published = (match(quadrant, pixels, target, quick(as_published=each)).masks for each in (False, True))
    named = match(quadrant, pixels, target, quick(as_published=True)).terms
    assert named["robustness"] > 0.0  # still told in the end
    without = match(quadrant, pixels, target, quick(weights=Weights(robustness=0.0))).masks
    assert not torch.allclose(ours, published, atol=1e-4)
    assert torch.equal(published, without)  # what has no gradient cannot change a mask


def test_terms_have_hand_checked_values():
    logits = torch.tensor([[2.0, 0.0]])
    assert softened_divergence(logits, logits, 2.0).tolist() == [0.0]
    p, q = torch.tensor([1.0, 0.0]).softmax(0), torch.tensor([0.0, 0.0]).softmax(0)
    expected = 4.0 * (p * (p / q).log()).sum()
    assert torch.allclose(softened_divergence(logits, torch.zeros(1, 2), 2.0), expected[None])
    assert necessity(torch.tensor([[0.0, 0.0], [100.0, 0.0]]), torch.tensor([0, 0])).tolist() == [0.0, 0.5]
    dot = torch.zeros(1, 1, 3, 3)
    dot[0, 0, 1, 1] = 1.0  # every pair with the middle differs: 2 of 6, 2 of 6, 2 of 4, 2 of 4
    assert torch.allclose(eight_neighbour_variation(dot), torch.tensor([(2 / 6 + 2 / 6 + 2 / 4 + 2 / 4) / 4]))
    features = torch.tensor([[[[1.0, 3.0]]]])
    assert standardised_squares(features, features + 2.0).tolist() == [4.0]
    assert cosine_distance(features, 5.0 * features)[0].item() == pytest.approx(0.0, abs=1e-6)
    assert cosine_distance(features, -features)[0].item() == pytest.approx(2.0)


def test_a_resnet_is_read_where_and_as_published():
    classifier = FrozenClassifier(TinyResNet(), "tests:resnet", InputRule(64, 64))
    layers = matched_layers(classifier)
    assert [layer.tap.name for layer in layers] == ["relu", "layer1", "layer2", "layer3", "layer4"]
    assert [layer.weight for layer in layers] == [1.0, 2.0, 2.0, 4.0, 8.0]
    assert [layer.cosine for layer in layers] == [True, True, False, False, False]
    _, features = read(classifier, layers, torch.zeros(1, 3, 64, 64))
    assert [each.shape[1] for each in features] == [4, 4, 6, 8, 8]


def test_other_classifiers_count_weights_from_the_deepest(classifier: FrozenClassifier):
    layers = matched_layers(classifier)
    assert tuple(layer.tap.name for layer in layers) == classifier.taps
    assert [layer.weight for layer in layers] == [1.0, 2.0, 2.0, 4.0, 8.0][-len(layers) :]
    assert [layer.cosine for layer in layers] == [False] * len(layers)
    named = matched_layers(classifier, classifier.taps[-1:])
    assert [layer.weight for layer in named] == [8.0]
    with pytest.raises(InputError, match="matching: 0 taps, expected 1 to 5"):
        matched_layers(classifier, ())


@pytest.mark.parametrize("network", NETWORKS)
def test_batch_mates_and_order_do_not_matter(quadrant: FrozenClassifier, network: str):
    pixels, target = quadrant_pictures(3, SIZE)
    config = quick(network=network, steps=3)
    together = match(quadrant, pixels, target, config).masks
    alone = match(quadrant, pixels[1:2], target[1:2], config).masks
    turned = match(quadrant, pixels.flip(0), target.flip(0), config).masks.flip(0)
    other = pixels.clone()
    other[[0, 2]] = 255.0 - other[[0, 2]]
    beside_others = match(quadrant, other, target, config).masks
    assert torch.allclose(together[1:2], alone, atol=1e-3)
    assert torch.allclose(together, turned, atol=1e-3)
    assert torch.allclose(together[1], beside_others[1], atol=1e-3)
    assert not torch.allclose(together[0], beside_others[0], atol=1e-2)


def many_networks(config: MatchingConfig) -> Autoencoders:
    """Two that differ."""
    many = Autoencoders(config, 2, 40, 36)
    with torch.no_grad():
        for value in many.parameters.values():
            value[1] += 0.05 * torch.randn(value[1].shape, generator=torch.Generator().manual_seed(0))
    return many


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_of_a_batch_are_the_networks_alone(network: str):
    config = quick(network=network)
    many = many_networks(config)
    x = torch.randn(2, 3, 40, 36, generator=torch.Generator().manual_seed(1))
    together = many(x)
    assert together.shape == (2, 1, 40, 36)
    for row in range(2):
        one = fresh_network(config)
        one.load_state_dict({name: value[row] for name, value in many.parameters.items()})
        assert torch.allclose(torch.sigmoid(one(x[row : row + 1])), together[row : row + 1], atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_gpu_s_way_and_a_cpu_s_way_give_the_same_masks_and_gradients(network: str):
    many = many_networks(quick(network=network))
    x = torch.randn(2, 3, 40, 36, generator=torch.Generator().manual_seed(1))
    weights = torch.randn(2, 1, 40, 36, generator=torch.Generator().manual_seed(2))
    answers = []
    for way in (many.at_once, many.one_by_one):
        logits = way(x)
        gradients = torch.autograd.grad((weights * logits).mean(), tuple(many.parameters.values()))
        answers.append([logits.detach(), *gradients])
    for at_once, one_by_one in zip(*answers, strict=True):
        assert (at_once - one_by_one).abs().max() <= 1e-4 * at_once.abs().max().clamp_min(1e-2)


def test_the_terms_are_those_of_the_classifier_itself_though_a_stand_in_was_asked():
    torch.manual_seed(0)
    classifier = FrozenClassifier(TinyResNet(), "tests:resnet", InputRule(SIZE, SIZE))
    for each in (classifier.model.norm1, classifier.model.norm2):
        nn.init.uniform_(each.running_mean)
        nn.init.uniform_(each.running_var, 0.5, 2.0)
    pixels, target = quadrant_pictures(2, SIZE)
    config, taps = quick(steps=1, weights=EVERY_TERM), classifier.taps
    found = match(classifier, pixels, target, config)
    assert classifier.taps == taps, "the stand-in is read at the matched layers, the classifier where it was"
    layers = matched_layers(classifier)
    assert layers[0].tap.name == "relu"
    picture = look_at(classifier, layers, pixels, target, config.fill)
    backgrounds = random_backgrounds(classifier, SIZE, SIZE, config.seed, config.steps)
    expected = evaluate(classifier, layers, picture, found.masks[:, None], backgrounds, config).terms
    for name, term in expected.items():
        assert torch.allclose(found.terms[name], term, rtol=1e-4, atol=1e-6), name


def test_small_masks_are_found_where_the_evidence_is(quadrant: FrozenClassifier):
    pixels, target = quadrant_pictures(2, SIZE)
    weights = Weights(activation=0.1, area=10.0, tv=5.0, robustness=15.0)
    config = quick(steps=80, learning_rate=3e-3, weights=weights, fill=(200.0, 116.0, 104.0))
    masks = match(quadrant, pixels, target, config).masks >= 0.5
    inside = masks[:, SIZE // 2 :, SIZE // 2 :].sum((1, 2))
    assert (masks.float().mean((1, 2)) < 0.4).all()
    assert (inside / masks.sum((1, 2)).clamp_min(1) > 0.6).all()


def test_the_least_mask_on_the_way_keeps_the_class_where_the_last_may_not(quadrant: FrozenClassifier):
    pixels, target = quadrant_pictures(2, SIZE)
    weights = Weights(activation=0.0, ce=0.0, kl=0.0, robustness=0.0, tv=0.0)
    config = quick(steps=40, learning_rate=1e-2, weights=weights, fill=(150.0, 116.0, 104.0))
    last = match(quadrant, pixels, target, config).masks >= 0.5
    least = match(quadrant, pixels, target, replace(config, answer=LEAST)).masks >= 0.5
    assert not last.any()  # nothing held the class, the area pushed it out
    red = quadrant.normalise(torch.tensor([150.0, 116.0, 104.0]).view(1, 3, 1, 1))
    kept = torch.where(least[:, None], quadrant.normalise(pixels), red)
    assert least.any()
    assert torch.equal(quadrant(kept).argmax(1), target)


def test_the_registered_form_repeats_by_its_seed_and_tells_its_steps(quadrant: FrozenClassifier):
    pixels, target = quadrant_pictures(2, SIZE)
    told: list[int] = []
    state = torch.random.get_rng_state()
    first, again, other = (
        explain_images(quadrant, pixels, target, steps=2, seed=seed, on_step=told.append, config=quick())
        for seed in (1, 1, 2)
    )
    assert (first.shape, first.dtype, told) == ((2, SIZE, SIZE), torch.float32, [1, 2] * 3)
    assert 0.0 <= float(first.min()) <= float(first.max()) <= 1.0
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_classifier_is_bit_identical_and_untouched(quadrant: FrozenClassifier):
    before = quadrant.sha256()
    match(quadrant, *quadrant_pictures(1, SIZE), quick(weights=EVERY_TERM))
    assert quadrant.sha256() == before
    assert all(parameter.grad is None for parameter in quadrant.parameters())
    assert not any(module._forward_hooks for module in quadrant.modules())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "matching: 0 steps, width 4; expected at least 1"),
        ({"learning_rate": 0.0}, "matching: learning_rate is 0.0, expected a number above 0"),
        ({"network": "vae"}, "matching: network is 'vae', expected unet or plain"),
        ({"answer": "best"}, "matching: answer is 'best', expected last or least"),
    ],
)
def test_settings_that_explain_nothing_are_refused(values: dict[str, object], message: str):
    with pytest.raises(InputError) as raised:
        quick(**values)
    assert message in str(raised.value)


def test_pictures_that_do_not_fit_are_refused(quadrant: FrozenClassifier):
    pixels, target = quadrant_pictures(2, SIZE)
    with pytest.raises(InputError, match=r"matching: weight tv is -1\.0, expected a number of at least 0"):
        Weights(tv=-1.0)
    with pytest.raises(InputError, match=r"matching: pictures \(2, 3, 32, 32\), 1 classes; expected one class"):
        match(quadrant, pixels, target[:1], quick())
    with pytest.raises(InputError, match="matching: pictures of 16 × 32 pixels, expected at least 32 a side"):
        Autoencoders(quick(), 1, 16, 32)
