"""What a sweep tells of a row beside its latency: the parts of a call, what loading took in memory, and joules.

The same that `whymask bench` tells of a single pair, asked of every file of a sweep in turn.

Letters: B batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from whymask.benchmarks.bench import joules_of
from whymask.benchmarks.bench_contenders import Artefact
from whymask.benchmarks.bench_pair import runner, timed_runner
from whymask.benchmarks.energy import Energy, EnergySettings
from whymask.benchmarks.latency import BenchSettings, measure_device_phases, measure_phases
from whymask.benchmarks.latency_stats import Summary, Times, summarise
from whymask.benchmarks.memory import Loaded, MemoryMark, loaded_between
from whymask.benchmarks.phases import finish, prepare
from whymask.benchmarks.preprocess import Preprocess, measure_preprocess
from whymask.benchmarks.sweep_record import Row
from whymask.runtime.images import Picture


@dataclass(frozen=True)
class Parts:
    """Of one row.

    Attributes:
        phases, device_phases, phase_samples_ms, energy: see `sweep_record.Row`.
    """

    phases: dict[str, Summary] = field(default_factory=dict)
    device_phases: dict[str, Summary] = field(default_factory=dict)
    phase_samples_ms: dict[str, list[float]] = field(default_factory=dict)
    energy: Energy | None = None


def measure_parts(
    found: Sequence[Artefact], pictures: list[Picture], settings: BenchSettings, energy: EnergySettings | None
) -> dict[str, Parts]:
    """Parts of the rows of files and of their classifiers, by the row's name.

    Args:
        found: the files.
        pictures: uint8 (height, width, 3) each, at their own sizes.
        settings: of the point; each part of a file takes `phase_share` of its time limit at most.
        energy: how to measure joules; None leaves them out.

    Raises:
        BackendError: a sensor answers no more.
    """
    parts: dict[str, Parts] = {}
    for each in found:
        parts[each.name] = _fused_parts(each, pictures, settings, energy)
        if each.baseline not in parts:
            parts[each.baseline] = _alone_parts(each, settings)
    return parts


def with_parts(row: Row, parts: Mapping[str, Parts], loaded: Mapping[str, Loaded]) -> Row:
    """A file's or a classifier's row with what was measured beside its rounds; others as they are."""
    found = parts.get(row.name)
    if found is None:
        return row
    return replace(
        row,
        phases=found.phases,
        device_phases=found.device_phases,
        phase_samples_ms=found.phase_samples_ms,
        loaded=loaded[row.name],
        energy=found.energy,
    )


def loaded_by(found: Sequence[Artefact], marks: Sequence[MemoryMark]) -> dict[str, Loaded]:
    """What each graph added when it was loaded, by the name of its rows; of a shared classifier the first time.

    Args:
        found: the files.
        marks: three a file, in their order: before loading, with the fused graph loaded, with both loaded.
    """
    loaded: dict[str, Loaded] = {}
    for i, each in enumerate(found):
        before, fused, both = marks[3 * i : 3 * i + 3]
        loaded[each.name] = loaded_between(before, fused)
        loaded.setdefault(each.baseline, loaded_between(fused, both))
    return loaded


def preprocess_of(found: Sequence[Artefact], settings: BenchSettings) -> tuple[Preprocess, ...]:
    """A camera's picture on its way to the files, once for each way that they take it."""
    cards = [each.pair.fused.card.input for each in found]
    ways = {(card.height, card.width, card.resize, card.crop_fraction): card for card in cards}
    return tuple(measure_preprocess(card, settings) for card in ways.values())


def _fused_parts(
    each: Artefact, pictures: list[Picture], settings: BenchSettings, energy: EnergySettings | None
) -> Parts:
    card = each.pair.fused.card
    run = runner(each.pair.fused)
    phases = measure_phases(prepare(card), run, finish(card, pictures), pictures, settings)
    times = {
        "preprocess": phases.preprocess_ms,
        "run": phases.run_ms,
        "postprocess": phases.postprocess_ms,
        "total": phases.total_ms,
    }
    device = _device_times(each, settings, fused=True)
    joules = joules_of(each.pair, each.images, settings.batch, energy) if energy else None
    return Parts(_summaries(times), _summaries(device), _samples(times, device), joules)


def _alone_parts(each: Artefact, settings: BenchSettings) -> Parts:
    device = _device_times(each, settings, fused=False)
    return Parts({}, _summaries(device), _samples({}, device))


def _device_times(each: Artefact, settings: BenchSettings, *, fused: bool) -> dict[str, Times]:
    timed = timed_runner(each.pair.fused if fused else each.pair.alone)
    return {} if timed is None else measure_device_phases(timed, each.images, settings)


def _summaries(times: Mapping[str, Times]) -> dict[str, Summary]:
    return {name: summarise(values) for name, values in times.items()}


def _samples(phases: Mapping[str, Times], device: Mapping[str, Times]) -> dict[str, list[float]]:
    named = {f"{name}_ms": values for name, values in phases.items() if name != "total"}
    named |= {f"device_{name}_ms": values for name, values in device.items()}
    return {name: values.tolist() for name, values in named.items()}
