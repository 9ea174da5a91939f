"""From two files to one record: what the fused graph costs beside the classifier alone, on this machine, as JSON.

Needs numpy, ONNX Runtime and `whymask.runtime`; Pillow where pictures must be decoded or resized.
Letters: B batch, H W the graph's input size, N number of pictures, C classes.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from whymask.benchmarks.latency import BenchSettings, Images, Pairs, Phases, measure_pairs, measure_phases
from whymask.benchmarks.latency_pictures import PictureSource, load_pictures, synthetic_pictures
from whymask.benchmarks.latency_stats import Ratio, Summary, Verdict, judge, summarise
from whymask.benchmarks.machine import Load, LoadMeter, Machine, describe_machine, usable_cpus
from whymask.runtime.backends import Arrays, Backend, check_contract
from whymask.runtime.card import IMAGE, LOGITS, TARGET, Card, InputCard
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.explanation import Explanation
from whymask.runtime.files import sha256_of, write_atomically
from whymask.runtime.images import Picture, fit
from whymask.runtime.ort import CPU, OrtBackend
from whymask.runtime.versions import installed_versions

SCHEMA_VERSION = 1
KIND = "whymask.bench"
PACKAGES = ("whymask", "numpy", "onnxruntime", "onnxruntime-gpu", "pillow")
AGREEMENT_PICTURES = 16
"""Pictures on which the two files are asked for the same class; few, for they are not what is measured."""
LEAST_AGREEMENT = 0.9
"""Share of pictures with equal top-1 below which two files cannot be of one classifier, half precision or not."""
WAITING = "threads sleep between calls (no spin-wait), so that neither graph's threads take a core from the other's"
"""Two copies of one ResNet-18, 2 threads on 2 cores, took 46 ms in pairs while threads spun, 32 ms while they slept."""
PREDICTED = -1
"""Value of the input `target` that means the predicted class."""


@dataclass(frozen=True)
class GraphFile:
    """One of the two files that were timed.

    Attributes:
        file: its name.
        sha256: of its bytes, hexadecimal.
        size_bytes: its size.
    """

    file: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class BenchRecord:
    """All that was measured, and all that a reader needs to trust it or to compute it anew.

    Attributes:
        schema, kind: of this record.
        created: time of day, UTC, ISO 8601.
        fused_file, classifier_file: what was timed.
        classifier_id, explainer_kind, precision, cost: from the card.
        outputs: of the fused graph, all of which are fetched; certificates among them cost classifier passes.
        provider: that ran both graphs.
        transfers: whether copies between host and device are in the times.
        waiting: what the threads do between calls.
        batch, threads, height, width: B, threads inside one operator, H, W.
        settings: how it was measured.
        images: what it was measured on.
        machine, load, versions: where.
        top1_agreement: share of the pictures on which both graphs predict the same class.
        fused, classifier: one call each, host memory to host memory, from the pairs.
        ratio: of their medians, with its interval.
        images_per_second: of the fused graph, from its mean.
        phases: `preprocess`, `run`, `postprocess`, `total` of one call of an application.
        verdict: whether the figures may be quoted.
        samples: raw series in the order of timing; names end in their unit.
    """

    schema: int
    kind: str
    created: str
    fused_file: GraphFile
    classifier_file: GraphFile
    classifier_id: str
    explainer_kind: str
    precision: str
    cost: dict[str, float]
    outputs: tuple[str, ...]
    provider: str
    transfers: str
    waiting: str
    batch: int
    threads: int
    height: int
    width: int
    settings: BenchSettings
    images: PictureSource
    machine: Machine
    load: Load
    versions: dict[str, str]
    top1_agreement: float
    fused: Summary
    classifier: Summary
    ratio: Ratio
    images_per_second: float
    phases: dict[str, Summary]
    verdict: Verdict
    samples: dict[str, list[Any]]

    def to_json(self) -> str:
        """The record as JSON text, keys in a fixed order."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, path: Path) -> None:
        """Write the record, whole or not at all."""
        write_atomically(path, self.to_json())


def run_bench(
    file: Path,
    classifier: Path | None = None,
    data: Path | None = None,
    provider: str | None = None,
    threads: int | None = None,
    settings: BenchSettings | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> BenchRecord:
    """Measure a fused graph beside its classifier alone.

    Args:
        file: the fused ONNX file.
        classifier: the classifier alone; None takes `<stem>.classifier.onnx` beside the file.
        data: folder of pictures; None takes seeded synthetic ones.
        provider: of ONNX Runtime; None takes the best that loads. Both graphs run on the same one.
        threads: inside one operator; None takes all cores that this process may use.
        settings: how to measure; None takes the defaults.
        on_progress: called with the share of the time limit that is used up.

    Raises:
        ArtefactError: a file is missing, is no such graph, or the two are not of one classifier.
        InputError: an option, or the folder of pictures, cannot be used.
        BackendError: the provider does not load.
    """
    settings = settings or BenchSettings()
    alone_file = classifier_beside(file) if classifier is None else classifier
    threads = len(usable_cpus()) if threads is None else threads
    measured = _measure(file, alone_file, data, provider, threads, settings, on_progress)
    return _record(measured, file, alone_file, threads, settings)


@dataclass(frozen=True)
class _Measured:
    """What is known once both graphs are closed."""

    card: Card
    outputs: tuple[str, ...]
    provider: str
    source: PictureSource
    agreement: float
    pairs: Pairs
    phases: Phases
    load: Load


def _measure(
    file: Path,
    alone_file: Path,
    data: Path | None,
    provider: str | None,
    threads: int,
    settings: BenchSettings,
    on_progress: Callable[[float], None] | None,
) -> _Measured:
    with (
        OrtBackend(file, provider, threads, spin=False) as fused,
        _open_classifier(alone_file, fused, threads) as alone,
    ):
        _check_graphs(fused, alone, file, alone_file, settings.batch)
        card = fused.card
        pictures, source = _pictures(data, settings, card.input)
        images = np.stack([fit(picture, card.input) for picture in pictures])
        agreement = _agreement(fused, alone, images[:AGREEMENT_PICTURES], settings.batch, alone_file)
        with LoadMeter() as meter:
            pairs = measure_pairs(_runner(fused), _runner(alone), images, settings, on_pair=on_progress)
        phases = measure_phases(_prepare(card), _runner(fused), _finish(card, pictures), pictures, settings)
        return _Measured(card, tuple(fused.outputs), fused.provider, source, agreement, pairs, phases, meter.load)


def _record(measured: _Measured, file: Path, alone_file: Path, threads: int, settings: BenchSettings) -> BenchRecord:
    card, pairs = measured.card, measured.pairs
    ratio = pairs.ratio(settings)
    return BenchRecord(
        schema=SCHEMA_VERSION,
        kind=KIND,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        fused_file=_graph_file(file),
        classifier_file=_graph_file(alone_file),
        classifier_id=card.classifier.id,
        explainer_kind=card.explainer.kind,
        precision=card.precision,
        cost=card.cost,
        outputs=measured.outputs,
        provider=measured.provider,
        transfers=_transfers(measured.provider),
        waiting=WAITING,
        batch=settings.batch,
        threads=threads,
        height=card.input.height,
        width=card.input.width,
        settings=settings,
        images=measured.source,
        machine=describe_machine(),
        load=measured.load,
        versions={"python": platform.python_version()} | installed_versions(PACKAGES),
        top1_agreement=measured.agreement,
        fused=summarise(pairs.fused_ms),
        classifier=summarise(pairs.classifier_ms),
        ratio=ratio,
        images_per_second=1e3 * settings.batch / float(pairs.fused_ms.mean()),
        phases=_phase_summaries(measured.phases),
        verdict=_verdict(ratio, pairs, settings, measured.load, threads),
        samples=_samples(pairs, measured.phases),
    )


def classifier_beside(file: Path) -> Path:
    """Where `whymask export` leaves the classifier alone: `fused.onnx` → `fused.classifier.onnx`."""
    return file.with_name(f"{file.stem}.classifier.onnx")


def _open_classifier(file: Path, fused: OrtBackend, threads: int) -> OrtBackend:
    if not file.is_file():
        raise ArtefactError(
            f"{file}: no such file, expected the classifier alone, to compare with. `whymask export RUN -o FILE.onnx` "
            "writes it beside FILE.onnx; export again, or name it with --classifier"
        )
    return OrtBackend(file, fused.provider, threads, spin=False)


def _check_graphs(fused: Backend, alone: Backend, file: Path, alone_file: Path, batch: int) -> None:
    check_contract(fused, str(file))
    if IMAGE not in alone.inputs or LOGITS not in alone.outputs or len(alone.inputs) != 1:
        raise ArtefactError(
            f"{alone_file}: inputs {', '.join(alone.inputs)} and outputs {', '.join(alone.outputs)}, expected "
            f"{IMAGE} and {LOGITS}, as `whymask export` writes them"
        )
    given, expected = alone.inputs[IMAGE], fused.inputs[IMAGE]
    if (given.dtype, given.shape[1:]) != (expected.dtype, expected.shape[1:]):
        raise ArtefactError(f"{alone_file}: {given}, expected the input of {file.name}, {expected}; export both again")
    for backend, name in ((fused, file), (alone, alone_file)):
        fixed = backend.inputs[IMAGE].shape[0]
        if isinstance(fixed, int) and fixed != batch:
            raise InputError(
                f"batch is {batch}, but {name.name} takes batches of {fixed} only; bench with --batch {fixed}"
            )


def _pictures(data: Path | None, settings: BenchSettings, card: InputCard) -> tuple[list[Picture], PictureSource]:
    if data is not None:
        return load_pictures(data, settings.pictures, settings.seed)
    if importlib.util.find_spec("PIL") is None:
        return synthetic_pictures(settings.pictures, settings.seed, card.height, card.width)
    return synthetic_pictures(settings.pictures, settings.seed)


def _runner(backend: Backend) -> Callable[[Images], Arrays]:
    """A graph as a function of its pictures: uint8 (B, H, W, 3) → all outputs."""
    if TARGET not in backend.inputs:
        return lambda images: backend.run({IMAGE: images})
    return lambda images: backend.run({IMAGE: images, TARGET: np.full(len(images), PREDICTED, np.int64)})


def _agreement(fused: Backend, alone: Backend, images: Images, batch: int, alone_file: Path) -> float:
    """Share of equal top-1; two files that merely lie beside each other are refused."""
    starts = range(0, len(images), batch)
    batches = [np.ascontiguousarray(images[np.arange(at, at + batch) % len(images)]) for at in starts]
    equal = [_runner(fused)(each)[LOGITS].argmax(1) == alone.run({IMAGE: each})[LOGITS].argmax(1) for each in batches]
    share = float(np.concatenate(equal).mean())
    if share < LEAST_AGREEMENT:
        raise ArtefactError(
            f"{alone_file}: predicts the same class as the fused graph on {100 * share:.0f} % of {len(images)} "
            f"pictures, expected {100 * LEAST_AGREEMENT:.0f} % or more, so it is not its classifier; export both again"
        )
    return share


def _prepare(card: Card) -> Callable[[list[Picture]], Images]:
    return lambda some: np.stack([fit(picture, card.input) for picture in some])


def _finish(card: Card, pictures: list[Picture]) -> Callable[[Arrays], object]:
    """What an application reads first: label, confidence and area of every picture of a batch."""

    def finish(outputs: Arrays) -> list[str]:
        rows = range(len(outputs[LOGITS]))
        each = (Explanation({name: values[i] for name, values in outputs.items()}, card, pictures[0]) for i in rows)
        return [explanation.summary() for explanation in each]

    return finish


def _transfers(provider: str) -> str:
    if provider == CPU:
        return "H2D and D2H do not apply: the graph runs in host memory"
    return "H2D and D2H are inside every call: inputs and outputs are in host memory"


def _phase_summaries(phases: Phases) -> dict[str, Summary]:
    return {
        "preprocess": summarise(phases.preprocess_ms),
        "run": summarise(phases.run_ms),
        "postprocess": summarise(phases.postprocess_ms),
        "total": summarise(phases.total_ms),
    }


def _verdict(ratio: Ratio, pairs: Pairs, settings: BenchSettings, load: Load, threads: int) -> Verdict:
    return judge(
        ratio, pairs.fused_ms.size, margin=settings.margin, min_pairs=settings.min_pairs, load=load, threads=threads
    )


def _samples(pairs: Pairs, phases: Phases) -> dict[str, list[Any]]:
    return {
        "fused_ms": pairs.fused_ms.tolist(),
        "classifier_ms": pairs.classifier_ms.tolist(),
        "fused_first": pairs.fused_first.tolist(),
        "preprocess_ms": phases.preprocess_ms.tolist(),
        "run_ms": phases.run_ms.tolist(),
        "postprocess_ms": phases.postprocess_ms.tolist(),
    }


def _graph_file(path: Path) -> GraphFile:
    return GraphFile(path.name, sha256_of(path), path.stat().st_size)
