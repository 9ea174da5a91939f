"""How fast does training go, beside the least that it could cost: the frozen classifier's own passes?

    python -m whymask.benchmarks.training_speed                          # three classifiers, minutes on an idle machine
    python -m whymask.benchmarks.training_speed --base mobilenet_v2_tf --pairs 40
    python -m whymask.benchmarks.training_speed --compile                # with torch.compile too
    python -m whymask.benchmarks.training_speed --settings default       # what `whymask train` does by itself

→ `-o` as JSON with raw samples, and a page beside it (`.md`). A whole step (pictures from the cache, cutting
crops, queries, explainer, objective, optimiser) and its floor are timed in turn on the same batch. The floor is what no
training of any explainer on this objective can leave out: the classifier's pass over the pictures and over those that
get another one pasted in, its pass over the explanations with the gradient back to their pixels, and, once levels are
learned, its pass over the hard masks. These are of the classifier as it was given, in the precision of the step. A step
may cost less than its floor: training folds the classifier's batch normalisations into its convolutions.

Each classifier is timed with the settings of its study, whose maps are finer than they need be to show what can be had,
and with those that `whymask train` takes by default.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from whymask.benchmarks import imagenet
from whymask.benchmarks.intervals import CONFIDENCE
from whymask.benchmarks.latency_stats import LEAST_PAIRS, Ratio, Verdict, judge, median_of_ratios
from whymask.benchmarks.machine import LoadMeter, describe_machine
from whymask.benchmarks.program import check_json, run_program
from whymask.benchmarks.tables import table
from whymask.benchmarks.variants import BASES, base_named
from whymask.runtime.errors import InputError
from whymask.runtime.files import write_atomically
from whymask.runtime.progress import track
from whymask.runtime.versions import installed_versions

if TYPE_CHECKING:
    from torch import Tensor

    from whymask.train.config import TrainConfig
    from whymask.train.loop import Loop

SCHEMA_VERSION = 4
BAR = 1.25
"""Largest ratio of a step to its floor that was set as the goal."""
MARGIN = 0.05
MOST_ROUNDS = 4
"""Times `--pairs` rounds that are timed while the interval is wider than the margin."""
WARM_UP = 3
RESAMPLES = 2000
PICTURES = 256
"""Of the training set, which are read for this: batches are drawn from them."""
PHASES = {"map": 0.25, "map and level": 0.75}
"""Share of the steps done at which a step is timed: levels are learned in the second half alone."""
BASE_NAMES = tuple(imagenet.SETTINGS)
PRECISIONS = ("32-true", "bf16-mixed")
"""That are timed by default."""
STUDY, DEFAULT = "study", "default"
SETTINGS = (STUDY, DEFAULT)
OF_THE_EXPLAINER = ("taps", "channels", "others", "presence")
"""Settings of the study that decide what a step costs; with `default` these are `TrainConfig`'s own."""

app = typer.Typer(help=__doc__, add_completion=False)


@dataclass(frozen=True)
class Speed:
    """What a phase of one classifier's training costs.

    Attributes:
        base: the classifier.
        settings: of SETTINGS.
        precision: of Lightning Fabric, of step and floor.
        compiled: whether the step's passes of the classifier were compiled; the floor's never are.
        phase: of PHASES.
        batch: pictures a step.
        size: height and width of the pictures.
        step_ms, floor_ms, loader_ms: raw samples; entry i of each was timed in round i.
        ratio: step over floor, the median of the rounds' own ratios.
        verdict: whether it stands.
    """

    base: str
    settings: str
    precision: str
    compiled: bool
    phase: str
    batch: int
    size: tuple[int, int]
    step_ms: tuple[float, ...]
    floor_ms: tuple[float, ...]
    loader_ms: tuple[float, ...]
    ratio: Ratio
    verdict: Verdict

    @property
    def images_per_second(self) -> float:
        """Of whole steps, by their median."""
        return 1e3 * self.batch / statistics.median(self.step_ms)

    @property
    def met(self) -> bool:
        """Whether the bar is met."""
        return self.ratio.value <= BAR


def classifier_passes(loop: Loop, pixels: Tensor, *, asks_levels: bool) -> None:
    """The floor: every pass of the frozen classifier that a step cannot do without, in the step's precision.

    Args:
        loop: whose classifier it is.
        pixels: float (B, 3, H, W) in 0–255.
        asks_levels: whether hard masks are asked about too.
    """
    import torch

    from whymask.train.queries import counts

    classifier = loop.classifier
    _, pasted = counts(len(pixels), loop.config.others)
    x = classifier.normalise(pixels).contiguous(memory_format=torch.channels_last)
    with loop.fabric.autocast():
        with torch.no_grad():
            classifier.with_taps(x)
            if pasted:
                classifier.with_taps(x[:pasted])
            if asks_levels:
                classifier(x)
        shown = x.detach().requires_grad_(True)
        logits, _ = classifier.with_taps(shown)
    torch.autograd.backward(logits.float().logsumexp(1).mean())


def measure(name: str, settings: str, phase: str, loop: Loop, pairs: int) -> Speed:
    """Time steps, floors and the loader in turn until the ratio is narrow enough, in MOST_ROUNDS × `pairs` at most."""
    config = loop.config
    asks_levels = PHASES[phase] >= config.level_from
    loop.progress.step = round(PHASES[phase] * config.steps)
    pixels, _ = loop.batch(loop.generator())
    calls: dict[str, Callable[[], object]] = {
        "loader": lambda: loop.batch(loop.generator()),
        "floor": lambda: classifier_passes(loop, pixels, asks_levels=asks_levels),
        "step": loop.step,
    }
    time_rounds(calls, WARM_UP, "warming up")
    series: dict[str, list[float]] = {part: [] for part in calls}
    words = f"{name}, {settings}, {config.precision}, {phase}"
    with LoadMeter() as meter:
        for _ in range(MOST_ROUNDS):
            for part, times in time_rounds(calls, pairs, words).items():
                series[part] += times
            pair = np.array(series["step"]), np.array(series["floor"])
            ratio = median_of_ratios(*pair, CONFIDENCE, RESAMPLES, config.seed)
            if ratio.half_width <= MARGIN:
                break
    count = len(series["step"])
    verdict = judge(ratio, count, margin=MARGIN, min_pairs=LEAST_PAIRS, load=meter.load, threads=_threads())
    size = (loop.classifier.rule.height, loop.classifier.rule.width)
    rounded = {part: tuple(round(value, 3) for value in values) for part, values in series.items()}
    timed = (rounded["step"], rounded["floor"], rounded["loader"])
    made = (name, settings, config.precision, config.compile, phase, config.batch_size)
    return Speed(*made, size, *timed, ratio, verdict)


def time_rounds(calls: dict[str, Callable[[], object]], rounds: int, words: str) -> dict[str, list[float]]:
    """Make each call once a round: milliseconds of each, a number a round."""
    series: dict[str, list[float]] = {part: [] for part in calls}
    with track(rounds, words, "rounds") as bar:
        for _ in range(rounds):
            for part, call in calls.items():
                began = time.perf_counter_ns()
                call()
                series[part].append((time.perf_counter_ns() - began) / 1e6)
            bar.advance()
    return series


def config_of(name: str, settings: str, precision: str, compile_it: bool) -> TrainConfig:
    """Settings of SETTINGS, on some of the study's pictures, in a precision of Lightning Fabric, compiled or not."""
    pictures = imagenet.training_images(imagenet.data_root())[:PICTURES]
    data = tuple(map(str, pictures))
    config = replace(base_named(name).config, data=data, calibration_data=None, workers=1)
    if settings == DEFAULT:
        own: dict[str, Any] = {field.name: field.default for field in fields(config) if field.name in OF_THE_EXPLAINER}
        config = replace(config, **own)
    return replace(config, precision=precision, compile=compile_it)


def prepared_loop(config: TrainConfig, out: Path) -> Loop:
    """A loop that is ready for its first step; it writes nowhere but below `out`."""
    from whymask.train.allocator import keep_freed_memory
    from whymask.train.explainers import build_explainer
    from whymask.train.fit import fabric_from_config
    from whymask.train.loop import Loop
    from whymask.train.model_spec import classifier_from_config
    from whymask.train.run_images import load_images

    keep_freed_memory()  # as training does
    classifier = classifier_from_config(config)
    images = load_images(config, classifier, quiet=True)
    explainer = build_explainer(config.explainer_config(), classifier)
    fabric = fabric_from_config(replace(config, devices=1, strategy="auto"))
    return Loop(fabric, config, out, classifier.to(fabric.device), explainer, images)


def speed_table(speeds: list[Speed]) -> str:
    """A row a classifier, settings, precision and phase."""
    head = [
        "classifier",
        "settings",
        "precision",
        "phase",
        "step, p50 ms",
        "floor, p50 ms",
        "loader, p50 ms",
        "images/s",
        "step / floor",
        "met",
    ]
    rows = []
    for each in speeds:
        medians = [f"{statistics.median(ms):.0f}" for ms in (each.step_ms, each.floor_ms, each.loader_ms)]
        ratio = f"{each.ratio.value:.2f} ({each.ratio.low:.2f}–{each.ratio.high:.2f})"
        met = "not valid" if not each.verdict.valid else "yes" if each.met else "**no**"
        rows.append([*_what(each), *medians, f"{each.images_per_second:.1f}", ratio, met])
    return table(head, rows, left=4)


def _what(each: Speed) -> tuple[str, ...]:
    """The cells that tell a row from the others."""
    precision = each.precision + (", compiled" if each.compiled else "")
    return each.base, each.settings, precision, each.phase


def page(record: dict[str, Any], speeds: list[Speed]) -> str:
    """The whole page."""
    machine = record["machine"]
    facts = f"{machine['cpu']}, {record['threads']} threads, torch {record['versions'].get('torch', 'unknown')}"
    notes = "\n".join(f"- {', '.join(_what(each))}: {reason}" for each in speeds for reason in each.verdict.reasons)
    head = (
        f"# Training speed\n\nA whole training step beside its floor, the frozen classifier's own passes as it was "
        f"given, in the same precision, on the same batch, in turn; goal: at most {BAR}. The ratio is the median of "
        f"the rounds' own ratios, with a {CONFIDENCE:.0%} interval. {facts}. "
        f"Made by `{record['command']}`."
    )
    return "\n\n".join(part for part in (head, speed_table(speeds), notes) if part) + "\n"


def record_from_speeds(speeds: list[Speed], command: str) -> dict[str, Any]:
    """What the JSON holds."""
    return {
        "kind": "training_speed",
        "schema": SCHEMA_VERSION,
        "command": command,
        "bar": BAR,
        "threads": _threads(),
        "machine": asdict(describe_machine()),
        "versions": installed_versions(("whymask", "torch", "lightning-fabric", "numpy")),
        "speeds": [
            asdict(each) | {"images_per_second": each.images_per_second, "met": each.met and each.verdict.valid}
            for each in speeds
        ],
    }


@app.command()
def main(
    base: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(BASES)}; repeatable.")] = None,
    settings: Annotated[list[str] | None, typer.Option(help=f"Default: {', '.join(SETTINGS)}; repeatable.")] = None,
    precision: Annotated[list[str] | None, typer.Option(help=f"Default: {', '.join(PRECISIONS)}; repeatable.")] = None,
    compile_too: Annotated[bool, typer.Option("--compile", help="Time steps with torch.compile too.")] = False,
    pairs: Annotated[
        int,
        typer.Option(
            min=LEAST_PAIRS, help=f"Rounds a phase; up to {MOST_ROUNDS} times as many where these do not tell."
        ),
    ] = 20,
    out: Annotated[Path, typer.Option("-o", "--out", help="JSON file; the page goes beside it.")] = imagenet.RESULTS
    / "training_speed.json",
) -> None:
    """Time training steps beside the classifier's own passes.

    Example: python -m whymask.benchmarks.training_speed --base squeezenet1_1
    """
    check_json(out)
    for each in settings or ():
        if each not in SETTINGS:
            raise InputError(f"--settings {each}: expected one of {', '.join(SETTINGS)}")
    speeds = []
    compiled = (False, True) if compile_too else (False,)
    for case in product(base or BASE_NAMES, settings or SETTINGS, precision or PRECISIONS, compiled):
        with tempfile.TemporaryDirectory() as folder:
            loop = prepared_loop(config_of(*case), Path(folder))
            speeds += [measure(*case[:2], phase, loop, pairs) for phase in PHASES]
    given = {"--base": base, "--settings": settings, "--precision": precision}
    asked = [f"{name} {each}" for name, values in given.items() for each in values or ()]
    asked += ["--compile"] * compile_too
    command = " ".join(["python -m whymask.benchmarks.training_speed", *asked])
    record = record_from_speeds(speeds, f"{command} --pairs {pairs}")
    text = page(record, speeds)
    write_atomically(out, json.dumps(record, ensure_ascii=False) + "\n")
    write_atomically(out.with_suffix(".md"), text)
    typer.echo(text)


def _threads() -> int:
    import torch

    return torch.get_num_threads()


if __name__ == "__main__":
    run_program(app)
