"""What a sweep tells beside latency, as cells and sentences: parts of a call, memory, joules, and what comes before."""

from __future__ import annotations

from collections.abc import Iterator

from whymask.benchmarks.energy import Energy, Joules, SensorEnergy
from whymask.benchmarks.latency_table import MIB, energy_notes, memory_notes, preprocess_notes
from whymask.benchmarks.memory import MemoryMark
from whymask.benchmarks.preprocess import DECODE, OPENCV, PILLOW, RESIZE, Preprocess
from whymask.benchmarks.sweep_record import BASELINE, Row, SweepPoint, SweepRecord

PARTS_HEAD = (
    *("row", "preprocess, ms", "run, ms", "postprocess, ms", "total, ms"),
    *("process, +MiB", "GPU, +MiB", "J an image", "idle, W", "sensor"),
)
PARTS_CAPTION = (
    "Medians of the parts of an application's call (a file's row), what loading the graph added to the memory, and "
    "joules an image with idleness subtracted. A dash: not measured, and the notes say why."
)
BEFORE_HEAD = ("way", "p50, ms", "p90, ms", "p99, ms", "calls", "what is done")
PHASES = ("preprocess", "run", "postprocess", "total")
WAYS = tuple(f"{step}, {library}" for library in (PILLOW, OPENCV) for step in (DECODE, RESIZE))
PARTS_CSV_HEAD = (
    *(f"{name}_p50_ms" for name in PHASES),
    *("loaded_rss_bytes", "loaded_device_bytes", "process_rss_bytes", "process_peak_rss_bytes", "device_used_bytes"),
    *("joules_per_image", "joules_low", "joules_high", "idle_watts", "rail"),
    *(f"{way.lower().replace(', ', '_')}_p50_ms" for way in WAYS),
)
"""Columns behind those of the latency; empty where nothing was measured. `rail` gives the reason where none tells."""
DASH = "—"


def parts_rows(point: SweepPoint) -> list[list[str]]:
    """Cells under `PARTS_HEAD`, a row a file and a classifier; none where a record has none of it."""
    return [
        [row.name, *_phase_cells(row), *_loaded_cells(row), *_energy_cells(row, point)]
        for row in point.rows
        if row.loaded is not None or row.phases
    ]


def before_rows(before: Preprocess) -> list[list[str]]:
    """Cells under `BEFORE_HEAD`."""
    rows = []
    for name, each in before.ways.items():
        times = (f"{value:.2f}" for value in (each.p50_ms, each.p90_ms, each.p99_ms))
        rows.append([name, *times, str(each.count), before.stated[name]])
    return rows


def before_caption(before: Preprocess) -> str:
    """What was decoded and resized to what, and which library is absent."""
    absent = "".join(f" {library} {reason}." for library, reason in before.absent.items())
    return (
        f"A picture of {before.frame_height} × {before.frame_width} pixels, on the host: decoded, or resized "
        f"({before.resize}) to {before.height} × {before.width}.{absent}"
    )


def parts_notes(record: SweepRecord) -> list[str]:
    """The same in sentences, for a terminal and for the notes of a page."""
    found = [
        f"{point.scenario}, batch {point.batch}, {row.name}: parts of an application's call, p50: "
        + ", ".join(f"{name} {summary.p50_ms:.2f} ms" for name, summary in row.phases.items())
        for point in record.points
        for row in point.rows
        if row.phases
    ]
    found += [] if record.memory is None else memory_notes(record.memory)
    for point in record.points:
        for row in point.rows:
            told = [] if row.energy is None else energy_notes(row.energy)
            found += [f"{point.scenario}, batch {point.batch}, {row.name}: {note}" for note in told]
    return found + [note for before in record.preprocess for note in preprocess_notes(before)]


def parts_csv(record: SweepRecord, point: SweepPoint, row: Row) -> list[object]:
    """Cells under `PARTS_CSV_HEAD`."""
    phases = [row.phases[name].p50_ms if name in row.phases else "" for name in PHASES]
    return [*phases, *_memory_csv(record, point, row), *_energy_csv(row, point), *_before_csv(record, row)]


def _phase_cells(row: Row) -> list[str]:
    return [f"{row.phases[name].p50_ms:.3f}" if name in row.phases else DASH for name in PHASES]


def _loaded_cells(row: Row) -> list[str]:
    held = (row.loaded.rss_bytes, row.loaded.device_used_bytes) if row.loaded else (None, None)
    return [DASH if each is None else f"{each / MIB:.0f}" for each in held]


def _energy_cells(row: Row, point: SweepPoint) -> list[str]:
    energy = _energy_of(row, point)
    if energy is None:
        return [DASH, DASH, "not asked for (--energy)"]
    if not energy.sensors:
        return [DASH, DASH, f"none: {', '.join(energy.absent)}"]
    sensor = energy.sensors[0]
    joules = _joules_of(row, sensor)
    spread = "" if joules.low is None or joules.high is None else f" ({joules.low:.3g} to {joules.high:.3g})"
    return [f"{joules.value:.3g}{spread}", f"{sensor.idle_watts:.1f}", f"{sensor.source}, {sensor.rail}"]


def _energy_of(row: Row, point: SweepPoint) -> Energy | None:
    """A file's own; of a classifier, that of the first file that is held against it."""
    if row.kind != BASELINE:
        return row.energy
    return next((each.energy for each in point.rows if each.baseline == row.name and each.energy), None)


def _joules_of(row: Row, sensor: SensorEnergy) -> Joules:
    return sensor.classifier if row.kind == BASELINE else sensor.fused


def _memory_csv(record: SweepRecord, point: SweepPoint, row: Row) -> Iterator[object]:
    mark = _mark_after(record, point)
    yield from (
        "" if each is None else each
        for each in (
            row.loaded.rss_bytes if row.loaded else None,
            row.loaded.device_used_bytes if row.loaded else None,
            mark.rss_bytes if mark else None,
            record.memory.peak_rss_bytes if record.memory else None,
            mark.device_used_bytes if mark else None,
        )
    )


def _mark_after(record: SweepRecord, point: SweepPoint) -> MemoryMark | None:
    """The memory after a point; of a single pair, whose record has one point, after the measurement."""
    marks = record.memory.marks if record.memory else ()
    if len(record.points) == 1:
        return marks[-1] if marks else None
    return next((mark for mark in marks if mark.name == f"after {point.scenario}, batch {point.batch}"), None)


def _energy_csv(row: Row, point: SweepPoint) -> list[object]:
    energy = _energy_of(row, point)
    if energy is None or not energy.sensors:
        absent = "" if energy is None else "; ".join(f"{source}: {why}" for source, why in energy.absent.items())
        return ["", "", "", "", absent and f"none ({absent})"]
    sensor = energy.sensors[0]
    joules = _joules_of(row, sensor)
    ends = ["" if each is None else each for each in (joules.low, joules.high)]
    return [joules.value, *ends, sensor.idle_watts, f"{sensor.source}, {sensor.rail}"]


def _before_csv(record: SweepRecord, row: Row) -> list[object]:
    file = next((each for each in record.files if each.name == row.name), None)
    if file is None:
        return [""] * len(WAYS)
    key = (file.height, file.width, file.resize, file.crop_fraction)
    ways = next(
        (each.ways for each in record.preprocess if (each.height, each.width, each.resize, each.crop_fraction) == key),
        {},
    )
    return [ways[way].p50_ms if way in ways else "" for way in WAYS]
