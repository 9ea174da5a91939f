"""From two files to one record: what the fused graph costs beside the classifier alone, on this machine, as JSON.

Needs numpy, `whymask.runtime` and what runs the files: ONNX Runtime, or TensorRT for engines; Pillow where pictures
must be decoded or resized. Letters: B batch, H W the graph's input size, N number of pictures, C classes.
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from whymask.benchmarks.bench_pair import (
    Pair,
    RunOptions,
    Runtime,
    agreement,
    alone_beside,
    batches_of,
    check_graphs,
    misplaced,
    open_pair,
    runner,
    timed_runner,
)
from whymask.benchmarks.bench_record import KIND, SCHEMA_VERSION, BenchRecord, GpuRun, GraphFile
from whymask.benchmarks.energy import Energy, EnergySettings, measure_energy
from whymask.benchmarks.gpu_state import GpuState, read_gpu_state, throttling
from whymask.benchmarks.latency import (
    BenchSettings,
    Images,
    Pairs,
    Phases,
    measure_device_phases,
    measure_pairs,
    measure_phases,
)
from whymask.benchmarks.latency_pictures import PictureSource, load_pictures, synthetic_pictures
from whymask.benchmarks.latency_stats import Ratio, Summary, Times, Verdict, judge, summarise
from whymask.benchmarks.machine import Load, LoadMeter, describe_machine
from whymask.benchmarks.memory import Memory, MemoryMeter
from whymask.benchmarks.phases import finish, prepare
from whymask.benchmarks.power import open_sensors
from whymask.benchmarks.preprocess import Preprocess, measure_preprocess
from whymask.runtime.card import InputCard
from whymask.runtime.cuda import cuda_driver
from whymask.runtime.engine_card import BUILDERS
from whymask.runtime.files import sha256_of
from whymask.runtime.images import Picture, fit
from whymask.runtime.progress import track
from whymask.runtime.versions import installed_versions

PACKAGES = (
    "whymask",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "pillow",
    "tensorrt",
    "tensorrt-rtx",
    "cuda-bindings",
    "nvidia-ml-py",
)
AGREEMENT_PICTURES = 16
"""Pictures on which the two files are asked for the same class; few, for they are not what is measured."""


def run_bench(
    file: Path,
    classifier: Path | None = None,
    data: Path | None = None,
    provider: str | None = None,
    threads: int | None = None,
    settings: BenchSettings | None = None,
    on_progress: Callable[[float], None] | None = None,
    cuda_graph: bool = False,
    energy: EnergySettings | None = None,
) -> BenchRecord:
    """Measure a fused graph beside its classifier alone.

    Args:
        file: the fused ONNX file or TensorRT engine.
        classifier: the classifier alone, of the same kind; None takes `<stem>.classifier<suffix>` beside the file.
        data: folder of pictures; None takes seeded synthetic ones.
        provider: of ONNX Runtime; None takes the best that loads. Both graphs run on the same one.
        threads: inside one operator of ONNX Runtime; None takes all cores that this process may use.
        settings: how to measure; None takes the defaults.
        on_progress: called with the share of the time limit that is used up.
        cuda_graph: run each engine as a captured CUDA graph.
        energy: how to measure joules, after all else; None leaves them out.

    Raises:
        ArtefactError: a file is missing, is no such graph, or the two are not of one classifier.
        InputError: an option, or the folder of pictures, cannot be used.
        BackendError: the provider, or TensorRT, does not load; or a power sensor answers no more.
    """
    settings = settings or BenchSettings()
    alone_file = alone_beside(file, classifier)
    meter = MemoryMeter()
    with open_pair(file, alone_file, RunOptions(provider, threads, cuda_graph), meter.mark) as pair:
        check_graphs(pair, file, alone_file, settings.batch)
        card = pair.fused.card
        pictures, source = pictures_from(data, settings, card.input)
        images = np.stack([fit(picture, card.input) for picture in pictures])
        share = agreement(pair, images[:AGREEMENT_PICTURES], settings.batch, alone_file)
        measured = _measure(pair, pictures, images, settings, on_progress)
        meter.mark("after the measurement", pair.runtime.on_gpu)
        held = meter.memory()
        joules = joules_of(pair, images, settings.batch, energy) if energy else None
        before = measure_preprocess(card.input, settings)  # last: what it loads is no memory of the graphs
        return _record(pair, measured, settings, (file, alone_file), source, share, held, joules, before)


@dataclass(frozen=True)
class _Measured:
    """What was timed, and what the machine did meanwhile."""

    pairs: Pairs
    phases: Phases
    device_ms: dict[str, dict[str, Times]]
    load: Load
    before: GpuState
    after: GpuState


def _measure(
    pair: Pair,
    pictures: list[Picture],
    images: Images,
    settings: BenchSettings,
    on_progress: Callable[[float], None] | None,
) -> _Measured:
    run_fused, run_alone = runner(pair.fused), runner(pair.alone)
    before = _gpu_state(pair)
    with LoadMeter() as meter:
        pairs = measure_pairs(run_fused, run_alone, images, settings, on_pair=on_progress)
    after = _gpu_state(pair)
    card = pair.fused.card
    phases = measure_phases(prepare(card), run_fused, finish(card, pictures), pictures, settings)
    timed = {"fused": timed_runner(pair.fused), "classifier": timed_runner(pair.alone)}
    device_ms = {name: measure_device_phases(run, images, settings) for name, run in timed.items() if run is not None}
    return _Measured(pairs, phases, device_ms, meter.load, before, after)


def joules_of(pair: Pair, images: Images, batch: int, settings: EnergySettings) -> Energy:
    """Joules an image of a fused graph and of its classifier, or why no sensor tells.

    Args:
        pair: both graphs.
        images: uint8 (N, H, W, 3).
        batch: pictures a call.
        settings: how to measure.

    Raises:
        BackendError: a sensor answers no more.
    """
    batches = batches_of(images, batch)
    with open_sensors(pair.runtime.on_gpu) as sensors:
        if not sensors.found:
            return Energy(settings, (), sensors.absent)
        with track(settings.rounds, "joules an image", "rounds") as bar:
            return measure_energy(sensors, runner(pair.fused), runner(pair.alone), batches, settings, bar.advance)


def _record(
    pair: Pair,
    measured: _Measured,
    settings: BenchSettings,
    files: tuple[Path, Path],
    source: PictureSource,
    share: float,
    memory: Memory,
    joules: Energy | None,
    before: Preprocess,
) -> BenchRecord:
    card, pairs, runtime = pair.fused.card, measured.pairs, pair.runtime
    ratio = pairs.ratio(settings)
    return BenchRecord(
        schema=SCHEMA_VERSION,
        kind=KIND,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        fused_file=graph_file(files[0]),
        classifier_file=graph_file(files[1]),
        classifier_id=card.classifier.id,
        explainer_kind=card.explainer.kind,
        precision=runtime.precision,
        cost=card.cost,
        outputs=tuple(pair.fused.outputs),
        backend=runtime.backend,
        provider=runtime.provider,
        transfers=runtime.transfers,
        waiting=runtime.waiting,
        batch=settings.batch,
        threads=runtime.threads,
        height=card.input.height,
        width=card.input.width,
        settings=settings,
        images=source,
        machine=describe_machine(),
        load=measured.load,
        versions={"python": platform.python_version()} | installed_versions(PACKAGES),
        gpu=_gpu_run(runtime, measured) if runtime.on_gpu else None,
        top1_agreement=share,
        fused=summarise(pairs.fused_ms),
        classifier=summarise(pairs.classifier_ms),
        ratio=ratio,
        images_per_second=1e3 * settings.batch / float(pairs.fused_ms.mean()),
        phases=_phase_summaries(measured.phases),
        device_phases={
            graph: {name: summarise(times) for name, times in phases.items()}
            for graph, phases in measured.device_ms.items()
        },
        memory=memory,
        energy=joules,
        preprocess=before,
        verdict=_verdict(measured, ratio, settings, runtime.threads, misplaced(pair, files[1])),
        samples=_samples(measured),
    )


def _verdict(
    measured: _Measured, ratio: Ratio, settings: BenchSettings, threads: int, unlike: tuple[str, ...]
) -> Verdict:
    return judge(
        ratio,
        measured.pairs.fused_ms.size,
        margin=settings.margin,
        min_pairs=settings.min_pairs,
        load=measured.load,
        threads=threads,
        against=(*unlike, *throttling(measured.before, measured.after)),
    )


def _gpu_state(pair: Pair) -> GpuState:
    return read_gpu_state() if pair.runtime.on_gpu else GpuState(absent="no GPU ran the graphs")


def _gpu_run(runtime: Runtime, measured: _Measured) -> GpuRun:
    driver, engine = cuda_driver(), runtime.engine
    return GpuRun(
        device=str(driver.devices[0]) if driver.devices else "",
        cuda=driver.version,
        library=f"{BUILDERS[engine.builder]} {engine.builder_version}" if engine else "",
        cuda_graph=runtime.cuda_graph,
        zero_copy=runtime.zero_copy,
        profile=(engine.min_batch, engine.opt_batch, engine.max_batch) if engine else (),
        layers=engine.layers if engine else {},
        before=measured.before,
        after=measured.after,
    )


def pictures_from(data: Path | None, settings: BenchSettings, card: InputCard) -> tuple[list[Picture], PictureSource]:
    """Real pictures of a folder, else synthetic ones: of a camera's size, or of the graph's where nothing resizes.

    Args:
        data: the folder; None takes synthetic pictures.
        settings: how many, and their seed.
        card: the graph's input.

    Raises:
        InputError: the folder cannot be used.
    """
    if data is not None:
        return load_pictures(data, settings.pictures, settings.seed)
    if importlib.util.find_spec("PIL") is None:
        return synthetic_pictures(settings.pictures, settings.seed, card.height, card.width)
    return synthetic_pictures(settings.pictures, settings.seed)


def _phase_summaries(phases: Phases) -> dict[str, Summary]:
    return {
        "preprocess": summarise(phases.preprocess_ms),
        "run": summarise(phases.run_ms),
        "postprocess": summarise(phases.postprocess_ms),
        "total": summarise(phases.total_ms),
    }


def _samples(measured: _Measured) -> dict[str, list[Any]]:
    pairs, phases = measured.pairs, measured.phases
    device = {
        f"{graph}_{name}_ms": times.tolist()
        for graph, spans in measured.device_ms.items()
        for name, times in spans.items()
    }
    return {
        "fused_ms": pairs.fused_ms.tolist(),
        "classifier_ms": pairs.classifier_ms.tolist(),
        "fused_first": pairs.fused_first.tolist(),
        "preprocess_ms": phases.preprocess_ms.tolist(),
        "run_ms": phases.run_ms.tolist(),
        "postprocess_ms": phases.postprocess_ms.tolist(),
        **device,
    }


def graph_file(path: Path) -> GraphFile:
    """Name, digest and size of a file."""
    return GraphFile(path.name, sha256_of(path), path.stat().st_size)
