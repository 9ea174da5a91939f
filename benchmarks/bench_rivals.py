"""Other methods as contenders of a sweep: CAM and Recipro-CAM as ONNX graphs, Grad-CAM in torch, RISE from some passes.

Torch and onnx load when one of the first three is asked for; RISE needs neither.

Letters: B batch, H W the graph's input size.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from whymask.benchmarks.bench_contenders import Artefact, Timed
from whymask.benchmarks.bench_pair import ONNXRUNTIME, feeds, runner
from whymask.benchmarks.latency import Images, Run
from whymask.benchmarks.latency_rounds import Contender
from whymask.benchmarks.masking import background_from_fill
from whymask.benchmarks.rivals.rise import MASKS, RandomMasks, rise_maps
from whymask.benchmarks.sweep_record import RIVAL
from whymask.runtime.backends import Backend
from whymask.runtime.card import LOGITS
from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.ort import CPU, OrtBackend

if TYPE_CHECKING:
    from whymask.train.run import Run as TrainedRun

CAM, RECIPRO_CAM, GRAD_CAM, RISE = "cam", "recipro-cam", "grad-cam", "rise"
AGAINST = (RECIPRO_CAM, CAM, GRAD_CAM, RISE)
STATED = {
    CAM: "CAM (Zhou et al. 2016) as an ONNX graph in the same runtime",
    RECIPRO_CAM: "Recipro-CAM (Byun and Lee 2022) as an ONNX graph in the same runtime",
}
EVERY = 5
"""Rivals take part in every fifth round: most of them are slow, and differ by far more than the margin."""
RISE_AT_ONCE = 16
"""Masks that are measured; the rest is extrapolated."""


@dataclass(frozen=True)
class RivalGround:
    """What the methods are made from.

    Attributes:
        artefact: the file that they are held beside.
        run_path: run directory of its classifier; None where there is none.
        batch: B.
        stack: closes what is opened.
    """

    artefact: Artefact
    run_path: Path | None
    batch: int
    stack: ExitStack

    @cached_property
    def run(self) -> TrainedRun:
        """The classifier in torch, that of the file.

        Raises:
            InputError: no run directory, or one of another classifier.
            MissingExtra: torch is not installed.
        """
        if self.run_path is None:
            raise InputError("needs the classifier in torch, and only the graph is here; give --run its run directory")
        try:
            from whymask.train.run import load_run
        except ImportError as error:
            raise MissingExtra(error.name or "torch", "all", "time other methods") from None
        run, card = load_run(self.run_path), self.artefact.pair.fused.card
        if run.card.classifier.sha256 != card.classifier.sha256:
            raise InputError(
                f"--run {self.run_path} is of {run.card.classifier.id}, {run.card.classifier.sha256[:12]}…, and "
                f"{self.artefact.name} of {card.classifier.id}, {card.classifier.sha256[:12]}…; give the run that the "
                "file was exported from"
            )
        return run


def check_against(names: Sequence[str]) -> None:
    """Refuse methods that are not known.

    Raises:
        InputError: with those that are.
    """
    for name in names:
        if name not in AGAINST:
            raise InputError(f"--against {name}: no such method, expected some of {', '.join(AGAINST)}")


def rivals_of(names: Sequence[str], ground: RivalGround) -> list[Timed]:
    """The methods as contenders.

    Args:
        names: of `AGAINST`.
        ground: what they are made from.

    Raises:
        InputError: a method cannot be made from this classifier, or cannot run where the graphs do.
        MissingExtra: a package that it needs is not installed.
    """
    makers = {CAM: _graph, RECIPRO_CAM: _graph, GRAD_CAM: _grad_cam, RISE: _rise}
    timed = []
    for name in dict.fromkeys(names):
        try:
            timed.append(makers[name](name, ground))
        except InputError as error:
            raise InputError(f"--against {name}: {error}") from None
    return timed


def _timed(name: str, ground: RivalGround, run: Run, stated: str, cost: dict[str, float], factor: float = 1.0) -> Timed:
    each = ground.artefact
    contender = Contender(name, run, each.images, each.baseline, EVERY)
    return Timed(contender, RIVAL, stated, cost, factor, each.pair.runtime.threads)


def _graph(name: str, ground: RivalGround) -> Timed:
    runtime = ground.artefact.pair.runtime
    if runtime.backend != ONNXRUNTIME or runtime.precision != "fp32":
        raise InputError(
            f"its graph runs in ONNX Runtime in fp32, and {ground.artefact.name} in {runtime.backend} in "
            f"{runtime.precision}; bench the ONNX file of fp32"
        )
    classifier = ground.run.classifier
    from whymask.benchmarks.rivals.rival_graphs import rival_graph
    from whymask.export.cost import multiply_adds

    model = rival_graph(name, classifier, ground.batch)
    content = model.SerializeToString()
    file = Path(ground.stack.enter_context(TemporaryDirectory())) / f"{name}.onnx"
    file.write_bytes(content)
    backend = ground.stack.enter_context(OrtBackend(file, runtime.provider, runtime.threads, spin=False))
    counted = {"macs": multiply_adds(model) / ground.batch, "nodes": len(model.graph.node), "bytes": len(content)}
    return _timed(name, ground, runner(backend), STATED[name], {key: float(value) for key, value in counted.items()})


def _grad_cam(name: str, ground: RivalGround) -> Timed:
    runtime = ground.artefact.pair.runtime
    if runtime.provider != CPU or runtime.precision != "fp32":
        raise InputError(
            f"it runs in torch on the CPU in fp32, and {ground.artefact.name} on {runtime.provider} in "
            f"{runtime.precision}; bench the fp32 file with --provider cpu"
        )
    classifier = ground.run.classifier
    import torch

    from whymask.benchmarks.rivals.gradcams import gradcam_maps
    from whymask.benchmarks.rivals.torch_maps import last_layer

    layer = last_layer(classifier)
    maps = gradcam_maps(classifier, layer, "grad_cam")
    before = torch.get_num_threads()
    torch.set_num_threads(runtime.threads)
    ground.stack.callback(torch.set_num_threads, before)
    stated = (
        f"Grad-CAM (Selvaraju et al. 2017) by pytorch-grad-cam in torch {torch.__version__}, {runtime.threads} "
        f"thread{'' if runtime.threads == 1 else 's'}, of a fixed class, which does not change its cost"
    )
    macs = ground.artefact.pair.fused.card.cost.get("classifier_macs")
    cost = {} if macs is None else {"macs": macs * (1.0 + 2.0 * layer.tail)}
    return _timed(name, ground, lambda images: maps(images, *np.zeros((2, len(images)), np.int64)), stated, cost)


def _rise(name: str, ground: RivalGround) -> Timed:
    each = ground.artefact
    card, (low, high) = each.pair.fused.card, each.pair.alone.batch_range
    at_once = min(max(low, RISE_AT_ONCE), high or RISE_AT_ONCE)
    masks = RandomMasks(at_once, card.input.height, card.input.width, seed=0)
    maps = rise_maps(lambda images: _logits(each.pair.alone, images), background_from_fill(card.fill), masks)
    stated = (
        f"RISE (Petsiuk et al. 2018) with {MASKS} masks, extrapolated: {at_once} masks a picture were measured, in one "
        f"call of the classifier alone, and their time multiplied by {MASKS / at_once:g}"
    )
    macs = card.cost.get("classifier_macs")
    cost = {} if macs is None else {"macs": MASKS * macs}

    def run(images: Images) -> object:
        return maps(images, *np.zeros((2, len(images)), np.int64))

    return _timed(f"{name}-{MASKS}", ground, run, stated, cost, MASKS / at_once)


def _logits(backend: Backend, images: Images) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return backend.run(feeds(backend, images), (LOGITS,))[LOGITS]
