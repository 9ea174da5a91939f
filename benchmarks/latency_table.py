"""A measurement in words and as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whymask.benchmarks.bench_record import BenchRecord, GpuRun
from whymask.benchmarks.energy import Energy, Joules
from whymask.benchmarks.latency_stats import Summary
from whymask.benchmarks.memory import DEVICE, NO_GPU, Memory
from whymask.benchmarks.preprocess import RESIZE, Preprocess
from whymask.runtime.card import DROPPED_LOGITS, KEPT_LOGITS

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("p50", "p90", "p95", "p99", "max")
MIB = 1 << 20
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
    found += memory_notes(record.memory)
    if record.energy is not None:
        found += energy_notes(record.energy)
    return [*found, *preprocess_notes(record.preprocess)]


def memory_notes(memory: Memory) -> list[str]:
    """Resident set and the GPU's memory, step by step; why the GPU's is not known where one ran the graphs."""
    process = {mark.name: mark.rss_bytes for mark in memory.marks} | {"at most": memory.peak_rss_bytes}
    gpu = {mark.name: mark.device_used_bytes for mark in memory.marks}
    found = [f"memory of the process: {_sizes(process)}"]
    if any(gpu.values()):
        return [*found, f"memory of the GPU in use by all processes: {_sizes(gpu)}"]
    reasons = dict.fromkeys(mark.absent[DEVICE] for mark in memory.marks if mark.absent.get(DEVICE, NO_GPU) != NO_GPU)
    return found + [f"memory of the GPU is unknown: {reason}" for reason in reasons]


def preprocess_notes(before: Preprocess) -> list[str]:
    """A line a way of decoding and resizing a camera's picture, and a line a library that is absent."""
    rule = f"{before.resize} to {before.height} × {before.width}"
    found = [
        f"before the graph, {name}: p50 {summary.p50_ms:.2f} ms, p90 {summary.p90_ms:.2f} ms a picture of "
        f"{before.frame_height} × {before.frame_width} ({rule if name.startswith(RESIZE) else 'whole'}; "
        f"{before.stated[name]}; {summary.count} calls)"
        for name, summary in before.ways.items()
    ]
    return found + [f"before the graph, {library}: {reason}" for library, reason in before.absent.items()]


def _sizes(steps: dict[str, int | None]) -> str:
    told = {name: "?" if held is None else f"{held / MIB:.0f}" for name, held in steps.items()}
    return ", ".join(f"{name} {held} MiB" for name, held in told.items())


def energy_notes(energy: Energy) -> list[str]:
    """A line a sensor, and a line a source that is absent."""
    found = [
        f"the explanation costs {_joules(each.explanation, energy.settings.confidence)} an image: "
        f"{each.fused.value:.3g} J instead of {each.classifier.value:.3g} J; {each.source}, {each.rail} "
        f"({each.scope}), {each.idle_watts:.1f} W of idleness subtracted"
        for each in energy.sensors
    ]
    return found + [f"no joules of {source}: {reason}" for source, reason in energy.absent.items()]


def _joules(figure: Joules, confidence: float) -> str:
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3g} J (too few rounds for an interval)"
    return f"{figure.value:.3g} J ({100 * confidence:g} % CI {figure.low:.3g} to {figure.high:.3g} J)"


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
        given = " and ".join(certificates)
        more = "2 more times (--certify both)" if DROPPED_LOGITS in certificates else "once more (--certify kept)"
        found.append(f"in the time: {given}, for which the graph runs the classifier {more}")
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
    table.add_section()
    for name, summary in record.preprocess.ways.items():
        table.add_row(f"{name}, {record.preprocess.frame_height} × {record.preprocess.frame_width}", *_cells(summary))
    for graph, phases in record.device_phases.items():
        table.add_section()
        for name, summary in phases.items():
            table.add_row(f"{graph}: {name}", *_cells(summary))
    return table


def _cells(summary: Summary) -> list[str]:
    percentiles = [f"{getattr(summary, f'{name}_ms'):.3f}" for name in COLUMNS]
    return [*percentiles, f"{summary.iqr_ms:.3f}", str(summary.count)]
