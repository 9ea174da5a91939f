"""From a fused graph to explanations: `load` a file, `explain` a picture."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.alone import Alone, no_classifier, open_alone_engine, open_alone_onnx
from whymask.runtime.backends import Arrays, Backend, check_contract
from whymask.runtime.card import CLASSES, LOGITS, SALIENCY, TARGET, Card
from whymask.runtime.certificate import Certificate, certify
from whymask.runtime.checks import check_count, check_many
from whymask.runtime.closing import Closing
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.explanation import Explanation
from whymask.runtime.feeds import NO_CONTRAST, Asked, feeds_for, filled_up
from whymask.runtime.feeds import PREDICTED as PREDICTED
from whymask.runtime.images import Picture, fit, rgb_from
from whymask.runtime.ort import OrtBackend
from whymask.runtime.question import Question, question_for
from whymask.runtime.question import class_index as class_index
from whymask.runtime.trigger import Trigger, triggered_rows
from whymask.runtime.unexplained import Unexplained

if TYPE_CHECKING:
    from whymask.runtime.instances import Instance

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
LARGEST_ROUND = 32
"""Pictures a pass at most when masks are certified: enough for every region of a mask, and bounded in memory."""


def load(
    path: str | Path,
    provider: str | None = None,
    threads: int | None = None,
    cuda_graph: bool = False,
    zero_copy: bool | None = None,
    contexts: int = 1,
    when: str | Trigger | None = None,
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
        when: which pictures are explained, such as `confidence<0.6`, `class in {zebra, 340}` or `changed or every 30`;
            the others cost the classifier alone, which lies beside the file. `trigger.py` tells the cost,
            `conditions.py` the language. None explains all.

    Raises:
        ArtefactError: no such file, no graph, no card, a card of a newer schema, a graph that breaks the contract, or
            an engine that does not belong to this machine; with `when` also: no classifier of this graph beside it.
        BackendError: the provider that was asked for does not load; for an engine: no GPU, or TensorRT refuses.
        InputError: an option that belongs to the other kind of file.
        MissingExtra: onnxruntime or TensorRT is not installed.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"path: got {type(path).__name__}, expected that of an ONNX file or an engine")
    path = Path(path)
    if os.path.isdir(path):
        raise ArtefactError(
            f"{path}: a folder, expected an ONNX file; make one with: whymask export {path} -o FILE.onnx"
        )
    if path.suffix in ENGINE_SUFFIXES:
        _refuse_options(path, "an engine, which takes neither", provider=provider, threads=threads)
        return _load_engine(path, cuda_graph, zero_copy, contexts, when)
    _refuse_options(
        path,
        "no engine, which alone takes it (build one with: whymask build)",
        cuda_graph=cuda_graph or None,
        zero_copy=zero_copy,
        contexts=None if contexts == 1 else contexts,
    )
    # Two sessions in turn: the threads of the one must not spin while the other works.
    backend = OrtBackend(path, provider, threads, spin=when is None)
    return _explainer(backend, path, Alone(lambda: open_alone_onnx(path, backend, threads)), when)


class Explainer(Closing):
    """Says what a picture shows and which pixels decided it. Thread-safe: any number of threads may explain at once.

    Args:
        backend: the loaded graph, owned from here on.
        name: what to call it in messages.
        alone: the classifier alone, owned from here on; None where triggers are not needed.
        when: which pictures are explained where a call does not say it; see `load`.

    Raises:
        ArtefactError: the graph has no card or breaks the contract; with `when` also as `load`.
        InputError: `when` is no condition, or names a class that the graph does not have.
    """

    def __init__(
        self, backend: Backend, name: str = "graph", alone: Alone | None = None, when: str | Trigger | None = None
    ) -> None:
        self.backend = backend
        self.card: Card = backend.card
        check_contract(backend, name)
        self._alone = Alone(no_classifier(name)) if alone is None else alone
        self._triggers: dict[str, Trigger] = {}
        self._when = None
        self._when = self._trigger(when)
        self.takes_target = TARGET in backend.inputs
        self._smallest_batch, self._largest_batch = backend.batch_range

    def __repr__(self) -> str:
        """What it explains and what runs it."""
        return f"Explainer(classifier={self.card.classifier.id!r}, provider={self.provider!r})"

    @property
    def top(self) -> int:
        """How many of the likeliest classes each pass explains, 0 where the graph was exported without `--top`."""
        count = self.backend.outputs[CLASSES].shape[1] if CLASSES in self.backend.outputs else 0
        return count if isinstance(count, int) else 0

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
        against: int | str | None = None,
        when: str | Trigger | None = None,
    ) -> Explanation:
        """Explain one picture.

        Args:
            image: uint8 array (height, width, 3), RGB, 0–255, of any size, or a path, or a PIL image.
            target: class to explain, as a label or an index; None explains the predicted class.
            threshold: keep pixels of at least this saliency, in [0, 1]; None takes the card's calibrated threshold.
            area: keep this share of the pixels, in (0, 1], instead of those above a threshold.
            against: class that the explained one is held against, as a label or an index: why the one and not this one.
            when: whether to explain it at all, as `load` has it; None takes what `load` was given, `always` overrides
                that. Equal texts are one trigger, which counts the frames of this explainer.

        Returns:
            the explanation; of a picture that the trigger did not choose, its prediction with `explained` False and an
            error in place of the mask.

        Raises:
            InputError: an image, a class, a threshold, an area or a condition that cannot be used.
            MissingExtra: Pillow is needed to decode or resize, and is not installed.
            BackendError: the provider fails.
            ArtefactError: the trigger needs the classifier alone, and it is absent or another's.
        """
        question = question_for(self.card, self.backend.inputs, target, against, threshold, area)
        trigger = self._trigger(when)
        return self._answers([rgb_from(image)], question, trigger)[0]

    def explain_classes(
        self,
        image: object,
        targets: Iterable[int | str],
        threshold: float | None = None,
        area: float | None = None,
    ) -> list[Explanation]:
        """Explain several classes of one picture, whichever they are.

        The picture goes through the graph once for each class, in batches as large as the graph takes: K classes cost
        K passes of classifier and explainer. For the likeliest classes a graph exported with `--top K` gives all in
        one pass of the classifier; see `Explanation.top_explanations`.

        Args:
            image: see `explain`.
            targets: classes to explain, as labels or indices.
            threshold, area: see `explain`.

        Returns:
            explanations in the order of `targets`. The mask of a class that is not there is empty, unless an area is
            given.

        Raises:
            InputError: as `explain`, or no class is given.
        """
        if isinstance(targets, str):
            raise InputError(f"targets: got the single class {targets!r}, expected a list of classes")
        asked_for = check_many("targets", targets, "classes")
        questions = [question_for(self.card, self.backend.inputs, each, None, threshold, area) for each in asked_for]
        if not questions:
            raise InputError("targets: got no class, expected at least one")
        picture = rgb_from(image)
        pixels = fit(picture, self.card.input)
        size = self._nearest_batch(min(len(questions), LARGEST_ROUND))
        results = []
        for start in range(0, len(questions), size):
            part = questions[start : start + size]
            asked = np.array([question.asked for question in part], np.int64)
            outputs = self._run(np.repeat(pixels[None], len(part), axis=0), asked)
            results += [self._explanation(outputs, row, picture, question) for row, question in enumerate(part)]
        return results

    def explain_batch(
        self,
        images: Iterable[object],
        batch_size: int = 8,
        target: int | str | None = None,
        threshold: float | None = None,
        area: float | None = None,
        against: int | str | None = None,
        when: str | Trigger | None = None,
    ) -> Iterator[Explanation]:
        """Explain many pictures, in their order, as many at a time as the graph takes.

        Args:
            images: pictures as `explain` takes them; an iterator is read one batch ahead at most.
            batch_size: pictures a pass, at least 1; the nearest that the graph or the engine takes is used.
            target: class to explain in every picture; see `explain`.
            threshold: see `explain`.
            area: see `explain`.
            against: class that the explained one is held against in every picture; see `explain`.
            when: which of them to explain; see `explain`. Only these go through the fused graph.

        Returns:
            an iterator; nothing runs before the first explanation is asked for.

        Raises:
            InputError: as `explain`; options are checked at once, pictures when their turn comes.
        """
        if isinstance(images, (str, os.PathLike)):
            raise InputError(f"images: got the single path {os.fspath(images)!r}, expected a list of pictures")
        pictures = check_many("images", images, "pictures")
        size = self._nearest_batch(check_count("batch_size", batch_size))
        question = question_for(self.card, self.backend.inputs, target, against, threshold, area)
        return self._explanations(pictures, size, question, self._trigger(when))

    def certify(self, result: Explanation) -> Certificate:
        """Ask whether an explanation's mask holds the decision, as `Explanation.certify` does.

        Args:
            result: an explanation by this graph, also a copy or a pickle.

        Raises:
            InputError: an explanation by another graph.
            BackendError: the explainer was closed, or the provider fails.
        """
        return certify(self._own(result), self._classify)

    def instances(self, result: Explanation, least_share: float | None = None, grow: bool = True) -> list[Instance]:
        """One explanation for each object: the mask's separate regions, each certified on its own.

        Regions that do not keep the class alone are joined, nearest first. All regions of a round are asked about in
        one batch, as far as the graph takes so many.

        Args:
            result: an explanation by this graph, also a copy or a pickle; its picture must still hold what was
                explained.
            least_share: regions below this share of the mask, in [0, 1], are joined to the nearest larger one before
                anything is asked; None takes 0.05.
            grow: whether a region that does not keep the class alone may take more of its surroundings, the most
                salient pixels first, before it is joined: instances then hold pixels that the mask has not.

        Returns:
            Those that keep the class, the surest first; then what does not, if anything, with `kept=False`.

        Raises:
            InputError: an explanation by another graph, or a share out of range.
            BackendError: the explainer was closed, or the provider fails.
        """
        from whymask.runtime.instances import LEAST_SHARE, instances_of

        least = LEAST_SHARE if least_share is None else least_share
        return instances_of(self._own(result), self._classify, least, grow)

    def close(self) -> None:
        """Let go of the graph's memory; explanations made before stay usable."""
        self.backend.close()
        self._alone.close()

    def _explanations(
        self, images: Iterator[object], size: int, question: Question, trigger: Trigger | None
    ) -> Iterator[Explanation]:
        while pictures := [rgb_from(image) for image in itertools.islice(images, size)]:
            yield from self._answers(pictures, question, trigger)

    def _answers(self, pictures: list[Picture], question: Question, trigger: Trigger | None) -> list[Explanation]:
        """What is said of each of no more pictures than the graph takes."""
        pixels = np.stack([fit(picture, self.card.input) for picture in pictures])

        def explain(some: Picture) -> Arrays:
            outputs = self._run(some, question.asked, question.held)
            return {name: values[: len(some)] for name, values in outputs.items()}

        if trigger is None:
            outputs = explain(pixels)
            return [self._explanation(outputs, row, picture, question) for row, picture in enumerate(pictures)]
        frames = trigger.frames(len(pictures), self.card)
        rows = triggered_rows(pixels, frames, self._alone.logits, explain, self.card)
        return [
            self._explanation({name: values[None] for name, values in row.items()}, 0, picture, question)
            if SALIENCY in row
            else Unexplained(row[LOGITS], self.card, picture, trigger.spec, question.target, question.against)
            for row, picture in zip(rows, pictures, strict=True)
        ]

    def _trigger(self, when: str | Trigger | None) -> Trigger | None:
        """The trigger that is meant, checked, with its classifier open; None where every picture is explained."""
        if when is None:
            return self._when
        if isinstance(when, Trigger):
            trigger = when
        else:
            trigger = self._triggers.get(str(when)) or self._triggers.setdefault(str(when), Trigger(when))
        trigger.check(self.card)
        if trigger.always:
            return None
        self._alone.backend()
        return trigger

    def _explanation(self, outputs: Arrays, row: int, picture: Picture, question: Question) -> Explanation:
        return Explanation(
            {name: values[row] for name, values in outputs.items()},
            self.card,
            picture,
            question.target,
            question.threshold,
            question.area,
            self._classify,
            against=question.against,
        )

    def _classify(self, pixels: Picture) -> NDArray[np.float32]:
        """Logits, float32 (N, C), of uint8 (N, H, W, 3), in as few passes as `LARGEST_ROUND` and the graph allow."""
        size = self._nearest_batch(min(len(pixels), LARGEST_ROUND))
        parts = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        return np.concatenate([self._run(part, outputs=(LOGITS,))[LOGITS][: len(part)] for part in parts])

    def _nearest_batch(self, size: int) -> int:
        size = max(size, self._smallest_batch)
        return size if self._largest_batch is None else min(size, self._largest_batch)

    def _own(self, result: Explanation) -> Explanation:
        if not isinstance(result, Explanation):
            raise InputError(f"result: got {type(result).__name__}, expected an explanation by this explainer")
        if result.card != self.card:
            raise InputError(f"result: explained by another graph than {self!r}; ask the explainer that made it")
        return result

    def _run(
        self,
        pixels: Picture,
        target: Asked = PREDICTED,
        against: Asked = NO_CONTRAST,
        outputs: Sequence[str] | None = None,
    ) -> Arrays:
        """Outputs for a batch: uint8, (B, H, W, 3), no more pictures than the graph takes; fewer are filled up."""
        feeds = feeds_for(self.backend.inputs, pixels, target, against)
        return self.backend.run(
            {name: filled_up(values, self._smallest_batch) for name, values in feeds.items()}, outputs
        )


def _load_engine(
    path: Path, cuda_graph: bool, zero_copy: bool | None, contexts: int, when: str | Trigger | None
) -> Explainer:
    from whymask.runtime.engine_card import CLASSIFIER
    from whymask.runtime.trt import TrtBackend

    backend = TrtBackend(path, cuda_graph=cuda_graph, zero_copy=zero_copy, contexts=contexts)
    if backend.engine_card.role == CLASSIFIER:
        backend.close()
        raise ArtefactError(f"{path}: the engine of the classifier alone; load that of the fused graph")
    alone = Alone(lambda: open_alone_engine(path, backend, cuda_graph, contexts))
    return _explainer(backend, path, alone, when)


def _explainer(backend: Backend, path: Path, alone: Alone, when: str | Trigger | None) -> Explainer:
    try:
        return Explainer(backend, str(path), alone, when)
    except BaseException:
        alone.close()
        backend.close()
        raise


def _refuse_options(path: Path, kind: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name}: {value!r} was asked for, and {path} is {kind}; leave {name} out")
