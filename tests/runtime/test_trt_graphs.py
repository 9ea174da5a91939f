"""CUDA graphs: captured once a shape after a warm run, launched thereafter, bounded in number, let go of in the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from colour_engine import ColourEngine, same
from fake_tensorrt import RTX

from whymask.runtime.errors import BackendError
from whymask.runtime.trt import TrtBackend
from whymask.runtime.trt_graphs import MOST_GRAPHS

Engines = Callable[..., ColourEngine]
CAPTURE = ("begin_capture", "end_capture", "instantiate", "launch", "execute_async_v3", "synchronize")


def captures(made: ColourEngine, backend: TrtBackend, batch: int, outputs: list[str] | None = None) -> int:
    """Graphs that one run captures; its results are checked."""
    before = made.cuda.names().count("begin_capture")
    expected = made.expected(made.feeds(batch))
    assert same(backend.run(made.feeds(batch), outputs), {name: expected[name] for name in outputs or expected})
    return made.cuda.names().count("begin_capture") - before


def test_a_graph_is_captured_after_a_warm_run_and_then_launched(engine: Engines):
    made = engine()
    with made.open(cuda_graph=True) as backend:
        made.cuda.calls.clear()
        assert captures(made, backend, 2) == 1
        first = [name for name in made.cuda.names() if name in CAPTURE]
        assert first == [
            *("execute_async_v3", "synchronize"),
            *("begin_capture", "execute_async_v3", "end_capture", "instantiate"),
            *("launch", "synchronize"),
        ]
        made.cuda.calls.clear()
        assert captures(made, backend, 2) == 0
        assert made.cuda.names() == ["launch", "synchronize"]


def test_another_batch_or_other_outputs_are_captured_anew(engine: Engines):
    made = engine()
    with made.open(cuda_graph=True) as backend:
        runs = [(2, None), (3, None), (2, None), (2, ["mask"]), (3, None), (2, ["mask"])]
        assert [captures(made, backend, *run) for run in runs] == [1, 1, 0, 1, 0, 0]


def test_a_graph_keeps_an_execution_context_to_itself(engine: Engines):
    made = engine()
    with made.open(cuda_graph=True) as backend:
        for batch in (1, 2, 1, 2):
            captures(made, backend, batch)
    assert made.script.log.count("create_execution_context") == 3


def test_the_graph_used_longest_ago_is_destroyed(engine: Engines):
    made = engine(batches=(1, MOST_GRAPHS + 1))
    with made.open(cuda_graph=True) as backend:
        for batch in range(1, MOST_GRAPHS + 1):
            captures(made, backend, batch)
        assert captures(made, backend, 1) == 0
        assert made.cuda.left().count("executable") == MOST_GRAPHS
        assert captures(made, backend, MOST_GRAPHS + 1) == 1
        assert made.cuda.left().count("executable") == MOST_GRAPHS
        assert [captures(made, backend, batch) for batch in (1, 2)] == [0, 1]
    assert made.cuda.left() == []


def test_zero_copy_captures_the_engine_alone(engine: Engines):
    made = engine()
    with made.open(cuda_graph=True, zero_copy=True) as backend:
        assert backend.provider.endswith(", fp16, CUDA graph, zero copy")
        captures(made, backend, 2)
        assert not [name for name in made.cuda.names() if name.startswith("copy")]


@pytest.mark.parametrize("call", ["begin_capture", "end_capture", "instantiate"])
def test_a_capture_that_fails_says_to_load_without(engine: Engines, call: str):
    made = engine()
    with made.open(cuda_graph=True) as backend:
        made.cuda.fail(call)
        with pytest.raises(BackendError, match=rf"cannot be captured .*; load it without cuda_graph \({call} failed"):
            backend.run(made.feeds(1))
        assert [kind for kind in made.cuda.left() if kind in ("graph", "executable")] == []


def test_an_engine_that_fails_within_a_capture_leaves_the_stream_usable(
    engine: Engines, monkeypatch: pytest.MonkeyPatch
):
    made = engine()
    execute = made.module.IExecutionContext.execute_async_v3

    def refusing(context: object, stream: int) -> bool:
        return not made.cuda.is_capturing(stream) and execute(context, stream)

    with made.open(cuda_graph=True) as backend:
        monkeypatch.setattr(made.module.IExecutionContext, "execute_async_v3", refusing)
        with pytest.raises(BackendError, match=r"load it without cuda_graph \(.* refuses execute_async_v3"):
            backend.run(made.feeds(1))
        monkeypatch.undo()
        assert captures(made, backend, 1) == 1
    assert made.cuda.left() == []


def test_tensorrt_rtx_compiles_for_the_shape_before_it_is_captured(engine: Engines):
    made = engine(version=RTX, card={"compute_capability": "8.7"})
    with made.open(cuda_graph=True) as backend:
        captures(made, backend, 1)
    assert made.script.log.count("strategy EAGER") == 1


def test_tensorrt_rtx_is_asked_whether_it_can_be_captured(engine: Engines):
    made = engine(version=RTX, card={"compute_capability": "8.7"})
    made.script.capturable = False
    with made.open(cuda_graph=True) as backend:
        with pytest.raises(BackendError, match=r"load it without cuda_graph \(so TensorRT-RTX 1\.7\.1\.116 says\)"):
            backend.run(made.feeds(1))
