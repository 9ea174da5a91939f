"""A file against the torch modules that it came from: its outputs, its certificate and its explanations, on pictures.

What needs neither torch nor ONNX Runtime (tolerances, figures of two sets of outputs, gates) is in
`whymask.runtime.parity`.

Letters: N images, B batch, H W input size, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from whymask.export.fuse import FusedGraph, pixels_from
from whymask.runtime.backends import Arrays
from whymask.runtime.card import DROPPED_LOGITS, EXPLANATION, IMAGE, KEPT_LOGITS, LOGITS, MASK, TARGET
from whymask.runtime.parity import Array, Tolerances, compare, logit_scale

CERTIFIED = 16
"""Pictures on which the certificate is compared: it costs two classifier passes each."""

BATCHES = (1, 3, 8)
"""Batch sizes, in turn: a graph that is right for one size only is found out."""


class OnnxRunner:
    """A serialised graph in ONNX Runtime's CPU provider: for correctness, not for speed.

    Args:
        graph: a serialised ONNX model.
        batch: the graph's batch size; None where it is open.
    """

    def __init__(self, graph: bytes, batch: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._batch = batch
        self._inputs = {tensor.name for tensor in self._session.get_inputs()}
        self._names = [tensor.name for tensor in self._session.get_outputs()]

    def __call__(self, pictures: NDArray[np.uint8], targets: NDArray[np.int64] | None = None) -> Arrays:
        """All outputs for some pictures.

        Args:
            pictures: uint8, (N, H, W, 3).
            targets: int64, (N,), for a graph that has the input; −1 everywhere when None.
        """
        asked = np.full(len(pictures), -1, np.int64) if targets is None else targets
        batches = [self._run(pictures[part], asked[part]) for part in _parts(len(pictures), self._batch)]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in self._names}

    def _run(self, pictures: NDArray[np.uint8], targets: NDArray[np.int64]) -> Arrays:
        count = len(pictures)
        if self._batch is not None:  # a fixed batch is filled up with copies of the last picture
            rows = np.minimum(np.arange(self._batch), count - 1)
            pictures, targets = pictures[rows], targets[rows]
        feeds = {IMAGE: pictures} | ({TARGET: targets} if TARGET in self._inputs else {})
        outputs = cast("Sequence[Array]", self._session.run(self._names, feeds))
        return {name: output[:count] for name, output in zip(self._names, outputs, strict=True)}


def _parts(count: int, batch: int | None) -> Iterator[slice]:
    start, turn = 0, 0
    while start < count:
        size = batch or BATCHES[turn % len(BATCHES)]
        yield slice(start, start + size)
        start, turn = start + size, turn + 1


@torch.no_grad()
def torch_outputs(graph: FusedGraph, pictures: NDArray[np.uint8]) -> Arrays:
    """The reference: the modules' own outputs, in the order of the pictures."""
    names = graph.config.outputs
    batches = [graph(torch.from_numpy(pictures[part])) for part in _parts(len(pictures), max(BATCHES))]
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
    return figures | _optional_figures(actual, graph, pictures, scale)


def _optional_figures(actual: Arrays, graph: FusedGraph, pictures: NDArray[np.uint8], scale: float) -> dict[str, float]:
    keep = actual[MASK][..., None].astype(bool)
    fill = np.rint(graph.dropped_rgb.numpy().reshape(3)).astype(np.uint8)
    kept, dropped = np.where(keep, pictures, fill), np.where(keep, fill, pictures)
    figures = {}
    if EXPLANATION in actual:
        figures["explanation_wrong"] = float((actual[EXPLANATION] != kept).sum())
    if KEPT_LOGITS in actual:
        errors = [
            np.abs(actual[name][:CERTIFIED] - _logits(graph, images[:CERTIFIED])).max() / scale
            for name, images in ((KEPT_LOGITS, kept), (DROPPED_LOGITS, dropped))
        ]
        figures["certificate_max"] = float(max(errors))
    return figures


@torch.no_grad()
def _logits(graph: FusedGraph, pictures: NDArray[np.uint8]) -> Array:
    parts = (torch.from_numpy(pictures[part]) for part in _parts(len(pictures), max(BATCHES)))
    return torch.cat([graph.logits_of(pixels_from(part)) for part in parts]).numpy()
