"""Faithfulness before and after the cuts: the explainer's graph as it was trained and as it is deployed.

    python -m whymask.benchmarks.cost faithful RUN --data photos     # → faithful.json, faithful.md

What `whymask export` writes holds the tapped explainer in a form with class tables (`whymask.export.tabled`): fewer
nodes, the same function but for rounding. Here one run is exported both ways, with the same graph passes and in FP32,
and both files are judged on the same pictures in ONNX Runtime.

Letters: n pictures, A areas, H W the input size, h w a map's.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from whymask.benchmarks.cost_faithful_page import DEPLOYED, FORMS
from whymask.benchmarks.cost_graphs import MAX_BATCH, OPSET, count
from whymask.benchmarks.pictures import read_pictures
from whymask.benchmarks.refinement import kept_at_areas, retention_auc
from whymask.export.config import ExportConfig
from whymask.export.fuse import ClassifierGraph, FusedGraph
from whymask.export.onnx_from_module import onnx_from_module
from whymask.export.parity import OnnxRunner
from whymask.export.tabled import deployed
from whymask.runtime.backends import Arrays
from whymask.runtime.card import IMAGE, LOGITS, MASK, SALIENCY
from whymask.runtime.certificate import shown
from whymask.runtime.errors import InputError
from whymask.runtime.images import Picture
from whymask.runtime.parity import spearman
from whymask.runtime.versions import installed_versions
from whymask.train.run import Run

STEPS = 2 * len(FORMS)
"""That `on_step` is told of."""
PACKAGES = ("whymask", "numpy", "onnx", "onnxruntime", "onnxscript", "torch")


@dataclass(frozen=True)
class Judged:
    """One form on all pictures.

    Attributes:
        outputs: of the graph: `logits`, `saliency`, `mask`.
        kept: bool (n, A), whether the class stayed at each of AREAS.
        kept_at_threshold: bool (n,), the same of the graph's own mask.
    """

    outputs: Arrays
    kept: NDArray[np.bool_]
    kept_at_threshold: NDArray[np.bool_]


def measure(
    run: Run, images: Sequence[Path], source: str, seed: int = 0, on_step: Callable[[str], None] = lambda note: None
) -> dict[str, Any]:
    """Export a run both ways, count both files, and judge them on pictures.

    Args:
        run: with an explainer that is deployed in another form than it was trained in.
        images: files; brought to (H, W) by the card's rule.
        source: name of the set.
        seed: of the order of equal pixels.
        on_step: told of each of STEPS as it begins.

    Returns:
        One classifier's part of the record, as JSON can hold it.

    Raises:
        InputError: the explainer is deployed as it was trained, or no picture can be read.
    """
    if deployed(run.explainer) is run.explainer:
        raise InputError(
            f"{run.path}: its explainer is exported as it was trained ({run.explainer.kind}), so there is nothing to "
            "compare; give a run with the tapped explainer"
        )
    names, read, unreadable = read_pictures(images, 0, run.card.input)
    if not names:
        raise InputError(f"{source}: none of {len(images)} pictures can be read; expected pictures like the run's own")
    pictures = np.stack(read)
    ask = OnnxRunner(_classifier(run).SerializeToString())
    forms, judged = {}, {}
    for form in FORMS:
        on_step(f"export {form}")
        model = form_of(run, form)
        on_step(f"judge {form}")
        judged[form] = judge(run, model, pictures, lambda some: ask(some)[LOGITS], seed)
        forms[form] = _counted(model) | _figures(judged[form])
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | installed_versions(PACKAGES),
        "seed": seed,
        "classifier": run.card.classifier.id.rpartition(":")[2],
        "classifier_sha256": run.card.classifier.sha256,
        "threshold": run.card.threshold,
        "height": run.card.input.height,
        "width": run.card.input.width,
        "pictures": {"source": source, "count": len(names), "unreadable": unreadable},
        "forms": forms,
        "between": between(*(judged[form] for form in FORMS)),
    }


def form_of(run: Run, form: str) -> onnx.ModelProto:
    """The fused graph, its explainer as trained or as deployed; all else as `whymask export` does it."""
    explainer = deployed(run.explainer) if form == DEPLOYED else run.explainer
    config = ExportConfig(opset=OPSET, max_batch=MAX_BATCH)
    graph = FusedGraph(run.classifier, explainer, run.card, config).eval()
    return onnx_from_module(graph, (_example(run),), (IMAGE,), config.outputs, OPSET, MAX_BATCH)


def judge(
    run: Run, model: onnx.ModelProto, pictures: Picture, ask: Callable[[Picture], NDArray[np.float32]], seed: int
) -> Judged:
    """Ask the classifier about what one form keeps.

    Args:
        run: gives the card.
        model: the form.
        pictures: uint8, (n, H, W, 3).
        ask: the classifier alone, one for both forms.
        seed: of the order of equal pixels.
    """
    outputs = OnnxRunner(model.SerializeToString())(pictures)
    target = outputs[LOGITS].argmax(axis=1)
    kept = kept_at_areas(ask, run.card, pictures, target, outputs[SALIENCY], seed, 0)
    alone = ask(shown(pictures, outputs[MASK] != 0, run.card))
    return Judged(outputs, kept, alone.argmax(axis=1) == target)


def between(before: Judged, after: Judged) -> dict[str, float]:
    """What the cuts changed.

    Returns:
        `mask_iou` of all masks together and `mask_iou_min` of a picture, 1 where both are empty; `saliency_max`, the
        largest absolute difference; `saliency_rank_min`, the lowest rank correlation; `logits_max`; `same_top1`, a
        share of the pictures; `decisions`, pictures times cuts, of which the deployed form `gained` and `lost` some.
    """
    first, second = (each.outputs[MASK] != 0 for each in (before, after))
    both, either = ((first & second).sum((1, 2)), (first | second).sum((1, 2)))
    ious = np.where(either == 0, 1.0, both / np.maximum(either, 1))
    saliency = [each.outputs[SALIENCY] for each in (before, after)]
    logits = [each.outputs[LOGITS] for each in (before, after)]
    cuts = [np.column_stack([each.kept, each.kept_at_threshold]) for each in (before, after)]
    return {
        "mask_iou": float(both.sum() / either.sum()) if either.any() else 1.0,
        "mask_iou_min": float(ious.min()),
        "saliency_max": float(np.abs(saliency[0] - saliency[1]).max()),
        "saliency_rank_min": min(spearman(one, other) for one, other in zip(*saliency, strict=True)),
        "logits_max": float(np.abs(logits[0] - logits[1]).max()),
        "same_top1": float((logits[0].argmax(1) == logits[1].argmax(1)).mean()),
        "decisions": float(cuts[0].size),
        "gained": float((~cuts[0] & cuts[1]).sum()),
        "lost": float((cuts[0] & ~cuts[1]).sum()),
    }


def _counted(model: onnx.ModelProto) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        cost = asdict(count(model, Path(folder) / "optimised.onnx"))
    return cost | {"bytes": model.ByteSize()}


def _figures(judged: Judged) -> dict[str, Any]:
    """Retention, and each decision as a digit, a string a picture in the order of the areas, the threshold last."""
    cuts = np.column_stack([judged.kept, judged.kept_at_threshold])
    return {
        "retention": judged.kept.mean(axis=0).tolist(),
        "retention_auc": float(retention_auc(judged.kept).mean()),
        "retention_at_threshold": float(judged.kept_at_threshold.mean()),
        "mean_area": float(judged.outputs[MASK].mean()),
        "kept": ["".join("1" if stays else "0" for stays in row) for row in cuts],
    }


def _classifier(run: Run) -> onnx.ModelProto:
    graph = ClassifierGraph(run.classifier).eval()
    return onnx_from_module(graph, (_example(run),), (IMAGE,), (LOGITS,), OPSET, MAX_BATCH)


def _example(run: Run) -> torch.Tensor:
    # torch.export takes a dimension of 1 for a constant: an open batch needs an example of 2.
    return torch.zeros(2, run.card.input.height, run.card.input.width, 3, dtype=torch.uint8)
