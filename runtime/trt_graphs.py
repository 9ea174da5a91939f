"""CUDA graphs of an engine's runs: captured once a shape, launched thereafter, the least recently used destroyed.

Every graph has an execution context of its own, as NVIDIA advises: TensorRT keeps shapes and scratch memory in the
context, so one that went on to another shape could change what a graph captured earlier does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass

from whymask.runtime.cudart import Cuda
from whymask.runtime.errors import BackendError
from whymask.runtime.trt_engine import Context, Engine

MOST_GRAPHS = 8
"""Graphs kept by one lane. An application uses one or two batch sizes; each graph holds a context's memory."""


@dataclass(frozen=True)
class _Captured:
    context: Context
    executable: int


class CapturedGraphs:
    """The graphs of one stream.

    Args:
        engine: makes the contexts.
        cuda: captures.
        stream: on which the work is captured and launched; not the default one.
        limit: most graphs kept.
    """

    def __init__(self, engine: Engine, cuda: Cuda, stream: int, limit: int = MOST_GRAPHS) -> None:
        self._engine, self._cuda, self._stream, self._limit = engine, cuda, stream, limit
        self._graphs: OrderedDict[Hashable, _Captured] = OrderedDict()

    def launch(self, key: Hashable, queue: Callable[[Context], None]) -> None:
        """Launch the graph of this key, which is captured first where there is none.

        Args:
            key: stands for the shapes and for what is copied.
            queue: queues the work on the stream; called only to warm up and to capture.

        Raises:
            BackendError: the work cannot be captured, or cannot be launched.
        """
        captured = self._graphs.get(key)
        if captured is None:
            captured = self._add(key, queue)
        else:
            self._graphs.move_to_end(key)
        self._cuda.launch(captured.executable, self._stream)

    def close(self) -> None:
        """Destroy every graph and its context; none may be running."""
        while self._graphs:
            self._drop_oldest()

    def _add(self, key: Hashable, queue: Callable[[Context], None]) -> _Captured:
        while len(self._graphs) >= self._limit:
            self._drop_oldest()
        context = self._engine.new_context(for_capture=True)
        try:
            # TensorRT defers work to the first run of a shape, which must not be captured.
            queue(context)
            self._cuda.synchronize(self._stream)
            captured = _Captured(context, self._capture(context, queue))
        except BaseException:
            context.close()
            raise
        self._graphs[key] = captured
        return captured

    def _capture(self, context: Context, queue: Callable[[Context], None]) -> int:
        refusal = f"{self._engine.path}: this engine cannot be captured as a CUDA graph; load it without cuda_graph"
        if not context.is_capturable(self._stream):
            raise BackendError(f"{refusal} (so {self._engine.library} says)")
        try:
            graph = self._captured(context, queue)
            try:
                return self._cuda.instantiate(graph)
            finally:
                self._cuda.destroy_graph(graph)
        except BackendError as error:
            raise BackendError(f"{refusal} ({error})") from error

    def _captured(self, context: Context, queue: Callable[[Context], None]) -> int:
        self._cuda.begin_capture(self._stream)
        try:
            queue(context)
        except BaseException:
            # Ends the capture, so that the stream can be used again; what failed first is the error to tell.
            with suppress(BackendError):
                self._cuda.destroy_graph(self._cuda.end_capture(self._stream))
            raise
        return self._cuda.end_capture(self._stream)

    def _drop_oldest(self) -> None:
        _, captured = self._graphs.popitem(last=False)
        try:
            self._cuda.destroy_executable(captured.executable)
        finally:
            captured.context.close()
