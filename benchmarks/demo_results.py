"""What the demo measured, and the bars that it must meet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks import baselines
from whymask.benchmarks.bench import BenchRecord
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

    def mean_retention(self, name: str) -> float:
        """Retention averaged over `AREAS`, dropped pixels filled."""
        return float(np.mean([self.faithfulness.kept[Case(name, FILL, area)].mean() for area in AREAS]))

    def retention(self, name: str) -> float:
        """Retention at the calibrated threshold's areas, dropped pixels filled."""
        return float(self.faithfulness.kept[Case(name, FILL, None)].mean())


def bars(results: DemoResults) -> list[Bar]:
    """All demands: on the classifier, against each rival at the same area, and on precision."""
    precision = results.precision(baselines.EXPLAINER).value
    asked = Bar(
        precision >= LEAST_PRECISION,
        f"{precision:.1%} of the mask lies on the true object, asked: {LEAST_PRECISION:.0%} or more",
    )
    return [results.score.bar, *[_against(results, rival) for rival in RIVALS], asked]


def _against(results: DemoResults, rival: str) -> Bar:
    """The explainer above one rival, in each of three figures."""
    figures = {
        "retention at the calibrated area": (results.retention(baselines.EXPLAINER), results.retention(rival)),
        "retention over five areas": (results.mean_retention(baselines.EXPLAINER), results.mean_retention(rival)),
        "precision": (results.precision(baselines.EXPLAINER).value, results.precision(rival).value),
    }
    shown = ", ".join(f"{name} {own:.1%} against {other:.1%}" for name, (own, other) in figures.items())
    return Bar(
        all(own > other for own, other in figures.values()), f"explainer above {rival} at the same area: {shown}"
    )
