"""The classifier inside a fused file: the nodes that lead to its logits, and no others, as a session of their own.

ONNX Runtime runs every node of a graph whichever outputs are asked for. A judgement asks for the logits of hundreds of
masked pictures and never for their masks: what follows a picture's own explanation is spared here, without another file
whose numbers might differ.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whymask.runtime.backends import Backend
from whymask.runtime.card import IMAGE, LOGITS
from whymask.runtime.explainer import Explainer
from whymask.runtime.ort import OrtBackend

WHOLE_GRAPH = "the whole graph, whose explainer runs in every pass"
LOGITS_ONLY = "the nodes of the graph that lead to its logits"


@contextmanager
def logits_backend(
    file: Path, explainer: Explainer, threads: int | None = None
) -> Iterator[tuple[Backend | None, str]]:
    """What gives the logits of a judged file, while the body runs.

    Args:
        file: the judged graph or engine.
        explainer: the same, loaded; the nodes run on its provider.
        threads: see `OrtBackend`.

    Yields:
        The backend, or None where the whole graph has to be asked: an engine, or a machine without the package onnx.
        With it, in words, which it is and why.
    """
    if not isinstance(explainer.backend, OrtBackend):
        yield None, f"{WHOLE_GRAPH}: an engine is asked as a whole"
        return
    try:
        import onnx  # noqa: F401
    except ImportError:
        yield None, f"{WHOLE_GRAPH}: install onnx to spare it: pip install 'whymask[export]'"
        return
    with tempfile.TemporaryDirectory(prefix="whymask-") as folder:
        path = write_logits_graph(file, Path(folder) / "logits.onnx")
        with OrtBackend(path, explainer.backend.provider, threads, spin=False) as backend:
            yield backend, LOGITS_ONLY


def write_logits_graph(file: Path, path: Path) -> Path:
    """Write the part of an ONNX file that its logits depend on.

    Args:
        file: a graph of the contract.
        path: where to.

    Returns:
        `path`.
    """
    import onnx
    from onnx.utils import Extractor

    onnx.save(Extractor(onnx.load(file)).extract_model([IMAGE], [LOGITS]), path)
    return path
