"""From a fused graph to explanations: `load` a file, `explain` a picture."""

from __future__ import annotations

import difflib
import itertools
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.backends import Arrays, Backend, check_contract
from whymask.runtime.card import IMAGE, LOGITS, TARGET, Card
from whymask.runtime.certificate import Certificate, certify
from whymask.runtime.closing import Closing
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.explanation import Explanation, check_options
from whymask.runtime.images import Picture, fit, rgb_from
from whymask.runtime.ort import OrtBackend

if TYPE_CHECKING:
    from whymask.runtime.instances import Instance

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
PREDICTED = -1
"""Value of the graph's `target` that means: explain the predicted class."""
LARGEST_ROUND = 32
"""Pictures a pass at most when masks are certified: enough for every region of a mask, and bounded in memory."""


def load(
    path: str | Path,
    provider: str | None = None,
    threads: int | None = None,
    cuda_graph: bool = False,
    zero_copy: bool | None = None,
    contexts: int = 1,
) -> Explainer:
    """Load a fused graph, or an engine built from one.

    Args:
        path: the ONNX file that `whymask export` made, or the engine (`.plan`, `.engine`, `.trt`) that `whymask build`
            made from it.
        provider: for an ONNX file: `cpu`, `cuda`, `tensorrt` or ONNX Runtime's own name of a provider; None takes the
            best that really loads. `Explainer.provider` states which it is.
        threads: for an ONNX file: threads inside one operator on the CPU; None leaves it to ONNX Runtime.
        cuda_graph: for an engine: capture the work of each batch size once and launch it as a whole.
        zero_copy: for an engine: let the GPU work in the host's memory; None does so where they share it anyway.
        contexts: for an engine: pictures or batches that may be explained at the same time, at least 1.

    Raises:
        ArtefactError: no such file, no graph, no card, a card of a newer schema, a graph that breaks the contract, or
            an engine that does not belong to this machine.
        BackendError: the provider that was asked for does not load; for an engine: no GPU, or TensorRT refuses.
        InputError: an option that belongs to the other kind of file.
        MissingExtra: onnxruntime or TensorRT is not installed.
    """
    path = Path(path)
    if path.is_dir():
        raise ArtefactError(
            f"{path}: a folder, expected an ONNX file; make one with: whymask export {path} -o FILE.onnx"
        )
    if path.suffix in ENGINE_SUFFIXES:
        _refuse_options(path, "an engine, which takes neither", provider=provider, threads=threads)
        return _load_engine(path, cuda_graph, zero_copy, contexts)
    _refuse_options(
        path,
        "no engine, which alone takes it (build one with: whymask build)",
        cuda_graph=cuda_graph or None,
        zero_copy=zero_copy,
        contexts=None if contexts == 1 else contexts,
    )
    return Explainer(OrtBackend(path, provider, threads), str(path))


class Explainer(Closing):
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
        self._smallest_batch, self._largest_batch = backend.batch_range

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
        return Explanation(row, self.card, picture, index, threshold, area, self._classify)

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
            batch_size: pictures a pass, at least 1; the nearest that the graph or the engine takes is used.
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
        return self._explanations(iter(images), self._nearest_batch(batch_size), index, threshold, area)

    def certify(self, result: Explanation) -> Certificate:
        """Ask whether an explanation's mask holds the decision, as `Explanation.certify` does.

        Args:
            result: an explanation by this graph, also a copy or a pickle.

        Raises:
            InputError: an explanation by another graph.
            BackendError: the explainer was closed, or the provider fails.
        """
        return certify(self._own(result), self._classify)

    def instances(self, result: Explanation, least_share: float | None = None) -> list[Instance]:
        """One explanation for each object: the mask's separate regions, each certified on its own.

        Regions that do not keep the class alone are joined, nearest first. All regions of a round are asked about in
        one batch, as far as the graph takes so many.

        Args:
            result: an explanation by this graph, also a copy or a pickle; its picture must still hold what was
                explained.
            least_share: regions below this share of the mask, in [0, 1], are joined to the nearest larger one before
                anything is asked; None takes 0.05.

        Returns:
            Those that keep the class, the surest first; then what does not, if anything, with `kept=False`.

        Raises:
            InputError: an explanation by another graph, or a share out of range.
            BackendError: the explainer was closed, or the provider fails.
        """
        from whymask.runtime.instances import LEAST_SHARE, instances_of

        return instances_of(self._own(result), self._classify, LEAST_SHARE if least_share is None else least_share)

    def close(self) -> None:
        """Let go of the graph's memory; explanations made before stay usable."""
        self.backend.close()

    def _explanations(
        self, images: Iterator[object], size: int, index: int | None, threshold: float | None, area: float | None
    ) -> Iterator[Explanation]:
        while pictures := [rgb_from(image) for image in itertools.islice(images, size)]:
            outputs = self._run(np.stack([fit(picture, self.card.input) for picture in pictures]), index)
            for row, picture in enumerate(pictures):
                result = {name: values[row] for name, values in outputs.items()}
                yield Explanation(result, self.card, picture, index, threshold, area, self._classify)

    def _classify(self, pixels: Picture) -> NDArray[np.float32]:
        """Logits, float32 (N, C), of uint8 (N, H, W, 3), in as few passes as `LARGEST_ROUND` and the graph allow."""
        size = self._nearest_batch(min(len(pixels), LARGEST_ROUND))
        parts = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        return np.concatenate([self._run(part, None, (LOGITS,))[LOGITS][: len(part)] for part in parts])

    def _nearest_batch(self, size: int) -> int:
        size = max(size, self._smallest_batch)
        return size if self._largest_batch is None else min(size, self._largest_batch)

    def _own(self, result: Explanation) -> Explanation:
        if result.card != self.card:
            raise InputError(f"result: explained by another graph than {self!r}; ask the explainer that made it")
        return result

    def _run(self, pixels: Picture, index: int | None, outputs: Sequence[str] | None = None) -> Arrays:
        """Outputs for a batch: uint8, (B, H, W, 3), no more pictures than the graph takes; fewer are filled up."""
        count = len(pixels)
        if count < self._smallest_batch:
            pixels = np.concatenate([pixels, np.repeat(pixels[-1:], self._smallest_batch - count, axis=0)])
        feeds: Arrays = {IMAGE: pixels}
        if self.takes_target:
            feeds[TARGET] = np.full(len(pixels), PREDICTED if index is None else index, np.int64)
        return self.backend.run(feeds, outputs)

    def _target_index(self, target: int | str | None) -> int | None:
        if target is None:
            return None
        if not self.takes_target:
            raise InputError(
                f"target: {target!r} was asked for, and this graph explains the predicted class only; "
                "export it again with: whymask export RUN -o FILE.onnx --target"
            )
        return class_index(self.card, target)


def _load_engine(path: Path, cuda_graph: bool, zero_copy: bool | None, contexts: int) -> Explainer:
    from whymask.runtime.engine_card import CLASSIFIER
    from whymask.runtime.trt import TrtBackend

    backend = TrtBackend(path, cuda_graph=cuda_graph, zero_copy=zero_copy, contexts=contexts)
    try:
        if backend.engine_card.role == CLASSIFIER:
            raise ArtefactError(f"{path}: the engine of the classifier alone; load that of the fused graph")
        return Explainer(backend, str(path))
    except BaseException:
        backend.close()
        raise


def _refuse_options(path: Path, kind: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name}: {value!r} was asked for, and {path} is {kind}; leave {name} out")


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
