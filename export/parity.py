"""Whether two forms of one graph agree: the file's outputs against the torch modules', on pictures.

Every gate is a figure with a bound. *Near ties*: where the reference's two highest logits lie closer together than the
99th percentile of logit errors may be, either class is a right answer, so such an image never counts as a top-1
disagreement; the card has their number. Saliency and masks are compared on the images where both forms explain the same
class. Logit errors are relative to the largest absolute reference logit.

Letters: N images, B batch, H W input size, h w the explainer's resolution, C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from whymask.export.fuse import FusedGraph, pixels_from
from whymask.runtime.card import DROPPED_LOGITS, EXPLANATION, IMAGE, KEPT_LOGITS, LOGITS, MASK, SALIENCY, TARGET
from whymask.runtime.errors import ParityError

Array = NDArray[Any]
Outputs = dict[str, Array]

CERTIFIED = 16
"""Pictures on which the certificate is compared: it costs two classifier passes each."""

BATCHES = (1, 3, 8)
"""Batch sizes, in turn: a graph that is right for one size only is found out."""


@dataclass(frozen=True)
class Tolerances:
    """The largest differences allowed. Fields ending in `_min` bound from below, the others from above.

    Attributes:
        top1_agreement_min: share of images with the same top-1, near ties aside.
        logits_max, logits_p99: absolute logit error over the largest absolute reference logit.
        saliency_max: absolute error of the probability.
        saliency_rank_min: lowest Spearman rank correlation of one image's saliency.
        mask_iou_min: intersection over union of all masks together.
        certificate_max: error of `kept_logits` and `dropped_logits` on the file's own masks, as `logits_max`.
        explanation_wrong: values of `explanation` that are not the image's or the fill's.
        classifier_max: logit error of the classifier's own file against the fused one, as `logits_max`.
        not_finite: NaN or infinite outputs.
    """

    top1_agreement_min: float
    logits_max: float
    logits_p99: float
    saliency_max: float
    saliency_rank_min: float
    mask_iou_min: float
    certificate_max: float
    explanation_wrong: float = 0.0
    classifier_max: float = 0.0
    not_finite: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """For the card."""
        return dataclasses.asdict(self)


TOLERANCES = {
    "fp32": Tolerances(1.0, 1e-4, 5e-5, 2e-3, 0.9999, 0.999, 1e-4, classifier_max=1e-5),
    "fp16": Tolerances(0.995, 2e-2, 5e-3, 0.1, 0.99, 0.98, 2e-2, classifier_max=1e-3),
}


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

    def __call__(self, pictures: NDArray[np.uint8], targets: NDArray[np.int64] | None = None) -> Outputs:
        """All outputs for some pictures.

        Args:
            pictures: uint8, (N, H, W, 3).
            targets: int64, (N,), for a graph that has the input; −1 everywhere when None.
        """
        asked = np.full(len(pictures), -1, np.int64) if targets is None else targets
        batches = [self._run(pictures[part], asked[part]) for part in _parts(len(pictures), self._batch)]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in self._names}

    def _run(self, pictures: NDArray[np.uint8], targets: NDArray[np.int64]) -> Outputs:
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
def torch_outputs(graph: FusedGraph, pictures: NDArray[np.uint8]) -> Outputs:
    """The reference: the modules' own outputs, in the order of the pictures."""
    names = graph.config.outputs
    batches = [graph(torch.from_numpy(pictures[part])) for part in _parts(len(pictures), max(BATCHES))]
    return {name: torch.cat([batch[i] for batch in batches]).numpy() for i, name in enumerate(names)}


def measure(
    reference: Outputs,
    actual: Outputs,
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
    scale = max(float(np.abs(reference[LOGITS]).max()), 1e-6)
    same = reference[LOGITS].argmax(1) == actual[LOGITS].argmax(1)
    near = _margin(reference[LOGITS]) <= allowed.logits_p99 * scale
    error = np.abs(actual[LOGITS] - reference[LOGITS]) / scale
    figures = {
        "top1_agreement_min": float((same | near).mean()),
        "near_ties": float(near.sum()),
        "logits_max": float(error.max()),
        "logits_p99": float(np.percentile(error, 99)),
        "classifier_max": float(np.abs(actual[LOGITS] - classifier_logits).max()) / scale,
        "not_finite": float(sum((~np.isfinite(o)).sum() for o in actual.values() if o.dtype.kind == "f")),
    }
    figures |= _mask_figures(
        {k: reference[k][same] for k in (SALIENCY, MASK)}, {k: actual[k][same] for k in (SALIENCY, MASK)}
    )
    return figures | _optional_figures(actual, graph, pictures, scale)


def _margin(logits: Array) -> Array:
    """How far the highest logit lies above the second; infinite for a single class."""
    if logits.shape[1] < 2:
        return np.full(len(logits), np.inf)
    top = np.partition(logits, -2, axis=1)[:, -2:]
    return cast("Array", top[:, 1] - top[:, 0])


def _mask_figures(reference: Outputs, actual: Outputs) -> dict[str, float]:
    if not len(reference[MASK]):
        return {"saliency_max": np.nan, "saliency_rank_min": np.nan, "mask_iou_min": np.nan}
    ranks = [spearman(a, b) for a, b in zip(reference[SALIENCY], actual[SALIENCY], strict=True)]
    expected, got = reference[MASK].astype(bool), actual[MASK].astype(bool)
    union = int((expected | got).sum())
    return {
        "saliency_max": float(np.abs(actual[SALIENCY] - reference[SALIENCY]).max()),
        "saliency_rank_min": min(ranks),
        "saliency_rank_mean": float(np.mean(ranks)),
        "mask_iou_min": int((expected & got).sum()) / union if union else 1.0,
        "mask_flips": float((expected ^ got).sum()),
        "mask_flips_share": float((expected ^ got).mean()),
    }


def _optional_figures(
    actual: Outputs, graph: FusedGraph, pictures: NDArray[np.uint8], scale: float
) -> dict[str, float]:
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


def spearman(first: Array, second: Array) -> float:
    """Rank correlation of two maps, ties by their mean rank; of two constant maps 1, of one constant map 0."""
    a, b = _ranks(first), _ranks(second)
    spread = float(a.std() * b.std())
    if spread == 0.0:
        return float(a.std() == b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread)


def _ranks(values: Array) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + last - 1) / 2)[inverse]


def check(figures: Mapping[str, float], allowed: Tolerances) -> None:
    """Hold measured figures to their bounds.

    Raises:
        ParityError: with every gate that failed, what was measured and what is allowed.
    """
    failed = [line for name, bound in allowed.as_dict().items() if (line := _failure(name, figures.get(name), bound))]
    if failed:
        raise ParityError(
            f"the graph disagrees with the torch modules: {'; '.join(failed)}. Nothing was written; "
            "--keep writes the file all the same, --precision fp32 is the more exact form"
        )


def _failure(name: str, measured: float | None, bound: float) -> str:
    if measured is None:
        return ""
    at_least = name.endswith("_min")
    # Written so that NaN fails.
    passes = measured >= bound if at_least else measured <= bound
    return (
        "" if passes else f"{name.removesuffix('_min')} is {measured:.6g}, allowed {'≥' if at_least else '≤'} {bound:g}"
    )
