"""ONNX Runtime as a backend: the provider is chosen and stated, or asked for, and never silently another.

Session settings, and what they are for:

- Threads inside one operator: ONNX Runtime's default, one a physical core, for a single stream. Give `threads=1` where
  several threads or processes explain at once, and the number of cores that is granted in a container.
- Operators run one after the other, ONNX Runtime's default: no second pool of threads.
- Waiting threads spin, which answers sooner; two sessions used in turn must not (`spin=False`), as of a trigger or a
  benchmark's pair: they would take each other's cores (two ResNet-18 in turn took 46 ms in place of 32).
- Memory: each session has an arena of ONNX Runtime's own, which keeps what its largest batch took, and its own weights.

What stays on the GPU between graphs is the engine's part: `TrtBackend.run_on_device`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from whymask.runtime.backends import Arrays, TensorInfo
from whymask.runtime.card import IMAGE, METADATA_KEY, Card
from whymask.runtime.checks import check_count
from whymask.runtime.closing import Closing
from whymask.runtime.cuda import cuda_driver
from whymask.runtime.errors import ArtefactError, BackendError, InputError, MissingExtra
from whymask.runtime.text_card import METADATA_KEY as TEXT_KEY

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
SHORT_NAMES = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}
"""What a user may say instead of ONNX Runtime's own names."""
MOST_THREADS = 1024
"""ONNX Runtime starts as many as it is told, and hangs over a hundred thousand."""
HELPERS = {CPU: (), CUDA: (CPU,), TENSORRT: (CUDA, CPU)}
"""Providers that may take the operators which the first one lacks."""
DTYPES = {"float": "float32", "double": "float64"}
"""ONNX Runtime's names of types where they are not numpy's."""
ERRORS_ONLY = 3
CRASHING = ("MatmulTransposeFusion",)
"""Optimisers left out on the CPU. This one ends the process (1.31, in loading) on the half-precision graph of a
transformer whose attention is written as torchvision's."""


class OrtBackend(Closing):
    """A graph in ONNX Runtime. `run` may be called from several threads at once, as ONNX Runtime's sessions allow.

    Args:
        path: the ONNX file.
        provider: `cpu`, `cuda`, `tensorrt` or ONNX Runtime's own name of a provider; None takes CUDA where it really
            loads, else the CPU.
        threads: threads inside one operator on the CPU; None leaves it to ONNX Runtime (one a physical core).
        spin: let those threads wait for the next call by spinning, which answers sooner; without it they sleep between
            calls, so that they take no core from another graph of the same process.

    Attributes:
        metadata: the file's own texts, by key.

    Raises:
        MissingExtra: onnxruntime is not installed.
        BackendError: the provider that was asked for does not load.
        ArtefactError: no such file, or not a graph that ONNX Runtime can run.
    """

    def __init__(
        self, path: str | Path, provider: str | None = None, threads: int | None = None, spin: bool = True
    ) -> None:
        self._path = Path(path)
        if not os.path.isfile(self._path):  # False for a name that is too long, too
            raise ArtefactError(f"{self._path}: no such file, expected an ONNX graph made by whymask export")
        ort = import_onnxruntime("run an ONNX graph")
        if provider is None:
            self._session = _best_session(ort, self._path, lambda: _options(ort, threads, spin))
        else:
            self._session = _asked_session(ort, self._path, _options(ort, threads, spin), _full_name(ort, provider))
        self._provider: str = self._session.get_providers()[0]
        self._inputs = {node.name: _tensor_info(node) for node in self._session.get_inputs()}
        self._outputs = {node.name: _tensor_info(node) for node in self._session.get_outputs()}
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self._card: Card | None = None

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of the provider that the session really has."""
        return self._provider

    @property
    def inputs(self) -> Mapping[str, TensorInfo]:
        """Inputs by name."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, TensorInfo]:
        """Outputs by name."""
        return self._outputs

    @property
    def batch_range(self) -> tuple[int, int | None]:
        """Smallest and largest batch, in images: the same for a graph of a fixed batch, 1 and None for an open one."""
        batch = self._inputs[IMAGE].shape[0]
        return (batch, batch) if isinstance(batch, int) else (1, None)

    @property
    def card(self) -> Card:
        """The card in the file's metadata.

        Raises:
            ArtefactError: there is none, it is broken, or its schema is newer than this version reads.
        """
        if self._card is None:
            text = self.metadata.get(METADATA_KEY)
            if text is None and TEXT_KEY in self.metadata:
                raise ArtefactError(
                    f"{self._path}: a graph of texts, expected one of pictures; load it with load_text, and time it "
                    "with: python -m whymask.benchmarks.text_latency FILE.onnx --texts FILE"
                )
            if text is None:
                raise ArtefactError(
                    f"{self._path}: no card in the graph (metadata key {METADATA_KEY!r}), so it was not made by "
                    "whymask export; make one with: whymask export RUN -o FILE.onnx"
                )
            try:
                self._card = Card.from_json(text)
            except ArtefactError as error:
                raise ArtefactError(f"{self._path}: {error}") from error
        return self._card

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> Arrays:
        """Run once; the returned arrays belong to the caller.

        Args:
            feeds: every input by name.
            outputs: names of the outputs wanted, or None for all.

        Raises:
            BackendError: the provider fails, or the backend is closed.
        """
        session = self._session
        if session is None:
            raise BackendError(f"{self._path}: the graph was closed; load it again")
        wanted = list(self._outputs if outputs is None else outputs)
        try:
            return dict(zip(wanted, session.run(wanted, feeds), strict=True))
        # onnxruntime's exceptions have no public base class.
        except Exception as error:
            raise BackendError(f"{self._path}: {self._provider} failed: {_first_line(error)}") from error

    def close(self) -> None:
        """Let go of the session; closing twice does nothing."""
        self._session = None


def import_onnxruntime(purpose: str) -> Any:
    """The onnxruntime module.

    Args:
        purpose: what it is needed for, as the end of "… is needed to".

    Raises:
        MissingExtra: it is not installed.
        BackendError: it is installed and broken.
    """
    try:
        import onnxruntime as ort
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise BackendError(f"onnxruntime is installed and lacks {error.name}; install it again") from error
        raise MissingExtra("onnxruntime", "ort", purpose) from None
    except ImportError as error:
        raise BackendError(f"onnxruntime is installed and does not load: {_first_line(error)}") from error
    if not hasattr(ort, "InferenceSession"):
        raise BackendError(
            "onnxruntime is installed and has no InferenceSession, as after removing one of onnxruntime and "
            "onnxruntime-gpu where both were installed; uninstall both, then install one"
        )
    return ort


def _checked_threads(threads: object) -> int:
    count = check_count("threads", threads, ", or None")
    if count > MOST_THREADS:
        raise InputError(f"threads: got {count}, expected at most {MOST_THREADS}; give as many as there are cores")
    return count


def _options(ort: Any, threads: int | None, spin: bool) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    if not spin:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = _checked_threads(threads)
    return options


def _full_name(ort: Any, provider: str) -> str:
    name = SHORT_NAMES.get(str(provider).lower(), provider)
    listed = ort.get_available_providers()
    if name in listed:
        return name
    remedy = '; uninstall onnxruntime, then: pip install "whymask[ort-gpu]"' if name in (CUDA, TENSORRT) else ""
    raise BackendError(
        f"provider {provider!r} was asked for, and onnxruntime {ort.__version__} has {', '.join(listed)}{remedy}"
    )


def _best_session(ort: Any, path: Path, new_options: Callable[[], Any]) -> Any:
    listed = ort.get_available_providers()
    # TensorRT's provider builds an engine for minutes at the first run, so it must be asked for.
    # onnxruntime-gpu lists CUDA on every machine and writes errors to the terminal when it cannot load: ask the driver.
    if CUDA in listed and cuda_driver().devices:
        try:
            return _verified_session(ort, path, new_options(), CUDA)
        except BackendError:
            pass
    return _cpu_session(ort, path, new_options())


def _asked_session(ort: Any, path: Path, options: Any, provider: str) -> Any:
    if provider == CPU:
        return _cpu_session(ort, path, options)
    return _verified_session(ort, path, options, provider)


def _cpu_session(ort: Any, path: Path, options: Any) -> Any:
    try:
        return new_cpu_session(ort, str(path), options)
    # onnxruntime's exceptions have no public base class.
    except Exception as error:
        raise ArtefactError(
            f"{path}: onnxruntime {ort.__version__} cannot load this graph: {_first_line(error)}"
        ) from error


def new_cpu_session(ort: Any, graph: str | bytes, options: Any) -> Any:
    """A session on the CPU, which every graph of ours gets there.

    Args:
        ort: the onnxruntime module.
        graph: path of the file, or its content.
        options: onnxruntime's `SessionOptions`.
    """
    return ort.InferenceSession(graph, options, providers=[CPU], enable_fallback=0, disabled_optimizers=list(CRASHING))


def _verified_session(ort: Any, path: Path, options: Any, provider: str) -> Any:
    """A session on this provider, and on no other in its place."""
    helpers = [name for name in HELPERS.get(provider, (CPU,)) if name in ort.get_available_providers()]
    reason = "onnxruntime took another in its place; its own message is above"
    try:
        session = ort.InferenceSession(str(path), options, providers=[provider, *helpers], enable_fallback=0)
        if session.get_providers()[0] == provider:
            return session
    # onnxruntime's exceptions have no public base class.
    except Exception as error:
        reason = _first_line(error)
    raise BackendError(
        f"{path}: {provider} does not load: {reason}; run whymask doctor to see what does, or ask for provider 'cpu'"
    )


def _tensor_info(node: Any) -> TensorInfo:
    dtype = node.type.removeprefix("tensor(").removesuffix(")")
    return TensorInfo(node.name, DTYPES.get(dtype, dtype), tuple(node.shape))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
