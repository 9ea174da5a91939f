"""The folder of an amortized explainer of texts.

RUN/text-explainer.safetensors   parameters of the head
RUN/text-card.json               what is known of it and of its classifier (whymask.runtime.text_card)
RUN/text-config.json             how it was trained, and where its classifier is
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.files import write_atomically
from whymask.runtime.from_json import dataclass_from_record, record_from_json
from whymask.runtime.text_card import CARD_FILE, TextCard
from whymask.runtime.versions import installed_versions
from whymask.train.classifier import module_sha256
from whymask.train.text.amortized_calibrate import calibrate_head
from whymask.train.text.amortized_config import AmortizedConfig
from whymask.train.text.amortized_fit import fit_head, scored
from whymask.train.text.amortized_head import TokenMaskHead
from whymask.train.text.classifier import Tokens
from whymask.train.text.marc import OnStep
from whymask.train.text.reading import ReadableClassifier, state_widths

HEAD_FILE, CONFIG_FILE = "text-explainer.safetensors", "text-config.json"
SCHEMA_VERSION = 1
PACKAGES = ("whymask", "torch", "numpy")
"""Whose versions the card states."""


@dataclass(frozen=True)
class TextRun:
    """A trained head with the classifier that it explains.

    Attributes:
        classifier: frozen.
        head: in eval mode.
        card: what is known of both.
        config: how it was trained.
        model: where the classifier comes from, as the user said.
        path: the folder.
    """

    classifier: ReadableClassifier
    head: TokenMaskHead
    card: TextCard
    config: AmortizedConfig
    model: str
    path: Path

    @torch.no_grad()
    def saliency(self, tokens: Tokens) -> Tensor:
        """m of one text's predicted class, float32 (N,) in [0, 1]; 0 at special tokens."""
        return torch.sigmoid(scored(self.classifier, self.head, [tokens])[1][0]) * ~torch.tensor(tokens.special)


def train_run(
    classifier: ReadableClassifier,
    texts: Sequence[str],
    model: str,
    out: Path,
    config: AmortizedConfig | None = None,
    on_step: OnStep | None = None,
) -> TextRun:
    """Train a head, choose its threshold on texts that it was not trained on, and write the folder.

    Args:
        classifier: asked, never changed.
        texts: unlabelled; the last share `config.holdout` of them, in a seeded order, is for the threshold.
        model: where the classifier comes from.
        out: the folder.
        config: how.
        on_step: told after each step how many are done.

    Raises:
        InputError: too few texts, or one without a word or too long.
        TrainingError: the loss is not finite.
        ArtefactError: the folder cannot be written.
    """
    config = config or AmortizedConfig()
    learn, held = split_texts([classifier.tokenise(text) for text in texts], config)
    head = fit_head(classifier, learn, config, on_step=on_step)
    return run_from_head(classifier, head, learn, held, model, out, config)


def run_from_head(
    classifier: ReadableClassifier,
    head: TokenMaskHead,
    learn: Sequence[Tokens],
    held: Sequence[Tokens],
    model: str,
    out: Path,
    config: AmortizedConfig,
) -> TextRun:
    """Choose the threshold of a trained head, and write the folder.

    Args:
        head: in eval mode.
        learn: what it learned from.
        held: texts for the threshold, that it did not learn from.
        classifier, model, out, config: as for `train_run`.
    """
    calibration = calibrate_head(classifier, head, held, alpha=config.alpha, delta=config.delta)
    card = TextCard(
        classifier=classifier.name,
        sha256=module_sha256(classifier.module),
        labels=tuple(classifier.labels),
        max_tokens=classifier.max_tokens,
        pad_id=classifier.pad_id,
        special_ids=classifier.special_ids,
        threshold=calibration.threshold,
        guarantee=calibration.guarantee,
        parameters=sum(each.numel() for each in head.parameters()),
        seed=config.seed,
        training={"texts": len(learn), "held_out": len(held), **dataclasses.asdict(config)},
        versions=installed_versions(PACKAGES),
        vocabulary=classifier.vocabulary,
    )
    run = TextRun(classifier, head, card, config, model, out)
    save_text_run(run)
    return run


def split_texts(texts: Sequence[Tokens], config: AmortizedConfig) -> tuple[list[Tokens], list[Tokens]]:
    """Texts to learn from and texts for the threshold, in a seeded order.

    Raises:
        InputError: too few for one of each.
    """
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(config.seed)).tolist()
    held = round(config.holdout * len(texts))
    if held < 1 or held >= len(texts):
        raise InputError(
            f"amortized text: {len(texts)} texts, a share of {config.holdout} for the threshold; give some hundred"
        )
    return [texts[row] for row in order[held:]], [texts[row] for row in order[:held]]


def save_text_run(run: TextRun) -> None:
    """Write head, card and configuration, each whole or not at all.

    Raises:
        ArtefactError: the folder cannot be written.
    """
    config = {"schema": SCHEMA_VERSION, "model": run.model, "settings": dataclasses.asdict(run.config)}
    write_atomically(run.path / HEAD_FILE, save(run.head.state_dict()))
    write_atomically(run.path / CONFIG_FILE, json.dumps(config, indent=1) + "\n")
    write_atomically(run.path / CARD_FILE, run.card.to_json(indent=1) + "\n")


def load_text_run(path: Path, *, model: str | None = None) -> TextRun:
    """Read a folder, and load the classifier that it names.

    Args:
        path: the folder.
        model: where the classifier is now, when it moved since training.

    Raises:
        ArtefactError: a file is absent or damaged, or the classifier is another one.
    """
    from whymask.train.text.cli import load_text_classifier

    again = "train it again: whymask train-text"
    card = TextCard.from_json(_read(path, CARD_FILE))
    record = record_from_json(_read(path, CONFIG_FILE), CONFIG_FILE, SCHEMA_VERSION, again)
    config = dataclass_from_record(AmortizedConfig, CONFIG_FILE, record.get("settings"))
    source = model or str(record.get("model"))
    classifier = load_text_classifier(source)
    digest = module_sha256(classifier.module)
    if digest != card.sha256:
        raise ArtefactError(
            f"{path}: the classifier {source} has sha256 {digest[:12]}…, the run was trained for {card.sha256[:12]}…; "
            "give the same classifier with --model, or train again"
        )
    head = TokenMaskHead(state_widths(classifier), len(card.labels), config.width, config.reach)
    try:
        head.load_state_dict(load_file(path / HEAD_FILE))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ArtefactError(f"{path / HEAD_FILE}: does not fit its configuration ({error}); {again}") from None
    return TextRun(classifier, head.eval(), card, config, source, path)


def _read(path: Path, name: str) -> str:
    try:
        return (path / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(
            f"{path} is not a finished folder of whymask train-text: {name} cannot be read ({error}); train it again"
        ) from None
