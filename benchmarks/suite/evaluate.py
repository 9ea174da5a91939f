"""One graph or engine, judged from its file to the files of its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whymask.benchmarks import baselines
from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.card_summary import card_summary
from whymask.benchmarks.evaluation import classifier_from_run, pictures_in, spread
from whymask.benchmarks.forms import check_targets, write_forms
from whymask.benchmarks.logits_alone import logits_backend
from whymask.benchmarks.records import json_from_report
from whymask.benchmarks.rivals.rise import MASKS
from whymask.benchmarks.suite.earlier import check_earlier, filled_from
from whymask.benchmarks.suite.gallery import Example, examples
from whymask.benchmarks.suite.measured import PictureSet
from whymask.benchmarks.suite.record import read_record, record_from_measurements
from whymask.benchmarks.suite.runner import Suite
from whymask.benchmarks.suite.sharing import Sharing, available_cores
from whymask.benchmarks.suite.suite_report import page_from_evaluation
from whymask.benchmarks.suite.suite_tables import csv_from_record, page_from_record, with_figures
from whymask.benchmarks.suite.summary import Summary, summaries
from whymask.benchmarks.truth_sets import truth_for
from whymask.runtime.errors import InputError
from whymask.runtime.explainer import ENGINE_SUFFIXES, Explainer, load

if TYPE_CHECKING:
    from whymask.benchmarks.rivals.rival import Rival
    from whymask.train.classifier import FrozenClassifier
    from whymask.train.config import TrainConfig

ALWAYS = (baselines.RANDOM, baselines.CENTRE)
"""Maps without which a figure means nothing."""


@dataclass(frozen=True)
class EvaluateSettings:
    """How a file is judged.

    Attributes:
        run: run directory of the same classifier; without it the maps that need torch are left out.
        maps: names of the maps beside the explainer's; None for all that can be had.
        metrics: names of metrics; None for all.
        rise_masks: of RISE, a picture's passes.
        optimise_steps: of a map that is optimised for each picture; 0 leaves that map out. Needs `run`.
        optimise_as: configuration whose objective and taps that map has, on the cells of the finest tap; None takes
            the run's, and the explainer's own cells, those in front of its filter where it has one.
        seed: of random maps, ties, metrics and the bootstrap.
        provider: see `whymask.runtime.load`.
        command: what a reader runs to make it again.
        costly: pictures a set, evenly spread, on which maps that perturb or optimise are made; None for all.
        earlier: record of an earlier evaluation of the same classifier on the same pictures; what it says of costly
            maps fills the pictures for which they were not made (`whymask.benchmarks.suite.earlier`).
        threads: of the processor; None takes all that this process may use, eight at most.
        say: told how long a set will take.
    """

    run: Path | None = None
    maps: Sequence[str] | None = None
    metrics: Sequence[str] | None = None
    rise_masks: int = MASKS
    optimise_steps: int = 0
    seed: int = 0
    provider: str | None = None
    command: str = "whymask evaluate"
    costly: int | None = None
    threads: int | None = None
    say: Callable[[str], None] = field(default=lambda words: None, repr=False)
    earlier: Path | None = None
    optimise_as: TrainConfig | None = None

    def __post_init__(self) -> None:
        """Refuse what judges nothing.

        Raises:
            InputError: no costly picture, or no thread.
        """
        for name, value in (("costly", self.costly), ("threads", self.threads)):
            if value is not None and value < 1:
                raise InputError(f"{name}: {value}, expected at least 1")


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        record: what the JSON holds.
        summaries: of its sets.
        examples: pictures for the page, a list a set.
    """

    record: dict[str, Any]
    summaries: list[Summary]
    examples: list[list[Example]] = field(default_factory=list, repr=False)


def evaluate_graph(file: Path, sets: Sequence[PictureSet], settings: EvaluateSettings) -> Evaluation:
    """Judge a file on sets of pictures.

    Args:
        file: an ONNX file of `whymask export`, or an engine of `whymask build`.
        sets: pictures, from `picture_sets`.
        settings: how.

    Raises:
        ArtefactError: no such graph, the run is of another classifier, or the earlier record is of other work.
        BackendError: an engine without its GPU, or a provider that does not load.
        InputError: an unknown map or metric, or a set without a picture that can be read.
        MissingExtra: a package of a named map is not installed.
    """
    earlier = read_record(settings.earlier) if settings.earlier else None
    sharing = Sharing.of(settings.threads or available_cores(), max((len(each.images) for each in sets), default=0))
    inside = None if file.suffix in ENGINE_SUFFIXES else sharing.inside
    with ExitStack() as stack:
        explainer = stack.enter_context(load(file, settings.provider, threads=inside))
        if earlier is not None:  # before hours of work, not after them
            names = [each.name for each in sets]
            check_earlier(earlier, card_summary(explainer.card), settings.seed, names, str(settings.earlier))
        alone, asked = stack.enter_context(logits_backend(file, explainer, inside))
        graph = AskedGraph(explainer, logits_alone=alone)
        suite, left_out = suite_from_settings(explainer, graph, settings, any(each.truth for each in sets))
        suite = replace(suite, threads=sharing.chunks)
        measured = [suite.measure(each) for each in sets]
        shown = [examples(suite, each) for each in measured]
        record = record_from_measurements(file, suite, measured, left_out, settings.command, asked)
    if earlier is not None:
        record = filled_from(record, earlier, str(settings.earlier))
    found = summaries(record)
    return Evaluation(with_figures(record, found), found, shown)


def suite_from_settings(
    explainer: Explainer,
    graph: AskedGraph,
    settings: EvaluateSettings,
    has_truth: bool,
    classifier: FrozenClassifier | None = None,
) -> tuple[Suite, dict[str, str]]:
    """The suite for a loaded graph, and why each map that is left out is not in it, by name.

    Args:
        explainer: the loaded graph.
        graph: the same, counted.
        settings: which maps and metrics.
        has_truth: whether a set knows its objects.
        classifier: the same classifier in torch, where it is at hand; None loads it from the settings' run, if any.
    """
    from whymask.benchmarks.rivals.registry import rivals
    from whymask.benchmarks.suite.registry import metrics_named

    metrics = metrics_named(settings.metrics, has_truth)
    if classifier is None and settings.run:
        classifier = classifier_from_run(settings.run, explainer)
    extra = _optimised(explainer, classifier, settings)
    names = None if settings.maps is None else [*_maps(settings.maps), *(rival.name for rival in extra)]
    card = explainer.card
    judged, left_out = rivals(
        graph.logits,
        card,
        classifier,
        names,
        saliency_size=(card.explainer.height, card.explainer.width),
        seed=settings.seed,
        rise_masks=settings.rise_masks,
        extra=extra,
    )
    suite = Suite(explainer, graph, judged, metrics, settings.seed, settings.costly, say=settings.say)
    return suite, left_out


def _optimised(explainer: Explainer, classifier: FrozenClassifier | None, settings: EvaluateSettings) -> list[Rival]:
    """The map of per-image optimisation where it is asked for, with the objective that the run was trained on."""
    if not settings.optimise_steps:
        return []
    if classifier is None or settings.run is None:
        raise InputError(
            f"optimise_steps: {settings.optimise_steps} steps a picture were asked for, which need the classifier "
            "itself; give its run directory with --run"
        )
    from whymask.benchmarks.rivals.optimised import optimised_rival
    from whymask.train.model_spec import classifier_from_config
    from whymask.train.run import load_run

    objective = settings.optimise_as or load_run(settings.run).config
    if settings.optimise_as is not None:
        classifier = _same_classifier(classifier, classifier_from_config(settings.optimise_as))
    of_taps = settings.optimise_as is not None or objective.sharpen or objective.detail
    finest = classifier.tap_specs[0] if of_taps else explainer.card.explainer
    size, steps, seed = (finest.height, finest.width), settings.optimise_steps, settings.seed
    return [optimised_rival(classifier, explainer.card, size, steps=steps, seed=seed, objective=objective)]


def _same_classifier(of_run: FrozenClassifier, other: FrozenClassifier) -> FrozenClassifier:
    """The other, if it has the weights of the run's: it may read other taps, and nothing else may differ.

    Raises:
        InputError: it has others.
    """
    if other.sha256() != of_run.sha256():
        raise InputError(
            f"optimise_as: classifier {other.id!r} has other weights than the run's {of_run.id!r}; expected the same"
        )
    return other


def picture_sets(folders: Sequence[Path], truth: str | None = None, limit: int | None = None) -> list[PictureSet]:
    """The pictures of folders as sets with names of their own.

    Args:
        folders: each a set; one without a picture of which the truth is known is judged without it.
        truth: `masks:DIR` or `boxes:CSV`; a set then keeps the pictures that it is known of.
        limit: pictures a set, evenly spread; None takes all.

    Raises:
        InputError: no such folder, a folder given twice, no picture in it, or no truth for any of them.
    """
    names = _names(folders)
    found = [PictureSet(name, next(iter(pictures_in(f).values()))) for name, f in zip(names, folders, strict=True)]
    if truth is not None:
        found = _with_truth(found, truth)
    return [limited(each, limit) for each in found]


def limited(pictures: PictureSet, limit: int | None) -> PictureSet:
    """At most `limit` pictures of a set, evenly spread over it, so that every folder is met.

    Raises:
        InputError: `limit` is below 1.
    """
    chosen, truth = spread(range(len(pictures.images)), limit), pictures.truth
    images = [pictures.images[position] for position in chosen]
    if truth is None:
        return PictureSet(pictures.name, images)
    return PictureSet(pictures.name, images, lambda place, rule: truth(chosen[place], rule), pictures.stated)


WRITERS: dict[str, Callable[[Evaluation], str]] = {
    ".json": lambda found: json_from_report(found.record) + "\n",
    ".csv": lambda found: csv_from_record(found.summaries, found.record),
    ".md": lambda found: page_from_record(found.summaries, found.record),
    ".html": lambda found: page_from_evaluation(found.summaries, found.record, found.examples),
}
"""Forms of a report, by the ending of its file."""
STEM = "evaluation"
"""Of the files in a folder."""


def check_output(output: Path) -> None:
    """Refuse an output that names no form or cannot be written, before anything is judged.

    Raises:
        ArtefactError: it cannot be written.
        InputError: an ending that is none of `WRITERS`.
    """
    check_targets(output, STEM, WRITERS)


def write_evaluation(found: Evaluation, output: Path) -> list[Path]:
    """Write an evaluation as its output's ending says, or in all forms into a folder; gives the files.

    Raises:
        ArtefactError: a file cannot be written.
        InputError: an ending that is none of `WRITERS`.
    """
    return write_forms(found, output, STEM, WRITERS)


def _maps(asked: Sequence[str]) -> list[str]:
    """Names of rivals: those asked for behind those that always run. The explainer is there in any case."""
    return list(dict.fromkeys(name for name in (*ALWAYS, *asked) if name != baselines.EXPLAINER))


def _names(folders: Sequence[Path]) -> list[str]:
    """A folder's name, with its parent's where two share it."""
    places = [folder.resolve() for folder in folders]
    if len(set(places)) < len(places):
        raise InputError(f"data: {', '.join(map(str, folders))}; a folder stands once")
    names = [place.name for place in places]
    return [
        f"{place.parent.name}/{name}" if names.count(name) > 1 else name
        for place, name in zip(places, names, strict=True)
    ]


def _with_truth(sets: Sequence[PictureSet], spec: str) -> list[PictureSet]:
    found, refused = [], []
    for each in sets:
        try:
            known = truth_for(spec, [image for image in each.images if isinstance(image, Path)], each.name)
        except InputError as error:
            refused.append(error)
            found.append(each)
            continue
        found.append(PictureSet(each.name, known.images, known.truth, known.stated))
    if len(refused) == len(sets):
        raise refused[0]
    return found
