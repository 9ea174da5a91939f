"""The frozen classifier's passes in training through `torch.compile`, which fuses what lies between its convolutions.

Only a step's passes are compiled. Validation, calibration and export ask the classifier as it was given, so that no
number that is promised depends on a compiler.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from whymask.runtime.errors import TrainingError
from whymask.train.classifier import FrozenClassifier

DOCS = "https://docs.pytorch.org/docs/stable/torch.compiler.html"


def compiled(classifier: FrozenClassifier, batch: int, autocast: AbstractContextManager[None]) -> FrozenClassifier:
    """A copy that answers like the classifier up to rounding, with its passes compiled.

    The passes that every step makes are made once here, with their gradient: compiling takes up to minutes, and what
    cannot be compiled is better known before the first step than at it.

    Args:
        classifier: it stays as it is.
        batch: pictures a step and process.
        autocast: entered for the passes, as in training.

    Returns:
        the copy; its `with_taps` and `forward` are compiled.

    Raises:
        TrainingError: this machine cannot compile it.
    """
    try:
        twin = copy.deepcopy(classifier)
        vars(twin).update(with_taps=torch.compile(_with_taps_of(twin)), forward=torch.compile(twin.model.forward))
        with autocast:
            _passes(twin, batch)
    except Exception as error:  # the compiler's own errors, its C++ compiler's and Triton's share no class
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise TrainingError(
            f"--compile: torch.compile cannot compile {classifier.id!r} on this machine ({first}); on a processor it "
            f"needs a C++ compiler, on a GPU Triton ({DOCS}). Leave --compile out to train without it"
        ) from error
    return twin


def _with_taps_of(twin: FrozenClassifier) -> Callable[[Tensor], tuple[Tensor, list[Tensor]]]:
    """`with_taps` by hooks that stay: those that come and go with a pass would part the compiled graph at each tap."""
    outputs: dict[str, Tensor] = {}
    for name in twin.taps:
        twin.model.get_submodule(name).register_forward_hook(partial(_keep, outputs, name))

    def with_taps(x: Tensor) -> tuple[Tensor, list[Tensor]]:
        logits = twin.model(x)
        maps = [tap.to_map(outputs[tap.name]) for tap in twin.tap_specs]
        outputs.clear()  # what a pass before this one left would be an input of the compiled graph
        return logits, maps

    return with_taps


def _keep(outputs: dict[str, Tensor], name: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
    outputs[name] = output


def _passes(twin: FrozenClassifier, batch: int) -> None:
    """What a step asks: a pass with its gradient, and both passes without."""
    rule = twin.rule
    x = torch.zeros(batch, 3, rule.height, rule.width, device=twin.mean.device)
    shown = x.contiguous(memory_format=torch.channels_last).requires_grad_(True)
    logits, features = twin.with_taps(shown)
    torch.autograd.backward(logits.float().sum() + sum(maps.float().sum() for maps in features))
    with torch.no_grad():
        twin(shown), twin.with_taps(shown)
