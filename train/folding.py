"""A stand-in for the frozen classifier: batch normalisations folded into the convolutions before them.

In eval mode a batch normalisation is a multiplication and an addition a channel, which the convolution before it can
do: w' = w γ / √(σ² + ε), b' = (b − μ) γ / √(σ² + ε) + β (Jacob et al. 2018, arXiv 1712.05877, sec. 3.2). What is left
out is a pass over every map forwards, and one backwards. Answers, activations and gradients are the classifier's own
up to rounding; whatever is promised, saved or exported is of the classifier itself.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from whymask.train.classifier import FrozenClassifier
from whymask.train.rewriting import agree, handed_over, put_in_place_of


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
    for convolution, normalisation in handed_over(stand_in, _is_convolution, _is_normalisation):
        _fold(stand_in.model, cast("nn.Conv2d", convolution), cast("nn.BatchNorm2d", normalisation))
    return stand_in if agree(classifier, stand_in) else copy.deepcopy(classifier)


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


def _is_convolution(module: nn.Module) -> bool:
    # Not one whose weight is computed anew in each pass from others (weight or spectral normalisation): it has no such
    # parameter.
    return isinstance(module, nn.Conv2d) and "weight" in dict(module.named_parameters(recurse=False))


def _is_normalisation(module: nn.Module) -> bool:
    # Of this type alone: heirs may do more than normalise.
    return type(module) is nn.BatchNorm2d and module.running_mean is not None


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
    put_in_place_of(model, normalisation, nn.Identity())
