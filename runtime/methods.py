"""Explanations without a graph: `whymask explain --method NAME --model SPEC IMAGE…` spends steps on each picture.

The runtime knows no gradients. What explains comes by the entry-point group `whymask.methods`: a function
(`MethodOptions`) → `ImageMethod`. The package `whymask.train` brings one, which needs torch.

Letters: B batch, N pictures, H W the classifier's input size, C classes, K channels a layer.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.card import DROPPED_LOGITS, KEPT_LOGITS, LOGITS, MASK, SALIENCY, Card
from whymask.runtime.certificate import shown
from whymask.runtime.closing import Closing
from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.explanation import Explanation
from whymask.runtime.files import write_atomically
from whymask.runtime.images import Map, Picture, fit, rgb_from
from whymask.runtime.progress import track
from whymask.runtime.question import class_index

GROUP = "whymask.methods"
BATCH = 4
"""Pictures that are explained together: each may bring a network of its own, with its gradients."""


@dataclass(frozen=True)
class MethodOptions:
    """What a method is asked for, as it is typed; None stands for a default.

    Attributes:
        method: its name.
        model, weights, labels, size, mean, std: the classifier, as for `whymask train`.
        steps: a picture, at least 1.
        seed: of all its randomness.
        circuit: K of the circuit that is written with each explanation.
        device: of torch, such as `cuda`.
        batch: pictures that are explained together, at least 1.
    """

    method: str | None
    model: str | None
    weights: str | None = None
    labels: Path | None = None
    size: str | None = None
    mean: str | None = None
    std: str | None = None
    steps: int | None = None
    seed: int | None = None
    circuit: int | None = None
    device: str | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        """Refuse options that belong to a method without one, a method without a classifier, and empty batches."""
        given = [f"--{each.name}" for each in dataclasses.fields(self) if getattr(self, each.name) is not None]
        if self.method is None and given:
            raise InputError(f"{given[0]}: only --method NAME takes it; add that, or leave {given[0]} out")
        if self.method is not None and self.model is None:
            raise InputError(f"--method {self.method}: no classifier; give --model, such as timm:resnet18")
        if self.batch is not None and self.batch < 1:
            raise InputError(f"--batch: got {self.batch}, expected at least 1 picture")


class ImageMethod(Protocol):
    """A method, ready for one classifier.

    Attributes:
        name: of the method.
        card: of the classifier, with the threshold and the fill of the masks.
        steps: a picture.
        seed: of all its randomness.
        device: what it computes on, for people.
    """

    name: str
    card: Card
    steps: int
    seed: int
    device: str

    def classify(self, pictures: Picture) -> NDArray[np.float32]:
        """Logits, float32 (N, C), of pictures uint8 (N, H, W, 3)."""

    def explain(self, pictures: Picture, target: NDArray[np.int64], on_step: Callable[[int], None]) -> Map:
        """Masks in [0, 1], float32 (B, H, W), of pictures uint8 (B, H, W, 3) and classes int64 (B,)."""

    def circuit(self, picture: Picture, mask: NDArray[np.uint8], target: int, top: int) -> tuple[dict[str, Any], str]:
        """The circuit of a mask, uint8 (H, W), with K = `top`: plain values, and an SVG."""


def load_method(options: MethodOptions) -> ImageMethod:
    """The method that an installed part brings.

    Raises:
        InputError: an unknown method, an option out of range, or a classifier that cannot be loaded.
        MissingExtra: no part that brings methods is installed, or torch is not.
    """
    entry = next(iter(importlib.metadata.entry_points(group=GROUP)), None)
    if entry is None:
        raise MissingExtra("whymask.train", "train", "explain by a method (--method)")
    try:
        make = entry.load()
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "train", "explain by a method (--method)") from error
    method: ImageMethod = make(options)
    return method


class MethodExplanation(Explanation):
    """An explanation, and what it took.

    Attributes:
        facts: `method`, `steps`, `seed`, `device` and `seconds` (the batch's, divided by its pictures).
    """

    facts: dict[str, Any]


class MethodExplainer(Closing):
    """Explains pictures by a method, with the calls of `whymask.runtime.Explainer` that the command line makes.

    Args:
        method: from `load_method`.
    """

    top = 0

    def __init__(self, method: ImageMethod) -> None:
        self.method, self.card = method, method.card
        self.provider = f"torch by {method.name} on {method.device}"

    def explain_batch(
        self, images: Iterable[object], batch_size: int = BATCH, target: int | str | None = None
    ) -> Iterator[MethodExplanation]:
        """Explain pictures, in their order, each batch with a progress of its own.

        Args:
            images: see `Explainer.explain_batch`.
            batch_size: pictures explained together, at least 1.
            target: class to explain in every picture, a label or an index; None explains the predicted one.

        Raises:
            InputError: no such class, or a picture that cannot be used.
        """
        asked = None if target is None else class_index(self.card, target)
        return self._explanations(iter(images), batch_size, asked)

    def close(self) -> None:
        """Nothing is held."""

    def _explanations(self, images: Iterator[object], size: int, asked: int | None) -> Iterator[MethodExplanation]:
        for number in itertools.count():
            pictures = [rgb_from(image) for image in itertools.islice(images, size)]
            if not pictures:
                return
            name = f"explaining pictures {number * size + 1} to {number * size + len(pictures)}"
            with track(self.method.steps, name, "steps") as bar:
                made = self._batch(pictures, asked, lambda done, bar=bar: bar.advance())  # type: ignore[misc]
            yield from made

    def _batch(self, pictures: list[Picture], asked: int | None, on_step: Callable[[int], None]) -> list[Any]:
        pixels, begin = np.stack([fit(picture, self.card.input) for picture in pictures]), time.perf_counter()
        logits = self.method.classify(pixels)
        target = logits.argmax(axis=1) if asked is None else np.full(len(pixels), asked)
        saliency = self.method.explain(pixels, target.astype(np.int64), on_step)
        seconds = (time.perf_counter() - begin) / len(pixels)
        masks = saliency >= np.float32(self.card.threshold)
        kept, dropped = (self.method.classify(shown(pixels, each, self.card)) for each in (masks, ~masks))
        results = []
        for row, picture in enumerate(pictures):
            arrays: dict[str, NDArray[Any]] = {LOGITS: logits, SALIENCY: saliency, MASK: masks.astype(np.uint8)}
            arrays |= {KEPT_LOGITS: kept, DROPPED_LOGITS: dropped}
            outputs = {name: values[row] for name, values in arrays.items()}
            result = MethodExplanation(outputs, self.card, picture, asked, classify=self.method.classify)
            result.facts = {
                "method": self.method.name,
                "steps": self.method.steps,
                "seed": self.method.seed,
                "device": self.method.device,
                "seconds": round(seconds, 6),
            }
            results.append(result)
        return results

    def write_circuit(self, result: Explanation, overlay: Path, top: int) -> str:
        """Write the circuit of an explanation beside its overlay, as JSON and as SVG; gives the JSON file's name.

        Args:
            result: the explanation.
            overlay: its overlay's file.
            top: K, at least 1.

        Raises:
            ArtefactError: a file cannot be written.
        """
        picture = fit(result.picture, self.card.input)
        circuit, drawing = self.method.circuit(picture, result.mask, result.index, top)
        path = overlay.with_suffix(".circuit.json")
        write_atomically(path, json.dumps(circuit, ensure_ascii=False, indent=1) + "\n")
        write_atomically(overlay.with_suffix(".circuit.svg"), drawing)
        return path.name
