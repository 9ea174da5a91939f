"""Whether two sets of outputs of one model agree: figures, each with its bound. Needs numpy alone, as devices have it.

Every gate is a figure with a bound. *Near ties*: where the reference's two highest logits lie closer together than the
99th percentile of logit errors may be, either class is a right answer, so such an image never counts as a top-1
disagreement; their number is stated. Saliency and masks are compared on the images where both forms explain the same
class. Logit errors are relative to the largest absolute reference logit.

*Rounding*: a probability is no finer than `ROUNDING`, so pixels that agree to it count as equal when maps are ranked.
Without that the ranks of a class that is not there, whose map is 1e-8 throughout, would be those of the rounding. What
differs by more is ranked as it is, however small, and every value is held by its own gate.

Where both forms explain the likeliest classes at once, their maps are held to the bounds of the one map, on the places
where both name the same class; two classes whose logits are a near tie may change places.

Letters: N images, H W input size, h w the explainer's resolution, C classes, K explained at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.backends import Arrays
from whymask.runtime.card import (
    ATTRIBUTES,
    CLASS_MASK,
    CLASS_SALIENCY,
    CLASSES,
    DROPPED_LOGITS,
    EXPLANATION,
    KEPT_LOGITS,
    LOGITS,
    MASK,
    RELEVANCE,
    SALIENCY,
)
from whymask.runtime.errors import ParityError
from whymask.runtime.images import Picture

Array = NDArray[Any]

CERTIFIED = 16
"""Pictures on which the certificate is compared: it costs one or two classifier passes each."""

SMALLEST_SCALE = 1e-6
"""Of logits, so that a model whose logits are all zero can be compared too."""

ROUNDING = 2 * float(np.finfo(np.float32).eps)
"""Within which two probabilities are equal: a step of float32 beside 1 for each form. Runtimes work a sigmoid out as a
half and a rest, and cut its ends off, so that its error is such a step from 0 to 1, not a share of the value."""

OF_CLASSES = "class_"
"""What the names of figures of the likeliest classes' maps begin with."""
MAP_BOUNDS = ("saliency_max", "saliency_rank_min", "mask_iou_min")
"""Bounds of a map."""
CLASSES_AGREE = "classes_agreement_min"
"""Share of places among the likeliest classes at which both name the same class, near ties aside."""

ATTRIBUTES_MAX, RELEVANCE_MAX = "attributes_max", "relevance_max"
"""Error of `attributes` over the largest reference one, bounded as logits; of `relevance`, bounded as the saliency."""

SAME_TOP1 = "top1_same"
"""Share of images with the same top-1, near ties among them; only reported."""
NOT_COMPARED = "classes_not_compared"
"""1 where one of two forms alone explains the likeliest classes."""


@dataclass(frozen=True)
class Tolerances:
    """The largest differences allowed. Fields ending in `_min` bound from below, the others from above.

    Attributes:
        top1_agreement_min: share of images with the same top-1, near ties aside.
        logits_max, logits_p99: absolute logit error over the largest absolute reference logit.
        saliency_max: absolute error of the probability.
        saliency_rank_min: lowest Spearman rank correlation of one image's saliency.
        mask_iou_min: intersection over union of all masks together.
        certificate_max: error of `kept_logits` and, where it is there, `dropped_logits` on the file's own masks, as
            `logits_max`.
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

    def bounds(self) -> dict[str, float]:
        """The bound of every figure that has one: these, and those of the likeliest classes, which follow from them."""
        maps = {f"{OF_CLASSES}{name}": getattr(self, name) for name in MAP_BOUNDS}
        attributes = {ATTRIBUTES_MAX: self.logits_max, RELEVANCE_MAX: self.saliency_max}
        return self.as_dict() | {CLASSES_AGREE: self.top1_agreement_min} | maps | attributes

    def stricter(self, other: Tolerances) -> Tolerances:
        """Field by field the bound that is harder to keep."""
        mine, theirs = self.as_dict(), other.as_dict()
        harder = {name: max if is_lower_bound(name) else min for name in mine}
        return Tolerances(**{name: harder[name](bound, theirs[name]) for name, bound in mine.items()})


TOLERANCES = {
    "fp32": Tolerances(1.0, 1e-4, 5e-5, 2e-3, 0.9999, 0.999, 1e-4, classifier_max=1e-5),
    "fp16": Tolerances(0.995, 2e-2, 5e-3, 0.1, 0.99, 0.98, 2e-2, classifier_max=1e-3),
    # In 8 bits a steep sigmoid may flip a single cell: a map is held by its ranks and its mask, not by each cell.
    "int8": Tolerances(0.98, 0.2, 5e-2, 1.0, 0.95, 0.95, 0.2, classifier_max=1e-3),
}
"""By the precision of the graph's body."""


def compare(
    reference: Arrays, actual: Arrays, allowed: Tolerances, targets: NDArray[np.int64] | None = None
) -> dict[str, float]:
    """The figures of logits, saliency and mask, by the tolerance's name, and a few that are only reported.

    Args:
        reference: of the more exact form: `logits`, `saliency`, `mask` as in the card's contract, B = N.
        actual: of the other form; every floating output is searched for values that are not finite.
        allowed: tells which images are near ties.
        targets: int64, (N,), the classes that both were asked to explain; None, or −1, for the predicted one.
    """
    scale = logit_scale(reference)
    same = _same_top1(reference, actual)
    near = _margin(reference[LOGITS]) <= allowed.logits_p99 * scale
    error = np.abs(actual[LOGITS] - reference[LOGITS]) / scale
    figures = {
        "top1_agreement_min": float((same | near).mean()),
        SAME_TOP1: float(same.mean()),
        "near_ties": float(near.sum()),
        "logits_max": float(error.max()),
        "logits_p99": float(np.percentile(error, 99)),
        "not_finite": float(sum((~np.isfinite(o)).sum() for o in actual.values() if o.dtype.kind == "f")),
    }
    alike = same if targets is None else same | (targets >= 0)
    figures |= _mask_figures(_rows(reference, alike), _rows(actual, alike))
    return figures | _class_figures(reference, actual, allowed) | _attribute_figures(reference, actual, alike)


def _attribute_figures(reference: Arrays, actual: Arrays, alike: NDArray[np.bool_]) -> dict[str, float]:
    """Errors of attributes, and of their relevance where both explain the same class; none where one lacks them."""
    if not all(RELEVANCE in outputs for outputs in (reference, actual)):
        return {}
    scale = max(float(np.abs(reference[ATTRIBUTES]).max()), SMALLEST_SCALE)
    errors = np.abs(actual[RELEVANCE] - reference[RELEVANCE])[alike]
    return {
        ATTRIBUTES_MAX: float(np.abs(actual[ATTRIBUTES] - reference[ATTRIBUTES]).max()) / scale,
        RELEVANCE_MAX: float(errors.max()) if errors.size else np.nan,
    }


def each_image(reference: Arrays, actual: Arrays) -> list[dict[str, float]]:
    """The same figures of every image alone, in their order; `same_top1` is 1 or 0.

    Args:
        reference, actual: as for `compare`. Logit errors are relative to the largest reference logit of all images.
    """
    scale = logit_scale(reference)
    same = _same_top1(reference, actual)
    errors = np.abs(actual[LOGITS] - reference[LOGITS]).max(axis=1) / scale
    return [
        {"same_top1": float(same[i]), "logits_max": float(errors[i])}
        | _mask_figures(_rows(reference, slice(i, i + 1)), _rows(actual, slice(i, i + 1)))
        for i in range(len(same))
    ]


def own_figures(
    actual: Arrays, pictures: Picture, fill: Array, logits_of: Callable[[Picture], Array], scale: float
) -> dict[str, float]:
    """Figures of the optional outputs, judged on the form's own masks; none where it has none of these outputs.

    Args:
        actual: outputs for the pictures.
        pictures: uint8, (N, H, W, 3).
        fill: RGB in 0–255 that dropped pixels take; rounded here, as in the graph.
        logits_of: the classifier: uint8, (n, H, W, 3) → float32, (n, C).
        scale: what logit errors are relative to.
    """
    keep, fill = actual[MASK][..., None].astype(bool), np.rint(fill).astype(np.uint8)
    kept, dropped = np.where(keep, pictures, fill), np.where(keep, fill, pictures)
    figures = {}
    if EXPLANATION in actual:
        figures["explanation_wrong"] = float((actual[EXPLANATION] != kept).sum())
    errors = [
        np.abs(actual[name][:CERTIFIED] - logits_of(images[:CERTIFIED])).max() / scale
        for name, images in ((KEPT_LOGITS, kept), (DROPPED_LOGITS, dropped))
        if name in actual
    ]
    if errors:
        figures["certificate_max"] = float(max(errors))
    return figures


def logit_scale(reference: Arrays) -> float:
    """What logit errors are relative to: the largest absolute reference logit."""
    return max(float(np.abs(reference[LOGITS]).max()), SMALLEST_SCALE)


def _same_top1(reference: Arrays, actual: Arrays) -> NDArray[np.bool_]:
    return cast("NDArray[np.bool_]", reference[LOGITS].argmax(1) == actual[LOGITS].argmax(1))


def _rows(outputs: Arrays, rows: slice | NDArray[np.bool_]) -> Arrays:
    return {name: outputs[name][rows] for name in (SALIENCY, MASK)}


def _margin(logits: Array) -> Array:
    """How far the highest logit lies above the second; infinite for a single class."""
    if logits.shape[1] < 2:
        return np.full(len(logits), np.inf)
    top = np.partition(logits, -2, axis=1)[:, -2:]
    return cast("Array", top[:, 1] - top[:, 0])


def _mask_figures(reference: Arrays, actual: Arrays) -> dict[str, float]:
    if not len(reference[MASK]):
        return {"saliency_max": np.nan, "saliency_rank_min": np.nan, "mask_iou_min": np.nan}
    ranks = [_rank_agreement(a, b) for a, b in zip(reference[SALIENCY], actual[SALIENCY], strict=True)]
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


def _class_figures(reference: Arrays, actual: Arrays, allowed: Tolerances) -> dict[str, float]:
    """Figures of the likeliest classes' maps; that they were not compared where one of the two alone has them."""
    having = sum(CLASSES in outputs for outputs in (reference, actual))
    if having < 2:
        return {NOT_COMPARED: 1.0} if having else {}
    same = reference[CLASSES] == actual[CLASSES]
    expected, got = (np.take_along_axis(reference[LOGITS], each[CLASSES], axis=1) for each in (reference, actual))
    tied = ~same & (np.abs(expected - got) <= allowed.logits_p99 * logit_scale(reference))
    judged = same[~tied]
    first, second = (
        {SALIENCY: each[CLASS_SALIENCY][same], MASK: each[CLASS_MASK][same]} for each in (reference, actual)
    )
    maps = {f"{OF_CLASSES}{name}": value for name, value in _mask_figures(first, second).items()}
    return {CLASSES_AGREE: float(judged.mean()) if judged.size else 1.0, **maps}


def _rank_agreement(reference: Array, actual: Array) -> float:
    """Rank correlation of two maps of one picture, where pixels that are equal but for rounding have equal ranks."""
    return spearman(reference, np.where(np.abs(actual - reference) <= ROUNDING, reference, actual))


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


def check(
    figures: Mapping[str, float],
    allowed: Tolerances,
    subject: str = "two forms of one model disagree",
    remedy: str = "Neither should be used until it is known which is wrong",
) -> None:
    """Hold measured figures to their bounds.

    Args:
        figures: as `compare` gives them; a bound whose figure was not measured is passed over.
        allowed: the bounds.
        subject: what disagrees, as the message's beginning.
        remedy: what to do, as its end.

    Raises:
        ParityError: with every gate that failed, what was measured and what is allowed.
    """
    failed = [line for name, bound in allowed.bounds().items() if (line := _failure(name, figures.get(name), bound))]
    if failed:
        raise ParityError(f"{subject}: {'; '.join(failed)}. {remedy}")


def _failure(name: str, measured: float | None, bound: float) -> str:
    if measured is None or passes(name, measured, bound):
        return ""
    sign = "≥" if is_lower_bound(name) else "≤"
    return f"{name.removesuffix('_min')} is {measured:.6g}, allowed {sign} {bound:g}"


def passes(name: str, measured: float, bound: float) -> bool:
    """Whether a figure keeps its bound; NaN never does."""
    return measured >= bound if is_lower_bound(name) else measured <= bound


def is_lower_bound(name: str) -> bool:
    """Whether the tolerance of this name bounds from below."""
    return name.endswith("_min")
