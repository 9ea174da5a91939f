"""A stand-in for the frozen classifier in training: batch normalisations folded into the convolutions before them.

In eval mode a batch normalisation is a multiplication and an addition a channel, which the convolution before it can
do: w' = w γ / √(σ² + ε), b' = (b − μ) γ / √(σ² + ε) + β (Jacob et al. 2018, arXiv 1712.05877, sec. 3.2). What is left
out is a pass over every map forwards, and one backwards. Answers, activations and gradients are the classifier's own
up to rounding; whatever is promised, saved or exported is of the classifier itself.

Letters: B batch, H W the input size.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from whymask.train.classifier import FrozenClassifier
from whymask.train.taps import recording

TOLERANCE = 1e-3
"""Largest difference that is rounding, as a share of a tensor's largest value. A wrong fold is off by about 1."""

PROBES = 2


def folded(classifier: FrozenClassifier) -> FrozenClassifier:
    """A copy whose batch normalisations are folded; the classifier itself is not touched.

    Returns:
        the copy, with the same taps; one that folds nothing where answers would otherwise change, as with weights that
        a module computes anew in each pass. The classifier itself where it cannot be copied.
    """
    try:
        stand_in = copy.deepcopy(classifier)
    except (RuntimeError, TypeError):  # weights that were computed from others, or a handle of some library
        return classifier
    for convolution, normalisation in _pairs(stand_in):
        _fold(stand_in.model, convolution, normalisation)
    return stand_in if _agree(classifier, stand_in) else copy.deepcopy(classifier)


def round_weights(stand_in: FrozenClassifier, dtype: torch.dtype) -> None:
    """Round weights once to what autocast would round them to in every pass; from here on, ask under autocast only.

    Autocast keeps what it has cast for the rest of a step, but only of weights that are trained: a frozen
    ResNet-18 was cast four times a step, which cost a tenth of it.

    Args:
        stand_in: from `folded`; its convolutions and linear layers are changed in place, heirs of these are not.
        dtype: of autocast.
    """
    for module in stand_in.model.modules():
        if type(module) in (nn.Conv2d, nn.Linear):
            module.to(dtype)


def _pairs(classifier: FrozenClassifier) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions whose output goes to a batch normalisation, each called once a pass, and no tap between the two."""
    made: list[tuple[nn.Conv2d, Tensor]] = []
    read: list[tuple[nn.BatchNorm2d, Tensor]] = []

    def after(module: nn.Conv2d, _inputs: Any, output: Tensor) -> None:
        made.append((module, output))

    def before(module: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        read.append((module, inputs[0]))

    handles = []
    for module in classifier.model.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(after))
        elif type(module) is nn.BatchNorm2d and module.running_mean is not None:  # heirs may do more than normalise
            handles.append(module.register_forward_pre_hook(before))
    try:
        with torch.no_grad(), recording(classifier.model, classifier.taps) as tapped:
            classifier.model(_probe(classifier))
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


def _fold(model: nn.Module, convolution: nn.Conv2d, normalisation: nn.BatchNorm2d) -> None:
    mean, variance = normalisation.running_mean, normalisation.running_var
    if mean is None or variance is None:
        raise AssertionError("a batch normalisation without running statistics cannot be folded")
    weight, bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        mean,
        variance,
        normalisation.eps,
        normalisation.weight,
        normalisation.bias,
    )
    convolution.weight, convolution.bias = (nn.Parameter(each.detach(), requires_grad=False) for each in (weight, bias))
    for name, module in list(model.named_modules()):
        if module is normalisation:
            model.set_submodule(name, nn.Identity())


def _probe(classifier: FrozenClassifier) -> Tensor:
    """Noise of the input's size, float32 (PROBES, 3, H, W), the same each time."""
    rule = classifier.rule
    noise = torch.randn(PROBES, 3, rule.height, rule.width, generator=torch.Generator().manual_seed(0))
    return noise.to(classifier.mean.device)


@torch.no_grad()
def _agree(classifier: FrozenClassifier, stand_in: FrozenClassifier) -> bool:
    """Whether both give the same logits and activations, up to rounding."""
    x = _probe(classifier)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # its ten bits would look like a difference
        (logits, features), (other_logits, others) = classifier.with_taps(x), stand_in.with_taps(x)
    pairs = zip((logits, *features), (other_logits, *others), strict=True)
    return all(bool((a - b).abs().max() <= TOLERANCE * a.abs().max()) for a, b in pairs)
