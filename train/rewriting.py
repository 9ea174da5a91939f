"""What rewrites of a classifier's stand-in share: who reads whose output, and whether the answers are still the same.

Letters: B batch, H W the input size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from whymask.train.classifier import FrozenClassifier
from whymask.train.taps import recording

TOLERANCE = 1e-3
"""Largest difference that is rounding, as a share of a tensor's largest value. A wrong rewrite is off by about 1."""

PROBES = 2

Chosen = Callable[[nn.Module], bool]


def handed_over(classifier: FrozenClassifier, is_maker: Chosen, is_reader: Chosen) -> list[tuple[nn.Module, nn.Module]]:
    """Modules whose output goes to another one as it is: each called once a pass, and no tap between the two.

    What else reads the output is not known: ask `agree` after a rewrite.

    Args:
        classifier: asked once.
        is_maker, is_reader: which modules are looked for.
    """
    made: list[tuple[nn.Module, Tensor]] = []
    read: list[tuple[nn.Module, Tensor]] = []

    def after(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        made.append((module, output))

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        read.append((module, inputs[0]))

    handles = []
    for module in classifier.model.modules():
        if is_maker(module):
            handles.append(module.register_forward_hook(after))
        elif is_reader(module):
            handles.append(module.register_forward_pre_hook(before))
    try:
        with torch.no_grad(), recording(classifier.model, classifier.taps) as tapped:
            classifier.model(probe(classifier))
    finally:
        for handle in handles:
            handle.remove()
    calls = Counter(id(module) for module, _ in (*made, *read))
    shown = {id(output) for output in tapped.values()}
    readers = {id(maps): module for module, maps in read}
    return [
        (module, readers[id(output)])
        for module, output in made
        if id(output) in readers
        and id(output) not in shown
        and calls[id(module)] == calls[id(readers[id(output)])] == 1
    ]


def put_in_place_of(model: nn.Module, module: nn.Module, other: nn.Module) -> None:
    """Let `other` stand wherever `module` does, under every name that it goes by."""
    for name, each in list(model.named_modules(remove_duplicate=False)):
        if each is module:
            model.set_submodule(name, other)


def probe(classifier: FrozenClassifier) -> Tensor:
    """Noise of the input's size, float32 (PROBES, 3, H, W), the same each time."""
    rule = classifier.rule
    noise = torch.randn(PROBES, 3, rule.height, rule.width, generator=torch.Generator().manual_seed(0))
    return noise.to(classifier.mean.device)


@torch.no_grad()
def agree(classifier: FrozenClassifier, other: FrozenClassifier) -> bool:
    """Whether both give the same logits and activations, up to rounding."""
    x = probe(classifier)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # its ten bits would look like a difference
        (logits, features), (other_logits, others) = classifier.with_taps(x), other.with_taps(x)
    pairs = zip((logits, *features), (other_logits, *others), strict=True)
    return all(bool((a - b).abs().max() <= TOLERANCE * a.abs().max()) for a, b in pairs)
