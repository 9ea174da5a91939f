"""The two graphs of one measurement: the fused one and the classifier alone, opened in the same runtime or refused.

ONNX files run in ONNX Runtime, engines in TensorRT; never one of each, for then the ratio would compare two runtimes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks.latency import Images, TimedRun
from whymask.benchmarks.machine import usable_cpus
from whymask.runtime.alone import classifier_path
from whymask.runtime.backends import Arrays, Backend, check_contract
from whymask.runtime.card import IMAGE, LOGITS, MASK, SALIENCY
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.explainer import ENGINE_SUFFIXES
from whymask.runtime.feeds import feeds_for
from whymask.runtime.ort import CPU, OrtBackend

if TYPE_CHECKING:
    from whymask.runtime.engine_card import EngineCard
    from whymask.runtime.trt import TrtBackend

OnStep = Callable[[str, bool], None]
"""Told a step of loading, and whether a GPU holds what is loaded."""
FUSED_LOADED, BOTH_LOADED = "fused graph loaded", "classifier loaded too"
ONNXRUNTIME = "onnxruntime"
LEAST_AGREEMENT = 0.9
"""Share of pictures with equal top-1 below which two files cannot be of one classifier, half precision or not."""
SLEEPING = "threads sleep between calls (no spin-wait), so that neither graph's threads take a core from the other's"
"""Two copies of one ResNet-18, 2 threads on 2 cores, took 46 ms in pairs while threads spun, 32 ms while they slept."""
ON_THE_GPU = "the calling thread waits for the GPU, spinning or asleep as the driver chooses"
INSIDE = "H2D and D2H are inside every call: inputs and outputs are in host memory"
ZERO_COPY = "no H2D and D2H: the GPU reads inputs and writes outputs in host memory (zero copy)"
BUILT_ALIKE = ("builder", "builder_version", "precision", "min_batch", "opt_batch", "max_batch")
FLAGS_ALIKE = ("workspace_mib", "optimization_level", "dla_core", "tf32")
"""What two engines must share for their ratio to be the cost of the explanation: fields and flags of their sidecars."""


@dataclass(frozen=True)
class RunOptions:
    """How both graphs are run.

    Attributes:
        provider: of ONNX Runtime; None takes the best that loads. Not for engines.
        threads: inside one operator; None takes all cores that this process may use. Not for engines.
        cuda_graph: capture each engine's call once and replay it. For engines alone.
    """

    provider: str | None = None
    threads: int | None = None
    cuda_graph: bool = False


@dataclass(frozen=True)
class Runtime:
    """What runs both graphs of a pair, and how.

    Attributes:
        backend: `onnxruntime` or the engines' builder.
        provider: what really runs them, in the library's own words.
        precision: of the fused graph, or of its engine as built.
        threads: of the host that one call uses.
        waiting: what they do between calls.
        transfers: whether copies between host and device are in a call.
        on_gpu: whether a GPU runs them.
        cuda_graph: whether each call replays a captured graph.
        zero_copy: whether the GPU reads and writes host memory in place.
        engine: what the fused engine is; None for an ONNX file.
    """

    backend: str
    provider: str
    precision: str
    threads: int
    waiting: str
    transfers: str
    on_gpu: bool
    cuda_graph: bool = False
    zero_copy: bool = False
    engine: EngineCard | None = None


@dataclass(frozen=True)
class Pair:
    """Both graphs, open, and what runs them."""

    fused: Backend
    alone: Backend
    runtime: Runtime


@contextmanager
def open_pair(
    file: Path, alone_file: Path, options: RunOptions, on_step: OnStep = lambda name, on_gpu: None
) -> Iterator[Pair]:
    """Open both graphs in one runtime, and close them again.

    Args:
        file: the fused ONNX file or engine.
        alone_file: the classifier alone, of the same kind.
        options: how to run both.
        on_step: called before loading and after each of the two, with whether a GPU holds what is loaded so far.

    Raises:
        ArtefactError: a file is missing, is no such graph, or the two do not belong together.
        InputError: an option does not belong to this kind of file.
        BackendError: the runtime does not load.
    """
    _check_kinds(file, alone_file, options)
    if not alone_file.is_file():
        raise ArtefactError(
            f"{alone_file}: no such file, expected the classifier alone, to compare with. {_made_by(file)}"
        )
    on_step("before loading", _is_engine(file))
    with (_open_engines if _is_engine(file) else _open_onnx)(file, alone_file, options, on_step) as pair:
        yield pair


def alone_beside(file: Path, classifier: Path | None) -> Path:
    """The classifier alone of a fused file: the one that was named, else the one beside it.

    Args:
        file: the fused ONNX file or engine.
        classifier: the classifier alone; None takes `<stem>.classifier<suffix>` beside the file.

    Raises:
        ArtefactError: there is no fused file, whose classifier would be looked for in vain.
    """
    if not file.is_file():
        what = "a folder" if file.is_dir() else "no such file"
        raise ArtefactError(f"{file}: {what}, expected an ONNX file of whymask export, or an engine of whymask build")
    return classifier or classifier_path(file)


def misplaced(pair: Pair, alone_file: Path) -> tuple[str, ...]:
    """Why a ratio is not the cost of the explanation, where a fused graph stands in the classifier's place."""
    explains = [name for name in (SALIENCY, MASK) if name in pair.alone.outputs]
    if not explains:
        return ()
    return (
        f"{alone_file.name} gives {' and '.join(explains)} itself, so the ratio is not what the explanation costs: "
        "name the classifier alone with --classifier",
    )


def check_graphs(pair: Pair, file: Path, alone_file: Path, batch: int) -> None:
    """Refuse two graphs that do not belong together, or that do not take this batch.

    Raises:
        ArtefactError: one is no fused graph, or no classifier of the same input.
        InputError: one takes no such batch.
    """
    check_contract(pair.fused, str(file))
    alone = pair.alone
    if IMAGE not in alone.inputs or LOGITS not in alone.outputs or len(alone.inputs) != 1:
        raise ArtefactError(
            f"{alone_file}: inputs {', '.join(alone.inputs)} and outputs {', '.join(alone.outputs)}, expected "
            f"{IMAGE} and {LOGITS}, as `whymask export` writes them"
        )
    given, expected = alone.inputs[IMAGE], pair.fused.inputs[IMAGE]
    if (given.dtype, given.shape[1:]) != (expected.dtype, expected.shape[1:]):
        raise ArtefactError(f"{alone_file}: {given}, expected the input of {file.name}, {expected}; export both again")
    for backend, name in ((pair.fused, file), (alone, alone_file)):
        _check_batch(backend, name, batch)


def runner(backend: Backend) -> Callable[[Images], Arrays]:
    """A graph as a function of its pictures: uint8 (B, H, W, 3) → all outputs."""
    return lambda images: backend.run(feeds(backend, images))


def timed_runner(backend: Backend) -> TimedRun | None:
    """A graph as a function that tells the milliseconds of each part of a call; None where the backend cannot tell."""
    timed_run = getattr(backend, "timed_run", None)
    if timed_run is None:
        return None

    def timed(images: Images) -> Mapping[str, float]:
        _, timings = timed_run(feeds(backend, images))
        return {name.removesuffix("_ms"): value for name, value in dataclasses.asdict(timings).items()}

    return timed


def feeds(backend: Backend, images: Images) -> Mapping[str, NDArray[Any]]:
    """What a graph is given for a batch: uint8 (B, H, W, 3), and the predicted class where it takes a target."""
    return feeds_for(backend.inputs, images)


def batches_of(images: Images, batch: int) -> list[Images]:
    """Every picture once, in batches uint8 (B, H, W, 3); the last is filled up with the first pictures."""
    starts = range(0, len(images), batch)
    return [np.ascontiguousarray(images[np.arange(at, at + batch) % len(images)]) for at in starts]


def agreement(pair: Pair, images: Images, batch: int, alone_file: Path) -> float:
    """Share of equal top-1; two files that merely lie beside each other are refused.

    Raises:
        ArtefactError: they agree so seldom that they are not of one classifier.
    """
    batches = batches_of(images, batch)
    run_fused, run_alone = runner(pair.fused), runner(pair.alone)
    equal = [run_fused(each)[LOGITS].argmax(1) == run_alone(each)[LOGITS].argmax(1) for each in batches]
    share = float(np.concatenate(equal).mean())
    if share < LEAST_AGREEMENT:
        raise ArtefactError(
            f"{alone_file}: predicts the same class as the fused graph on {100 * share:.0f} % of {len(images)} "
            f"pictures, expected {100 * LEAST_AGREEMENT:.0f} % or more, so it is not its classifier; export both again"
        )
    return share


def _is_engine(file: Path) -> bool:
    return file.suffix in ENGINE_SUFFIXES


def _made_by(file: Path) -> str:
    if _is_engine(file):
        return (
            f"`whymask build FUSED.onnx -o {file.name} --classifier` writes it beside {file.name}; build again, or "
            "name it with --classifier"
        )
    return "`whymask export RUN -o FILE.onnx` writes it beside FILE.onnx; export again, or name it with --classifier"


def _check_kinds(file: Path, alone_file: Path, options: RunOptions) -> None:
    if _is_engine(file) != _is_engine(alone_file):
        raise InputError(
            f"{file.name} and {alone_file.name} run in different runtimes, so their times cannot be compared; "
            "give two ONNX files or two engines"
        )
    if _is_engine(file):
        given = {"--provider": options.provider, "--threads": options.threads}
        wrong = [name for name, value in given.items() if value is not None]
    else:
        wrong = ["--cuda-graph"] if options.cuda_graph else []
    if wrong:
        kind, other = ("engine", "ONNX files") if _is_engine(file) else ("ONNX file", "engines")
        raise InputError(f"{file.name} is an {kind}, and {wrong[0]} is for {other} alone; leave it out")


@contextmanager
def _open_onnx(file: Path, alone_file: Path, options: RunOptions, on_step: OnStep) -> Iterator[Pair]:
    threads = len(usable_cpus()) if options.threads is None else options.threads
    with ExitStack() as stack:
        fused = stack.enter_context(OrtBackend(file, options.provider, threads, spin=False))
        on_gpu, precision = fused.provider != CPU, fused.card.precision
        on_step(FUSED_LOADED, on_gpu)
        alone = stack.enter_context(OrtBackend(alone_file, fused.provider, threads, spin=False))
        on_step(BOTH_LOADED, on_gpu)
        transfers = INSIDE if on_gpu else "H2D and D2H do not apply: the graph runs in host memory"
        yield Pair(fused, alone, Runtime(ONNXRUNTIME, fused.provider, precision, threads, SLEEPING, transfers, on_gpu))


@contextmanager
def _open_engines(file: Path, alone_file: Path, options: RunOptions, on_step: OnStep) -> Iterator[Pair]:
    with ExitStack() as stack:
        fused = stack.enter_context(open_engine(file, options.cuda_graph))
        on_step(FUSED_LOADED, True)
        alone = stack.enter_context(open_engine(alone_file, options.cuda_graph))
        on_step(BOTH_LOADED, True)
        card = fused.engine_card
        _check_built_alike(card, alone.engine_card, alone_file)
        runtime = Runtime(
            backend=card.builder,
            provider=fused.provider,
            precision=card.precision,
            threads=1,
            waiting=ON_THE_GPU,
            transfers=ZERO_COPY if fused.zero_copy else INSIDE,
            on_gpu=True,
            cuda_graph=options.cuda_graph,
            zero_copy=fused.zero_copy,
            engine=card,
        )
        yield Pair(fused, alone, runtime)


def open_engine(file: Path, cuda_graph: bool, zero_copy: bool | None = None) -> TrtBackend:
    """An engine in TensorRT; takes its options and raises as `TrtBackend` does."""
    from whymask.runtime.trt import TrtBackend

    return TrtBackend(file, cuda_graph=cuda_graph, zero_copy=zero_copy)


def _check_built_alike(fused: EngineCard, alone: EngineCard, alone_file: Path) -> None:
    pairs = {name: (getattr(alone, name), getattr(fused, name)) for name in BUILT_ALIKE}
    pairs |= {name: (alone.flags.get(name), fused.flags.get(name)) for name in FLAGS_ALIKE}
    for name, (here, expected) in pairs.items():
        if here != expected:
            raise ArtefactError(
                f"{alone_file}: built with {name} {here}, and the fused engine with {expected}, so their ratio would "
                f"not be the cost of the explanation; build both again: {fused.build_command}"
            )


def _check_batch(backend: Backend, file: Path, batch: int) -> None:
    low, high = backend.batch_range
    if low == high != batch:
        raise InputError(f"batch is {batch}, but {file.name} takes batches of {low} only; bench with --batch {low}")
    if batch < low or (high is not None and batch > high):
        raise InputError(
            f"batch is {batch}, but {file.name} takes batches of {low} to {high}; build it with --max-batch {batch}"
        )
