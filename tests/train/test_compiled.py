"""Compiled passes: the same answers and gradients, the same run, one message where nothing can be compiled."""

from __future__ import annotations

import csv
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from whymask.runtime.errors import TrainingError
from whymask.train.classifier import FrozenClassifier
from whymask.train.compiled import compiled
from whymask.train.config import TrainConfig
from whymask.train.fit import train

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++")),
    reason="needs a C++ compiler: neither g++ nor clang++ is on this machine",
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that another run compiled is found."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    torch.compiler.reset()


def asked(classifier: FrozenClassifier, x: torch.Tensor) -> list[torch.Tensor]:
    """Logits, taps and the gradient at the pixels."""
    shown = x.clone().requires_grad_(True)
    logits, features = classifier.with_taps(shown)
    torch.autograd.backward(logits.logsumexp(1).sum() + sum(maps.square().mean() for maps in features))
    assert shown.grad is not None
    return [logits.detach(), *[maps.detach() for maps in features], shown.grad]


@needs_compiler
def test_answers_and_gradients_are_the_classifiers_and_it_stays_as_it_is(classifier: FrozenClassifier) -> None:
    digest, before = classifier.sha256(), dict(vars(classifier))
    twin = compiled(classifier, 4, nullcontext())
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for one, other in zip(asked(classifier, x), asked(twin, x), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(twin(x), classifier(x), rtol=1e-4, atol=1e-5)
    assert classifier.sha256() == digest and dict(vars(classifier)) == before
    assert {"with_taps", "forward"} <= set(vars(twin))


@needs_compiler
def test_a_compiled_run_learns_what_a_plain_one_learns(config: TrainConfig, tmp_path: Path) -> None:
    losses = []
    for compile_it in (False, True):
        folder = tmp_path / f"run-{compile_it}"
        train(replace(config, steps=4, compile=compile_it, level_from=0.5), folder)
        rows = csv.DictReader((folder / "metrics.csv").read_text("utf-8").splitlines())
        losses.append([float(row["loss"]) for row in rows])
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


def test_where_nothing_can_be_compiled_one_message_says_what_is_needed(
    classifier: FrozenClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(function):
        def call(*arguments: object) -> None:
            raise RuntimeError("No working C++ compiler found\n  a long trace")

        return call

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.raises(TrainingError) as caught:
        compiled(classifier, 4, nullcontext())
    words = str(caught.value)
    assert "(No working C++ compiler found); on a processor it needs a C++ compiler" in words
    assert "Leave --compile out" in words and "a long trace" not in words
