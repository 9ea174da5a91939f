"""What the demo measured, and the bars that it must meet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks import baselines
from whymask.benchmarks.bench_record import BenchRecord
from whymask.benchmarks.faithfulness import AREAS, Case, Faithfulness
from whymask.benchmarks.intervals import Interval, clopper_pearson
from whymask.benchmarks.masking import FILL
from whymask.benchmarks.overlap import Overlap, mean_interval
from whymask.benchmarks.shapes import ShapeSet
from whymask.runtime import Card, Explanation

RIVALS = (baselines.RANDOM, baselines.CENTRE, baselines.CAM)
MAPS = (baselines.EXPLAINER, *RIVALS)
LEAST_ACCURACY = 0.95
LEAST_PRECISION = 0.80
"""Of the mask at the calibrated threshold. A minimal explanation need not cover its object, so overlap has no bar."""


@dataclass(frozen=True)
class Bar:
    """One demand, and whether it is met.

    Attributes:
        met: whether it is.
        text: what was measured and what was asked.
    """

    met: bool
    text: str


@dataclass(frozen=True)
class ClassifierScore:
    """How good the classifier is.

    Attributes:
        right, count: validation pictures that it got right, and in all.
        parameters: of the network.
    """

    right: int
    count: int
    parameters: int

    @property
    def accuracy(self) -> Interval:
        """With its exact interval."""
        return clopper_pearson(self.right, self.count)

    @property
    def bar(self) -> Bar:
        """Whether it may be explained."""
        return Bar(
            self.right >= LEAST_ACCURACY * self.count,
            f"validation accuracy {self.right / self.count:.1%} on {self.count} pictures, "
            f"asked: {LEAST_ACCURACY:.0%} or more",
        )


@dataclass(frozen=True)
class Stage:
    """One stage's time.

    Attributes:
        name: of the stage.
        wall_s, cpu_s: seconds by the clock, and of processor time over all cores.
    """

    name: str
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class DemoResults:
    """Everything that the report shows; n pictures of H × W pixels.

    Attributes:
        report: path of the page.
        seed: of the whole demo.
        score: of the classifier.
        card: of the exported file.
        shapes: the held-out pictures with their ground truth.
        explanations: of the held-out pictures, by the exported file.
        faithfulness: retention of the explainer and its rivals.
        masks: by map, bool (n, H, W): the graph's own masks, and each rival's at the same area in the same picture.
        overlaps: by map, those masks against the ground truth.
        bench: latency beside the classifier alone; None until it is measured.
        stages: times.
        judged: whether the bars hold.
    """

    report: Path
    seed: int
    score: ClassifierScore
    card: Card
    shapes: ShapeSet
    explanations: list[Explanation]
    faithfulness: Faithfulness
    masks: dict[str, NDArray[np.bool_]]
    overlaps: dict[str, Overlap]
    bench: BenchRecord | None = None
    stages: tuple[Stage, ...] = ()
    judged: bool = True

    def finished(self, bench: BenchRecord, stages: tuple[Stage, ...], judged: bool) -> DemoResults:
        """The same with what is measured last."""
        return replace(self, bench=bench, stages=stages, judged=judged)

    def precision(self, name: str) -> Interval:
        """Mean share of a map's mask on the object, with its bootstrap interval."""
        return mean_interval(self.overlaps[name].precision, self.seed)

    def iou(self, name: str) -> Interval:
        """Mean intersection over union of a map's mask and the object, with its bootstrap interval."""
        return mean_interval(self.overlaps[name].iou, self.seed)

    def retention(self, name: str, area: float | None = None) -> float:
        """Share of pictures that keep their class at an area, or at the calibrated threshold's; rest filled."""
        return float(self.faithfulness.kept[Case(name, FILL, area)].mean())


def bars(results: DemoResults) -> list[Bar]:
    """All demands: on the classifier, against each rival at the same area, and on precision."""
    precision = results.precision(baselines.EXPLAINER).value
    asked = Bar(
        precision >= LEAST_PRECISION,
        f"{precision:.1%} of the mask lies on the true object, asked: {LEAST_PRECISION:.0%} or more",
    )
    return [results.score.bar, *[_against(results, rival) for rival in RIVALS], asked]


def _against(results: DemoResults, rival: str) -> Bar:
    """The explainer above one rival in retention at every area, and in precision; dropped pixels filled."""
    places: dict[str, float | None] = {f"{area:.0%}": area for area in AREAS} | {"the calibrated": None}
    own = {name: results.retention(baselines.EXPLAINER, area) for name, area in places.items()}
    other = {name: results.retention(rival, area) for name, area in places.items()}
    lost = [
        f"retention at {name} area {own[name]:.1%} against {other[name]:.1%}"
        for name in places
        if own[name] <= other[name]
    ]
    ours, theirs = (results.precision(name).value for name in (baselines.EXPLAINER, rival))
    if ours <= theirs:
        lost.append(f"precision {ours:.1%} against {theirs:.1%}")
    won = f"retention {results.retention(baselines.EXPLAINER):.1%} against {results.retention(rival):.1%}, "
    shown = ", ".join(lost) or f"{won}precision {ours:.1%} against {theirs:.1%}, and above at every area"
    return Bar(not lost, f"explainer above {rival} at the same area: {'not in ' if lost else ''}{shown}")
