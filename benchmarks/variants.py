"""Runs that differ from a base in named settings: trained, exported and judged on the same pictures.

Seed, pictures, order of the pictures and number of steps are the base's, so that what differs comes from the setting; a
second and third seed tell how much of it comes from the seed. A finished run is not trained again, an unfinished one
goes on from its checkpoint.

Letters: S seeds, n pictures.
"""

from __future__ import annotations

import dataclasses
import difflib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks import imagenet
from whymask.benchmarks.evaluation import spread
from whymask.benchmarks.suite.sample import Column
from whymask.runtime.errors import ArtefactError, InputError, MissingExtra
from whymask.runtime.explainer import Explainer, load
from whymask.runtime.images import find_images
from whymask.runtime.progress import track

if TYPE_CHECKING:
    from whymask.benchmarks.demo import Preset
    from whymask.train.config import TrainConfig

SHAPES = "shapes"
BASES = (SHAPES, *imagenet.SETTINGS)
FOLDER = imagenet.REPOSITORY / "runs" / "variants"
GRAPH_FILE = imagenet.GRAPH_FILE
PRECISION_HELP = "Of training, as `whymask train`'s; empty takes the base's."

Figures: TypeAlias = dict[str, NDArray[np.float64]]
"""One number a picture, float64 (n,), by name of the column; nan where a picture has none."""

Judge: TypeAlias = Callable[[Explainer, Sequence[Path]], Figures]
"""Judges an exported graph on pictures."""


@dataclass(frozen=True)
class Base:
    """What variants differ from.

    Attributes:
        name: of BASES.
        config: how the base is trained.
        pictures: what every variant is judged on; none is trained or calibrated on.
    """

    name: str
    config: TrainConfig
    pictures: tuple[Path, ...]


@dataclass(frozen=True)
class Variant:
    """A run that differs.

    Attributes:
        name: of a row.
        fields: settings of `TrainConfig` that differ from the base's.
    """

    name: str
    fields: Mapping[str, Any]

    def config(self, base: TrainConfig, seed: int) -> TrainConfig:
        """The base's configuration with this variant's settings.

        Raises:
            InputError: no such setting.
        """
        known = {each.name for each in dataclasses.fields(base)}
        for name in self.fields:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1) or ["tv"]
                raise InputError(f"variant {self.name!r}: {name!r} is no setting; did you mean {near[0]!r}?")
        return dataclasses.replace(base, **self.fields, seed=seed)


@dataclass(frozen=True)
class Row:
    """A variant, judged.

    Attributes:
        variant: what it is.
        figures: by column, float64 (S, n).
        facts: of each seed's card: threshold, area and retention of the calibration, costs, seconds of training.
    """

    variant: Variant
    figures: dict[str, NDArray[np.float64]] = field(repr=False)
    facts: tuple[dict[str, Any], ...] = ()

    def mean(self, column: str) -> NDArray[np.float64]:
        """Each picture's mean over the seeds, float64 (n,); nan where a seed has no value."""
        values: NDArray[np.float64] = self.figures[column].mean(axis=0)
        return values


@dataclass(frozen=True)
class Study:
    """All variants of one base.

    Attributes:
        name: of the study.
        base: name of the base.
        pictures: names of the pictures, in the order of every figure.
        columns: what was measured.
        rows: the first is the reference of the others.
    """

    name: str
    base: str
    pictures: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def reference(self) -> Row:
        """What the others are compared with."""
        return self.rows[0]


def base_named(name: str, folder: Path = FOLDER, preset: Preset | None = None) -> Base:
    """A base by name; the demo's pictures and classifier are made where they are absent, in about a minute.

    Args:
        name: of BASES.
        folder: of the runs; `shapes` keeps its pictures there.
        preset: how many pictures the demo draws; the whole demo's when None.

    Raises:
        InputError: no such base, or the folder of the study's pictures is absent.
        MissingExtra: torch is not installed.
    """
    if name not in BASES:
        raise InputError(f"base {name!r}: expected one of {', '.join(BASES)}")
    try:
        import whymask.train.fit  # noqa: F401
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "train", "train variants") from None
    if name == SHAPES:
        return _shapes(folder / SHAPES / "base", preset)
    root = imagenet.data_root()
    pictures = [path for paths in imagenet.evaluation_sets(root).values() for path in paths]
    return Base(name, imagenet.train_config(name, root), tuple(pictures))


def _shapes(folder: Path, preset: Preset | None) -> Base:
    from whymask.benchmarks import demo

    preset = preset or demo.FULL
    if not (folder / demo.WEIGHTS_FILE).is_file():
        shutil.rmtree(folder / demo.PICTURES, ignore_errors=True)  # of a run that was broken off
        demo.make_classifier(folder, demo.draw_sets(folder, 0, preset), 0, preset)
    config = demo.train_config(folder, 0, preset)
    return Base(SHAPES, config, tuple(find_images(folder / demo.PICTURES / "held-out")))


def in_precision(base: Base, precision: str) -> Base:
    """The base, all its variants trained in a precision of `whymask train`; an empty one leaves the base's own."""
    if not precision:
        return base
    return dataclasses.replace(base, config=dataclasses.replace(base.config, precision=precision))


def train_variant(base: Base, variant: Variant, folder: Path, seed: int = 0, steps: int = 0) -> Path:
    """Train and export a variant, or find it trained.

    Args:
        folder: of the base's runs; each run has a folder of its own there.
        seed: of the run.
        steps: optimiser steps; 0 takes the base's.

    Returns:
        The fused graph.

    Raises:
        ArtefactError: the run's folder holds a run with other settings.
    """
    from whymask.export.onnx_from_run import export_run
    from whymask.train.fit import train
    from whymask.train.run import CARD_FILE, CHECKPOINT_FILE, load_run

    config = dataclasses.replace(variant.config(base.config, seed), evaluate_every=0)
    config = dataclasses.replace(config, steps=steps) if steps else config
    run = folder / base.name / f"{variant.name.replace(' ', '-')}-{config.steps}-seed{seed}"
    if (run / CARD_FILE).is_file():
        _refuse_other(run, config)
        trained = None
    else:
        trained = train(config, run, resume=(run / CHECKPOINT_FILE).is_file())
    graph = run / GRAPH_FILE
    if trained is not None or not graph.is_file():
        export_run(trained or load_run(run), graph)
    return graph


def _refuse_other(run: Path, config: TrainConfig) -> None:
    from whymask.train.config import TrainConfig
    from whymask.train.run import CONFIG_FILE

    path = run / CONFIG_FILE
    before = TrainConfig.from_json(path.read_text(encoding="utf-8"))
    names = [each.name for each in dataclasses.fields(TrainConfig)]
    changed = [name for name in names if getattr(before, name) != getattr(config, name)]
    # JSON has no tuples; what was read back is compared as it was written.
    if changed and before.to_json() != config.to_json():
        raise ArtefactError(
            f"{run} holds a run with another {', '.join(changed)}; remove it, or give another folder with --folder"
        )


def run_study(
    name: str,
    base: Base,
    variants: Sequence[Variant],
    judge: Judge,
    columns: Sequence[Column],
    *,
    folder: Path = FOLDER,
    seeds: int = 1,
    steps: int = 0,
    limit: int = 0,
) -> Study:
    """Train, export and judge every variant.

    Args:
        name: of the study.
        variants: the first is the reference.
        judge: what measures an exported graph.
        columns: what the judge fills.
        folder: of all runs.
        seeds: runs a variant, seeded 0, 1, …
        steps: optimiser steps; 0 takes the base's.
        limit: pictures that are judged, evenly spread; 0 takes all.

    Raises:
        InputError: no variant, two of one name, or no seed.
    """
    names = [variant.name for variant in variants]
    if not names or len(set(names)) < len(names) or seeds < 1:
        raise InputError(f"study: variants {', '.join(names)}, {seeds} seeds; expected different names, 1 seed or more")
    pictures, rows = spread(base.pictures, limit or None), []
    with track(len(variants) * seeds, f"{name} on {base.name}", "runs") as bar:
        for variant in variants:
            judged = []
            for seed in range(seeds):
                graph = train_variant(base, variant, folder, seed, steps)
                judged.append(judge_graph(graph, pictures, judge))
                bar.advance(note=variant.name)
            rows.append(row_from(variant, judged))
    return Study(name, base.name, tuple(path.name for path in pictures), tuple(columns), tuple(rows))


def judge_graph(graph: Path, pictures: Sequence[Path], judge: Judge) -> tuple[Figures, dict[str, Any]]:
    """Figures of one exported graph, and the facts of its card."""
    with load(graph) as explainer:
        card = explainer.card
        figures = judge(explainer, pictures)
    facts: dict[str, Any] = {"threshold": card.threshold, "map": [card.explainer.height, card.explainer.width]}
    facts |= {"cost": card.cost, "seconds": card.training.get("seconds"), "images": card.training.get("images")}
    told = ("steps", "cpu_seconds", "teacher_images", "teacher_steps", "teacher_cpu_seconds")
    facts |= {name: card.training[name] for name in told if name in card.training}
    if card.guarantee is not None:
        facts["guarantee"] = dataclasses.asdict(card.guarantee)
    return figures, facts


def row_from(variant: Variant, judged: Sequence[tuple[Figures, dict[str, Any]]]) -> Row:
    """One row of a variant's seeds."""
    columns = judged[0][0]
    return Row(
        variant,
        {name: np.stack([figures[name] for figures, _ in judged]) for name in columns},
        tuple(f for _, f in judged),
    )
