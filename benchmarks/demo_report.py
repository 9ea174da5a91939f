"""The demo's results as a page, and as a table for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks import baselines
from whymask.benchmarks.demo_results import MAPS, RIVALS, DemoResults, bars
from whymask.benchmarks.faithfulness import AREAS, Case
from whymask.benchmarks.intervals import Interval
from whymask.benchmarks.latency_table import headline, notes, where
from whymask.benchmarks.machine import describe_machine
from whymask.benchmarks.masking import BLUR, FILL
from whymask.benchmarks.overlap import mean_interval
from whymask.benchmarks.report import (
    Curve,
    Html,
    bullets,
    document,
    figure,
    gallery,
    paragraph,
    percent,
    plot,
    section,
    table,
    verdict,
)
from whymask.benchmarks.shapes import LABELS
from whymask.benchmarks.tables import verdict as cell_verdict
from whymask.runtime.overlay import draw

if TYPE_CHECKING:
    from rich.table import Table

SHEET_STRIPS = 6
"""Of the sheet of examples; even."""

SINGLES, PAIRS = 10, 6
"""Examples shown: pictures of one object, and of two."""
ZOOM = 3
"""Side of a pixel of the examples."""
GAP = 4
COSTS = ("classifier_macs", "explainer_macs")
PARITY = {
    "parity_images": "parity: pictures compared",
    "parity_top1_agreement": "parity: same class as torch",
    "parity_logits_max": "parity: largest logit error, relative",
    "parity_saliency_max": "parity: largest saliency error",
    "parity_mask_iou": "parity: masks, intersection over union",
}
"""What the card says of the exported file against the torch modules, and what to call it."""
GROUND, FIRST, SECOND = (232, 235, 239), (0, 114, 178), (213, 94, 0)
"""RGB of the ground truth: background, the object that decides the class, the smaller one."""


def page_from_results(results: DemoResults) -> Html:
    """The whole report."""
    made = f"whymask demo, seed {results.seed}, {len(results.shapes)} held-out pictures that no training saw."
    sections = [_summary(results), _examples(results), _retention(results), _overlap(results)]
    return document("What decided it: the demo's report", [*sections, _latency(results), _how(results)], made)


def summary_table(results: DemoResults) -> Table:
    """Explainer and rivals at the same area, for the terminal."""
    from rich.table import Table

    area = results.faithfulness.areas.mean()
    shown = Table(title=f"{len(results.shapes)} held-out pictures, {area:.1%} of the pixels kept")
    for column in ("map", "keeps the class", "mask on the object", "IoU"):
        shown.add_column(column, justify="left" if column == "map" else "right")
    for name in MAPS:
        figures = (results.retention(name), results.precision(name).value, results.iou(name).value)
        shown.add_row(name, *[f"{figure:.1%}" for figure in figures], style="bold" if name == MAPS[0] else "")
    return shown


def example_rows(results: DemoResults) -> list[int]:
    """Pictures to show: the first of each class with one object, then the first with two. Results choose nothing."""
    paired = results.shapes.second_labels >= 0
    labels = results.shapes.labels
    first = [int(np.flatnonzero((labels == label) & ~paired)[0]) for label in np.unique(labels[~paired])]
    return sorted(first)[:SINGLES] + [int(row) for row in np.flatnonzero(paired)[:PAIRS]]


def sheet_from_results(results: DemoResults) -> NDArray[np.uint8]:
    """The first pictures of the report, uint8 (height, width, 3), two strips a line."""
    strips = [_strip(results, row) for row in example_rows(results)[:SHEET_STRIPS]]
    gap = np.full((len(strips[0]), 4 * GAP, 3), 255, np.uint8)
    lines = [np.concatenate([left, gap, right], axis=1) for left, right in zip(strips[::2], strips[1::2], strict=True)]
    between = np.full((GAP, lines[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([part for line in lines for part in (line, between)][:-1], axis=0)


def _summary(results: DemoResults) -> Html:
    if results.judged:
        judged = bullets([verdict(bar.met, bar.text) for bar in bars(results)])
    else:
        judged = paragraph("A smoke test: hardly anything was trained, and no bar is judged.")
    return section("In short", judged, _card_table(results))


def _card_table(results: DemoResults) -> Html:
    card, guarantee = results.card, results.card.guarantee
    rows = [
        ["classifier", f"small CNN, {card.classifier.parameters:,} parameters, {card.classifier.num_classes} classes"],
        [
            "explainer",
            f"{card.explainer.kind}, {card.explainer.parameters:,} parameters, reads {', '.join(card.explainer.taps)}",
        ],
        [
            "input",
            f"{card.input.height} × {card.input.width} px; saliency {card.explainer.height} × {card.explainer.width}",
        ],
        ["threshold", f"{card.threshold:.4f}; dropped pixels take RGB {tuple(round(value) for value in card.fill)}"],
    ]
    if guarantee is not None:
        promise = f"keeps ≥ {1 - guarantee.alpha:.0%} of decisions with confidence {1 - guarantee.delta:.0%}"
        state = f"{'met' if guarantee.met else 'NOT met'} on n = {guarantee.n}: kept {guarantee.retention:.1%}"
        rows.append(["guarantee", f"{promise}: {state}, at least {guarantee.lower_bound:.1%}"])
    costs = [(name, card.cost[name]) for name in COSTS if name in card.cost]
    rows += [[name.replace("_macs", ", multiply-adds"), f"{value:,.0f}"] for name, value in costs]
    rows += [[text, f"{card.metrics[name]:.4g}"] for name, text in PARITY.items() if name in card.metrics]
    return table(["card", ""], rows, "Summary of the card inside the exported file.")


def _examples(results: DemoResults) -> Html:
    shown = [figure(_strip(results, row), _caption(results, row)) for row in example_rows(results)]
    text = (
        "Each: the picture, the ground truth (the larger object, blue, decides the class; a smaller one is orange), "
        "the mask of the exported graph at its calibrated threshold, and what the classifier is shown again to see "
        "whether it stays with its class. The first picture of each class, then the first with two objects."
    )
    return section("Held-out pictures", text, gallery(shown))


def _strip(results: DemoResults, row: int) -> NDArray[np.uint8]:
    """Picture, ground truth, overlay and explanation side by side, enlarged."""
    shapes = results.shapes
    picture, mask = shapes.images[row], results.masks[baselines.EXPLAINER][row]
    truth = np.array((GROUND, FIRST, SECOND), np.uint8)[shapes.masks[row] + 2 * shapes.second_masks[row]]
    fill = np.rint(results.card.fill).astype(np.uint8)
    large = [_enlarged(each) for each in (picture, truth, np.where(mask[..., None], picture, fill))]
    large.insert(2, draw(large[0], _enlarged(mask.astype(np.uint8))))
    gap = np.full((len(large[0]), GAP, 3), 255, np.uint8)
    return np.concatenate([part for each in large for part in (each, gap)][:-1], axis=1)


def _enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def _caption(results: DemoResults, row: int) -> str:
    shapes, said = results.shapes, results.explanations[row]
    right = said.index == shapes.labels[row]
    names = [f"{said.label} {said.confidence:.0%}" + ("" if right else f" (truly {LABELS[shapes.labels[row]]})")]
    if shapes.second_labels[row] >= 0:
        names.append(f"beside a smaller {LABELS[shapes.second_labels[row]]}")
    kept = results.faithfulness.kept[Case(baselines.EXPLAINER, FILL, None)][row]
    precision = results.overlaps[baselines.EXPLAINER].precision[row]
    names += [f"area {said.area:.0%}", f"{precision:.0%} of it on the object", f"class {'kept' if kept else 'lost'}"]
    return " · ".join(names)


def _retention(results: DemoResults) -> Html:
    measured = results.faithfulness
    n = len(measured.files)
    curves = [_retention_curve(results, name) for name in MAPS]
    tables = [_retention_table(results, fill) for fill in (FILL, BLUR)]
    text = (
        "Retention: the share of pictures that the classifier puts into the same class when it sees the mask alone. "
        f"Judged on the exported file, n = {n}, exact 95 % intervals; all maps keep exactly the same number of pixels. "
        "✗: the explainer is not above the named map; ~: above all, but not beyond the paired 95 % interval."
    )
    blurred = measured.retention(Case(baselines.ALL_ZEROS, BLUR, None)).value
    note = (
        f"A blurred picture with nothing sharp in it keeps {blurred:.1%} of the classes by itself, so the second table "
        "tells the maps apart less than the first. The bars are judged on the first."
    )
    caption = f"Retention over the share of pixels kept, dropped pixels filled; exact 95 % intervals, n = {n}."
    curve = plot(curves, "pixels kept", "class kept", caption)
    return section("Does the mask keep the decision?", text, curve, *tables, note)


def _retention_curve(results: DemoResults, name: str) -> Curve:
    shares = [results.faithfulness.retention(Case(name, FILL, area)) for area in AREAS]
    return Curve(name, AREAS, [s.value for s in shares], [s.low for s in shares], [s.high for s in shares])


def _retention_table(results: DemoResults, fill: str) -> Html:
    measured = results.faithfulness
    places: list[float | None] = [*AREAS, None]
    rows = [[name, *[_interval(measured.retention(Case(name, fill, area))) for area in places]] for name in MAPS]
    marks = ["", *[cell_verdict(measured, fill, area) for area in places]]
    rows.append(["against the rivals", *[mark or "above all" for mark in marks[1:]]])
    head = ["map", *[f"{area:.0%}" for area in AREAS], f"calibrated ({measured.areas.mean():.1%})"]
    words = "the card's colour" if fill == FILL else "a strong blur of the picture"
    return table(
        head, rows, f"Retention in % by area; dropped pixels take {words}. n = {len(measured.files)}.", strong=[0]
    )


def _overlap(results: DemoResults) -> Html:
    paired = results.shapes.second_labels >= 0
    rows = []
    for name in MAPS:
        split = [mean_interval(results.overlaps[name].precision[part], results.seed) for part in (~paired, paired)]
        cells = [results.precision(name), *split, results.iou(name)]
        rows.append(
            [
                name,
                *[_interval(cell) for cell in cells],
                percent(_pooled(results, name)),
                percent(_on_second(results, name)),
            ]
        )
    head = ["map", "mask on the object", "one object", "two objects", "IoU", "pooled pixels", "on the smaller object"]
    caption = (
        f"In %, at the calibrated threshold, every map at the same area in the same picture. Means over "
        f"n = {len(paired)} pictures, {int(paired.sum())} of them with two objects, with bootstrap 95 % intervals. "
        "Pooled: all masks' pixels together."
    )
    text = (
        "Share of the mask that lies on the object that decides the class. A minimal explanation need not cover its "
        "object, so intersection over union is stated and not judged."
    )
    return section("Does the mask lie on the object?", text, table(head, rows, caption, strong=[0]))


def _pooled(results: DemoResults, name: str) -> float:
    mask = results.masks[name]
    return float((mask & (results.shapes.masks > 0)).sum() / max(int(mask.sum()), 1))


def _on_second(results: DemoResults, name: str) -> float:
    """Share of the masks of two-object pictures that lies on the smaller object."""
    paired = results.shapes.second_labels >= 0
    mask = results.masks[name][paired]
    return float((mask & (results.shapes.second_masks[paired] > 0)).sum() / max(int(mask.sum()), 1))


def _latency(results: DemoResults) -> Html:
    record = results.bench
    if record is None:
        return section("What does it cost?", "Not measured.")
    columns = ("p50", "p90", "p95", "p99", "max")
    graphs = {"fused graph": record.fused, "classifier alone": record.classifier}
    rows = [
        [name, *[f"{getattr(each, f'{column}_ms'):.3f}" for column in columns], str(each.count)]
        for name, each in graphs.items()
    ]
    place = where(record).replace(record.classifier_id, Path(record.classifier_id).name)
    caption = f"Milliseconds a call, in interleaved pairs, host memory to host memory. {place}."
    return section(
        "What does it cost?",
        f"{headline(record)}.",
        table(["graph", *columns, "calls"], rows, caption),
        bullets(notes(record)),
        "This classifier is far smaller than those that people deploy: there, the explainer's share is smaller.",
    )


def _how(results: DemoResults) -> Html:
    rows = [[stage.name, f"{stage.wall_s:.1f}", f"{stage.cpu_s:.1f}"] for stage in results.stages]
    rows.append(["together", *[f"{sum(getattr(s, name) for s in results.stages):.1f}" for name in ("wall_s", "cpu_s")]])
    machine = describe_machine()
    versions = ", ".join(f"{name} {version}" for name, version in results.card.versions.items())
    return section(
        "How it was made",
        table(
            ["stage", "seconds", "processor seconds"], rows, f"{machine.cpu}, {machine.cores} cores, {machine.system}."
        ),
        f"Training: {', '.join(f'{key} {value}' for key, value in results.card.training.items())}.",
        f"Versions: {versions}. Rivals: {'; '.join(f'{name}: {baselines.STATED[name]}' for name in RIVALS)}.",
    )


def _interval(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
