"""Where methods that look inside the frozen classifier stand: its pixels, its last feature map, and a cut there.

The classifier itself is hooked by `replaced` alone, which takes its hook away again on every way out. What a foreign
package hooks is `CutClassifier.point`, which is thrown away with the cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from whymask.runtime.errors import InputError
from whymask.train.classifier import FrozenClassifier
from whymask.train.data import pixels_from_pictures
from whymask.train.taps import Tap, probe


@dataclass(frozen=True)
class Layer:
    """The last feature map that the logits read position by position.

    Attributes:
        tap: its module and layout.
        calls: how often a pass runs the module; the map is the output of the last.
        tail: share of a pass's multiply-adds that come after it, in [0, 1].
    """

    tap: Tap
    calls: int
    tail: float


def normalised(classifier: FrozenClassifier, images: NDArray[np.uint8]) -> Tensor:
    """What the classifier expects, float32 (B, 3, H, W) on its device, of uint8 pictures (B, H, W, 3)."""
    return classifier.normalise(pixels_from_pictures(images, classifier.mean.device))


def normalised_fill(classifier: FrozenClassifier, fill: NDArray[np.uint8]) -> Tensor:
    """The colour of dropped pixels, uint8 (3,), as the classifier sees it: float32 (1, 3, 1, 1)."""
    return normalised(classifier, fill.reshape(1, 1, 1, 3))


@contextmanager
def replaced(model: nn.Module, name: str, calls: int, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """For one pass, put `change(output)` in the place of a module's last output; the hook is gone afterwards.

    Args:
        model: the classifier's network.
        name: of the module.
        calls: how often a pass runs it.
        change: from its output to what the next modules read.
    """
    seen = 0

    def after(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
        nonlocal seen
        seen += 1
        return change(output) if seen == calls else None

    handle = model.get_submodule(name).register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


class _Point(nn.Module):
    """Where a gradient ends: its output is the feature map as a leaf, for a foreign package to hook."""

    def forward(self, output: Tensor) -> Tensor:
        """The same values, cut off from all before them."""
        return output.detach().requires_grad_()


class CutClassifier(nn.Module):
    """The classifier, differentiable from one feature map onwards although its parameters are frozen.

    Args:
        classifier: read only.
        tap, calls: see `Layer`.

    Attributes:
        point: gives the feature map in each pass, in the module's own layout; gradients end in its output.
    """

    def __init__(self, classifier: FrozenClassifier, tap: Tap, calls: int) -> None:
        super().__init__()
        self.classifier, self.point = classifier, _Point()
        self._tap, self._calls = tap, calls

    def forward(self, x: Tensor) -> Tensor:
        """Normalised float (B, 3, H, W) → logits (B, C)."""
        # A copy goes on, since a ReLU in place would overwrite the map, and may not touch a leaf.
        with replaced(self.classifier.model, self._tap.name, self._calls, lambda output: self.point(output).clone()):
            logits: Tensor = self.classifier(x)
        return logits


def last_layer(classifier: FrozenClassifier) -> Layer:
    """The layer that class activation methods read: the deepest tap, or the nearest before it that decides anything.

    A transformer that reads only its class token ignores what its last block says of the patches: there the gradient is
    zero, and the map is taken where the patches are read for the last time, before the last attention.

    Raises:
        InputError: no feature map of that width decides anything.
    """
    deepest, rule = classifier.tap_specs[-1], classifier.rule
    candidates = [deepest, *reversed(probe(classifier.model, rule.height, rule.width, classifier.head))]
    shape = (deepest.layout, deepest.channels, deepest.height, deepest.width)
    for tap in candidates:
        if (tap.layout, tap.channels, tap.height, tap.width) == shape:
            calls, tail = _calls_and_tail(classifier, tap)
            if _decides(classifier, tap, calls):
                return Layer(tap, calls, tail)
    raise InputError(
        f"{classifier.id}: the logits depend on no feature map like that of {deepest.name!r}; name other taps"
    )


def _decides(classifier: FrozenClassifier, tap: Tap, calls: int) -> bool:
    """Whether the logits of a picture of noise change with the patches of a feature map."""
    cut, found = CutClassifier(classifier, tap, calls), []
    cut.point.register_forward_hook(lambda _module, _inputs, output: found.append(output))
    with torch.inference_mode(False), torch.enable_grad():
        logits = cut(_noise(classifier))
        (gradient,) = torch.autograd.grad(logits.square().sum(), found[0], allow_unused=True)
    return gradient is not None and bool(tap.to_map(gradient).abs().max() > 0)


@torch.no_grad()
def _calls_and_tail(classifier: FrozenClassifier, tap: Tap) -> tuple[int, float]:
    """How often a pass runs the tapped module, and which share of the multiply-adds follows."""
    before = []
    counter = FlopCounterMode(display=False)
    module = classifier.model.get_submodule(tap.name)
    handle = module.register_forward_hook(lambda *_: before.append(counter.get_total_flops()))
    try:
        with counter:
            classifier(_noise(classifier))
    finally:
        handle.remove()
    return len(before), 1.0 - before[-1] / max(counter.get_total_flops(), 1)


def _noise(classifier: FrozenClassifier) -> Tensor:
    """A picture of seeded noise as the classifier sees it, float32 (1, 3, H, W)."""
    rule = classifier.rule
    return normalised(classifier, np.random.default_rng(0).integers(0, 256, (1, rule.height, rule.width, 3), np.uint8))
