"""The run directory: an explainer's weights, its card, its configuration.

RUN/explainer.safetensors   parameters and buffers of the explainer
RUN/card.json               the card (whymask.runtime.card)
RUN/config.json             how it was trained; enough to load the classifier again
RUN/metrics.csv             one row a logged step
RUN/checkpoint.pt           to resume from
RUN/teacher/                the teacher's maps, where there is one (whymask.train.teacher_cache)
RUN/unreadable.txt          image files that could not be decoded, with reasons; absent where there were none
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from whymask.runtime.card import Card
from whymask.runtime.errors import ArtefactError
from whymask.runtime.files import nearest_existing, write_atomically
from whymask.train.classifier import FrozenClassifier
from whymask.train.config import TrainConfig
from whymask.train.explainers import Explainer, build_explainer
from whymask.train.flint.interpreter import Interpreter
from whymask.train.model_spec import classifier_from_config

EXPLAINER_FILE = "explainer.safetensors"
CARD_FILE = "card.json"
CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.csv"
CHECKPOINT_FILE = "checkpoint.pt"
UNREADABLE_FILE = "unreadable.txt"
FLINT_FILE = "flint.json"
"""Card of a run of the other method, `whymask.train.flint.run`."""


@dataclass(frozen=True)
class Run:
    """A trained explainer with the classifier that it explains.

    Attributes:
        classifier: frozen, float32.
        explainer: in eval mode, float32.
        card: what is known of both.
        config: how it was trained.
        path: the run directory.
        interpreter: attributes of the same classifier that are exported with it, or None.
    """

    classifier: FrozenClassifier
    explainer: Explainer
    card: Card
    config: TrainConfig
    path: Path
    interpreter: Interpreter | None = None


def refuse_no_folder(out: Path) -> None:
    """Refuse a place where no run directory can be, before hours are spent on it.

    Raises:
        ArtefactError: it, or a folder above it, is a file or cannot be written to.
    """
    there = nearest_existing(out)
    if not there.is_dir():
        raise ArtefactError(f"-o {out}: {there} is a file, expected a folder to write the run into; give another -o")
    if not os.access(there, os.W_OK):
        raise ArtefactError(f"-o {out}: {there} cannot be written to; give another -o")


def save_run(run: Run) -> None:
    """Write weights, card and configuration, each whole or not at all."""
    run.path.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in run.explainer.state_dict().items()}
    write_atomically(run.path / EXPLAINER_FILE, save(state))
    write_atomically(run.path / CONFIG_FILE, run.config.to_json())
    write_atomically(run.path / CARD_FILE, run.card.to_json(indent=2))


def _weights_of(config: TrainConfig, run: Path) -> str | None:
    """Where training had the weights; else the file of that name in the run's folder, which may have moved with it.

    Whichever it is, `load_run` holds its digest to the card's.
    """
    if config.weights is None or Path(config.weights).is_file():
        return config.weights
    beside = run / Path(config.weights).name
    return str(beside) if beside.is_file() else config.weights


def load_run(path: Path, *, model: str | None = None, weights: str | None = None) -> Run:
    """Load a run directory and its classifier.

    Args:
        path: the run directory.
        model, weights: where the classifier is now, when it moved since training.

    Raises:
        ArtefactError: a file is absent, or the classifier is not the one that was explained.
    """
    if not (path / CARD_FILE).is_file() and (path / FLINT_FILE).is_file():
        raise ArtefactError(
            f"{path} holds attributes alone, and a graph needs a mask; train one for the same classifier, then: "
            f"whymask export MASK_RUN --attributes {path} -o FILE.onnx"
        )
    config = TrainConfig.from_json(_read(path, CONFIG_FILE))
    card = Card.from_json(_read(path, CARD_FILE))
    config = replace(config, model=model or config.model, weights=weights or _weights_of(config, path))
    classifier = classifier_from_config(config)
    digest = classifier.sha256()
    if digest != card.classifier.sha256:
        raise ArtefactError(
            f"{path}: the classifier's weights have sha256 {digest[:12]}…, the run was trained for "
            f"{card.classifier.sha256[:12]}…; give the same weights with --model and --weights, or train again"
        )
    explainer = build_explainer(config.explainer_config(), classifier)
    if not (path / EXPLAINER_FILE).is_file():
        raise ArtefactError(
            f"{path} has no {EXPLAINER_FILE}; finish the training with: whymask train … -o {path} --resume"
        )
    load_weights(explainer, path / EXPLAINER_FILE, f"the explainer that {CONFIG_FILE} tells of")
    return Run(classifier, explainer.eval(), card, config, path)


def load_weights(module: nn.Module, file: Path, what: str) -> None:
    """Load a module's weights.

    Args:
        module: takes them.
        file: of safetensors.
        what: the file should be of, for the error.

    Raises:
        ArtefactError: the file is damaged, or of another module.
    """
    try:
        module.load_state_dict(load_file(file))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ArtefactError(
            f"{file}: is damaged, or not of {what} ({' '.join(str(error).split())[:200]}); "
            "copy the folder whole, or train again"
        ) from None


def _read(path: Path, name: str) -> str:
    file = path / name
    if not file.is_file():
        raise ArtefactError(
            f"{path} is not a finished run directory: {name} is absent; make one with: whymask train … -o {path}"
        )
    return text_of(file)


def text_of(file: Path) -> str:
    """Text of a file of a run directory.

    Raises:
        ArtefactError: it cannot be read, or is no text.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{file} is damaged ({error}); copy the folder whole, or train again") from None
