"""trtexec, NVIDIA's own timer, on the same engine and input with the same switches: a check of what is timed here.

    python -m whymask.benchmarks.trtexec fused.plan --batch 8

Compared is the time of the engine on the GPU by CUDA's events, without CUDA graph, the one figure that both tools mean
alike: a call of `whymask bench` ends with its answer in the caller's hands, trtexec queues the next call before.
trtexec leaves transfers out and captures a CUDA graph by default from TensorRT 11 on, and does the opposite before, so
both are always said. What it prints is read as NVIDIA documents it ("Performance summary").
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from whymask.benchmarks.bench_pair import feeds, open_engine, timed_runner
from whymask.benchmarks.latency import BenchSettings, measure_device_phases
from whymask.benchmarks.program import run_program
from whymask.runtime.engine_card import EngineCard, read_sidecar
from whymask.runtime.errors import BackendError

TRTEXEC = "trtexec"
JETPACK = Path("/usr/src/tensorrt/bin/trtexec")
"""Where JetPack and NVIDIA's Debian packages put it, outside PATH."""
MOST_APART = 0.03
"""Largest difference between both medians, as a share of trtexec's."""
WITHOUT_GRAPH_SINCE_11 = ("--includeDataTransfers", "--noCudaGraph")
WARMUP_SECONDS = 0.5
SPARE_SECONDS = 120.0
"""Beyond the timing itself, for loading an engine."""
PARTS = {
    "Latency": "latency",
    "Enqueue Time": "enqueue",
    "H2D Latency": "h2d",
    "GPU Compute Time": "compute",
    "D2H Latency": "d2h",
}
"""Lines of the summary, and what they are called here; D2H and H2D are absent where transfers are."""

Spans = dict[str, dict[str, float]]
"""Milliseconds by part and figure, such as `compute` and `median`."""


@dataclass(frozen=True)
class TrtexecTimes:
    """What trtexec printed.

    Attributes:
        queries_per_second: its throughput, in calls.
        parts_ms: `min`, `max`, `mean`, `median` and percentiles such as `p90`, by part.
    """

    queries_per_second: float
    parts_ms: Spans


@dataclass(frozen=True)
class TrtexecCheck:
    """Both tools on one engine.

    Attributes:
        here_ms, trtexec_ms: medians of the engine's time on the GPU.
        calls: timed here.
        batch: pictures a call.
        library: TensorRT's version, of both.
        switches: of trtexec.
    """

    here_ms: float
    trtexec_ms: float
    calls: int
    batch: int
    library: str
    switches: tuple[str, ...]

    @property
    def apart(self) -> float:
        """How much longer it takes here, as a share of trtexec's time."""
        return self.here_ms / self.trtexec_ms - 1.0

    @property
    def agrees(self) -> bool:
        """Whether both are within MOST_APART."""
        return abs(self.apart) <= MOST_APART

    def __str__(self) -> str:
        """In one line."""
        verdict = "agree" if self.agrees else f"are more than {100 * MOST_APART:g} % apart"
        return (
            f"GPU compute at batch {self.batch}, TensorRT {self.library}: here {self.here_ms:.4g} ms (median of "
            f"{self.calls} calls), trtexec {self.trtexec_ms:.4g} ms ({100 * self.apart:+.1f} %): they {verdict}"
        )


def cross_check(
    engine: Path, batch: int = 1, seconds: float = 3.0, seed: int = 0, trtexec: Path | None = None
) -> TrtexecCheck:
    """Time an engine here and by trtexec.

    Args:
        engine: as `whymask build` made it, with its sidecar.
        batch: pictures a call.
        seconds: that each tool times for.
        seed: of the pictures, which both tools are given.
        trtexec: the program; None looks for it.

    Raises:
        BackendError: there is no trtexec, or it fails, or no GPU runs the engine.
        ArtefactError, InputError: as of `whymask.runtime.load`.
    """
    program = find_trtexec() if trtexec is None else trtexec
    settings = BenchSettings(seconds=seconds, batch=batch, phase_calls=1_000_000, phase_share=1.0)
    with open_engine(engine, cuda_graph=False, zero_copy=False) as backend:
        card = backend.card.input
        images = np.random.default_rng(seed).integers(0, 256, (batch, card.height, card.width, 3), np.uint8)
        timed = timed_runner(backend)
        if timed is None:
            raise BackendError(f"{engine}: this backend does not tell the parts of a call; give a TensorRT engine")
        measure_device_phases(timed, images, dataclasses.replace(settings, seconds=WARMUP_SECONDS))
        here = measure_device_phases(timed, images, settings)["compute"]
        given = feeds(backend, images)
    sidecar = read_sidecar(engine)
    theirs = run_trtexec(program, engine, sidecar, given, seconds).parts_ms["compute"]["median"]
    return TrtexecCheck(float(np.median(here)), theirs, here.size, batch, sidecar.builder_version, switches(sidecar))


def find_trtexec() -> Path:
    """The program on PATH, else where JetPack puts it.

    Raises:
        BackendError: neither.
    """
    found = shutil.which(TRTEXEC) or (str(JETPACK) if JETPACK.is_file() else None)
    if found is None:
        raise BackendError(
            f"{TRTEXEC}: not on PATH and not at {JETPACK}; it comes with TensorRT's Debian and tar packages, not with "
            "pip's; install these, or add its folder to PATH"
        )
    return Path(found)


def switches(sidecar: EngineCard) -> tuple[str, ...]:
    """What makes trtexec load an engine as it is loaded here, and time it with transfers and without CUDA graph.

    Args:
        sidecar: tells TensorRT's version, and what the engine was built for.
    """
    core = sidecar.flags.get("dla_core")
    return (
        *(WITHOUT_GRAPH_SINCE_11 if int(sidecar.builder_version.partition(".")[0]) >= 11 else ()),
        *(("--versionCompatible",) if sidecar.version_compatible else ()),
        *(() if core is None else (f"--useDLACore={core}",)),
    )


def trtexec_command(
    program: Path, engine: Path, sidecar: EngineCard, inputs: Mapping[str, tuple[Path, tuple[int, ...]]], seconds: float
) -> list[str]:
    """The command line.

    Args:
        program, engine: the two files.
        sidecar: tells version and profile.
        inputs: file of raw values and shape of each input.
        seconds: that it times for.
    """
    shapes = ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, (_, shape) in inputs.items())
    loaded = ",".join(f"{name}:{path}" for name, (path, _) in inputs.items())
    dynamic = sidecar.min_batch != sidecar.max_batch
    return [
        *(str(program), f"--loadEngine={engine}", *([f"--shapes={shapes}"] if dynamic else [])),
        *(f"--loadInputs={loaded}", f"--warmUp={1000 * WARMUP_SECONDS:.0f}", f"--duration={max(1, round(seconds))}"),
        *("--avgRuns=1", *switches(sidecar)),
    ]


def run_trtexec(
    program: Path, engine: Path, sidecar: EngineCard, given: Mapping[str, NDArray[Any]], seconds: float
) -> TrtexecTimes:
    """Run it once.

    Args:
        program, engine, sidecar, seconds: as of `trtexec_command`.
        given: the inputs' values.

    Raises:
        BackendError: it fails, takes far too long, or prints no summary.
    """
    with tempfile.TemporaryDirectory() as folder:
        inputs = {}
        for name, values in given.items():
            path = Path(folder) / f"{name}.bin"
            np.ascontiguousarray(values).tofile(path)
            inputs[name] = (path, values.shape)
        command = trtexec_command(program, engine, sidecar, inputs, seconds)
        try:
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=SPARE_SECONDS + 2 * seconds,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BackendError(f"{program.name}: {error}; run it by hand: {' '.join(command)}") from error
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-5:])
        raise BackendError(f"{program.name} ended with {done.returncode}; its last lines:\n{last}")
    return times_from_output(done.stdout)


def times_from_output(text: str) -> TrtexecTimes:
    """Read a performance summary.

    Args:
        text: all that trtexec printed.

    Raises:
        BackendError: no throughput or no GPU compute time is in it.
    """
    throughput = re.search(r"Throughput: ([\d.eE+-]+) qps", text)
    parts = {name: span for line, name in PARTS.items() if (span := _span(line, text))}
    if throughput is None or "median" not in parts.get("compute", {}):
        missing = "Throughput" if throughput is None else "GPU Compute Time"
        raise BackendError(f"trtexec's output has no {missing}, expected its performance summary; run it by hand")
    return TrtexecTimes(float(throughput[1]), parts)


def _span(line: str, text: str) -> dict[str, float]:
    """Figures of one line, which the documentation wraps: `min = 0.88 ms, …, percentile(90%) = 0.89 ms`."""
    found = re.search(rf"(?:^|\] ){re.escape(line)}: ((?:[^=\[\]]+= [\d.eE+-]+ ms,?\s*)+)", text, re.MULTILINE)
    if found is None:
        return {}
    pairs = re.findall(r"([a-z]+)(?:\((\d+)%\))? = ([\d.eE+-]+) ms", found[1])
    return {f"p{percent}" if percent else name: float(value) for name, percent, value in pairs}


def main(
    engine: Annotated[Path, typer.Argument(metavar="ENGINE", help="Engine made by whymask build.")],
    batch: Annotated[int, typer.Option(min=1, help="Pictures a call.")] = 1,
    seconds: Annotated[float, typer.Option(min=1.0, help="Time of each tool in seconds.")] = 3.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON alone.")] = False,
) -> None:
    """Hold what is timed here against trtexec; ends with 1 where both are more than 3 % apart.

    Example: python -m whymask.benchmarks.trtexec fused.plan --batch 8
    """
    check = cross_check(engine, batch, seconds)
    told = dataclasses.asdict(check) | {"apart": check.apart, "agrees": check.agrees}
    typer.echo(json.dumps(told) if as_json else str(check))
    if not check.agrees:
        raise typer.Exit(1)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    run_program(app)
