"""From a plan to a page: run the steps on this machine's GPU, judge the bars, write what came."""

from __future__ import annotations

import dataclasses
import json
import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from whymask.benchmarks.bench import PACKAGES
from whymask.benchmarks.gpu.bars import judge
from whymask.benchmarks.gpu.page import study_page
from whymask.benchmarks.gpu.plan import Study, planned_steps
from whymask.benchmarks.gpu.steps import FAILED, NOT_RUN, Outcome, Run, run_command, run_steps
from whymask.benchmarks.gpu_state import read_gpu_state
from whymask.benchmarks.machine import describe_machine
from whymask.benchmarks.shapes import make_shapes
from whymask.runtime.cuda import CudaDriver, cuda_driver
from whymask.runtime.errors import ArtefactError, BackendError
from whymask.runtime.files import write_atomically
from whymask.runtime.progress import track
from whymask.runtime.versions import installed_versions

KIND = "whymask.gpu"
MACHINE_FILE, PAGE_FILE, BARS_FILE, STEPS = "machine.json", "README.md", "bars.json", "steps"
SAME = ("devices", "cuda", "versions", "weights", "quick")
"""What outcomes must share to stand on one page."""
SIDE = 224
DRAWN = {"train": 1200, "val": 200}
"""Drawn pictures by part, where there are no photographs."""


@dataclass(frozen=True)
class StudyReport:
    """What the study came to.

    Attributes:
        page: the written page.
        problems: a line for each step that failed and each bar that is not met; empty where all is well.
    """

    page: Path
    problems: tuple[str, ...]


def run_study(study: Study, out: Path, again: bool = False, run: Run = run_command) -> StudyReport:
    """Run every step that is not done, judge the bars, and write page and records.

    Args:
        study: what to run.
        out: folder of page and records.
        again: run every step, whatever is done.
        run: runs a command.

    Raises:
        BackendError: no GPU; nothing has been done then.
        ArtefactError: the records in `out` are of another machine, or broken.
    """
    driver = cuda_driver()
    if driver.problem:
        raise BackendError(f"this study needs a CUDA device: {driver.problem}")
    place = describe_place(study, driver)
    _keep_place(out / MACHINE_FILE, place, again)
    steps = planned_steps(study)
    with track(len(steps), "GPU study", "steps") as progress:

        def on_outcome(outcome: Outcome) -> None:
            progress.advance(1, note=f"{outcome.step}: {outcome.state}")

        outcomes = run_steps(steps, out / STEPS, again, run, on_outcome)
    bars = judge(outcomes)
    write_atomically(out / BARS_FILE, json.dumps([dataclasses.asdict(bar) for bar in bars], indent=1) + "\n")
    write_atomically(out / PAGE_FILE, study_page(place, outcomes, bars))
    failed = [
        f"{done.step} {done.state}: {done.reason}" for done in outcomes.values() if done.state in (FAILED, NOT_RUN)
    ]
    below = [f"{bar.classifier}, {bar.name}: {bar.got}, expected {bar.asked}" for bar in bars if not bar.met]
    return StudyReport(out / PAGE_FILE, (*failed, *below))


def describe_place(study: Study, driver: CudaDriver) -> dict[str, Any]:
    """The machine, and what the study runs with, as JSON has it."""
    return {
        "kind": KIND,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "devices": [str(device) for device in driver.devices],
        "cuda": driver.version,
        "gpu": dataclasses.asdict(read_gpu_state()),
        "machine": dataclasses.asdict(describe_machine()),
        "versions": {"python": platform.python_version()} | installed_versions((*PACKAGES, "torch", "onnx")),
        "weights": study.weights,
        "quick": study.quick,
    }


def draw_pictures(folder: Path) -> None:
    """Write seeded drawn pictures as PNG files, `train` and `val`, that share none."""
    from PIL import Image

    for seed, (part, count) in enumerate(DRAWN.items()):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(make_shapes(count, SIDE, seed).images):
            Image.fromarray(image).save(folder / part / f"{number:05d}.png", compress_level=1)


def _keep_place(path: Path, place: dict[str, Any], again: bool) -> None:
    """Write the machine down; refuse to mix outcomes of two."""
    if path.is_file() and not again:
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ArtefactError(f"{path}: not JSON ({error}); remove it, or run with --again") from None
        for name in SAME:
            if known.get(name) != place[name]:
                raise ArtefactError(
                    f"{path.parent}: its results are of {name} {known.get(name)}, and this is {place[name]}; give "
                    "another folder with -o, or run every step with --again"
                )
    write_atomically(path, json.dumps(place, indent=1, ensure_ascii=False) + "\n")
