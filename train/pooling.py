"""Max pooling before the ReLU in front of it, in the stand-in for the frozen classifier.

The largest of clipped values is the largest value, clipped: max(relu(a), relu(b)) = relu(max(a, b)), bit for bit, and
so are the gradients. The ReLU of a stem then works on a quarter of the pixels, forwards and backwards.
"""

from __future__ import annotations

from torch import nn

from whymask.train.classifier import FrozenClassifier
from whymask.train.rewriting import agree, handed_over, put_in_place_of


def pool_first(stand_in: FrozenClassifier, classifier: FrozenClassifier) -> None:
    """Change the order of ReLU and max pooling wherever the one follows the other and nothing is tapped between.

    Args:
        stand_in: changed in place, left as it is where another module reads the ReLU's output too.
        classifier: whose answers it has to give.
    """
    for relu, pool in handed_over(stand_in, _is_relu, _is_pool):
        nothing, both = nn.Identity(), nn.Sequential(pool, relu)
        put_in_place_of(stand_in.model, relu, nothing)
        put_in_place_of(stand_in.model, pool, both)
        if not agree(classifier, stand_in):
            put_in_place_of(stand_in.model, both, pool)
            put_in_place_of(stand_in.model, nothing, relu)


def _is_relu(module: nn.Module) -> bool:
    return type(module) is nn.ReLU


def _is_pool(module: nn.Module) -> bool:
    return type(module) is nn.MaxPool2d and not module.return_indices
