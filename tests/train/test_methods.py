"""Every registered method keeps the one signature and its promises."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from whymask.train.classifier import FrozenClassifier
from whymask.train.marc.pictures import MarcConfig, marc_masks
from whymask.train.matching.config import MatchingConfig
from whymask.train.matching.loop import match
from whymask.train.methods import METHODS

LARGE = {"activation-matching", "activation-matching-least", "activation-matching-published"}
"""U-Nets of full size, which take seconds a step; their settings are tested on small ones in test_matching.py."""


def asked(classifier: FrozenClassifier) -> tuple[torch.Tensor, torch.Tensor]:
    cells = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    pixels = 255.0 * torch.nn.functional.interpolate(cells, size=(32, 32))
    with torch.no_grad():
        return pixels, classifier(classifier.normalise(pixels)).argmax(1)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in LARGE])
def test_a_method_gives_masks_by_its_seed_and_tells_its_steps(classifier: FrozenClassifier, name: str):
    pixels, target = asked(classifier)
    before, told = classifier.sha256(), list[int]()
    method = METHODS[name]
    masks = method.explain(classifier, pixels, target, steps=2, seed=3, on_step=told.append)
    again = method.explain(classifier, pixels, target, steps=2, seed=3, on_step=None)
    assert (masks.shape, masks.dtype, told) == ((2, 32, 32), torch.float32, [1, 2])
    assert 0.0 <= float(masks.min()) <= float(masks.max()) <= 1.0
    assert not masks.requires_grad
    assert torch.equal(masks, again)
    assert classifier.sha256() == before


def test_optimised_masks_keep_the_class(classifier: FrozenClassifier):
    pixels, target = asked(classifier)
    masks = METHODS["optimise"].explain(classifier, pixels, target, steps=5, seed=0, on_step=None) >= 0.5
    fill = classifier.normalise(torch.tensor([124.0, 116.0, 104.0]).view(1, 3, 1, 1))
    kept = torch.where(masks[:, None], classifier.normalise(pixels), fill)
    with torch.no_grad():
        assert torch.equal(classifier(kept).argmax(1), target)


def test_methods_say_what_they_are_and_differ_in_it():
    assert set(METHODS) >= LARGE | {"optimise", "activation-matching-plain"}
    assert len({method.about for method in METHODS.values()}) == len(METHODS)
    assert METHODS["activation-matching"].steps == 880
    configs = {name: method.config for name, method in METHODS.items()}
    assert configs["activation-matching-published"].as_published
    assert configs["activation-matching-least"].answer == "least"
    assert configs["activation-matching-plain"].network == "plain"
    assert configs["activation-matching-published-plain"] == MatchingConfig(network="plain", as_published=True)
    assert configs["marc-blur"].background == "blur"


@pytest.mark.parametrize("name", ["activation-matching-published-plain", "marc-blur"])
def test_a_methods_settings_are_those_that_it_runs_with(classifier: FrozenClassifier, name: str):
    pixels, target = asked(classifier)
    config = replace(METHODS[name].config, steps=2)
    masks = METHODS[name].explain(classifier, pixels, target, steps=2, seed=0, on_step=None)
    by_config = marc_masks if isinstance(config, MarcConfig) else lambda *asked: match(*asked).masks
    assert torch.equal(masks, by_config(classifier, pixels, target, config))
