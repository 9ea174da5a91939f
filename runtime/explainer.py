"""From a fused graph to explanations: `load` a file, `explain` a picture."""

from __future__ import annotations

import difflib
import itertools
import operator
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from whymask.runtime.backends import Arrays, Backend, check_contract
from whymask.runtime.card import IMAGE, TARGET, Card
from whymask.runtime.errors import ArtefactError, BackendError, InputError
from whymask.runtime.explanation import Explanation, check_options
from whymask.runtime.images import Picture, fit, rgb_from
from whymask.runtime.ort import OrtBackend

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
PREDICTED = -1
"""Value of the graph's `target` that means: explain the predicted class."""


def load(path: str | Path, provider: str | None = None, threads: int | None = None) -> Explainer:
    """Load a fused graph.

    Args:
        path: the ONNX file that `whymask export` made.
        provider: `cpu`, `cuda`, `tensorrt` or ONNX Runtime's own name of a provider; None takes the best that really
            loads. `Explainer.provider` states which it is.
        threads: threads inside one operator on the CPU; None leaves it to ONNX Runtime.

    Raises:
        ArtefactError: no such file, no graph, no card, a card of a newer schema, or a graph that breaks the contract.
        BackendError: the provider that was asked for does not load, or the file is an engine.
        MissingExtra: onnxruntime is not installed.
    """
    path = Path(path)
    if path.suffix in ENGINE_SUFFIXES:
        raise BackendError(
            f"{path}: this version runs ONNX graphs only; TensorRT engines come in the next release. "
            "Load the ONNX file that the engine was built from"
        )
    if path.is_dir():
        raise ArtefactError(
            f"{path}: a folder, expected an ONNX file; make one with: whymask export {path} -o FILE.onnx"
        )
    return Explainer(OrtBackend(path, provider, threads), str(path))


class Explainer:
    """Says what a picture shows and which pixels decided it. Thread-safe: any number of threads may explain at once.

    Args:
        backend: the loaded graph, owned from here on.
        name: what to call it in messages.

    Raises:
        ArtefactError: the graph has no card or breaks the contract.
    """

    def __init__(self, backend: Backend, name: str = "graph") -> None:
        self.backend = backend
        self.card: Card = backend.card
        check_contract(backend, name)
        self.takes_target = TARGET in backend.inputs
        batch = backend.inputs[IMAGE].shape[0]
        self._fixed_batch = batch if isinstance(batch, int) else None

    def __repr__(self) -> str:
        """What it explains and what runs it."""
        return f"Explainer(classifier={self.card.classifier.id!r}, provider={self.provider!r})"

    @property
    def provider(self) -> str:
        """What really runs the graph, such as `CPUExecutionProvider`."""
        return self.backend.provider

    def explain(
        self,
        image: object,
        target: int | str | None = None,
        threshold: float | None = None,
        area: float | None = None,
    ) -> Explanation:
        """Explain one picture.

        Args:
            image: uint8 array (height, width, 3), RGB, 0–255, of any size, or a path, or a PIL image.
            target: class to explain, as a label or an index; None explains the predicted class.
            threshold: keep pixels of at least this saliency, in [0, 1]; None takes the card's calibrated threshold.
            area: keep this share of the pixels, in (0, 1], instead of those above a threshold.

        Raises:
            InputError: an image, a target, a threshold or an area that cannot be used.
            MissingExtra: Pillow is needed to decode or resize, and is not installed.
            BackendError: the provider fails.
        """
        check_options(threshold, area)
        index = self._target_index(target)
        picture = rgb_from(image)
        outputs = self._run(fit(picture, self.card.input)[None], index)
        row = {name: values[0] for name, values in outputs.items()}
        return Explanation(row, self.card, picture, index, threshold, area)

    def explain_batch(
        self,
        images: Iterable[object],
        batch_size: int = 8,
        target: int | str | None = None,
        threshold: float | None = None,
        area: float | None = None,
    ) -> Iterator[Explanation]:
        """Explain many pictures, in their order, as many at a time as the graph takes.

        Args:
            images: pictures as `explain` takes them; an iterator is read one batch ahead at most.
            batch_size: pictures a pass, at least 1; a graph of a fixed batch size uses that instead.
            target: class to explain in every picture; see `explain`.
            threshold: see `explain`.
            area: see `explain`.

        Returns:
            an iterator; nothing runs before the first explanation is asked for.

        Raises:
            InputError: as `explain`; options are checked at once, pictures when their turn comes.
        """
        if isinstance(images, (str, os.PathLike)):
            raise InputError(f"images: got the single path {os.fspath(images)!r}, expected a list of pictures")
        if batch_size < 1:
            raise InputError(f"batch_size: got {batch_size}, expected a whole number of at least 1")
        check_options(threshold, area)
        index = self._target_index(target)
        size = self._fixed_batch or batch_size
        return self._explanations(iter(images), size, index, threshold, area)

    def close(self) -> None:
        """Let go of the graph's memory; explanations made before stay usable."""
        self.backend.close()

    def __enter__(self) -> Explainer:
        """The explainer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, also when the body raised."""
        self.close()

    def _explanations(
        self, images: Iterator[object], size: int, index: int | None, threshold: float | None, area: float | None
    ) -> Iterator[Explanation]:
        while pictures := [rgb_from(image) for image in itertools.islice(images, size)]:
            outputs = self._run(np.stack([fit(picture, self.card.input) for picture in pictures]), index)
            for row, picture in enumerate(pictures):
                yield Explanation(
                    {name: values[row] for name, values in outputs.items()}, self.card, picture, index, threshold, area
                )

    def _run(self, pixels: Picture, index: int | None) -> Arrays:
        """Outputs for a batch: uint8, (B, H, W, 3), no more pictures than a graph of a fixed batch takes."""
        count = len(pixels)
        if self._fixed_batch is not None and count < self._fixed_batch:
            pixels = np.concatenate([pixels, np.repeat(pixels[-1:], self._fixed_batch - count, axis=0)])
        feeds: Arrays = {IMAGE: pixels}
        if self.takes_target:
            feeds[TARGET] = np.full(len(pixels), PREDICTED if index is None else index, np.int64)
        return self.backend.run(feeds)

    def _target_index(self, target: int | str | None) -> int | None:
        if target is None:
            return None
        if not self.takes_target:
            raise InputError(
                f"target: {target!r} was asked for, and this graph explains the predicted class only; "
                "export it again with: whymask export RUN -o FILE.onnx --target"
            )
        return class_index(self.card, target)


def class_index(card: Card, target: int | str) -> int:
    """Index of a class given by label or number.

    Args:
        card: the graph's card.
        target: a label, an index, or an index written as text where no label is written so.

    Raises:
        InputError: no such class, or a label that several classes have.
    """
    classes, labels = card.classifier.num_classes, card.classifier.labels
    if isinstance(target, str):
        named = [index for index, label in enumerate(labels) if label == target]
        if len(named) == 1:
            return named[0]
        if named:
            numbers = " and ".join(str(index) for index in named)
            raise InputError(f"target: {target!r} is the label of classes {numbers}; give the number instead")
        if not target.isdecimal():
            raise InputError(f"target: no class is called {target!r}; {_hint(target, labels, classes)}")
    try:
        index = int(target) if isinstance(target, str) else operator.index(target)
    except TypeError:
        raise InputError(f"target: got {type(target).__name__}, expected a label, an index or None") from None
    if not 0 <= index < classes:
        raise InputError(f"target: class {index} does not exist, expected an index from 0 to {classes - 1}")
    return index


def _hint(target: str, labels: tuple[str, ...], classes: int) -> str:
    if not labels:
        return f"the card has no labels, so give an index from 0 to {classes - 1}"
    folded = {label.casefold(): label for label in labels}
    nearest = difflib.get_close_matches(target.casefold(), folded, 1, cutoff=0.0)
    return f"the nearest label is {folded[nearest[0]]!r}"
