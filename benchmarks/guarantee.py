"""The calibration's promise put to the test: by simulation, and by many splits of real pictures on an exported graph.

    python -m whymask.benchmarks.guarantee                                  # the simulation alone, a minute
    python -m whymask.benchmarks.guarantee fused.onnx --data photos         # and splits of these pictures

→ `-o` as JSON, with every picture's answer at every threshold, and the same as a page beside it (`.md`).

On real pictures the true retention is unknown. Each split calibrates on one half and looks at the other, whose own
share is a count with binomial chance: only what lies below the promise by more than that is called broken. For pictures
drawn independently of each other, that happens in at most δ + 5 % of splits, on average over sets of pictures.

Letters: T thresholds, N pictures, H W the graph's input height and width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.evaluation import pictures_in, spread
from whymask.benchmarks.masking import background_from_fill, compose
from whymask.benchmarks.pictures import Image, chunks, read_pictures
from whymask.benchmarks.program import check_json, run_program
from whymask.benchmarks.promise import (
    PROCEDURES,
    SIGNIFICANCE,
    TEST_LEVEL,
    Kept,
    Simulation,
    Splits,
    calibrated,
    populations,
    simulate,
    split_again,
)
from whymask.benchmarks.tables import table
from whymask.runtime.card import LOGITS, SALIENCY
from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.explainer import Explainer, load
from whymask.runtime.files import sha256_of, write_atomically
from whymask.runtime.images import resize_map
from whymask.runtime.progress import track

SCHEMA_VERSION = 1
RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
BATCH = 32
LEAST_PICTURES = 20

app = typer.Typer(help=__doc__, add_completion=False)


def calibration_thresholds() -> tuple[float, ...]:
    """The thresholds that training tries.

    Raises:
        MissingExtra: torch or scipy is not installed.
    """
    try:
        from whymask.train.calibrate import THRESHOLDS
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "evaluate", "calibrate again") from None
    return THRESHOLDS


def kept_over_thresholds(explainer: Explainer, images: Sequence[Image], thresholds: Sequence[float]) -> Kept:
    """Ask an exported graph about its own masks at every threshold: bool (T, N), files that cannot be read left out.

    Args:
        explainer: the loaded graph.
        images: paths or arrays.
        thresholds: rising, in [0, 1].

    Raises:
        InputError: fewer than LEAST_PICTURES can be read.
    """
    graph, parts, first = AskedGraph(explainer, BATCH), [], 0
    with track(len(images), "asking at every threshold", "pictures") as bar:
        for chunk in chunks(images, BATCH):
            names, pictures, _ = read_pictures(chunk, first, explainer.card.input)
            first += len(chunk)
            if names:
                parts.append(_kept(graph, explainer, np.stack(pictures), thresholds))
            bar.advance(len(chunk), note=f"{graph.passes} passes")
    count = sum(part.shape[1] for part in parts)
    if count < LEAST_PICTURES:
        raise InputError(f"guarantee: {count} pictures can be read, expected at least {LEAST_PICTURES}; give more")
    return np.concatenate(parts, axis=1)


def _kept(graph: AskedGraph, explainer: Explainer, images: NDArray[np.uint8], thresholds: Sequence[float]) -> Kept:
    """bool (T, B) of uint8 pictures (B, H, W, 3). A mask that is the one before is not asked again."""
    outputs = graph.run(images, (LOGITS, SALIENCY))
    top1, fill = outputs[LOGITS].argmax(axis=1), background_from_fill(explainer.card.fill)
    saliency = resize_map(outputs[SALIENCY].astype(np.float32), *images.shape[1:3])
    kept = np.ones((len(thresholds), len(images)), np.bool_)
    before = np.ones(saliency.shape, np.bool_)  # the whole picture, which keeps its class
    for row, threshold in enumerate(thresholds):
        mask = saliency >= np.float32(threshold)
        changed = np.flatnonzero((mask != before).any(axis=(1, 2)))
        kept[row] = kept[max(0, row - 1)]
        if len(changed):
            kept[row, changed] = graph.top1(compose(images[changed], mask[changed], fill)) == top1[changed]
        before = mask
    return kept


def simulated(n: int, alpha: float, delta: float, rounds: int, seed: int) -> dict[tuple[str, str], Simulation]:
    """Every procedure on every population, by their names."""
    results = {}
    with track(len(PROCEDURES) * len(populations(alpha)), "simulating", "cases") as bar:
        for population in populations(alpha):
            for name, procedure in PROCEDURES.items():
                results[population.name, name] = simulate(population, procedure, n, alpha, delta, rounds, seed)
                bar.advance(note=f"{population.name}, {name}")
    return results


def simulation_section(results: dict[tuple[str, str], Simulation], n: int, alpha: float, delta: float) -> str:
    """The simulation as Markdown."""
    rows = [
        [
            population,
            procedure,
            f"{each.promised / each.rounds:.1%}",
            f"{each.broken / each.rounds:.1%} ({each.broken} of {each.rounds})",
            f"{each.p_value:.3g}",
            "**refused**" if each.refused else "not refused",
            f"{100 * each.surplus.mean():+.1f}" if each.promised else "–",
        ]
        for (population, procedure), each in results.items()
    ]
    head = ["population", "procedure", "promised", "broken", "p", f"at most {delta:.0%} broken", "surplus, points"]
    stated = "\n".join(f"- {each.name}: {each.stated}." for each in populations(alpha))
    return (
        f"n = {n} calibration pictures a round, promise {1 - alpha:.0%} with confidence {1 - delta:.0%}. Broken: a "
        f"threshold was promised whose true retention is below {1 - alpha:.0%}, as a share of all rounds. p: exact "
        f"one-sided binomial test of a rate of at most {delta:.0%}; refused below {SIGNIFICANCE}. Surplus: mean true "
        f"retention over the promise where one was made.\n\n{table(head, rows, left=2)}\n\n{stated}"
    )


def splits_section(name: str, splits: Splits) -> str:
    """Splits of one set as Markdown."""
    promised = len(splits.chosen)
    held = f"{splits.held.mean():.1%} on average" if promised else "nothing was promised"
    return (
        f"{splits.rounds} random halvings of {splits.calibration + splits.test} pictures ({name}): "
        f"{splits.calibration} calibrate, {splits.test} are looked at. Promise {1 - splits.alpha:.0%} with confidence "
        f"{1 - splits.delta:.0%}.\n\n"
        f"- A threshold was promised in {promised / splits.rounds:.1%} of the splits; the other half kept {held}.\n"
        f"- The other half kept less than promised, its own chance included, in {splits.below:.1%}.\n"
        f"- By more than its own binomial chance (exact one-sided {1 - TEST_LEVEL:.0%} bound below the promise): "
        f"**{splits.broken:.1%}**. Allowed on average over sets of pictures: {splits.allowed:.0%}, δ for the "
        f"calibration and {TEST_LEVEL:.0%} for the bound.\n"
        f"- The whole set, taken for the population, kept less than promised in {splits.broken_on_the_whole:.1%}; a "
        f"half drawn from it strays less than independent pictures would, so at most {splits.delta:.0%} is to be "
        "expected.\n\n"
        "Splits of one set share its pictures: these shares describe this set, and no binomial test of them is due."
    )


def _record_simulation(results: dict[tuple[str, str], Simulation]) -> list[dict[str, Any]]:
    return [
        {
            "population": population,
            "procedure": procedure,
            "rounds": each.rounds,
            "promised": each.promised,
            "broken": each.broken,
            "p_value": each.p_value,
            "refused": each.refused,
            "surplus": float(each.surplus.mean()) if each.promised else None,
            "thresholds_short_of_best": float(np.median(each.short)) if each.promised else None,
        }
        for (population, procedure), each in results.items()
    ]


def _record_splits(graph: Path, name: str, kept: Kept, splits: Splits) -> dict[str, Any]:
    return {
        "graph": {"file": graph.name, "sha256": sha256_of(graph)},
        "set": name,
        "thresholds": list(calibration_thresholds()),
        "kept_by_picture": ["".join("01"[bit] for bit in column.astype(int)) for column in kept.T],
        "rounds": splits.rounds,
        "calibration_pictures": splits.calibration,
        "test_pictures": splits.test,
        "promised": len(splits.chosen),
        "test_retention": [round(float(each), 6) for each in splits.held],
        "below": splits.below,
        "broken": splits.broken,
        "broken_on_the_whole": splits.broken_on_the_whole,
        "allowed": splits.allowed,
    }


MOST = 0.99
"""Largest alpha and delta: a promise of nothing is none."""


@app.command()
def guarantee(
    graph: Annotated[Path | None, typer.Argument(help="Fused ONNX file; without it, the simulation alone.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of pictures to split.")] = None,
    alpha: Annotated[
        float, typer.Option(min=0.0, max=MOST, help="Promise 1 − alpha; 0 takes the graph's, or 0.1.")
    ] = 0.0,
    delta: Annotated[
        float, typer.Option(min=0.0, max=MOST, help="Confidence 1 − delta; 0 takes the graph's, or 0.05.")
    ] = 0.0,
    rounds: Annotated[int, typer.Option(help="Rounds of each simulation, and splits.")] = 2000,
    pictures: Annotated[int, typer.Option(help="Calibration pictures of a simulated round.")] = 400,
    limit: Annotated[int, typer.Option(help="Pictures to split, evenly spread; 0 takes all.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of all draws.")] = 0,
    out: Annotated[Path, typer.Option("-o", "--out", help="JSON file; the page goes beside it.")] = RESULTS
    / "guarantee.json",
) -> None:
    """Count how often the calibration's promise is broken.

    Example: python -m whymask.benchmarks.guarantee fused.onnx --data photos -o guarantee.json
    """
    check_json(out)
    if (graph is None) != (data is None):
        raise InputError(
            "guarantee: a graph and --data belong together; give both, or neither for the simulation alone"
        )
    thresholds = calibration_thresholds()
    sections, record = [], {"schema": SCHEMA_VERSION, "kind": "guarantee", "seed": seed}
    if graph is not None and data is not None:
        ((name, images),) = pictures_in(data).items()
        with load(graph) as explainer:
            promise = explainer.card.guarantee
            kept = kept_over_thresholds(explainer, spread(images, limit or None), thresholds)
        alpha = alpha or (promise.alpha if promise else 0.0)
        delta = delta or (promise.delta if promise else 0.0)
        splits = split_again(kept, calibrated, alpha or 0.1, delta or 0.05, rounds, seed)
        record["splits"] = _record_splits(graph, name, kept, splits)
        sections.append(f"## Splits of real pictures\n\n{splits_section(name, splits)}")
    alpha, delta = alpha or 0.1, delta or 0.05
    results = simulated(pictures, alpha, delta, rounds, seed)
    record |= {"alpha": alpha, "delta": delta, "pictures": pictures, "simulation": _record_simulation(results)}
    sections.insert(0, f"## Simulation\n\n{simulation_section(results, pictures, alpha, delta)}")
    page = "\n\n".join(["# The guarantee", *sections, ""])
    write_atomically(out, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    write_atomically(out.with_suffix(".md"), page)
    typer.echo(page)
    typer.echo(f"Written: {out} and {out.with_suffix('.md').name}")


if __name__ == "__main__":
    run_program(app)
