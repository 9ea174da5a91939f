"""Does `result.instances()` find each object? Judged on pictures whose objects are known, on the file that ships.

    python -m whymask.benchmarks.instances demo-run/fused.onnx -o instances.json

A classifier of the demo's shapes is judged on two procedural sets; any other on mosaics of photographs, for which
`WHYMASK_DATA` names the folder of pictures. Only pictures that the classifier calls by their class count: a wrong
decision has no right number of objects. Every area stands beside a random and a centred map of the same area, and
beside the whole picture.

Letters: n pictures, I instances, K objects, H W a picture's height and width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from whymask.benchmarks import baselines
from whymask.benchmarks.imagenet import data_root, evaluation_sets
from whymask.benchmarks.instance_pictures import (
    ObjectPicture,
    PictureSet,
    is_of_shapes,
    mosaics,
    one_of_its_class,
    two_of_its_class,
)
from whymask.benchmarks.intervals import Interval, clopper_pearson
from whymask.benchmarks.overlap import mean_interval
from whymask.benchmarks.program import check_json, publish, run_program
from whymask.benchmarks.tables import table
from whymask.runtime.card import LOGITS, SALIENCY
from whymask.runtime.errors import InputError
from whymask.runtime.explainer import Explainer, load
from whymask.runtime.explanation import Explanation
from whymask.runtime.files import sha256_of
from whymask.runtime.instances import LEAST_SHARE, Instance
from whymask.runtime.progress import Progress, track
from whymask.runtime.regions import join_specks, label_regions

SCHEMA_VERSION = 1
AREAS = (0.1, 0.2, 0.3)
MOSAIC_SET = "imagenette10_128/val"
BATCH = 32
AS_CUT = "explainer, not grown"
"""The explainer's map, its mask divided and joined without letting regions grow."""
MAPS = (baselines.EXPLAINER, AS_CUT, baselines.RANDOM, baselines.CENTRE)


class Case(NamedTuple):
    """A map at an area, None for the area of the graph's own mask."""

    map: str
    area: float | None


class Score(NamedTuple):
    """One picture's figures.

    Attributes:
        certified: instances that keep the class alone.
        regions: regions of the mask, specks joined, without asking the classifier.
        objects: objects of the class.
        iou, precision: means over matched pairs of instance and object; NaN where none is matched.
        matched: objects that an instance is matched to.
        area: share of the picture that the mask keeps.
    """

    certified: int
    regions: int
    objects: int
    iou: float
    precision: float
    matched: int
    area: float


@dataclass(frozen=True)
class Measured:
    """What was found on one set.

    Attributes:
        pictures: the set.
        scores: by case, one a picture that the classifier called by its class.
    """

    pictures: PictureSet
    scores: dict[Case, list[Score]]


def measure_instances(
    explainer: Explainer, pictures: PictureSet, areas: Sequence[float] = AREAS, seed: int = 0
) -> Measured:
    """Divide every explanation into instances, and compare them with the objects.

    Args:
        explainer: the loaded graph.
        pictures: with their objects.
        areas: shares of the picture to keep, in (0, 1), besides what the graph's own mask keeps.
        seed: of the random maps.

    Raises:
        InputError: the classifier calls no picture by its class.
    """
    cases = [Case(name, area) for area in (None, *areas) for name in MAPS] + [Case(baselines.ALL_ONES, 1.0)]
    scores: dict[Case, list[Score]] = {case: [] for case in cases}
    results = explainer.explain_batch((each.image for each in pictures.pictures), BATCH)
    with track(len(pictures.pictures), pictures.name, "pictures") as bar:
        for number, (truth, result) in enumerate(_right(pictures.pictures, results, bar)):
            for case in cases:
                changed = _with_map(result, case, np.random.default_rng([seed, number]))
                instances = explainer.instances(changed, grow=case.map != AS_CUT)
                scores[case].append(score(changed, instances, truth.objects))
    if not scores[cases[0]]:
        raise InputError(
            f"{pictures.name}: the classifier calls none of {len(pictures.pictures)} pictures by its class; "
            "give a graph of a classifier that knows them"
        )
    return Measured(pictures, scores)


def score(result: Explanation, instances: Sequence[Instance], objects: NDArray[np.bool_]) -> Score:
    """Compare one picture's instances with its objects.

    Args:
        result: the whole explanation.
        instances: of it; those with `kept=False` count nowhere.
        objects: bool, (K, H, W), at the picture's own size.
    """
    height, width = objects.shape[1:]
    masks = [each.mask_at(height, width) != 0 for each in instances if each.kept]
    pairs = match(masks, objects)
    regions = join_specks(*label_regions(result.mask), LEAST_SHARE)[1] if result.mask.any() else 0
    inside = [float((masks[i] & objects[k]).sum() / masks[i].sum()) for i, k, _ in pairs]
    iou = float(np.mean([overlap for _, _, overlap in pairs])) if pairs else np.nan
    precision = float(np.mean(inside)) if pairs else np.nan
    return Score(len(masks), regions, len(objects), iou, precision, len(pairs), result.area)


def match(masks: Sequence[NDArray[np.bool_]], objects: NDArray[np.bool_]) -> list[tuple[int, int, float]]:
    """Match instances with objects, the pair of largest overlap first, each at most once.

    Args:
        masks: I of bool, (H, W).
        objects: bool, (K, H, W).

    Returns:
        Position of the instance, of the object, and their intersection over union, above 0.
    """
    pairs = []
    for i, mask in enumerate(masks):
        for k, other in enumerate(objects):
            pairs.append((float((mask & other).sum() / max(int((mask | other).sum()), 1)), i, k))
    matched: list[tuple[int, int, float]] = []
    for overlap, i, k in sorted(pairs, key=lambda pair: (-pair[0], pair[1:])):
        if overlap > 0 and all(i != a and k != b for a, b, _ in matched):
            matched.append((i, k, overlap))
    return matched


def row_from_scores(case: Case, scores: Sequence[Score]) -> dict[str, Any]:
    """One case's figures with their intervals.

    Args:
        case: which.
        scores: at least one.

    Returns:
        Plain values. `count_accuracy` and `count_accuracy_without_certificate` are shares of pictures with exact
        intervals; `found` (share of the objects that are matched), `iou` and `precision` are means over pictures with
        bootstrap intervals, the last two over the pictures with a match, None where there is none.
    """
    certified, regions, objects = (np.array([getattr(each, name) for each in scores]) for name in Score._fields[:3])
    matched = [each for each in scores if each.matched]
    return {
        "map": case.map,
        "area": "threshold" if case.area is None else case.area,
        "n": len(scores),
        "mean_area": round(float(np.mean([each.area for each in scores])), 5),
        "count_accuracy": _plain(clopper_pearson(int((certified == objects).sum()), len(scores))),
        "count_accuracy_without_certificate": _plain(clopper_pearson(int((regions == objects).sum()), len(scores))),
        "pictures_by_count": np.bincount(certified).tolist(),
        "found": _plain(mean_interval(np.array([each.matched / each.objects for each in scores]))),
        "n_matched": len(matched),
        "iou": _plain(mean_interval(np.array([each.iou for each in matched]))) if matched else None,
        "precision": _plain(mean_interval(np.array([each.precision for each in matched]))) if matched else None,
    }


def report_from_measurements(
    graph: Path, sha256: str, explainer: Explainer, measured: Sequence[Measured], command: str
) -> dict[str, Any]:
    """Everything that is written as JSON.

    Args:
        graph: the file that was judged.
        sha256: of it, when it was loaded.
        explainer: it, loaded.
        measured: one a set.
        command: what a reader runs to make it again.
    """
    sets = [
        {
            "name": each.pictures.name,
            "counted": each.pictures.counted,
            "pictures": len(each.pictures.pictures),
            "rows": [row_from_scores(case, scores) for case, scores in each.scores.items()],
        }
        for each in measured
    ]
    return {
        "schema": SCHEMA_VERSION,
        "command": command,
        "graph": graph.name,
        "graph_sha256": sha256,
        "classifier_sha256": explainer.card.classifier.sha256,
        "provider": explainer.provider,
        "least_share": LEAST_SHARE,
        "sets": sets,
    }


def page_from_report(report: dict[str, Any]) -> str:
    """The report as Markdown: a table a set."""
    head = ["map", "area", "n", "right number", "without certificate", "objects found", "IoU", "inside the object"]
    parts = [f"# Instances\n\n`{report['graph']}` on {report['provider']}. Made by `{report['command']}`.\n"]
    for each in report["sets"]:
        rows = [_cells(row) for row in each["rows"]]
        parts.append(f"## {each['name']}\n\n{each['counted'].capitalize()}. In brackets: the 95 % interval.\n")
        parts.append(table(head, rows) + "\n")
    return "\n".join(parts)


def _right(
    pictures: Sequence[ObjectPicture], results: Iterator[Explanation], bar: Progress
) -> Iterator[tuple[ObjectPicture, Explanation]]:
    """Pictures that the classifier calls by their class."""
    for truth, result in zip(pictures, results, strict=True):
        if result.index == truth.label:
            yield truth, result
        bar.advance()


def _with_map(result: Explanation, case: Case, rng: np.random.Generator) -> Explanation:
    """The explanation with another map, or another area, in its place."""
    if case.area is None and case.map in (baselines.EXPLAINER, AS_CUT):
        return result
    height, width = result.mask.shape
    # An empty mask of the graph is compared with the smallest mask that there is.
    area = max(result.area, 1 / (height * width)) if case.area is None else case.area
    values = _map(case.map, result, rng)
    return Explanation({LOGITS: result.logits, SALIENCY: values}, result.card, result.picture, area=area)


def _map(name: str, result: Explanation, rng: np.random.Generator) -> NDArray[np.float32]:
    """float32, (h, w) or (H, W), larger is more relevant."""
    if name == baselines.RANDOM:
        height, width = result.saliency.shape
        return baselines.random_map(height, width, rng)
    if name == baselines.CENTRE:
        height, width = result.mask.shape
        return baselines.centre_map(height, width)
    return result.saliency if name in (baselines.EXPLAINER, AS_CUT) else np.ones_like(result.saliency)


def _plain(interval: Interval) -> dict[str, float]:
    return {name: round(getattr(interval, name), 5) for name in ("value", "low", "high")}


def _cells(row: dict[str, Any]) -> list[str]:
    figures = [row[n] for n in ("count_accuracy", "count_accuracy_without_certificate", "found", "iou", "precision")]
    area = row["area"] if row["area"] == "threshold" else f"{row['area']:.0%}"
    return [row["map"], area, str(row["n"]), *map(_cell, figures)]


def _cell(figure: dict[str, float] | None) -> str:
    if figure is None:
        return "–"
    return f"{figure['value']:.1%} [{figure['low']:.1%}, {figure['high']:.1%}]"


app = typer.Typer(add_completion=False)


@app.command(help=__doc__)
def judge(
    graph: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="Fused graph of whymask export.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.json")] = Path("instances.json"),
    count: Annotated[int, typer.Option(min=1, help="Pictures a set.")] = 300,
    seed: Annotated[
        int, typer.Option(min=0, help="Of pictures and random maps; the demo draws from seeds 0 to 3.")
    ] = 1000,
) -> None:
    """Judge a graph, print the tables and write the record."""
    check_json(out)
    with load(graph) as explainer:
        sha256 = sha256_of(graph)
        sets = _sets(explainer, count, seed)
        measured = [measure_instances(explainer, each, seed=seed) for each in sets]
        command = f"python -m whymask.benchmarks.instances {graph.name} --count {count} --seed {seed}"
        report = report_from_measurements(graph, sha256, explainer, measured, command)
    publish(out, report, page_from_report(report))


def _sets(explainer: Explainer, count: int, seed: int) -> list[PictureSet]:
    if is_of_shapes(explainer):
        return [one_of_its_class(explainer, count, seed), two_of_its_class(explainer, count, seed + 1)]
    return [mosaics(explainer, evaluation_sets(data_root())[MOSAIC_SET], count, seed)]


if __name__ == "__main__":
    run_program(app)
