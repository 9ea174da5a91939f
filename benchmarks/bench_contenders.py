"""The files of a sweep as contenders: each fused graph, its classifier alone, and both as explain-on-trigger.

Letters: B batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from whymask.benchmarks.bench_pair import (
    OnStep,
    Pair,
    RunOptions,
    agreement,
    alone_beside,
    check_graphs,
    open_pair,
    runner,
)
from whymask.benchmarks.latency import Images, Run
from whymask.benchmarks.latency_rounds import Contender
from whymask.benchmarks.sweep_record import BASELINE, FUSED, TRIGGER
from whymask.runtime.errors import InputError
from whymask.runtime.files import sha256_of
from whymask.runtime.images import Picture, fit

ALONE = "classifier alone"
LEAST_SHARE = 1e-9
"""Of pictures, below which the calls that explain ten of them are not counted any further: they would overflow."""
AGREEMENT_PICTURES = 16
"""As in `bench.py`: pictures on which two files are asked for the same class."""


@dataclass(frozen=True)
class Timed:
    """A contender with what its row says of it.

    Attributes:
        contender: what is timed.
        kind: of the row.
        stated: what a call does.
        cost: see `sweep_record.Row`.
        extrapolated: factor on the measured times.
        threads: of the host that a call uses.
        calls_needed: fewest calls that must have taken part, beyond the settings' own; why is in `needed_for`.
        needed_for: the reason of `calls_needed`.
    """

    contender: Contender
    kind: str
    stated: str
    cost: dict[str, float]
    extrapolated: float = 1.0
    threads: int = 1
    calls_needed: int = 0
    needed_for: str = ""


@dataclass(frozen=True)
class Artefact:
    """One fused file, open, beside its classifier.

    Attributes:
        name: of its rows.
        baseline: name of the classifier's rows.
        file, alone_file: the two files.
        pair: both graphs.
        images: uint8 (N, H, W, 3), the pictures at its input size.
        top1_agreement: see `SweptFile`.
        alone_sha256: digest of the classifier's file.
    """

    name: str
    baseline: str
    file: Path
    alone_file: Path
    pair: Pair
    images: Images
    top1_agreement: float
    alone_sha256: str


@contextmanager
def open_artefacts(
    files: Sequence[Path],
    classifier: Path | None,
    options: RunOptions,
    batches: Sequence[int],
    on_step: OnStep = lambda name, on_gpu: None,
) -> Iterator[list[Pair]]:
    """Open every file beside its classifier alone, and check that all take every batch.

    Args:
        files, classifier, options, batches: as of `run_sweep`.
        on_step: as of `open_pair`, the file's name before that of each step.

    Raises:
        ArtefactError, InputError, BackendError: as `open_pair` and `check_graphs`.
    """
    with ExitStack() as stack:
        pairs = []
        for file in files:
            alone_file = alone_beside(file, classifier)
            told = partial(_named, on_step, file.name)
            pair = stack.enter_context(open_pair(file, alone_file, options, told))
            for batch in batches:
                check_graphs(pair, file, alone_file, batch)
            pairs.append(pair)
        yield pairs


def _named(on_step: OnStep, file: str, step: str, on_gpu: bool) -> None:
    on_step(f"{file}: {step}", on_gpu)


def artefacts(
    files: Sequence[Path], classifier: Path | None, pairs: Sequence[Pair], pictures: Sequence[Picture], batch: int
) -> list[Artefact]:
    """Open files with their names, baselines and pictures.

    Args:
        files: fused ones.
        classifier: the classifier alone of all of them; None takes the file beside each.
        pairs: the same files, open.
        pictures: uint8 (height, width, 3) each.
        batch: one that all graphs take.

    Raises:
        ArtefactError: a file and its classifier predict different classes.
    """
    names = _names(files)
    alone_files = [alone_beside(file, classifier) for file in files]
    digests = [sha256_of(alone) for alone in alone_files]
    keys = [(digest, pair.runtime.backend, pair.runtime.provider) for digest, pair in zip(digests, pairs, strict=True)]
    shared = len(set(keys)) == 1
    first = {key: names[keys.index(key)] for key in keys}
    found = []
    for name, file, alone, key, pair in zip(names, files, alone_files, keys, pairs, strict=True):
        images = np.stack([fit(picture, pair.fused.card.input) for picture in pictures])
        share = agreement(pair, images[:AGREEMENT_PICTURES], batch, alone)
        baseline = ALONE if shared else f"{ALONE} of {first[key]}"
        found.append(Artefact(name, baseline, file, alone, pair, images, share, key[0]))
    return found


def contenders_of(found: Sequence[Artefact], rates: Sequence[float], batch: int) -> list[Timed]:
    """Each classifier alone once, each fused file, and each file on trigger.

    Args:
        found: the files.
        rates: shares of pictures that are explained.
        batch: B.

    Raises:
        InputError: a rate that is no share, or a graph of a fixed batch that cannot explain some of a batch alone.
    """
    baselines = {each.baseline: each for each in reversed(found)}
    timed = [_alone(baselines[name]) for name in dict.fromkeys(each.baseline for each in found)]
    timed += [_fused(each) for each in found]
    return timed + [_on_trigger(each, rate, batch) for each in found for rate in rates]


class OnTrigger:
    """The classifier alone on every picture, then the fused graph on a share of them, evenly spread over the calls.

    Args:
        alone, fused: the two graphs.
        rate: share of pictures that are explained, in (0, 1].
    """

    def __init__(self, alone: Run, fused: Run, rate: float) -> None:
        self._alone, self._fused, self._rate, self._seen = alone, fused, rate, 0

    def __call__(self, images: Images) -> None:
        """Decide on uint8 (B, H, W, 3), and explain as many as are due; which ones does not change the cost."""
        self._alone(images)
        due = self._due(self._seen + len(images)) - self._due(self._seen)
        self._seen += len(images)
        if due:
            self._fused(images[:due])

    def _due(self, seen: int) -> int:
        """Pictures explained among the first `seen`."""
        return math.floor(seen * self._rate + 0.5)


def _names(files: Sequence[Path]) -> list[str]:
    """A file's name, with its folder's where two share it."""
    if len({file.resolve() for file in files}) < len(files):
        raise InputError(f"{', '.join(map(str, files))}: a file stands twice, expected each once")
    names = [file.name for file in files]
    return [f"{file.resolve().parent.name}/{file.name}" if names.count(file.name) > 1 else file.name for file in files]


def _alone(each: Artefact) -> Timed:
    runtime, cost = each.pair.runtime, each.pair.fused.card.cost
    return Timed(
        Contender(each.baseline, runner(each.pair.alone), each.images),
        BASELINE,
        f"{each.alone_file.name} in {runtime.provider}, {runtime.precision}",
        _counted(cost.get("classifier_macs"), cost.get("classifier_nodes"), each.alone_file.stat().st_size),
        threads=runtime.threads,
    )


def _fused(each: Artefact) -> Timed:
    runtime, cost = each.pair.runtime, each.pair.fused.card.cost
    kind, outputs = each.pair.fused.card.explainer.kind, ", ".join(each.pair.fused.outputs)
    return Timed(
        Contender(each.name, runner(each.pair.fused), each.images, each.baseline),
        FUSED,
        f"{kind} explainer fused with the classifier ({outputs}) in {runtime.provider}, {runtime.precision}",
        _counted(cost.get("macs"), cost.get("nodes"), each.file.stat().st_size),
        threads=runtime.threads,
    )


def _on_trigger(each: Artefact, rate: float, batch: int) -> Timed:
    if not 0.0 < rate <= 1.0:
        raise InputError(f"--trigger-rate {rate:g}: expected a share above 0 and at most 1, such as 0.05")
    low, _ = each.pair.fused.batch_range
    if low > 1:
        raise InputError(
            f"{each.name} takes batches of {low} or more, and on trigger some pictures of a batch are explained; "
            "export it with an open batch, or leave --trigger-rate out"
        )
    alone, fused = _alone(each), _fused(each)
    both = {name: alone.cost[name] + fused.cost[name] for name in ("nodes", "bytes") if {name} <= set(fused.cost)}
    macs = {"macs": alone.cost["macs"] + rate * fused.cost["macs"]} if "macs" in fused.cost else {}
    run = OnTrigger(alone.contender.run, fused.contender.run, rate)
    return Timed(
        Contender(f"{each.name} on trigger, {rate:.3g}", run, each.images, each.baseline, by_mean=True),
        TRIGGER,
        f"the classifier alone on every picture, then {each.name} on {100 * rate:.3g} % of them; the ratio is of means",
        macs | both,
        threads=each.pair.runtime.threads,
        calls_needed=math.ceil(10 / max(rate * batch, LEAST_SHARE)),
        needed_for="ten explained pictures",
    )


def _counted(macs: float | None, nodes: float | None, size_bytes: int) -> dict[str, float]:
    """Multiply-adds and nodes as far as the card tells them, and the file's size."""
    told = {"macs": macs, "nodes": nodes, "bytes": float(size_bytes)}
    return {name: float(value) for name, value in told.items() if value is not None}
