"""A file against the torch modules that it came from: its outputs, its certificate and its explanations, on pictures.

What needs neither torch nor ONNX Runtime (tolerances, figures of two sets of outputs, gates) is in
`whymask.runtime.parity`.

Letters: N images, B batch, H W input size, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from whymask.export.fuse import FusedGraph
from whymask.runtime.backends import Arrays
from whymask.runtime.batches import batch_slices
from whymask.runtime.card import IMAGE, LOGITS
from whymask.runtime.feeds import NO_CONTRAST, PREDICTED, feeds_for, filled_up
from whymask.runtime.ort import ERRORS_ONLY, new_cpu_session
from whymask.runtime.parity import Array, Tolerances, compare, logit_scale, own_figures

TOGETHER = 8
"""Pictures that the modules see at once."""


class OnnxRunner:
    """A serialised graph in ONNX Runtime's CPU provider: for correctness, not for speed.

    Args:
        graph: a serialised ONNX model.
        batch: the graph's batch size; None where it is open.
    """

    def __init__(self, graph: bytes, batch: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        self._session = new_cpu_session(onnxruntime, graph, options)
        self._batch = batch
        self._inputs = {tensor.name for tensor in self._session.get_inputs()}
        self._names = [tensor.name for tensor in self._session.get_outputs()]

    def __call__(
        self,
        pictures: NDArray[np.uint8],
        targets: NDArray[np.int64] | None = None,
        against: NDArray[np.int64] | None = None,
    ) -> Arrays:
        """All outputs for some pictures.

        Args:
            pictures: uint8, (N, H, W, 3).
            targets, against: int64, (N,), for a graph that has these inputs; −1 everywhere when None.
        """
        asked, held = _column(targets, PREDICTED, len(pictures)), _column(against, NO_CONTRAST, len(pictures))
        parts = batch_slices(len(pictures), self._batch or 1, self._batch)
        feeds = [feeds_for(self._inputs, pictures[part], asked[part], held[part]) for part in parts]
        batches = [self._run(len(each[IMAGE]), each) for each in feeds]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in self._names}

    def _run(self, count: int, feeds: Arrays) -> Arrays:
        feeds = {name: filled_up(values, self._batch or 1) for name, values in feeds.items()}
        outputs = cast("Sequence[Array]", self._session.run(self._names, feeds))
        return {name: output[:count] for name, output in zip(self._names, outputs, strict=True)}


@torch.no_grad()
def torch_outputs(
    graph: FusedGraph,
    pictures: NDArray[np.uint8],
    targets: NDArray[np.int64] | None = None,
    against: NDArray[np.int64] | None = None,
) -> Arrays:
    """The reference: the modules' own outputs, in the order of the pictures.

    Args:
        graph: in eval mode.
        pictures: uint8, (N, H, W, 3).
        targets: int64, (N,), the classes to explain; −1 everywhere when None.
        against: int64, (N,), the classes that they are held against; −1 everywhere when None.
    """
    names = graph.config.outputs
    images = torch.from_numpy(pictures)
    given = [_column(targets, PREDICTED, len(pictures))] if graph.config.target else []
    given += [_column(against, NO_CONTRAST, len(pictures))] if graph.config.contrast else []
    parts = batch_slices(len(pictures), TOGETHER, TOGETHER)
    batches = [graph(images[part], *(torch.from_numpy(each[part]) for each in given)) for part in parts]
    return {name: torch.cat([batch[i] for batch in batches]).numpy() for i, name in enumerate(names)}


def measure(
    reference: Arrays,
    actual: Arrays,
    classifier_logits: Array,
    graph: FusedGraph,
    pictures: NDArray[np.uint8],
    allowed: Tolerances,
) -> dict[str, float]:
    """Every figure that a tolerance bounds, by the tolerance's name, and a few that are only reported.

    Args:
        reference: of the torch modules, in float32.
        actual: of the file.
        classifier_logits: float32, (N, C), of the classifier's own file.
        graph: the reference graph: judges the certificate on the file's own masks.
        pictures: uint8, (N, H, W, 3).
        allowed: tells which images are near ties.
    """
    scale = logit_scale(reference)
    figures = compare(reference, actual, allowed)
    figures["classifier_max"] = float(np.abs(actual[LOGITS] - classifier_logits).max()) / scale
    fill = graph.dropped_rgb.numpy().reshape(3)
    return figures | own_figures(actual, pictures, fill, lambda images: _logits(graph, images), scale)


def _column(classes: NDArray[np.int64] | None, absent: int, count: int) -> NDArray[np.int64]:
    return np.full(count, absent, np.int64) if classes is None else classes


@torch.no_grad()
def _logits(graph: FusedGraph, pictures: NDArray[np.uint8]) -> Array:
    images = torch.from_numpy(pictures)
    parts = batch_slices(len(pictures), TOGETHER, TOGETHER)
    return torch.cat([graph.classify(images[part]) for part in parts]).numpy()
