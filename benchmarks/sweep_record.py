"""The record of a sweep: several files, batches, scenarios and other methods, timed in common rounds.

One pair at one batch has the fuller record of `bench_record.py`; both are known by `kind` and `schema`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field

from whymask.benchmarks.bench_record import GraphFile
from whymask.benchmarks.energy import Energy
from whymask.benchmarks.gpu_state import GpuState
from whymask.benchmarks.latency import BenchSettings
from whymask.benchmarks.latency_pictures import PictureSource
from whymask.benchmarks.latency_stats import Ratio, Summary, Verdict
from whymask.benchmarks.machine import Load, Machine
from whymask.benchmarks.memory import Loaded, Memory
from whymask.benchmarks.preprocess import Preprocess

SCHEMA_VERSION = 2
"""2 added phases, memory, joules and what comes before the graph; no field changed its meaning, so that readers of 1
read 2 as well."""
KIND = "whymask.bench_sweep"
BASELINE, FUSED, TRIGGER, RIVAL = "classifier", "fused", "trigger", "rival"


@dataclass(frozen=True)
class SweptFile:
    """One fused file, and the classifier alone that it is held against.

    Attributes:
        name: of its rows.
        baseline: name of its classifier's rows; files of one classifier in one runtime share it.
        fused_file, classifier_file: what was opened.
        classifier_id, classifier_sha256, explainer_kind, outputs, height, width, resize, crop_fraction: from the card
            and the graph.
        backend, provider, precision, threads, waiting, transfers, cuda_graph: what ran both, as in a bench record.
        top1_agreement: share of some pictures on which both predict the same class.
    """

    name: str
    baseline: str
    fused_file: GraphFile
    classifier_file: GraphFile
    classifier_id: str
    classifier_sha256: str
    explainer_kind: str
    outputs: tuple[str, ...]
    height: int
    width: int
    resize: str
    crop_fraction: float
    backend: str
    provider: str
    precision: str
    threads: int
    waiting: str
    transfers: str
    cuda_graph: bool
    top1_agreement: float


@dataclass(frozen=True)
class Row:
    """One contender at one point.

    Attributes:
        name: of the file or the method.
        kind: `classifier`, `fused`, `trigger` or `rival`.
        baseline: what its ratio is taken to; empty for the classifier alone.
        stated: in one line what a call does.
        extrapolated: measured times were multiplied by this; 1 where the whole call was measured.
        summary: of a call, times multiplied.
        headline: the scenario's figure, in the unit of its point.
        images_per_second: from the mean.
        ratio: to the baseline: of the medians, of the means for `trigger`; None for the classifier alone.
        cost: `macs` (multiply-adds a picture), `nodes` of the graph, `bytes` of the files, as far as they are counted;
            they hold no noise.
        verdict: whether the row may be quoted.
        samples_ms: as measured, not multiplied, in the order of timing.
        rounds: number of each sample's round.
        phases: `preprocess`, `run`, `postprocess` and `total` of one call of an application, for `fused` alone.
        device_phases: parts of a call by the device itself, as in a bench record; empty where the backend tells none.
        phase_samples_ms: raw series of both.
        loaded: of the files, what loading them added to the memory; None for what is no file of its own.
        energy: for `fused` alone, joules an image of it and of its classifier, or why no sensor tells; None where they
            were not asked for.
    """

    name: str
    kind: str
    baseline: str
    stated: str
    extrapolated: float
    summary: Summary
    headline: float
    images_per_second: float
    ratio: Ratio | None
    cost: dict[str, float]
    verdict: Verdict
    samples_ms: list[float]
    rounds: list[int]
    phases: dict[str, Summary] = field(default_factory=dict)
    device_phases: dict[str, Summary] = field(default_factory=dict)
    phase_samples_ms: dict[str, list[float]] = field(default_factory=dict)
    loaded: Loaded | None = None
    energy: Energy | None = None


@dataclass(frozen=True)
class Faster:
    """`faster` ran `ratio` times faster than `slower`.

    Attributes:
        faster, slower: names of rows.
        ratio: at least 1 as a rule, with its interval.
        extrapolated: one of the two is.
    """

    faster: str
    slower: str
    ratio: Ratio
    extrapolated: bool


@dataclass(frozen=True)
class CrossCheck:
    """What MLPerf's LoadGen says of a row at the same point.

    Attributes:
        row: its name.
        figure: `p90_ms`, `p99_ms` or `images_per_second`.
        here, loadgen: the two values.
        queries: that LoadGen timed.
    """

    row: str
    figure: str
    here: float
    loadgen: float
    queries: int


@dataclass(frozen=True)
class SweepPoint:
    """One scenario at one batch.

    Attributes:
        scenario, batch: which.
        figure: name of the headline, `p90_ms`, `p99_ms` or `images_per_second`.
        rows: the classifiers alone first.
        comparisons: pairs of rows.
        load: of the machine meanwhile.
        gpu_before, gpu_after: its state; None where no GPU ran.
        loadgen: cross-checks that were asked for.
    """

    scenario: str
    batch: int
    figure: str
    rows: tuple[Row, ...]
    comparisons: tuple[Faster, ...]
    load: Load
    gpu_before: GpuState | None
    gpu_after: GpuState | None
    loadgen: tuple[CrossCheck, ...] = ()


@dataclass(frozen=True)
class SweepRecord:
    """All points.

    Attributes:
        schema, kind: of this record.
        created: time of day, UTC, ISO 8601.
        files: what was timed.
        settings: how; its `batch` is that of the first point.
        images: on what.
        machine, versions: where.
        points: in the order of timing.
        verdict: valid where every row of every point is; reasons name the row.
        notes: what else a reader must know.
        memory: of the process and the GPU, around the loading of each graph and after each point.
        preprocess: of a camera's picture, once for each way that the files take one.
    """

    schema: int
    kind: str
    created: str
    files: tuple[SweptFile, ...]
    settings: BenchSettings
    images: PictureSource
    machine: Machine
    versions: dict[str, str]
    points: tuple[SweepPoint, ...]
    verdict: Verdict
    notes: tuple[str, ...] = ()
    memory: Memory | None = None
    preprocess: tuple[Preprocess, ...] = ()

    def to_json(self) -> str:
        """The record as JSON text, keys in a fixed order."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
