"""Two forms of one model compared: of a run, FP32 ONNX, FP16 ONNX, engine, and a golden bundle, any two.

Runs on the device: torch is loaded only where one of the two is a run directory.

Letters: N pictures, H W the graph's input size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whymask.export.verification import ENGINE, GOLDEN, ONNX, RUN, Images, Side, Verification
from whymask.runtime.backends import Arrays, Backend
from whymask.runtime.batches import OnPictures, run_all
from whymask.runtime.bounds import Form, bounds_of, check_alike, check_one_model, form_of
from whymask.runtime.card import CLASS_MASK, CLASS_SALIENCY, CLASSES, LOGITS, MASK, PRECISIONS, SALIENCY, TARGET
from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.explainer import ENGINE_SUFFIXES, load
from whymask.runtime.files import sha256_of
from whymask.runtime.golden import Golden, golden_bounds, golden_figures, golden_outputs
from whymask.runtime.images import Picture
from whymask.runtime.parity import compare, each_image, logit_scale, own_figures

FROM_MOST_EXACT = (RUN, ONNX, ENGINE)
"""Kinds; at one precision the first of two is the reference."""
EXPLAINER_FILE = "explainer.safetensors"
"""The file of a run directory whose digest a record states."""


@dataclass(frozen=True)
class Artefact:
    """One loaded form of a model.

    Attributes:
        path: its file, or the run directory.
        kind: `run`, `ONNX` or `engine`.
        backend: what runs it.
    """

    path: Path
    kind: str
    backend: Backend

    @property
    def form(self) -> Form:
        """Name, precision and card."""
        return form_of(self.backend, self.path.name)

    def side(self) -> Side:
        """What is said of it in a result."""
        file = self.path / EXPLAINER_FILE if self.kind == RUN else self.path
        return Side(self.path.name, self.kind, self.form.precision, self.backend.provider, sha256_of(file))


@contextmanager
def opened(
    path: Path, provider: str = "cpu", model: str | None = None, weights: str | None = None
) -> Iterator[Artefact]:
    """Load one form of a model, and let go of it at the end.

    Args:
        path: a run directory, an ONNX file or an engine.
        provider: of ONNX Runtime, for an ONNX file; the CPU is the most exact one.
        model, weights: where a run's classifier is now, when it moved since training.

    Raises:
        ArtefactError: none of these, or a broken one.
        BackendError: the provider, or an engine's library, does not load.
        MissingExtra: what the form needs is not installed.
    """
    kind = kind_of(path)
    if kind == RUN:
        with _run_backend(path, model, weights) as backend:
            yield Artefact(path, kind, backend)
        return
    with load(path, provider) if kind == ONNX else load(path) as explainer:
        yield Artefact(path, kind, explainer.backend)


def kind_of(path: Path) -> str:
    """`run`, `ONNX` or `engine`, by what the path looks like.

    Args:
        path: need not exist.

    Raises:
        InputError: a golden bundle, which is no form of a model.
    """
    if path.suffix == ".npz":
        raise InputError(
            f"{path}: a golden bundle is given behind --golden: whymask verify ARTEFACT --golden {path.name}"
        )
    if path.is_dir():
        return RUN
    return ENGINE if path.suffix in ENGINE_SUFFIXES else ONNX


def verify_pair(
    first: Artefact, second: Artefact, pictures: Picture, images: Images, on_pictures: OnPictures = lambda count: None
) -> Verification:
    """Compare two forms on pictures; the more exact one is the reference.

    Args:
        first, second: in any order.
        pictures: uint8, (N, H, W, 3), at the graphs' input size.
        images: what is said of the pictures in the result.
        on_pictures: told of each batch's size when it is done, 2 N in all.

    Raises:
        ArtefactError: they are of two models, or explain another number of classes at once.
    """
    reference, measured = sorted((first, second), key=_exactness)
    check_one_model(reference.form, measured.form)
    check_alike(reference.backend, measured.backend, (reference.path.name, measured.path.name))
    bounds = bounds_of([reference.form, measured.form])
    expected = run_all(reference.backend, pictures, None, on_pictures)
    actual = run_all(measured.backend, pictures, None, on_pictures)
    if CLASSES in actual:
        expected |= _likeliest(reference.backend, pictures, expected, actual[CLASSES].shape[1])
    figures = compare(expected, actual, bounds.tolerances) | own_figures(
        actual,
        pictures,
        np.asarray(measured.backend.card.fill),
        lambda shown: run_all(reference.backend, shown)[LOGITS],
        logit_scale(expected),
    )
    return Verification(reference.side(), measured.side(), images, bounds, figures, each_image(expected, actual))


def verify_with_golden(
    artefact: Artefact, golden: Golden, path: Path, on_pictures: OnPictures = lambda count: None
) -> Verification:
    """Compare one form with a golden bundle.

    Args:
        artefact: the form.
        golden: the bundle.
        path: its file.
        on_pictures: told of each batch's size when it is done.

    Raises:
        ArtefactError: they are of two models, or do not go together.
    """
    name, backend = artefact.path.name, artefact.backend
    bounds = golden_bounds(backend, golden, name)
    outputs = golden_outputs(backend, golden, name, on_pictures)
    figures = golden_figures(backend, golden, outputs, bounds)
    reference = Side(path.name, GOLDEN, "fp32", golden.source, sha256_of(path))
    images = Images(len(golden.images), path.name, golden.is_synthetic)
    return Verification(reference, artefact.side(), images, bounds, figures, each_image(golden.outputs, outputs))


def _likeliest(backend: Backend, pictures: Picture, outputs: Arrays, count: int) -> Arrays:
    """Maps of the likeliest classes of a form that can be asked for one class at a time only, as a run can."""
    if CLASSES in outputs or TARGET not in backend.inputs:
        return {}
    classes = np.argsort(-outputs[LOGITS], axis=1, kind="stable")[:, :count]
    each = [run_all(backend, pictures, classes[:, place]) for place in range(count)]
    maps = {CLASS_SALIENCY: SALIENCY, CLASS_MASK: MASK}
    return {CLASSES: classes} | {name: np.stack([made[one] for made in each], 1) for name, one in maps.items()}


def _run_backend(path: Path, model: str | None, weights: str | None) -> Backend:
    try:
        from whymask.export.run_backend import RunBackend
        from whymask.train.run import load_run
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "export", "verify a run directory") from None
    return RunBackend(load_run(path, model=model, weights=weights))


def _exactness(artefact: Artefact) -> tuple[int, int]:
    return -PRECISIONS.index(artefact.form.precision), FROM_MOST_EXACT.index(artefact.kind)
