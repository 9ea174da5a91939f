"""From files to one record of a sweep: several artefacts, batches, scenarios and other methods in common rounds.

Torch-free but for the methods that need torch; runs on the device.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from whymask.benchmarks.bench import PACKAGES, graph_file, pictures_from
from whymask.benchmarks.bench_contenders import Artefact, Timed, artefacts, contenders_of, open_artefacts
from whymask.benchmarks.bench_pair import RunOptions, misplaced
from whymask.benchmarks.bench_rivals import RivalGround, check_against, rivals_of
from whymask.benchmarks.bench_scenarios import HEADLINES, RATE, Point
from whymask.benchmarks.energy import EnergySettings
from whymask.benchmarks.gpu_state import read_gpu_state, throttling
from whymask.benchmarks.latency import BenchSettings
from whymask.benchmarks.latency_rounds import Rounds, measure_rounds
from whymask.benchmarks.latency_stats import Ratio, Verdict, judge, summarise
from whymask.benchmarks.loadgen import check_scenarios, cross_checks, import_loadgen
from whymask.benchmarks.machine import Load, LoadMeter, describe_machine
from whymask.benchmarks.memory import Loaded, MemoryMeter
from whymask.benchmarks.sweep_parts import loaded_by, measure_parts, preprocess_of, with_parts
from whymask.benchmarks.sweep_record import (
    BASELINE,
    FUSED,
    KIND,
    RIVAL,
    SCHEMA_VERSION,
    Faster,
    Row,
    SweepPoint,
    SweepRecord,
    SweptFile,
)
from whymask.runtime.errors import InputError
from whymask.runtime.images import Picture
from whymask.runtime.versions import installed_versions

SWEPT_PACKAGES = (*PACKAGES, "torch", "onnx", "grad-cam", "mlcommons-loadgen")
OnPoint = Callable[[str], Callable[[float], None]]
"""Told the name of a point as it begins; gives what is told the share of its time limit that is used up."""


@dataclass(frozen=True)
class SweepOptions:
    """What is timed beside the files.

    Attributes:
        classifier: the classifier alone of every file; None takes the one beside each.
        data: folder of pictures; None takes synthetic ones.
        run_options: provider, threads, CUDA graph.
        against: other methods, of `bench_rivals.AGAINST`.
        run: run directory of the classifier, for those that need torch.
        trigger_rates: shares of pictures that are explained; a row each.
        loadgen: let MLPerf's LoadGen time the files too.
        energy: how to measure joules of each file at each point, after its rounds; None leaves them out.
    """

    classifier: Path | None = None
    data: Path | None = None
    run_options: RunOptions = field(default_factory=RunOptions)
    against: tuple[str, ...] = ()
    run: Path | None = None
    trigger_rates: tuple[float, ...] = ()
    loadgen: bool = False
    energy: EnergySettings | None = None


def run_sweep(
    files: Sequence[Path],
    points: Sequence[Point],
    options: SweepOptions | None = None,
    settings: BenchSettings | None = None,
    on_point: OnPoint = lambda name: lambda share: None,
) -> SweepRecord:
    """Time files and other methods at every point.

    Args:
        files: fused ONNX files or engines.
        points: scenarios and batches; at least one.
        options: see there.
        settings: how to measure each point; its batch is the point's.
        on_point: told of each point as it begins.

    Raises:
        InputError: an option cannot be used, or a graph does not take a batch.
        ArtefactError, BackendError: as `run_bench`.
        MissingExtra: a method, or LoadGen, is not installed.
    """
    options, settings = options or SweepOptions(), settings or BenchSettings()
    check_against(options.against)
    if options.loadgen:
        import_loadgen()
        check_scenarios(points)
    if not files or not points:
        raise InputError(f"{len(files)} files and {len(points)} points, expected at least one of each")
    batches, meter = [point.batch for point in points], MemoryMeter()
    with open_artefacts(files, options.classifier, options.run_options, batches, meter.mark) as pairs:
        pictures, source = pictures_from(options.data, settings, pairs[0].fused.card.input)
        found = artefacts(files, options.classifier, pairs, pictures, batches[0])
        ground = _Ground(found, pictures, loaded_by(found, meter.memory().marks), meter)
        measured = tuple(
            _measure(point, ground, options, replace(settings, batch=point.batch), on_point(str(point)))
            for point in points
        )
        held = meter.memory()
        return SweepRecord(
            schema=SCHEMA_VERSION,
            kind=KIND,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            files=tuple(_swept(each) for each in found),
            settings=replace(settings, batch=batches[0]),
            images=source,
            machine=describe_machine(),
            versions={"python": platform.python_version()} | installed_versions(SWEPT_PACKAGES),
            points=measured,
            verdict=_verdict(measured),
            memory=held,
            preprocess=preprocess_of(found, settings),
        )


@dataclass(frozen=True)
class _Ground:
    """What every point is measured on: the files, the pictures, and the memory."""

    found: Sequence[Artefact]
    pictures: list[Picture]
    loaded: dict[str, Loaded]
    meter: MemoryMeter


def _measure(
    point: Point,
    ground: _Ground,
    options: SweepOptions,
    settings: BenchSettings,
    on_round: Callable[[float], None],
) -> SweepPoint:
    found = ground.found
    on_gpu = any(each.pair.runtime.on_gpu for each in found)
    with ExitStack() as stack:
        timed = contenders_of(found, options.trigger_rates, point.batch)
        timed += rivals_of(options.against, RivalGround(found[0], options.run, point.batch, stack))
        before = read_gpu_state() if on_gpu else None
        with LoadMeter() as meter:
            rounds = measure_rounds([each.contender for each in timed], settings, on_round=on_round)
        after = read_gpu_state() if on_gpu else None
    ground.meter.mark(f"after {point}", on_gpu)
    against = throttling(before, after) if before and after else ()
    against += tuple(dict.fromkeys(why for each in found for why in misplaced(each.pair, each.alone_file)))
    parts = measure_parts(found, ground.pictures, settings, options.energy)
    rows = tuple(
        with_parts(_row(each, rounds, point, settings, meter.load, against), parts, ground.loaded) for each in timed
    )
    measured = SweepPoint(
        scenario=point.scenario,
        batch=point.batch,
        figure=HEADLINES[point.scenario],
        rows=rows,
        comparisons=_comparisons(timed, rounds, settings),
        load=meter.load,
        gpu_before=before,
        gpu_after=after,
    )
    if not options.loadgen:
        return measured
    files = [each.contender for each in timed if each.kind in (BASELINE, FUSED)]
    return replace(measured, loadgen=cross_checks(files, measured, settings))


def _row(
    each: Timed, rounds: Rounds, point: Point, settings: BenchSettings, load: Load, against: tuple[str, ...]
) -> Row:
    contender, measured = each.contender, rounds.times_ms[each.contender.name]
    summary = summarise(measured * each.extrapolated)
    ratio = _scaled(rounds.ratio(contender, settings), each.extrapolated) if contender.baseline else None
    rate = 1e3 * point.batch / summary.mean_ms
    figure = HEADLINES[point.scenario]
    return Row(
        name=contender.name,
        kind=each.kind,
        baseline=contender.baseline,
        stated=each.stated,
        extrapolated=each.extrapolated,
        summary=summary,
        headline=rate if figure == RATE else float(getattr(summary, figure)),
        images_per_second=rate,
        ratio=ratio,
        cost=each.cost,
        verdict=_row_verdict(each, ratio, measured.size, settings, load, against),
        samples_ms=measured.tolist(),
        rounds=rounds.rounds[contender.name].tolist(),
    )


def _row_verdict(
    each: Timed, ratio: Ratio | None, calls: int, settings: BenchSettings, load: Load, against: tuple[str, ...]
) -> Verdict:
    # The classifier alone has no ratio; it is judged by all else.
    judged = ratio or Ratio(1.0, 1.0, 1.0, settings.confidence, settings.resamples, 1)
    verdict = judge(
        judged,
        calls,
        margin=settings.margin,
        min_pairs=-(-settings.min_pairs // each.contender.every),
        load=load,
        threads=each.threads,
        against=against,
    )
    if calls >= each.calls_needed:
        return verdict
    reason = f"{calls} calls were timed, {each.needed_for} need {each.calls_needed}: raise --pairs and --seconds"
    return Verdict(False, (*verdict.reasons, reason))


def _comparisons(timed: Sequence[Timed], rounds: Rounds, settings: BenchSettings) -> tuple[Faster, ...]:
    """Every row beside its classifier, and the first fused file beside every other file and method."""
    first = next(each for each in timed if each.kind == FUSED)
    by_name = {each.contender.name: each for each in timed}
    pairs = [(by_name[each.contender.baseline], each) for each in timed if each.contender.baseline]
    pairs += [(first, each) for each in timed if each is not first and each.kind in (FUSED, RIVAL)]
    return tuple(_faster(one, other, rounds, settings) for one, other in pairs)


def _faster(one: Timed, other: Timed, rounds: Rounds, settings: BenchSettings) -> Faster:
    by_mean = one.contender.by_mean or other.contender.by_mean
    ends = []
    for quick, slow in ((one, other), (other, one)):
        ratio = rounds.between(slow.contender.name, quick.contender.name, settings, by_mean=by_mean)
        ends.append((quick, slow, _scaled(ratio, slow.extrapolated / quick.extrapolated)))
    quick, slow, ratio = max(ends, key=lambda end: end[2].value)
    extrapolated = {one.extrapolated, other.extrapolated} != {1.0}
    return Faster(quick.contender.name, slow.contender.name, ratio, extrapolated)


def _scaled(ratio: Ratio, factor: float) -> Ratio:
    return replace(ratio, value=ratio.value * factor, low=ratio.low * factor, high=ratio.high * factor)


def _verdict(points: Sequence[SweepPoint]) -> Verdict:
    """Valid where every row is; a reason that several rows of a point share stands once, with their names."""
    reasons = []
    for point in points:
        named: dict[str, list[str]] = {}
        for row in point.rows:
            for reason in row.verdict.reasons:
                named.setdefault(reason, []).append(row.name)
        reasons += [f"{point.scenario}, batch {point.batch}, {', '.join(n)}: {why}" for why, n in named.items()]
    return Verdict(not reasons, tuple(reasons))


def _swept(each: Artefact) -> SweptFile:
    card, runtime = each.pair.fused.card, each.pair.runtime
    return SweptFile(
        name=each.name,
        baseline=each.baseline,
        fused_file=graph_file(each.file),
        classifier_file=graph_file(each.alone_file),
        classifier_id=card.classifier.id,
        classifier_sha256=card.classifier.sha256,
        explainer_kind=card.explainer.kind,
        outputs=tuple(each.pair.fused.outputs),
        height=card.input.height,
        width=card.input.width,
        resize=card.input.resize,
        crop_fraction=card.input.crop_fraction,
        backend=runtime.backend,
        provider=runtime.provider,
        precision=runtime.precision,
        threads=runtime.threads,
        waiting=runtime.waiting,
        transfers=runtime.transfers,
        cuda_graph=runtime.cuda_graph,
        top1_agreement=each.top1_agreement,
    )
