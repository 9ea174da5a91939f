"""From a fused ONNX graph to a TensorRT or TensorRT-RTX engine with its sidecar. Needs no torch and no onnx package.

One path serves TensorRT 8.6 to 11 and TensorRT-RTX. Nothing is written before the engine has been found to have the
precision that was asked for: by reading it back, or for TensorRT-RTX, which builds without a GPU, by its typed network.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from whymask.export.build_config import BuildConfig, build_line
from whymask.export.build_progress import OnProgress, Phases, interruptible, monitor
from whymask.export.builder_settings import check_dla, set_compute_capabilities, settings_for
from whymask.export.config import classifier_path
from whymask.export.engine_contract import batches_of, card_of, check_precision_of_card, check_tensors
from whymask.export.engine_inspector import inspected
from whymask.export.engine_report import INSPECTOR, LayerReport, check_graph, check_precision, report_from_network
from whymask.export.rtx import COMPUTE_CAPABILITY
from whymask.export.timing_cache import attach_timing_cache
from whymask.export.trt_network import Parsed, add_profile, build_plan, builder_module, parse_graph
from whymask.runtime.card import Card
from whymask.runtime.cuda import cuda_driver
from whymask.runtime.cudart import open_cuda
from whymask.runtime.engine_card import CLASSIFIER, FUSED, TENSORRT, TENSORRT_RTX, EngineCard, write_engine
from whymask.runtime.errors import ArtefactError, BackendError, InputError
from whymask.runtime.explainer import ENGINE_SUFFIXES
from whymask.runtime.versions import installed_versions


@dataclass(frozen=True)
class _Order:
    """What was asked for."""

    onnx: Path
    out: Path
    config: BuildConfig
    builder: str
    role: str
    card: Card


@dataclass(frozen=True)
class _Site:
    """Where the engine is built, and what for."""

    cuda: str
    driver: str
    device: str
    capabilities: tuple[str, ...]


@dataclass(frozen=True)
class _Built:
    """What came out of the builder, checked and not yet written."""

    plan: bytes
    version: str
    report: LayerReport
    batches: tuple[int, int, int]
    seconds: float
    is_strongly_typed: bool
    cache_state: str | None


def engine_from_onnx(
    onnx: Path,
    out: Path,
    config: BuildConfig,
    *,
    rtx: bool = False,
    role: str = FUSED,
    card: Card | None = None,
    on_progress: OnProgress = lambda percent, phase: None,
) -> EngineCard:
    """Build an engine and write it with its sidecar, `<out>.json`.

    Args:
        onnx: a graph made by `whymask export`.
        out: the engine's file, ending in `.plan`, `.engine` or `.trt`.
        config: what the engine is to be.
        rtx: build with TensorRT-RTX, which needs no GPU.
        role: `fused`, or `classifier` for the graph of the classifier alone.
        card: the fused graph's card; None reads it from `onnx`, which the classifier's graph does not carry.
        on_progress: told of percent done since the last call, and of the phase.

    Returns:
        The sidecar's content.

    Raises:
        InputError: an option does not fit the graph, the builder or this machine.
        ArtefactError: the graph is no such graph, TensorRT refuses it, or it was built in another precision.
        BackendError: no driver, no GPU, or TensorRT does not work.
        MissingExtra: TensorRT is not installed.
        KeyboardInterrupt: Ctrl-C; nothing is written.
    """
    config.check_builder(rtx)
    if out.suffix not in ENGINE_SUFFIXES:
        raise InputError(f"engine file is {out.name!r}, expected a name ending in {', '.join(ENGINE_SUFFIXES)}")
    order = _Order(onnx, out, config, TENSORRT_RTX if rtx else TENSORRT, role, card or card_of(onnx))
    check_precision_of_card(onnx, order.card, config)
    site = _rtx_site(config) if rtx else _site()
    graph = _read(onnx)
    built = _built(order, graph, site, on_progress)
    described = _described(order, graph, site, built)
    write_engine(out, built.plan, described)
    return described


def classifier_engine_path(out: Path) -> Path:
    """Where the engine of the classifier alone lies: `fused.plan` has `fused.classifier.plan`."""
    return classifier_path(out)


def _site() -> _Site:
    """The GPU that TensorRT builds on: the first. Without a driver TensorRT fails in its own ways, or crashes."""
    driver = cuda_driver()
    if not driver.devices:
        raise BackendError(
            f"TensorRT builds on a GPU, and none can be used here: {driver.problem}; build where the engine is to run, "
            "or build with --rtx, which needs none"
        )
    device = driver.devices[0]
    return _Site(_cuda_version(), driver.version, device.name, (device.compute_capability,))


def _rtx_site(config: BuildConfig) -> _Site:
    driver = cuda_driver()
    present = tuple(device.compute_capability for device in driver.devices[:1])
    capabilities = config.compute_capabilities or present or (COMPUTE_CAPABILITY,)
    return _Site(_cuda_version() if driver.devices else "", driver.version, "", capabilities)


def _cuda_version() -> str:
    """Version of CUDA's runtime library; empty where none is installed, which building does not need."""
    try:
        return open_cuda().runtime_version()
    except BackendError:
        return ""


def _read(onnx: Path) -> bytes:
    try:
        return onnx.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{onnx}: cannot be read ({error.strerror}); expected an ONNX file") from None


def _built(order: _Order, graph: bytes, site: _Site, on_progress: OnProgress) -> _Built:
    config, builder, subject = order.config, order.builder, str(order.onnx)
    parsed = parse_graph(builder_module(builder), builder, graph, subject)
    check_tensors(parsed, order.role, subject)
    batches = batches_of(parsed, config, subject)
    typed = report_from_network(parsed.network)
    check_graph(typed, config.precision, f"{subject}, as {parsed.label} reads it")
    check_dla(config, batches)
    settings = settings_for(parsed, config)
    if builder == TENSORRT_RTX:
        set_compute_capabilities(parsed, settings, site.capabilities)
    add_profile(parsed, settings, batches)
    cache = attach_timing_cache(settings, config.timing_cache) if config.timing_cache else None
    start = time.perf_counter()
    plan = _plan(parsed, settings, subject, on_progress)
    seconds = time.perf_counter() - start
    report = typed if builder == TENSORRT_RTX else inspected(parsed, plan, config, batches[1])
    check_precision(report, config.precision, typed, subject)
    if cache:
        cache.save(settings)
    state = cache.state if cache else None
    return _Built(bytes(plan), parsed.trt.__version__, report, batches, seconds, parsed.is_strongly_typed, state)


def _plan(parsed: Parsed, settings: Any, subject: str, on_progress: OnProgress) -> Any:
    phases = Phases(on_progress)
    with interruptible() as interruption:
        watching = monitor(parsed.trt, phases, interruption)
        if watching is not None:
            settings.progress_monitor = watching
        plan = build_plan(parsed, settings, subject)
    phases.complete()
    return plan


def _described(order: _Order, graph: bytes, site: _Site, built: _Built) -> EngineCard:
    config, (smallest, best, largest) = order.config, built.batches
    return EngineCard(
        card=order.card,
        role=order.role,
        builder=order.builder,
        builder_version=built.version,
        precision=config.precision,
        layers=built.report.counts,
        onnx_sha256=hashlib.sha256(graph).hexdigest(),
        engine_sha256=hashlib.sha256(built.plan).hexdigest(),
        engine_bytes=len(built.plan),
        cuda=site.cuda,
        driver=site.driver,
        device=site.device,
        compute_capability=", ".join(site.capabilities),
        min_batch=smallest,
        opt_batch=best,
        max_batch=largest,
        version_compatible=config.version_compatible,
        hardware_compatible=config.hardware_compatible,
        build_seconds=built.seconds,
        flags=_flags(config, built),
        build_command=_command(order),
        versions=installed_versions(["whymask"]) | {order.builder: built.version},
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _flags(config: BuildConfig, built: _Built) -> dict[str, Any]:
    """What the sidecar has no field for. `precision_verified` is true only where the engine itself was read."""
    report = built.report
    return {
        "workspace_mib": config.workspace_mib,
        "optimization_level": config.optimization_level,
        "dla_core": config.dla_core,
        "timing_cache": built.cache_state,
        "tf32": False,
        "strongly_typed": built.is_strongly_typed,
        "layers_from": report.source,
        "products": report.products,
        "precision_verified": report.source == INSPECTOR and report.is_conclusive,
    }


def _command(order: _Order) -> str:
    """The line that makes this file; the classifier's engine is made with the fused one's."""
    onnx, out, rtx = order.onnx, order.out, order.builder == TENSORRT_RTX
    if order.role == FUSED:
        return build_line(onnx, out, order.config, rtx=rtx)
    fused = [path.with_name(path.name.replace(f".{CLASSIFIER}.", ".")) for path in (onnx, out)]
    return build_line(fused[0], fused[1], order.config, rtx=rtx, classifier=True)
