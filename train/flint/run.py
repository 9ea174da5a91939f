"""The run directory of FLINT.

RUN/interpreter.safetensors   parameters and buffers of Φ, h and d
RUN/classifier.safetensors    of the classifier, where it was trained by design
RUN/flint.json                what is known of both: classifier, layers, figures, seed, versions
RUN/config.json               how it was trained; enough to load the classifier again
RUN/metrics.csv               one row a logged step
"""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from whymask.runtime.card import ClassifierCard, InputCard
from whymask.runtime.errors import ArtefactError
from whymask.runtime.files import write_atomically
from whymask.runtime.from_json import dataclass_from_record, record_from_json
from whymask.runtime.progress import track
from whymask.runtime.versions import installed_versions
from whymask.train.classifier import FrozenClassifier
from whymask.train.flint.config import FlintConfig
from whymask.train.flint.examples import Examples, examples_from
from whymask.train.flint.fit import Row, judge, learn, new_interpreter
from whymask.train.flint.interpreter import Interpreter
from whymask.train.flint.relevance import global_relevance
from whymask.train.flint.visualise import thumbnails
from whymask.train.loop import csv_text
from whymask.train.model_spec import classifier_from_config
from whymask.train.run import (
    CARD_FILE,
    CONFIG_FILE,
    FLINT_FILE,
    METRICS_FILE,
    load_weights,
    refuse_no_folder,
    text_of,
)
from whymask.train.summary import REPORTED_PACKAGES

INTERPRETER_FILE = "interpreter.safetensors"
CLASSIFIER_FILE = "classifier.safetensors"
SCHEMA = 1


@dataclass(frozen=True)
class FlintCard:
    """What is known of a run.

    Attributes:
        classifier, input: as in the card of a fused graph; by design, of the classifier as trained.
        layers: names of the classifier's modules that the attributes read.
        names: one name an attribute.
        by_design: whether the classifier was trained with them.
        parameters: number of parameters of Φ and h, which a graph needs; the decoder is for training alone.
        figures: on held-out pictures: `fidelity`, `conciseness` by τ, `accuracy` where classes are known, …
        global_relevance: of held-out pictures: for each predicted class, by its index as text, a number an attribute.
        pictures: of each attribute one that it answers to most, a PNG in base64; empty where none were made.
        seed: of everything random.
        training, versions, licence: as in the card of a fused graph.
    """

    classifier: ClassifierCard
    input: InputCard
    layers: tuple[str, ...]
    names: tuple[str, ...]
    by_design: bool
    parameters: int
    figures: dict[str, Any] = field(default_factory=dict)
    global_relevance: dict[str, list[float]] = field(default_factory=dict)
    pictures: tuple[str, ...] = ()
    seed: int = 0
    training: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    licence: str = "unstated"
    schema: int = SCHEMA

    def to_json(self) -> str:
        """As indented JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> FlintCard:
        """Read a card.

        Raises:
            ArtefactError: not JSON, a newer schema, an unknown or a missing key.
        """
        record = record_from_json(text, FLINT_FILE, SCHEMA, "train again")
        for name, part in (("classifier", ClassifierCard), ("input", InputCard)):
            if name in record:
                record[name] = dataclass_from_record(part, f"{FLINT_FILE} {name}", record[name])
        return dataclass_from_record(cls, FLINT_FILE, record)


@dataclass(frozen=True)
class FlintRun:
    """Attributes with the classifier that they interpret.

    Attributes:
        classifier: frozen, float32.
        interpreter: in eval mode, float32.
        card: what is known of both.
        config: how they were trained.
        path: the run directory.
    """

    classifier: FrozenClassifier
    interpreter: Interpreter
    card: FlintCard
    config: FlintConfig
    path: Path


def train(config: FlintConfig, out: Path) -> FlintRun:
    """Learn attributes from the folders of the configuration, and write the run directory.

    Args:
        config: see `FlintConfig`.
        out: the run directory; made if absent.

    Raises:
        InputError: bad options or data.
        ArtefactError: `out` holds a run.
        TrainingError: the loss stopped being a number.
    """
    refuse_a_run(out)
    classifier = seeded_classifier(config)
    with track(None, "reading images", "images") as bar:
        split = examples_from(config, classifier, bar.advance)
    return train_on(classifier, split.train, split.held_out, config, out, {"unreadable_images": len(split.unreadable)})


def seeded_classifier(config: FlintConfig) -> FrozenClassifier:
    """The configuration's classifier; weights that its factory draws are those of the run's seed."""
    torch.manual_seed(config.seed)
    return classifier_from_config(config)


def train_on(
    classifier: FrozenClassifier,
    train: Examples,
    held_out: Examples,
    config: FlintConfig,
    out: Path,
    facts: dict[str, Any] | None = None,
) -> FlintRun:
    """Learn attributes from examples at hand, judge them on others, and write the run directory.

    Args:
        classifier: as `config.model` and `config.weights` load it.
        train, held_out: what is learned from and what figures are measured on.
        config: see `FlintConfig`.
        out: the run directory; made if absent.
        facts: to add to the card's `training`.
    """
    refuse_a_run(out)
    interpreter = new_interpreter(classifier, config)
    with track(config.steps, "training", "steps") as bar:
        rows = learn(classifier, interpreter, train, config, lambda loss: bar.advance(1, f"loss {loss:.3f}"))
    card = _card_of(classifier, interpreter, config, held_out, {"images": len(train), **(facts or {})})
    if config.pictures:
        card = replace(card, pictures=thumbnails(judge(classifier, interpreter, train.pixels), train.pixels))
    run = FlintRun(classifier, interpreter, card, config, out)
    save_run(run, rows)
    return run


def refuse_a_run(out: Path) -> None:
    """Leave a finished run alone.

    Raises:
        ArtefactError: the folder holds one, of this method or of the other, or there can be no folder.
    """
    refuse_no_folder(out)
    if any((out / name).exists() for name in (FLINT_FILE, CARD_FILE)):
        raise ArtefactError(f"{out} already holds a run; give another -o")


def _card_of(
    classifier: FrozenClassifier,
    interpreter: Interpreter,
    config: FlintConfig,
    held_out: Examples,
    facts: dict[str, Any],
) -> FlintCard:
    judged = judge(classifier, interpreter, held_out.pixels)
    figures: dict[str, Any] = {
        "fidelity": judged.fidelity,
        "conciseness": judged.conciseness(),
        "used_attributes": int((judged.phi > 0).any(0).sum()),
    }
    if held_out.classes is not None:
        figures["accuracy"] = float((judged.predicted == held_out.classes).float().mean())
    of_classes = global_relevance(judged.relevance, judged.predicted, classifier.num_classes)
    return FlintCard(
        classifier=classifier.card(),
        input=classifier.rule.to_card(),
        layers=classifier.taps,
        names=tuple(f"attribute {j}" for j in range(interpreter.attributes)),
        by_design=config.by_design,
        parameters=sum(p.numel() for part in (interpreter.phi, interpreter.head) for p in part.parameters()),
        figures=figures,
        global_relevance={
            str(c): [round(value, 4) for value in of_classes[c].tolist()]
            for c in sorted(set(judged.predicted.tolist()))
        },
        seed=config.seed,
        training={**facts, "held_out_images": len(held_out), "steps": config.steps},
        versions={"python": platform.python_version()} | installed_versions(REPORTED_PACKAGES),
        licence=config.licence,
    )


def save_run(run: FlintRun, rows: Sequence[Row]) -> None:
    """Write weights, configuration, metrics and, last, the card, each whole or not at all."""
    write_atomically(run.path / INTERPRETER_FILE, _weights(run.interpreter))
    if run.config.by_design:
        write_atomically(run.path / CLASSIFIER_FILE, _weights(run.classifier.model))
    write_atomically(run.path / CONFIG_FILE, run.config.to_json())
    write_atomically(run.path / METRICS_FILE, csv_text(list(rows)))
    write_atomically(run.path / FLINT_FILE, run.card.to_json())


def _weights(module: nn.Module) -> bytes:
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()})


def load_run(path: Path, *, model: str | None = None, weights: str | None = None) -> FlintRun:
    """Load a run directory and its classifier.

    Args:
        path: the run directory.
        model, weights: where the classifier is now, when it moved since training.

    Raises:
        ArtefactError: a file is absent, or the classifier is not the one that was interpreted.
    """
    for name in (FLINT_FILE, CONFIG_FILE, INTERPRETER_FILE):
        if not (path / name).is_file():
            raise ArtefactError(
                f"{path} is not a FLINT run: {name} is absent; make one with: whymask train … --method flint -o {path}"
            )
    card = FlintCard.from_json(text_of(path / FLINT_FILE))
    config = FlintConfig.from_json(text_of(path / CONFIG_FILE))
    own = str(path / CLASSIFIER_FILE) if config.by_design else config.weights
    loading = replace(config, model=model or config.model, weights=weights or own, taps=card.layers)
    classifier = classifier_from_config(loading)
    classifier.labels = card.classifier.labels
    if classifier.sha256() != card.classifier.sha256:
        raise ArtefactError(
            f"{path}: the classifier's weights have sha256 {classifier.sha256()[:12]}…, the attributes were trained "
            f"for {card.classifier.sha256[:12]}…; give the same weights, or train again"
        )
    rule = classifier.rule
    interpreter = Interpreter(classifier.tap_specs, classifier.num_classes, len(card.names), rule.height, rule.width)
    load_weights(interpreter, path / INTERPRETER_FILE, f"the attributes that {FLINT_FILE} tells of")
    return FlintRun(classifier, interpreter.eval(), card, config, path)
