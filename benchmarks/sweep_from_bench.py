"""The record of one pair as a sweep of one point, for the tables and pages that both share."""

from __future__ import annotations

from typing import Any

from whymask.benchmarks.bench_contenders import ALONE
from whymask.benchmarks.bench_record import BenchRecord
from whymask.benchmarks.bench_scenarios import CALLS, P90
from whymask.benchmarks.latency_stats import Summary
from whymask.benchmarks.latency_table import energy_notes, headline, memory_notes, notes, preprocess_notes
from whymask.benchmarks.memory import loaded_between
from whymask.benchmarks.sweep_record import (
    BASELINE,
    FUSED,
    KIND,
    SCHEMA_VERSION,
    Faster,
    Row,
    SweepPoint,
    SweepRecord,
    SweptFile,
)


def sweep_from_bench(record: BenchRecord) -> SweepRecord:
    """Every figure of the pair.

    Args:
        record: of `run_bench`.
    """
    slower = record.ratio.value >= 1.0
    faster = Faster(ALONE, record.fused_file.file, record.ratio, False)
    point = SweepPoint(
        scenario=CALLS,
        batch=record.batch,
        figure=P90,
        rows=_rows(record),
        comparisons=(faster,) if slower else (),
        load=record.load,
        gpu_before=record.gpu.before if record.gpu else None,
        gpu_after=record.gpu.after if record.gpu else None,
    )
    return SweepRecord(
        schema=SCHEMA_VERSION,
        kind=KIND,
        created=record.created,
        files=(_file(record),),
        settings=record.settings,
        images=record.images,
        machine=record.machine,
        versions=record.versions,
        points=(point,),
        verdict=record.verdict,
        notes=(headline(record), *_own_notes(record)),
        memory=record.memory,
        preprocess=(record.preprocess,),
    )


def _rows(record: BenchRecord) -> tuple[Row, Row]:
    def row(name: str, kind: str, summary: Summary, samples: list[float], prefix: str, size: int) -> Row:
        counted = {"macs": record.cost.get(f"{prefix}macs"), "nodes": record.cost.get(f"{prefix}nodes")}
        cost = {key: float(value) for key, value in counted.items() if value is not None}
        return Row(
            name=name,
            kind=kind,
            baseline=ALONE if kind == FUSED else "",
            stated=f"{record.classifier_id} in {record.provider}, {record.precision}",
            extrapolated=1.0,
            summary=summary,
            headline=summary.p90_ms,
            images_per_second=1e3 * record.batch / summary.mean_ms,
            ratio=record.ratio if kind == FUSED else None,
            cost=cost | {"bytes": float(size)},
            verdict=record.verdict,
            samples_ms=samples,
            rounds=list(range(len(samples))),
            **_parts(record, kind),
        )

    files, samples = (record.classifier_file, record.fused_file), record.samples
    return (
        row(ALONE, BASELINE, record.classifier, samples["classifier_ms"], "classifier_", files[0].size_bytes),
        row(files[1].file, FUSED, record.fused, samples["fused_ms"], "", files[1].size_bytes),
    )


def _parts(record: BenchRecord, kind: str) -> dict[str, Any]:
    """What a row has beside latency, of the fused graph or of its classifier."""
    before, fused, both = record.memory.marks[:3]
    graph = "fused" if kind == FUSED else "classifier"
    phases = {name: record.samples[name] for name in ("preprocess_ms", "run_ms", "postprocess_ms")}
    device = record.device_phases.get(graph, {})
    series = {f"device_{name}_ms": record.samples[f"{graph}_{name}_ms"] for name in device}
    return {
        "phases": record.phases if kind == FUSED else {},
        "device_phases": device,
        "phase_samples_ms": (phases if kind == FUSED else {}) | series,
        "loaded": loaded_between(before, fused) if kind == FUSED else loaded_between(fused, both),
        "energy": record.energy if kind == FUSED else None,
    }


def _own_notes(record: BenchRecord) -> list[str]:
    """The pair's notes that the sweep's own do not repeat."""
    joules = [] if record.energy is None else energy_notes(record.energy)
    repeated = {*memory_notes(record.memory), *joules, *preprocess_notes(record.preprocess)}
    begins = ("not valid: ", "pictures are synthetic", record.transfers)
    return [
        note
        for note in notes(record)
        if note not in repeated and not note.startswith(begins) and "could not be decoded" not in note
    ]


def _file(record: BenchRecord) -> SweptFile:
    return SweptFile(
        name=record.fused_file.file,
        baseline=ALONE,
        fused_file=record.fused_file,
        classifier_file=record.classifier_file,
        classifier_id=record.classifier_id,
        classifier_sha256="",
        explainer_kind=record.explainer_kind,
        outputs=record.outputs,
        height=record.height,
        width=record.width,
        resize=record.preprocess.resize,
        crop_fraction=record.preprocess.crop_fraction,
        backend=record.backend,
        provider=record.provider,
        precision=record.precision,
        threads=record.threads,
        waiting=record.waiting,
        transfers=record.transfers,
        cuda_graph=bool(record.gpu and record.gpu.cuda_graph),
        top1_agreement=record.top1_agreement,
    )
