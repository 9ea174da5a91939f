"""The classifier alone, beside a fused graph: where it lies, and whether it belongs to that graph.

Export writes `fused.onnx` and `fused.classifier.onnx` together and notes the second one's digest in the first one's
metadata. Two engines belong together where their sidecars hold one card and one way of building.

Letters: B batch, H W the graph's input size, C classes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.backends import Backend
from whymask.runtime.card import IMAGE, LOGITS
from whymask.runtime.closing import Closing
from whymask.runtime.errors import ArtefactError, BackendError
from whymask.runtime.feeds import filled_up
from whymask.runtime.files import sha256_of
from whymask.runtime.images import Picture
from whymask.runtime.ort import OrtBackend

if TYPE_CHECKING:
    from whymask.runtime.trt import TrtBackend

CLASSIFIER_KEY = "whymask.classifier"
"""Metadata key of a fused ONNX file: sha256 of the classifier's file that was exported with it, hexadecimal."""
BUILT_ALIKE = ("card", "builder", "builder_version", "precision", "min_batch", "max_batch")
"""What the sidecars of two engines of one build share."""
WITHOUT = "the frames that a trigger does not choose go through it alone"


def classifier_path(fused: Path) -> Path:
    """Where the classifier alone lies: beside `fused.onnx` as `fused.classifier.onnx`, and so for an engine."""
    return fused.with_name(f"{fused.stem}.classifier{fused.suffix}")


class Alone(Closing):
    """The classifier alone, opened when it is first needed. Thread-safe.

    Args:
        open_backend: opens it.
    """

    def __init__(self, open_backend: Callable[[], Backend]) -> None:
        self._open, self._lock = open_backend, threading.Lock()
        self._backend: Backend | None = None
        self._is_closed = False

    def backend(self) -> Backend:
        """The loaded classifier.

        Raises:
            ArtefactError: there is none, or it does not belong to the graph.
            BackendError: closed, or what runs it fails.
        """
        with self._lock:
            if self._is_closed:
                raise BackendError("the classifier alone was closed with its explainer; load the graph again")
            if self._backend is None:
                self._backend = self._open()
            return self._backend

    def logits(self, pixels: Picture) -> NDArray[np.float32]:
        """Of pictures uint8 (B, H, W, 3), no more than the graph takes: float32, (B, C).

        Raises:
            ArtefactError, BackendError: as `backend`.
        """
        backend = self.backend()
        fed = filled_up(pixels, backend.batch_range[0])
        logits: NDArray[np.float32] = backend.run({IMAGE: fed}, (LOGITS,))[LOGITS][: len(pixels)]
        return logits

    def close(self) -> None:
        """Let go of it; closing twice does nothing."""
        with self._lock:
            self._is_closed = True
            if self._backend is not None:
                self._backend.close()
                self._backend = None


def open_alone_onnx(fused_path: Path, fused: OrtBackend, threads: int | None) -> Backend:
    """The classifier beside a fused ONNX file, on the same provider.

    Its threads sleep between calls: two sessions that spin take each other's cores.

    Args:
        fused_path: the fused graph's file.
        fused: that graph, loaded.
        threads: as the fused graph has them.

    Raises:
        ArtefactError: no classifier there, or another one.
        BackendError: the provider does not load.
    """
    path = _existing(fused_path, f"whymask export RUN -o {fused_path.name}")
    _check_digest(path, fused_path, fused.metadata.get(CLASSIFIER_KEY))
    alone = OrtBackend(path, fused.provider, threads, spin=False)
    _check_tensors(alone, fused, path)
    return alone


def open_alone_engine(fused_path: Path, fused: TrtBackend, cuda_graph: bool, contexts: int) -> Backend:
    """The classifier's engine beside a fused engine, run in the same way.

    Args:
        fused_path: the fused engine's file.
        fused: that engine, loaded.
        cuda_graph, contexts: as the fused engine has them.

    Raises:
        ArtefactError: no classifier there, or one of another build.
        BackendError: TensorRT refuses.
    """
    from whymask.runtime.engine_card import CLASSIFIER, read_sidecar
    from whymask.runtime.trt import TrtBackend

    command = fused.engine_card.build_command
    again = command if "--classifier" in command else f"{command} --classifier"
    path = _existing(fused_path, again)
    sidecar = read_sidecar(path)
    different = [name for name in BUILT_ALIKE if getattr(sidecar, name) != getattr(fused.engine_card, name)]
    if sidecar.role != CLASSIFIER or different:
        what = f"its {different[0]} is another" if different else f"its role is {sidecar.role!r}"
        raise ArtefactError(f"{path}: not the classifier of {fused_path.name}: {what}; build both again: {again}")
    alone = TrtBackend(path, cuda_graph=cuda_graph, zero_copy=fused.zero_copy, contexts=contexts)
    try:
        _check_tensors(alone, fused, path)
    except BaseException:
        alone.close()
        raise
    return alone


def no_classifier(name: str) -> Callable[[], Backend]:
    """What refuses to open the classifier of a graph that was not loaded from a file.

    Args:
        name: of the graph.
    """

    def refuse() -> Backend:
        raise ArtefactError(
            f"{name}: a trigger needs the classifier alone, since {WITHOUT}; load the graph from its file with load()"
        )

    return refuse


def _existing(fused_path: Path, again: str) -> Path:
    path = classifier_path(fused_path)
    if not path.is_file():
        raise ArtefactError(
            f"{path}: no such file, expected the classifier alone, since {WITHOUT}; copy it beside "
            f"{fused_path.name}, or run: {again}"
        )
    return path


def _check_digest(path: Path, fused_path: Path, expected: str | None) -> None:
    again = f"export both again: whymask export RUN -o {fused_path.name}"
    if expected is None:
        raise ArtefactError(
            f"{fused_path}: does not say which classifier belongs to it (metadata key {CLASSIFIER_KEY!r}), as graphs "
            f"of an older export; {again}"
        )
    digest = sha256_of(path)
    if digest != expected:
        raise ArtefactError(
            f"{path}: not the classifier of {fused_path.name}: its sha256 begins with {digest[:12]}, expected "
            f"{expected[:12]}; {again}"
        )


def _check_tensors(alone: Backend, fused: Backend, path: Path) -> None:
    """Refuse a classifier of other tensors, which the graph's pictures would not fit."""
    fits = list(alone.inputs) == [IMAGE] and LOGITS in alone.outputs
    if not fits or alone.inputs[IMAGE] != fused.inputs[IMAGE] or alone.batch_range != fused.batch_range:
        got = ", ".join(str(tensor) for tensor in (*alone.inputs.values(), *alone.outputs.values()))
        raise ArtefactError(
            f"{path}: takes and gives {got} in batches of {alone.batch_range}, expected {fused.inputs[IMAGE]} and "
            f"{LOGITS} in batches of {fused.batch_range}; export or build both again"
        )
