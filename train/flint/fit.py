"""Learning attributes: by design together with the classifier, or post hoc for a frozen one (arXiv 2010.09345, sec. 3).

    classifier, examples  →  steps  →  judge on held-out examples

Letters: B batch, N pictures.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from whymask.runtime.errors import InputError, TrainingError
from whymask.train.classifier import FrozenClassifier
from whymask.train.data import batch_indices
from whymask.train.flint.config import FlintConfig
from whymask.train.flint.examples import Examples
from whymask.train.flint.interpreter import Interpreter
from whymask.train.flint.losses import total, weighted_terms
from whymask.train.flint.relevance import Judged, local_relevance
from whymask.train.loop import GRADIENT_NORM, learning_rate_share

TOGETHER = 64
"""Pictures that are judged, or read, at once."""

Seen = tuple[Tensor, Tensor, list[Tensor]]
"""Pictures (B, 3, H, W) in [−1, 1], logits (B, C), tapped maps (B, c, h, w)."""
Row = dict[str, float]


def new_interpreter(classifier: FrozenClassifier, config: FlintConfig) -> Interpreter:
    """An interpreter with the seed's random weights."""
    torch.manual_seed(config.seed)
    rule = classifier.rule
    return Interpreter(classifier.tap_specs, classifier.num_classes, config.attributes, rule.height, rule.width)


def learn(
    classifier: FrozenClassifier,
    interpreter: Interpreter,
    examples: Examples,
    config: FlintConfig,
    on_step: Callable[[float], None] = lambda loss: None,
) -> list[Row]:
    """Run all steps; the interpreter, and by design the classifier, are changed in place.

    Args:
        classifier: bit-identical afterwards unless `config.by_design`.
        interpreter: from `new_interpreter`.
        examples: with classes where by design.
        config: see `FlintConfig`.
        on_step: told the loss of each step.

    Returns:
        one row of figures a logged step.

    Raises:
        InputError: by design without classes.
        TrainingError: the loss stopped being a number, or a frozen classifier changed.
    """
    if config.by_design and examples.classes is None:
        raise InputError("by_design trains the classifier, which needs the pictures' classes; none were given")
    digest = None if config.by_design else classifier.bits_sha256()
    with _trainable(classifier, config.by_design):
        rows = _steps(classifier, interpreter, examples, config, on_step)
    interpreter.eval()
    if digest not in (None, classifier.bits_sha256()):
        raise TrainingError("the frozen classifier changed during training; please report this")
    return rows


@contextmanager
def _trainable(classifier: FrozenClassifier, by_design: bool) -> Iterator[None]:
    """Let the classifier learn inside the body where it is to; frozen and in eval mode afterwards, also on an error."""
    try:
        if by_design:
            classifier.model.train().requires_grad_(True)
        yield
    finally:
        classifier.model.eval().requires_grad_(False)


def _steps(
    classifier: FrozenClassifier,
    interpreter: Interpreter,
    examples: Examples,
    config: FlintConfig,
    on_step: Callable[[float], None],
) -> list[Row]:
    see = _reader(classifier, examples, config)
    parts: list[nn.Module] = [interpreter, *([classifier.model] if config.by_design else [])]
    parameters = list(itertools.chain.from_iterable(part.parameters() for part in parts))
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    interpreter.train()
    rows: list[Row] = []
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_share(step, config.steps)
        indices = batch_indices(step, config.batch_size, len(examples), config.seed)
        classes = examples.classes[indices] if config.by_design and examples.classes is not None else None
        terms = step_terms(interpreter, see(indices), classes, config, step >= config.concise_from * config.steps)
        loss = total(terms)
        if not bool(torch.isfinite(loss)):
            raise TrainingError(f"the loss is {float(loss)} at step {step}; try a lower learning rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
        optimizer.step()
        on_step(float(loss.detach()))
        if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
            figures = {name: float(value.detach()) for name, value in terms.items()}
            rows.append({"step": float(step + 1), "loss": float(loss.detach()), **figures})
    return rows


def step_terms(
    interpreter: Interpreter, seen: Seen, classes: Tensor | None, config: FlintConfig, is_concise: bool = True
) -> dict[str, Tensor]:
    """Weighted terms of one batch; see `weighted_terms`."""
    x, logits, maps = seen
    phi, interpreted = interpreter(maps)
    pictures = interpreter.decoder(phi), interpreter.target(x)
    return weighted_terms(config, phi, interpreted, logits, pictures, classes, is_concise)


def _reader(classifier: FrozenClassifier, examples: Examples, config: FlintConfig) -> Callable[[Tensor], Seen]:
    """What the classifier sees in some pictures; a frozen one is asked once for all of them where memory allows."""

    def ask(indices: Tensor) -> Seen:
        pixels = examples.pixels[indices].float()
        return (_signed(pixels), *classifier.with_taps(classifier.normalise(pixels)))

    if config.by_design:
        return ask
    frozen = torch.no_grad()(ask)
    values = sum(tap.channels * tap.height * tap.width for tap in classifier.tap_specs)
    if 4 * values * len(examples) > config.cache_gigabytes * 1e9:
        return frozen
    parts = [frozen(part) for part in torch.split(torch.arange(len(examples)), TOGETHER)]
    logits = torch.cat([part[1] for part in parts])
    maps = [torch.cat([part[2][i] for part in parts]) for i in range(len(classifier.tap_specs))]

    def recall(indices: Tensor) -> Seen:
        return _signed(examples.pixels[indices].float()), logits[indices], [each[indices] for each in maps]

    return recall


def _signed(pixels: Tensor) -> Tensor:
    """0–255 → [−1, 1]: classifiers normalise to scales a hundred times apart, which γ must not hang on."""
    return pixels / 127.5 - 1


@torch.no_grad()
def judge(classifier: FrozenClassifier, interpreter: Interpreter, pixels: Tensor) -> Judged:
    """Ask classifier and interpreter about some pictures.

    Args:
        classifier, interpreter: in eval mode.
        pixels: uint8, (N, 3, H, W).

    Raises:
        InputError: there is no picture.
    """
    if not len(pixels):
        raise InputError("no picture to judge an interpreter on; expected at least one")
    parts = []
    for part in torch.split(pixels, TOGETHER):
        logits, maps = classifier.with_taps(classifier.normalise(part.float()))
        phi, interpreted = interpreter(maps)
        predicted = logits.argmax(1)
        parts.append((predicted, interpreted.argmax(1), phi, local_relevance(phi, interpreter.weight, predicted)))
    predicted, named, phi, relevance = (torch.cat(each) for each in zip(*parts, strict=True))
    return Judged(predicted, named, phi, relevance)
