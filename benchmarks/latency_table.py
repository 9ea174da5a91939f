"""A measurement in words and as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whymask.benchmarks.bench_record import BenchRecord, GpuRun
from whymask.benchmarks.latency_stats import Summary
from whymask.runtime.card import DROPPED_LOGITS, KEPT_LOGITS

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("p50", "p90", "p95", "p99", "max")
TAIL_SAMPLES = 1000
"""Fewest samples of which ten lie above p99."""


def headline(record: BenchRecord) -> str:
    """What the explanation costs, in one sentence."""
    ratio = record.ratio
    added, low, high = (100.0 * (value - 1.0) for value in (ratio.value, ratio.low, ratio.high))
    sure = f"{100 * ratio.confidence:g} % CI {low:.1f} to {high:.1f} %"
    added_ms = record.fused.p50_ms - record.classifier.p50_ms
    return (
        f"The explanation adds {added:.1f} % ({sure}), {added_ms:.2f} ms at the median: "
        f"p90 {record.fused.p90_ms:.2f} ms instead of {record.classifier.p90_ms:.2f} ms"
    )


def where(record: BenchRecord) -> str:
    """What was measured on what, in one line."""
    threads = f"{record.threads} thread{'' if record.threads == 1 else 's'}"
    gpu = [record.gpu.device] if record.gpu and record.gpu.device and record.gpu.device not in record.provider else []
    parts = (record.provider, *gpu, threads, record.machine.device or record.machine.cpu)
    return (
        f"{record.classifier_id}, {record.precision}, {record.height} × {record.width} px, batch {record.batch}, "
        f"{', '.join(parts)}"
    )


def notes(record: BenchRecord) -> list[str]:
    """What a reader must know before quoting a figure, the verdict's reasons first."""
    found = [f"not valid: {reason}" for reason in record.verdict.reasons]
    found += _expectations(record)
    if record.images.kind == "synthetic":
        found.append(f"pictures are synthetic ({record.images.name}); give real ones with --data DIR")
    if record.images.skipped:
        found.append(f"{len(record.images.skipped)} files could not be decoded: {', '.join(record.images.skipped)}")
    if record.fused.count < TAIL_SAMPLES:
        found.append(f"p99 rests on {record.fused.count} pairs; {TAIL_SAMPLES} would put ten samples above it")
    found.append(record.transfers)
    if record.gpu is not None:
        found += _gpu_notes(record.gpu)
    return found


def _gpu_notes(gpu: GpuRun) -> list[str]:
    """CUDA graph, and the clocks around the measurement, or why they are not known."""
    graph = [f"{gpu.library}, with{'' if gpu.cuda_graph else 'out'} CUDA graph"] if gpu.library else []
    if gpu.after.absent:
        return [*graph, f"clocks of the GPU are unknown: {gpu.after.absent}"]
    before, after, highest = (
        "?" if clock is None else f"{clock:.0f}"
        for clock in (gpu.before.clock_mhz, gpu.after.clock_mhz, gpu.after.max_clock_mhz)
    )
    mode = f", power mode {gpu.after.power_mode}" if gpu.after.power_mode else ""
    return [*graph, f"clock of the GPU: {before} MHz before, {after} MHz after, of {highest} at most{mode}"]


def _expectations(record: BenchRecord) -> list[str]:
    """What the card lets a reader expect of the ratio."""
    found = []
    certificates = [name for name in (KEPT_LOGITS, DROPPED_LOGITS) if name in record.outputs]
    if certificates:
        names = " and ".join(certificates)
        found.append(
            f"{names} are in the time: the graph runs the classifier {len(certificates)} more times (--certify)"
        )
    if record.cost.get("classifier_macs") and "explainer_macs" in record.cost:
        share = record.cost["explainer_macs"] / record.cost["classifier_macs"]
        found.append(f"the explainer has {100 * share:.1f} % of the classifier's multiply-adds")
    return found


def table_from_record(record: BenchRecord) -> Table:
    """Percentiles of both graphs and of the phases of one call, in milliseconds."""
    from rich.table import Table

    table = Table(title=f"{record.fused_file.file}: latency in ms")
    for name in ("", *COLUMNS, "IQR", "samples"):
        table.add_column(name, justify="right" if name else "left")
    rows = {"fused graph": record.fused, "classifier alone": record.classifier}
    for name, summary in rows.items():
        table.add_row(name, *_cells(summary))
    table.add_section()
    for name, summary in record.phases.items():
        table.add_row(name, *_cells(summary))
    for graph, phases in record.device_phases.items():
        table.add_section()
        for name, summary in phases.items():
            table.add_row(f"{graph}: {name}", *_cells(summary))
    return table


def _cells(summary: Summary) -> list[str]:
    percentiles = [f"{getattr(summary, f'{name}_ms'):.3f}" for name in COLUMNS]
    return [*percentiles, f"{summary.iqr_ms:.3f}", str(summary.count)]
