"""A classifier that knows nothing: its weights shuffled, from the top layer down, and put back bit by bit.

Adebayo et al. 2018, "Sanity Checks for Saliency Maps" (arXiv 1810.03292), section 3, draw the weights anew. Here the
values of each tensor change their places instead: what they mean is gone as well, while their scale stays, so that
activations neither vanish nor explode. Networks with folded normalisation go dead when they are initialised anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whymask.train.classifier import FrozenClassifier
from whymask.train.explainers import Explainer

EVERYTHING = "everything"


@dataclass(frozen=True)
class Depth:
    """How far down the weights are shuffled.

    Attributes:
        name: `head`, `after TAP`, or `everything`.
        modules: names of those modules whose own tensors are shuffled.
    """

    name: str
    modules: tuple[str, ...]


def depths(classifier: FrozenClassifier) -> list[Depth]:
    """From the final layer to all layers; each holds what the one before it held."""
    owners = [name for name, module in classifier.model.named_modules() if any(True for _ in _tensors(module))]
    events = _order(classifier, owners)
    found = [Depth("head", (classifier.head,))] if classifier.head is not None else []
    for tap in reversed(classifier.taps[:-1]):
        above = tuple(name for kind, name in events[events.index(("tap", tap)) :] if kind == "owner")
        if not found or len(above) > len(found[-1].modules):
            found.append(Depth(f"after {tap}", above))
    return [*found, Depth(EVERYTHING, tuple(owners))]


@contextmanager
def shuffled(
    classifier: FrozenClassifier, names: Sequence[str], seed: int, explainer: Explainer | None = None
) -> Iterator[None]:
    """Shuffle the tensors of some modules; all is as it was afterwards, also when the body raises.

    Args:
        classifier: changed in place meanwhile.
        names: of its modules; their own parameters and buffers are shuffled, not those of modules inside.
        seed: of the shuffling.
        explainer: its class rows follow the final layer, of which they are a copy.
    """
    tensors = [tensor for name in names for tensor in _tensors(classifier.model.get_submodule(name))]
    rows = getattr(explainer, "rows", None)
    before = [tensor.clone() for tensor in tensors]
    rows_before = rows.clone() if isinstance(rows, Tensor) else None
    generator = torch.Generator().manual_seed(seed)
    try:
        with torch.no_grad():
            for tensor in tensors:
                place = torch.randperm(tensor.numel(), generator=generator)
                tensor.copy_(tensor.flatten()[place].view_as(tensor))
            weight = classifier.head_weight
            if rows is not None and weight is not None:
                rows.copy_(F.normalize(weight, dim=1))
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
            if rows is not None and rows_before is not None:
                rows.copy_(rows_before)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """A module's own parameters and buffers of floating point; counters stay."""
    for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
        if tensor.is_floating_point():
            yield tensor


def _order(classifier: FrozenClassifier, owners: Sequence[str]) -> list[tuple[str, str]]:
    """When owners of tensors begin (`owner`) and taps end (`tap`), in one pass.

    A module that owns tensors and holds others, such as a transformer's position embedding, counts where it begins: it
    ends behind everything that it holds.
    """
    events: list[tuple[str, str]] = []

    def note(kind: str, name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            events.append((kind, name))

        return hook

    with ExitStack() as hooks:
        for name in owners:
            handle = classifier.model.get_submodule(name).register_forward_pre_hook(note("owner", name))
            hooks.callback(handle.remove)
        for name in classifier.taps:
            handle = classifier.model.get_submodule(name).register_forward_hook(note("tap", name))
            hooks.callback(handle.remove)
        with torch.no_grad():
            classifier(torch.zeros(1, 3, classifier.rule.height, classifier.rule.width))
    return events
