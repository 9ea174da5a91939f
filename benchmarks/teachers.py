"""Is it better to learn from a teacher's maps than from the classifier, when both take the same time?

    python -m whymask.benchmarks.teachers                          # the demo's shapes
    python -m whymask.benchmarks.teachers --base squeezenet1_1 --steps 300 --limit 200

→ `-o` as JSON with every picture's number, and a page beside it (`.md`). The budget is what `--steps` steps of direct
training cost. A teacher explains some training pictures once; the student trains for what is left of the budget, or,
in the rows `not counted`, for all of it, as if the maps had been there. Time is the processor's, measured on the steps
themselves before anything is trained, so that other work on the machine does not decide. All runs are judged alike, on
exported graphs. Runs, maps and measured costs stay in `--folder`: an interrupted study goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.map_figures import AREAS, Shown, figures_of_set
from whymask.benchmarks.masking import compose
from whymask.benchmarks.program import run_program
from whymask.benchmarks.suite.sample import Column
from whymask.benchmarks.teachers_page import page
from whymask.benchmarks.variants import BASES, FOLDER, SHAPES, Base, Figures, Study, Variant, base_named, run_study
from whymask.benchmarks.variants_page import RecordFile, record_file, record_from_study, write_records
from whymask.runtime.errors import InputError
from whymask.runtime.explainer import Explainer
from whymask.runtime.files import write_atomically
from whymask.runtime.progress import track

if TYPE_CHECKING:
    from whymask.train.config import TrainConfig
    from whymask.train.loop import Loop

NAME = "teachers"
DIRECT = "direct"
STEPS = 150
ROUNDS, WARM_UP = 6, 2
PHASES = (0.0, 0.999)
"""Shares of the steps done at which a step is timed: levels are learned in the later ones alone."""
COLUMNS = (
    Column("retention", "higher", "share of the areas 5, 10, 20, 30, 50 % at which the class stays, rest filled"),
    *(
        Column(f"retention_at_{round(100 * area)}", "higher", f"whether the class stays on the best {area:.0%}")
        for area in AREAS
    ),
)

app = typer.Typer(help=__doc__, add_completion=False)


@dataclass(frozen=True)
class Lecture:
    """A teacher and what it is asked.

    Attributes:
        teacher: of METHODS.
        steps: a picture.
        images: pictures that it explains.
    """

    teacher: str
    steps: int
    images: int

    @property
    def fields(self) -> dict[str, Any]:
        """As settings of `TrainConfig`."""
        return {"teacher": self.teacher, "teacher_steps": self.steps, "teacher_images": self.images}


LECTURES = (
    Lecture("optimise", 15, 240),
    Lecture("marc", 40, 16),
    Lecture("activation-matching-plain", 100, 8),
)
"""About half the budget each on the shapes at STEPS steps: many rough maps, or few better ones."""


@dataclass(frozen=True)
class Costs:
    """What steps and a teacher cost, in seconds of the processor.

    Attributes:
        direct: a step of direct training.
        taught: a step of a student.
        teacher: all maps of the teacher.
    """

    direct: float
    taught: float
    teacher: float

    def student_steps(self, steps: int, *, counted: bool) -> int:
        """Steps that the budget of direct training leaves a student; 0 where the teacher takes it all."""
        left = steps * self.direct - (self.teacher if counted else 0.0)
        return max(0, int(left / self.taught))

    def mixed_steps(self, steps: int) -> int:
        """The same where the second half of the student's steps is direct training."""
        return max(0, int((steps * self.direct - self.teacher) / ((self.taught + self.direct) / 2.0)))


def measured_costs(base: Base, lecture: Lecture, folder: Path, steps: int) -> Costs:
    """Make the teacher's maps and time both kinds of steps, or read what was found before."""
    path = folder / base.name / f"{lecture.teacher}-{lecture.steps}-{lecture.images}.costs.json"
    if path.is_file():
        return Costs(**json.loads(path.read_text(encoding="utf-8")))
    costs = _measure(base.config, lecture, cache_of(folder / base.name, lecture), steps)
    write_atomically(path, json.dumps(dataclasses.asdict(costs)) + "\n")
    return costs


def cache_of(folder: Path, lecture: Lecture) -> Path:
    """Where a teacher's maps are kept."""
    return folder / f"{lecture.teacher}-{lecture.steps}-{lecture.images}.maps"


def _measure(config: TrainConfig, lecture: Lecture, cache: Path, steps: int) -> Costs:
    from whymask.benchmarks.training_speed import prepared_loop
    from whymask.train.explainers import build_explainer
    from whymask.train.lessons import lessons_for_run
    from whymask.train.loop import Loop

    config = dataclasses.replace(config, steps=steps, evaluate_every=0, log_every=10 * steps)
    taught_config = dataclasses.replace(config, **lecture.fields, teacher_cache=str(cache))
    with tempfile.TemporaryDirectory() as out:
        direct = prepared_loop(config, Path(out))
        lessons = lessons_for_run(taught_config, direct.classifier, direct.images.train, Path(out))
        explainer = build_explainer(config.explainer_config(), direct.classifier)
        parts = (direct.fabric, taught_config, Path(out), direct.classifier, explainer, direct.images, lessons)
        direct_step, taught_step = _step_seconds((direct, Loop(*parts)), config.level_from)
    return Costs(direct_step, taught_step, float(lessons.facts["teacher_cpu_seconds"]))


def _step_seconds(loops: Sequence[Loop], level_from: float) -> list[float]:
    """Processor time of each loop's mean step: medians of both phases, timed in turn, weighed by their share."""
    taken: dict[tuple[int, float], list[float]] = {}
    with track(2 * len(loops) * (ROUNDS + WARM_UP), "timing steps", "steps") as bar:
        for phase in PHASES:
            for number in range(ROUNDS + WARM_UP):
                for index, loop in enumerate(loops):
                    loop.progress.step = int(phase * loop.config.steps)
                    began = time.process_time()
                    loop.step()
                    taken.setdefault((index, phase), []).extend([time.process_time() - began] * (number >= WARM_UP))
                    bar.advance()
    early, late = PHASES
    middle = {key: statistics.median(values) for key, values in taken.items()}
    return [level_from * middle[i, early] + (1 - level_from) * middle[i, late] for i in range(len(loops))]


def variants_of(
    lectures: Sequence[tuple[Lecture, Costs]], folder: Path, steps: int, *, mixed: bool = True
) -> list[Variant]:
    """Direct training, and each teacher's students; one that takes the whole budget leaves only that `not counted`."""
    found = [Variant(DIRECT, {"steps": steps})]
    for lecture, costs in lectures:
        fields = {**lecture.fields, "teacher_cache": str(cache_of(folder, lecture))}
        counted, free = (costs.student_steps(steps, counted=each) for each in (True, False))
        both = costs.mixed_steps(steps) if mixed else 0
        if counted:
            found.append(Variant(lecture.teacher, {**fields, "steps": counted}))
        if both:
            found.append(Variant(f"{lecture.teacher} then direct", {**fields, "steps": both, "teacher_until": 0.5}))
        found.append(Variant(f"{lecture.teacher} not counted", {**fields, "steps": free}))
    return found


def judge(explainer: Explainer, paths: Sequence[Path]) -> Figures:
    """Retention of a graph's map at AREAS."""

    def measure(graph: AskedGraph, chunk: Shown) -> Figures:
        kept = {
            f"retention_at_{round(100 * area)}": (
                graph.top1(compose(chunk.images, chunk.best(area), chunk.fill)) == chunk.top1
            ).astype(np.float64)
            for area in AREAS
        }
        return {"retention": np.mean(list(kept.values()), axis=0), **kept}

    return figures_of_set(explainer, paths, measure)


def without_paths(record: dict[str, Any]) -> dict[str, Any]:
    """The record without folders of this machine."""
    for row in record["rows"]:
        row["fields"].pop("teacher_cache", None)
    return record


def lectures_named(texts: Sequence[str]) -> tuple[Lecture, ...]:
    """`optimise:15:240` → teacher, steps and pictures; LECTURES where none is given.

    Raises:
        InputError: not three parts, or no numbers above 0.
    """
    found = []
    for text in texts:
        name, *numbers = text.split(":")
        if len(numbers) != 2 or not all(each.isdecimal() and int(each) for each in numbers):
            raise InputError(f"--teacher: got {text!r}, expected NAME:STEPS:PICTURES like optimise:15:240")
        found.append(Lecture(name, int(numbers[0]), int(numbers[1])))
    return tuple(found) or LECTURES


@app.command()
def teachers(
    base: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(BASES)}; repeatable. Default: shapes.")] = None,
    teacher: Annotated[list[str] | None, typer.Option(help="NAME:STEPS:PICTURES; repeatable.")] = None,
    steps: Annotated[int, typer.Option(min=10, help="Of direct training, which set the budget.")] = STEPS,
    then_direct: Annotated[bool, typer.Option(help="Students that learn directly in their second half, too.")] = True,
    limit: Annotated[int, typer.Option(help="Pictures that are judged, evenly spread; 0 takes all.")] = 0,
    folder: Annotated[Path, typer.Option(help="Where runs, maps and costs are kept.")] = FOLDER,
    out: RecordFile = None,
) -> None:
    """Train students and direct runs for equal time, and judge the exported graphs.

    Example: python -m whymask.benchmarks.teachers --teacher optimise:15:240 --steps 150
    """
    names = base or [SHAPES]
    file = record_file(out, NAME, names)
    lectures = lectures_named(teacher or [])
    studies: list[Study] = []
    records: list[dict[str, Any]] = []
    for name in names:
        made = _plain(base_named(name, folder))
        costs = [(each, measured_costs(made, each, folder, steps)) for each in lectures]
        variants = variants_of(costs, folder / made.name, steps, mixed=then_direct)
        studies.append(run_study(NAME, made, variants, judge, COLUMNS, folder=folder, limit=limit))
        options = " ".join(f"--teacher {each.teacher}:{each.steps}:{each.images}" for each in lectures)
        options += "" if then_direct else " --no-then-direct"
        command = f"python -m whymask.benchmarks.teachers --base {name} {options} --steps {steps} --limit {limit}"
        record = without_paths(record_from_study(studies[-1], command))
        records.append(record | {"costs": [dataclasses.asdict(each) for _, each in costs]})
        write_records(file, records, page(studies))
    typer.echo(page(studies))
    typer.echo(f"Written: {file} and {file.with_suffix('.md').name}")


def _plain(base: Base) -> Base:
    """The base without questions about other classes, which no teacher answers, and without a search for a threshold.

    Maps are judged at given areas: a promise that nothing can hold ends calibration at its first question.
    """
    return dataclasses.replace(base, config=dataclasses.replace(base.config, others=0.0, presence=0.0, alpha=1e-4))


if __name__ == "__main__":
    run_program(app)
