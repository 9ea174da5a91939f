"""The record of one pair as a sweep of one point, for the tables and pages that both share."""

from __future__ import annotations

from whymask.benchmarks.bench_contenders import ALONE
from whymask.benchmarks.bench_record import BenchRecord
from whymask.benchmarks.bench_scenarios import CALLS, P90
from whymask.benchmarks.latency_stats import Summary
from whymask.benchmarks.latency_table import headline, notes
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
    """Every figure of the pair; what a sweep has no place for (phases, memory, joules) stays in its notes.

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
        )

    files, samples = (record.classifier_file, record.fused_file), record.samples
    return (
        row(ALONE, BASELINE, record.classifier, samples["classifier_ms"], "classifier_", files[0].size_bytes),
        row(files[1].file, FUSED, record.fused, samples["fused_ms"], "", files[1].size_bytes),
    )


def _own_notes(record: BenchRecord) -> list[str]:
    """The pair's notes that the sweep's own do not repeat."""
    repeated = ("not valid: ", "pictures are synthetic", record.transfers)
    phases = ", ".join(f"{name} {summary.p50_ms:.2f} ms" for name, summary in record.phases.items())
    return [f"parts of an application's call, p50: {phases}"] + [
        note for note in notes(record) if not note.startswith(repeated) and "could not be decoded" not in note
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
        backend=record.backend,
        provider=record.provider,
        precision=record.precision,
        threads=record.threads,
        waiting=record.waiting,
        transfers=record.transfers,
        cuda_graph=bool(record.gpu and record.gpu.cuda_graph),
        top1_agreement=record.top1_agreement,
    )
