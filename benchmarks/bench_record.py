"""The record of one measurement: all that was timed, and all that a reader needs to trust it or to compute it anew.

Letters: B batch, H W the graph's input size.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whymask.benchmarks.energy import Energy
from whymask.benchmarks.gpu_state import GpuState
from whymask.benchmarks.latency import BenchSettings
from whymask.benchmarks.latency_pictures import PictureSource
from whymask.benchmarks.latency_stats import Ratio, Summary, Verdict
from whymask.benchmarks.machine import Load, Machine
from whymask.benchmarks.memory import Memory
from whymask.benchmarks.preprocess import Preprocess
from whymask.runtime.files import write_atomically

SCHEMA_VERSION = 4
"""2 added `backend`, `gpu` and `device_phases`, 3 `memory` and `energy`, 4 `preprocess`; no field changed its meaning,
so that readers of 1 read 4 as well."""
KIND = "whymask.bench"


@dataclass(frozen=True)
class GraphFile:
    """One of the two files that were timed.

    Attributes:
        file: its name.
        sha256: of its bytes, hexadecimal.
        size_bytes: its size.
    """

    file: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class GpuRun:
    """How a GPU ran both graphs, and its state around the pairs.

    Attributes:
        device: name and compute capability, such as `Orin (8.7)`.
        cuda: newest CUDA version that the driver serves, such as `12.6`; the driver's own version is in the states.
        library: what ran the engines, such as `TensorRT 10.3.0`; empty where no engine ran.
        cuda_graph: both engines ran as captured CUDA graphs.
        zero_copy: the GPU read and wrote host memory in place, without copies.
        profile: smallest, best and largest batch that the fused engine was built for, in images; empty without engine.
        layers: of the fused engine, by precision; empty without engine.
        before, after: state of the GPU before the warm-up and after the last pair.
    """

    device: str
    cuda: str
    library: str
    cuda_graph: bool
    zero_copy: bool
    profile: tuple[int, ...]
    layers: dict[str, int]
    before: GpuState
    after: GpuState


@dataclass(frozen=True)
class BenchRecord:
    """All that was measured, and all that a reader needs to trust it or to compute it anew.

    Attributes:
        schema, kind: of this record.
        created: time of day, UTC, ISO 8601.
        fused_file, classifier_file: what was timed.
        classifier_id, explainer_kind, cost: from the card.
        precision: of the graph, or of the engine as built.
        outputs: of the fused graph, all of which are fetched; certificates among them cost classifier passes.
        backend: `onnxruntime`, or the builder of both engines, `tensorrt` or `tensorrt_rtx`.
        provider: that ran both graphs.
        transfers: whether copies between host and device are in the times.
        waiting: what the threads do between calls.
        batch, threads, height, width: B, threads inside one operator, H, W.
        settings: how it was measured.
        images: what it was measured on.
        machine, load, versions: where.
        gpu: the GPU that ran them; None where none did.
        top1_agreement: share of the pictures on which both graphs predict the same class.
        fused, classifier: one call each, host memory to host memory, from the pairs.
        ratio: of their medians, with its interval.
        images_per_second: of the fused graph, from its mean.
        phases: `preprocess`, `run`, `postprocess`, `total` of one call of an application.
        device_phases: of `fused` and `classifier`, the parts of a call of an engine without CUDA graph: `h2d`,
            `compute` and `d2h` by CUDA's events, `enqueue`, `enqueue_to_sync` and `total` by the host's clock; empty
            where the backend does not tell. `total` less `enqueue_to_sync` is what Python adds.
        memory: of the process and the GPU, from before loading to after the measurement.
        energy: joules an image, or why no sensor tells; None where they were not asked for (`--energy`).
        preprocess: of a camera's picture, decoded and resized outside the graph.
        verdict: whether the figures may be quoted.
        samples: raw series in the order of timing; names end in their unit.
    """

    schema: int
    kind: str
    created: str
    fused_file: GraphFile
    classifier_file: GraphFile
    classifier_id: str
    explainer_kind: str
    precision: str
    cost: dict[str, float]
    outputs: tuple[str, ...]
    backend: str
    provider: str
    transfers: str
    waiting: str
    batch: int
    threads: int
    height: int
    width: int
    settings: BenchSettings
    images: PictureSource
    machine: Machine
    load: Load
    versions: dict[str, str]
    gpu: GpuRun | None
    top1_agreement: float
    fused: Summary
    classifier: Summary
    ratio: Ratio
    images_per_second: float
    phases: dict[str, Summary]
    device_phases: dict[str, dict[str, Summary]]
    memory: Memory
    energy: Energy | None
    preprocess: Preprocess
    verdict: Verdict
    samples: dict[str, list[Any]]

    def to_json(self) -> str:
        """The record as JSON text, keys in a fixed order."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, path: Path) -> None:
        """Write the record, whole or not at all."""
        write_atomically(path, self.to_json())
