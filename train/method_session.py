"""A per-image method with its classifier, on numpy arrays: what `whymask explain --method` calls.

Letters: B batch, N pictures, H W the classifier's input size, C classes.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from whymask.runtime.card import Card, ExplainerCard
from whymask.runtime.errors import BackendError, InputError
from whymask.runtime.methods import MethodOptions
from whymask.train.classifier import FrozenClassifier
from whymask.train.cli import parse_size, parse_triple
from whymask.train.data import pixels_from_pictures
from whymask.train.device import device_from_name, device_label
from whymask.train.matching.circuit import read_circuit
from whymask.train.matching.circuit_svg import svg_from_circuit
from whymask.train.methods import METHODS
from whymask.train.model_spec import load_classifier
from whymask.train.optimise import FILL


class MethodSession:
    """`whymask.runtime.methods.ImageMethod` by torch.

    Args:
        name: of METHODS.
        classifier: asked, never changed.
        steps: a picture; None takes the method's own.
        seed: of all its randomness.
        device: where it computes; the classifier is moved there.

    Raises:
        InputError: no such method, or less than a step.
    """

    def __init__(
        self,
        name: str,
        classifier: FrozenClassifier,
        steps: int | None = None,
        seed: int = 0,
        device: torch.device | None = None,
    ) -> None:
        _check_method(name)
        if steps is not None and steps < 1:
            raise InputError(f"--steps: got {steps}, expected at least 1")
        self.name, self.seed = name, seed
        self.steps = METHODS[name].steps if steps is None else steps
        self._device = device or torch.device("cpu")
        self._classifier = classifier.to(self._device)
        self.device = device_label(self._device)
        rule = classifier.rule
        explainer = ExplainerCard(name, 0, height=rule.height, width=rule.width)
        self.card = Card(classifier.card(), rule.to_card(), explainer, threshold=0.5, fill=FILL, seed=seed)

    def classify(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, 3) → logits float32 (N, C)."""
        with torch.no_grad():
            x = self._classifier.normalise(pixels_from_pictures(pictures, self._device))
            logits: NDArray[np.float32] = self._classifier(x).cpu().numpy()
        return logits

    def explain(
        self, pictures: NDArray[np.uint8], target: NDArray[np.int64], on_step: Callable[[int], None]
    ) -> NDArray[np.float32]:
        """uint8 (B, H, W, 3), int64 (B,) → masks float32 (B, H, W) in [0, 1].

        Raises:
            BackendError: a GPU's memory does not hold so many pictures.
        """
        pixels, asked = pixels_from_pictures(pictures, self._device), torch.from_numpy(target).to(self._device)
        method = METHODS[self.name]
        try:
            masks = method.explain(self._classifier, pixels, asked, steps=self.steps, seed=self.seed, on_step=on_step)
        except torch.cuda.OutOfMemoryError as error:
            raise BackendError(
                f"{self.name}: {len(pictures)} pictures at once do not fit in the memory of {self.device}; give fewer "
                "with --batch"
            ) from error
        found: NDArray[np.float32] = masks.cpu().numpy()
        return found

    def circuit(
        self, picture: NDArray[np.uint8], mask: NDArray[np.uint8], target: int, top: int
    ) -> tuple[dict[str, Any], str]:
        """uint8 (H, W, 3), uint8 (H, W), class → the circuit as plain values and as SVG."""
        if top < 1:
            raise InputError(f"--circuit: got {top} channels a layer, expected at least 1")
        pixels = pixels_from_pictures(picture[None], self._device)[0]
        circuit = read_circuit(self._classifier, pixels, torch.from_numpy(mask.copy()), target, top=top)
        return circuit, svg_from_circuit(circuit, f"{self.card.label(target)}: what carries picture and explanation")


def method_for_model(options: MethodOptions) -> MethodSession:
    """The method for a classifier; the entry point of `whymask.methods`.

    Raises:
        InputError: no such method, an option out of range, or a classifier that cannot be loaded.
    """
    name = str(options.method)
    # Before a classifier is loaded.
    _check_method(name)
    device = device_from_name(options.device)
    classifier = load_classifier(
        str(options.model),
        weights=options.weights,
        labels=options.labels,
        size=parse_size(options.size),
        mean=parse_triple(options.mean),
        std=parse_triple(options.std),
    )
    return MethodSession(name, classifier, options.steps, options.seed or 0, device)


def _check_method(name: str) -> None:
    if name not in METHODS:
        nearest = difflib.get_close_matches(name, METHODS, 1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"expected one of {', '.join(METHODS)}"
        raise InputError(f"--method: there is no {name!r}; {hint}")
