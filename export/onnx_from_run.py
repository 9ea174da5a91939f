"""From a run directory to the files that ship: the fused graph, and the classifier alone beside it.

Nothing is written before every gate has passed: onnx's checker, ONNX Runtime against torch, TensorRT-RTX.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from whymask.export import parity, rtx
from whymask.export.attributes import with_attributes
from whymask.export.config import CALIBRATION_PICTURES, INT8, ExportConfig, classifier_path, golden_path
from whymask.export.cost import cost_of
from whymask.export.fuse import ClassifierGraph, FusedGraph
from whymask.export.golden_from_run import golden_from_run, second_likeliest
from whymask.export.half import check_precision, half_copies, half_interpreter
from whymask.export.int8 import Plan, Quantiser, check_int8, classifier_of
from whymask.export.onnx_from_module import onnx_from_module
from whymask.export.samples import COUNT, real_pictures, synthetic_pictures
from whymask.export.tabled import deployed
from whymask.runtime.alone import CLASSIFIER_KEY
from whymask.runtime.card import IMAGE, LOGITS, METADATA_KEY, QUANTISED, SALIENCY, Card
from whymask.runtime.errors import InputError, MissingExtra, ParityError, WhymaskError
from whymask.runtime.feeds import NO_CONTRAST, PREDICTED
from whymask.runtime.files import atomic_path
from whymask.runtime.golden import Golden, golden_bytes
from whymask.runtime.parity import TOLERANCES, check
from whymask.runtime.versions import installed_versions
from whymask.train.classifier import FrozenClassifier
from whymask.train.explainers import Explainer
from whymask.train.flint.interpreter import Interpreter
from whymask.train.flint.run import FlintRun
from whymask.train.run import Run

EXPORT_PACKAGES = ("whymask", "torch", "onnx", "onnxscript", "onnxruntime")
"""Whose versions the card states."""

STAGES = 4
"""Steps that `on_stage` is told of."""

NOT_WRITTEN = "Nothing was written; --keep writes the file all the same"
"""What to do where a gate fails."""
MORE_EXACT = ", --precision fp32 is the more exact form"
"""What else, in another precision."""

OnStage = Callable[[str], None]


@dataclass(frozen=True)
class _Models:
    fused: onnx.ModelProto
    classifier: onnx.ModelProto


@dataclass(frozen=True)
class _Pictures:
    compared: NDArray[np.uint8]
    golden: NDArray[np.uint8]
    are_synthetic: bool
    calibration: NDArray[np.uint8]

    def __str__(self) -> str:
        return f"{len(self.compared)} {'synthetic ' if self.are_synthetic else ''}images"


def export_run(
    run: Run,
    out: Path,
    *,
    precision: str = "fp32",
    opset: int = 17,
    max_batch: int = 32,
    dynamic: bool = True,
    with_explanation: bool = False,
    certify: str | None = None,
    target: bool = False,
    top: int = 0,
    contrast: bool = False,
    attributes: FlintRun | None = None,
    images: NDArray[np.uint8] | None = None,
    calibration: NDArray[np.uint8] | None = None,
    golden: int = 0,
    keep: bool = False,
    require_rtx: bool = False,
    on_stage: OnStage = lambda stage: None,
) -> Card:
    """Export a run as `out`, and its classifier alone as `<stem>.classifier.onnx` beside it.

    Args:
        run: its classifier and explainer are left exactly as they are.
        out: the fused graph's file, ending in `.onnx`.
        precision, opset, max_batch, dynamic, with_explanation, certify, target, top, contrast: see `ExportConfig`.
        attributes: adds the outputs `attributes` and `relevance` of this run of the same classifier.
        images: uint8, (N, H, W, 3), to compare file and modules on; the run's own data when None, else synthetic ones.
        calibration: uint8, (N, H, W, 3), for INT8: real pictures from which the ranges of activations are read; None
            takes pictures of the run's own data that are not compared on.
        golden: images of the golden bundle, written as `<stem>.golden.npz` beside the graph; 0 writes none.
        keep: write the files even where a gate fails; the error is raised all the same.
        require_rtx: make an absent TensorRT-RTX an error; otherwise its gate is left out, and the card's versions lack
            it.
        on_stage: told of each stage as it starts.

    Returns:
        The card that the file holds.

    Raises:
        InputError: an option or a picture is not what was expected.
        ArtefactError: the modules do not export, or TensorRT-RTX refuses the graph.
        ParityError: the file disagrees with the modules.
        MissingExtra: TensorRT-RTX is required and not installed.
    """
    config = ExportConfig(
        *(precision, opset, max_batch, dynamic, with_explanation, certify, target, top, contrast),
        attributes=attributes is not None,
    )
    _check_request(out, require_rtx)
    run = run if attributes is None else with_attributes(run, attributes)
    _check_top(config, run.card)
    pictures = _with_calibration(_pictures(run, images, golden), run, config, images, calibration)
    bundle = golden_from_run(run, config, pictures.golden, pictures.are_synthetic) if golden else None
    return _export_gated(run, out, config, pictures, bundle, keep, require_rtx, on_stage)


def classifier_onnx(
    run: Run, out: Path, *, precision: str = "fp32", opset: int = 17, max_batch: int = 32, dynamic: bool = True
) -> Path:
    """Write the classifier alone, with the fused graph's `image` input and `logits` output.

    Args:
        run: whose classifier.
        out: the *fused* graph's file; the classifier's is written beside it.
        precision, opset, max_batch, dynamic: see `ExportConfig`.

    Returns:
        The file written, `classifier_path(out)`.
    """
    config = ExportConfig(precision, opset, max_batch, dynamic)
    model = _classifier_model(_bodies(run, config)[0], config)
    with atomic_path(classifier_path(out)) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return classifier_path(out)


def _export_gated(
    run: Run,
    out: Path,
    config: ExportConfig,
    pictures: _Pictures,
    bundle: Golden | None,
    keep: bool,
    require_rtx: bool,
    on_stage: OnStage,
) -> Card:
    """Make the graphs, hold them to every gate and write them; the card that the file holds."""
    on_stage(f"export {config.precision} at opset {config.opset}")
    models = _models(run, config)
    on_stage(f"compare with torch on {pictures}")
    models, figures, quantised = _judged(run, config, models, pictures)
    card = _with_parity(_with_facts(run.card, config, models, quantised), config, figures, pictures)
    try:
        _check(config, figures, "the graph disagrees with the torch modules", _remedy(config))
        on_stage("parse and build with TensorRT-RTX")
        card = _built(card, config, models, require_rtx)
    except WhymaskError:
        if keep:
            _write(out, models, card, bundle)
        raise
    on_stage(f"write {out.name}")
    _write(out, models, card, bundle)
    return card


def _check_request(out: Path, require_rtx: bool) -> None:
    if out.suffix != ".onnx":
        raise InputError(f"output file is {out.name!r}, expected a name ending in .onnx")
    if require_rtx and not rtx.is_installed():
        raise MissingExtra(rtx.PACKAGE, rtx.EXTRA, "check a graph with TensorRT's parser and builder")


def _check_top(config: ExportConfig, card: Card) -> None:
    classes = card.classifier.num_classes
    if config.top > classes:
        raise InputError(f"top: {config.top} classes at once were asked for, and the classifier has {classes}")


def _pictures(run: Run, images: NDArray[np.uint8] | None, golden: int) -> _Pictures:
    """Pictures to compare on, and evenly spaced ones of them for the golden bundle."""
    count = max(COUNT, golden)
    given = images if images is not None else real_pictures(run.config.data, run.card.input, count)
    pictures = given if given is not None else synthetic_pictures(run.card.input, count)
    expected = (run.card.input.height, run.card.input.width, 3)
    if pictures.ndim != 4 or pictures.shape[1:] != expected or pictures.dtype != np.uint8 or not len(pictures):
        raise InputError(
            f"images are {pictures.dtype} {pictures.shape}, expected uint8 (N, {', '.join(map(str, expected))})"
        )
    if not 0 <= golden <= len(pictures):
        raise InputError(
            f"golden bundle: {golden} images were asked for, and there are {len(pictures)}; ask for 0 to "
            f"{len(pictures)}, or give a folder of more with --data"
        )
    chosen = np.linspace(0, len(pictures) - 1, golden).astype(int)
    return _Pictures(pictures, pictures[chosen], given is None, pictures[:0])


def _with_calibration(
    pictures: _Pictures,
    run: Run,
    config: ExportConfig,
    images: NDArray[np.uint8] | None,
    calibration: NDArray[np.uint8] | None,
) -> _Pictures:
    """The pictures with those for INT8, none of which is compared on where both come from the run's data."""
    if config.precision != INT8:
        if calibration is not None:
            raise InputError(f"calibration pictures are for int8, and {config.precision} was asked for; leave them out")
        return pictures
    if calibration is None:
        found = real_pictures(run.config.data, run.card.input, COUNT + CALIBRATION_PICTURES)
        if found is None or len(found) < 3:
            raise InputError(
                "int8 needs real pictures to calibrate on; give a folder of some hundred: --calibration-data"
            )
        compared = np.arange(len(found)) % 3 == 0
        calibration = found[~compared]
        if images is None:
            pictures = replace(pictures, compared=found[compared])
    return replace(pictures, calibration=calibration)


def _bodies(run: Run, config: ExportConfig) -> tuple[FrozenClassifier, Explainer]:
    return half_copies(run.classifier, run.explainer) if config.precision == "fp16" else (run.classifier, run.explainer)


def _interpreter(run: Run, config: ExportConfig) -> Interpreter | None:
    """The run's attributes in the precision of the graph's body."""
    if run.interpreter is None or config.precision != "fp16":
        return run.interpreter
    return half_interpreter(run.interpreter)


def _models(run: Run, config: ExportConfig) -> _Models:
    classifier, explainer = _bodies(run, config)
    interpreter = _interpreter(run, config)
    graph = FusedGraph(classifier, deployed(explainer), run.card, config, interpreter).eval()
    image = _example(classifier, config)
    # A tensor of its own for each input: torch.export ties equal ones together.
    example = (image, *(torch.full((len(image),), PREDICTED) for _ in config.inputs[1:]))
    fused = onnx_from_module(graph, example, config.inputs, config.outputs, config.opset, _open_batch(config))
    check_precision(fused, config.precision)
    return _Models(fused, _classifier_model(classifier, config))


def _classifier_model(classifier: FrozenClassifier, config: ExportConfig) -> onnx.ModelProto:
    graph = ClassifierGraph(classifier).eval()
    example = _example(classifier, config)
    model = onnx_from_module(graph, (example,), (IMAGE,), (LOGITS,), config.opset, _open_batch(config))
    check_precision(model, config.precision)
    return model


def _example(classifier: FrozenClassifier, config: ExportConfig) -> torch.Tensor:
    # torch.export takes a dimension of 1 for a constant: an open batch needs an example of 2.
    count = 2 if config.has_dynamic_batch else config.max_batch
    return torch.zeros(count, classifier.rule.height, classifier.rule.width, 3, dtype=torch.uint8)


def _open_batch(config: ExportConfig) -> int | None:
    return config.max_batch if config.has_dynamic_batch else None


def _with_facts(card: Card, config: ExportConfig, models: _Models, quantised: dict[str, object]) -> Card:
    """The card with what is known once the graphs that ship are there."""
    saliency = models.fused.graph.output[config.outputs.index(SALIENCY)].type.tensor_type.shape.dim
    return replace(
        card,
        explainer=replace(card.explainer, height=saliency[1].dim_value, width=saliency[2].dim_value),
        precision=config.precision,
        cost=cost_of(models.fused, models.classifier),
        training=card.training | quantised,
        versions=card.versions | _versions(config),
    )


def _judged(
    run: Run, config: ExportConfig, models: _Models, pictures: _Pictures
) -> tuple[_Models, dict[str, float], dict[str, object]]:
    """The graphs that ship, their parity figures, and what the card says of INT8.

    In INT8 these are the first of its plans that passes every gate with a margin; else the first that passes, since
    other pictures may be harder than those compared; else the last one tried.
    """
    if config.precision != INT8:
        return models, _compared(run, config, models, pictures.compared), {}
    quantiser = Quantiser(models.fused, pictures.calibration)
    within: tuple[_Models, dict[str, float], Plan] | None = None
    for plan in quantiser.plans():
        fused = quantiser.quantised(plan.kept)
        models = _Models(fused, classifier_of(fused))
        figures = _compared(run, config, models, pictures.compared)
        if _passes(figures, margin=True):
            within = models, figures, plan
            break
        if within is None and _passes(figures):
            within = models, figures, plan
    models, figures, plan = within or (models, figures, plan)
    return models, figures, {QUANTISED: plan.summary(len(pictures.calibration))}


def _passes(figures: Mapping[str, float], *, margin: bool = False) -> bool:
    try:
        check_int8(figures, margin=margin)
    except ParityError:
        return False
    return True


def _remedy(config: ExportConfig) -> str:
    return NOT_WRITTEN if config.precision == "fp32" else f"{NOT_WRITTEN}{MORE_EXACT}"


def _check(config: ExportConfig, figures: Mapping[str, float], *words: str) -> None:
    if config.precision == INT8:
        check_int8(figures, *words)
    else:
        check(figures, TOLERANCES[config.precision], *words)


def _compared(run: Run, config: ExportConfig, models: _Models, pictures: NDArray[np.uint8]) -> dict[str, float]:
    """Parity figures of the graphs against the run's own modules."""
    batch = None if config.has_dynamic_batch else config.max_batch
    plain = replace(config, certify=None, with_explanation=False)  # both are judged on the file's own masks
    reference = FusedGraph(run.classifier, run.explainer, run.card, plain, run.interpreter).eval()
    expected = parity.torch_outputs(reference, pictures)
    against = None
    if config.contrast:  # every second picture is explained against its second likeliest class
        against = np.where(np.arange(len(pictures)) % 2, second_likeliest(expected[LOGITS]), NO_CONTRAST)
        expected = parity.torch_outputs(reference, pictures, None, against)
    actual = parity.OnnxRunner(models.fused.SerializeToString(), batch)(pictures, None, against)
    alone = parity.OnnxRunner(models.classifier.SerializeToString(), batch)(pictures)[LOGITS]
    return parity.measure(expected, actual, alone, reference, pictures, TOLERANCES[config.precision])


def _with_parity(card: Card, config: ExportConfig, figures: Mapping[str, float], pictures: _Pictures) -> Card:
    stated = {f"parity_{name.removesuffix('_min')}": value for name, value in figures.items()}
    stated |= {
        "parity_images": float(len(pictures.compared)),
        "parity_synthetic": float(pictures.are_synthetic),
    }
    return replace(card, metrics=card.metrics | stated, tolerances=TOLERANCES[config.precision].as_dict())


def _built(card: Card, config: ExportConfig, models: _Models, require_rtx: bool) -> Card:
    """The card with what TensorRT-RTX's gate found where it was run, and without a word of it where not."""
    versions = {name: version for name, version in card.versions.items() if name != rtx.PACKAGE}
    metrics = {name: value for name, value in card.metrics.items() if not name.startswith("rtx_")}
    if require_rtx or rtx.is_installed():
        built = rtx.build_with_rtx(models.fused.SerializeToString(), config.max_batch)
        versions[rtx.PACKAGE] = built.version
        metrics |= {"rtx_layers": float(built.layers), "rtx_engine_bytes": float(built.engine_bytes)}
    return replace(card, versions=versions, metrics=metrics)


def _versions(config: ExportConfig) -> dict[str, str]:
    return installed_versions(EXPORT_PACKAGES) | {"opset": str(config.opset)}


def _write(out: Path, models: _Models, card: Card, golden: Golden | None) -> None:
    fused = onnx.ModelProto()
    fused.CopyFrom(models.fused)
    classifier = models.classifier.SerializeToString()
    digest = hashlib.sha256(classifier).hexdigest()
    onnx.helper.set_model_props(fused, {METADATA_KEY: card.to_json(), CLASSIFIER_KEY: digest})
    contents = {out: fused.SerializeToString(), classifier_path(out): classifier}
    if golden is not None:
        contents[golden_path(out)] = golden_bytes(replace(golden, card=card))
    # Every file is whole before the first takes its name; the fused graph, which names its classifier, is the last.
    with ExitStack() as files:
        paths = [files.enter_context(atomic_path(path)) for path in contents]
        for path, content in zip(paths, contents.values(), strict=True):
            path.write_bytes(content)
