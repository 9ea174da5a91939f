"""Engines run as the function that they are: same results, in the right order of calls, from any number of threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from colour_engine import ColourEngine, same
from fake_cuda import FakeCuda
from fake_tensorrt import JETPACK, NEWEST, OLDEST, RTX, fake_tensorrt
from tensorrt_names import names_beyond, versions

from whymask.runtime.errors import BackendError, InputError
from whymask.runtime.explainer import Explainer

Engines = Callable[..., ColourEngine]
VERSIONS = [OLDEST, JETPACK, NEWEST, RTX]
RTX_CARD = {"compute_capability": "8.6, 8.7"}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_stand_ins_have_no_name_that_the_real_version_lacks(engine: Engines, version: str):
    made = engine(card=RTX_CARD)
    name = f"{'tensorrt_rtx' if version == RTX else 'tensorrt'} {version}"
    assert name in versions()
    assert names_beyond(fake_tensorrt(made.script, made.cuda, version), name) == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("options", [{}, {"cuda_graph": True}, {"zero_copy": True}], ids=["plain", "graph", "mapped"])
def test_an_engine_answers_as_its_graph_for_every_batch(engine: Engines, version: str, options: dict):
    made = engine(version=version, certify="both", explanation=True, card=RTX_CARD if version == RTX else None)
    with made.open(**options) as backend:
        for batch in (1, 8, 3, 1, 3):
            feeds = made.feeds(batch, seed=batch)
            assert same(backend.run(feeds), made.expected(feeds))
    assert made.cuda.left() == []


@pytest.mark.parametrize("version", VERSIONS)
def test_likeliest_classes_and_contrasts_come_from_an_engine_too(engine: Engines, version: str):
    made = engine(version=version, top=2, contrast=True, card=RTX_CARD if version == RTX else None)
    with made.open() as backend:
        feeds = made.feeds(3)
        # TensorRT 8 has no int64: the classes come as the contract has them all the same.
        assert same(backend.run(feeds), made.expected(feeds))
        assert backend.outputs["classes"].dtype == "int64"
        result = Explainer(backend).explain(feeds["image"][0], target=1, against=0)
        assert (result.index, result.against, len(result.top_explanations())) == (1, 0, 2)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_contract_is_stated_whatever_the_engine_has(engine: Engines, version: str):
    made = engine(version=version, batches=(2, 5), card=RTX_CARD if version == RTX else None)
    with made.open() as backend:
        assert str(backend.inputs["image"]) == "image: uint8 (B, 32, 32, 3)"
        assert str(backend.inputs["target"]) == "target: int64 (B)"
        assert backend.outputs == made.reference.outputs
        assert backend.batch_range == (2, 5)
        assert backend.card == made.reference.card


def test_a_run_copies_in_computes_copies_out_and_waits(engine: Engines):
    made = engine()
    with made.open() as backend:
        backend.run(made.feeds(2))
        made.cuda.calls.clear()
        backend.run(made.feeds(2))
        copies_out = ["copy_to_host"] * 3
        assert made.cuda.names() == ["copy_to_device"] * 2 + ["execute_async_v3", *copies_out, "synchronize"]


def test_shapes_are_set_only_when_the_batch_changes(engine: Engines):
    made = engine()
    with made.open() as backend:
        for batch in (2, 2, 3, 3):
            backend.run(made.feeds(batch))
    shapes = [call for call in made.script.log if call.startswith("set_input_shape")]
    assert shapes == [f"set_input_shape {name} {batch}" for batch in (2, 3) for name in ("image", "target")]


def test_only_the_outputs_wanted_are_copied(engine: Engines):
    made = engine()
    with made.open() as backend:
        assert list(backend.run(made.feeds(1), ["mask"])) == ["mask"]
        assert made.cuda.names().count("copy_to_host") == 1
        with pytest.raises(InputError, match="outputs: got 'heat', expected some of logits, saliency, mask"):
            backend.run(made.feeds(1), ["heat"])
        with pytest.raises(InputError, match="outputs: got none"):
            backend.run(made.feeds(1), [])


def test_results_belong_to_the_caller(engine: Engines):
    made = engine()
    with made.open() as backend:
        first = backend.run(made.feeds(1, seed=1))
        kept = {name: values.copy() for name, values in first.items()}
        backend.run(made.feeds(1, seed=2))
    assert same(first, kept)


@pytest.mark.parametrize("layout", ["strided", "read-only"])
def test_inputs_may_have_any_layout(engine: Engines, layout: str):
    made = engine()
    feeds = made.feeds(3)
    if layout == "strided":
        given = {"image": np.asfortranarray(feeds["image"]), "target": np.repeat(feeds["target"], 2)[::2]}
    else:
        given = {name: values.copy() for name, values in feeds.items()}
        for values in given.values():
            values.flags.writeable = False
    with made.open() as backend:
        assert same(backend.run(given), made.expected(feeds))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": None}, "inputs: got image, expected image and target"),
        ({"scale": np.ones(2)}, "inputs: got image, target, scale, expected image and target"),
        (
            {"image": np.zeros((2, 32, 32, 3), np.float32)},
            r"image: got float32 \(2, 32, 32, 3\), expected uint8 \(B, 32, 32, 3\) with B from 1 to 8",
        ),
        ({"image": np.zeros((2, 16, 32, 3), np.uint8)}, r"image: got uint8 \(2, 16, 32, 3\)"),
        ({"image": np.zeros((9, 32, 32, 3), np.uint8)}, r"image: got shape \(9, 32, 32, 3\)"),
        ({"image": np.zeros((0, 32, 32, 3), np.uint8)}, r"image: got shape \(0, 32, 32, 3\)"),
        ({"image": [[1]]}, "image: got list, expected a numpy array"),
        ({"target": np.zeros(3, np.int64)}, r"target: got int64 \(3,\), .* as many as in the first input, 2"),
        ({"target": np.zeros(2, np.int32)}, r"target: got int32 \(2,\), expected int64 \(B\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(engine: Engines, change: dict, message: str):
    made = engine()
    feeds = {name: values for name, values in (made.feeds(2) | change).items() if values is not None}
    with made.open() as backend:
        with pytest.raises(InputError, match=message):
            backend.run(feeds)
        assert same(backend.run(made.feeds(2)), made.expected(made.feeds(2)))


def test_an_engine_of_int32_refuses_what_does_not_fit(engine: Engines):
    made = engine(version=OLDEST)
    feeds = made.feeds(1) | {"target": np.array([1 << 32])}
    with made.open() as backend, pytest.raises(InputError, match=r"target: 4294967296 does not fit .* int32"):
        backend.run(feeds)


@pytest.mark.parametrize("options", [{}, {"cuda_graph": True}, {"zero_copy": True}], ids=["plain", "graph", "mapped"])
@pytest.mark.parametrize("contexts", [1, 2])
def test_threads_share_an_engine(engine: Engines, contexts: int, options: dict):
    made = engine()
    feeds = [made.feeds(1 + seed % 3, seed) for seed in range(24)]
    with made.open(contexts=contexts, **options) as backend, ThreadPoolExecutor(8) as pool:
        for given, result in zip(feeds, pool.map(backend.run, feeds), strict=True):
            assert same(result, made.expected(given))
    assert made.cuda.left() == []


def test_a_lane_comes_back_when_a_run_fails(engine: Engines):
    made = engine()
    with made.open() as backend:
        made.script.failing.add("execute_async_v3")
        for _ in range(2):
            with pytest.raises(
                BackendError, match=r"fused\.plan: TensorRT 10\.3\.0 refuses execute_async_v3: operation"
            ):
                backend.run(made.feeds(1))
        made.script.failing.clear()
        assert same(backend.run(made.feeds(1)), made.expected(made.feeds(1)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("set_input_shape", r"refuses set_input_shape\('image', \(2, 32, 32, 3\)\): the shape does not satisfy"),
        ("set_tensor_address", r"refuses set_tensor_address\('image'\): no tensor of this name"),
        ("get_tensor_shape", r"logits becomes \(3, 3\) for a batch of 2, expected \(2, 3\)"),
    ],
)
def test_every_answer_of_tensorrt_is_checked(engine: Engines, call: str, message: str):
    made = engine()
    with made.open() as backend:
        made.script.failing.add(call)
        for _ in range(2):
            with pytest.raises(BackendError, match=message):
                backend.run(made.feeds(2))
        made.script.failing.clear()
        assert same(backend.run(made.feeds(2)), made.expected(made.feeds(2)))


def test_an_integrated_gpu_is_given_the_hosts_memory(engine: Engines):
    made = engine(cuda=FakeCuda(integrated=True))
    with made.open() as backend:
        assert backend.zero_copy
        assert backend.provider == "TensorRT 10.3.0 on Orin (8.7), fp16, zero copy"
        made.cuda.calls.clear()
        assert same(backend.run(made.feeds(2)), made.expected(made.feeds(2)))
        assert made.cuda.names() == ["execute_async_v3", "synchronize"]
        assert "malloc" not in made.cuda.names()


@pytest.mark.parametrize(
    ("cuda", "asked", "expected"),
    [
        (FakeCuda(integrated=True), False, False),
        (FakeCuda(integrated=False), None, False),
        (FakeCuda(integrated=True, maps=False), None, False),
        (FakeCuda(integrated=False), True, True),
    ],
)
def test_zero_copy_can_be_asked_for_either_way(engine: Engines, cuda: FakeCuda, asked: bool | None, expected: bool):
    with engine(cuda=cuda).open(zero_copy=asked) as backend:
        assert backend.zero_copy is expected


def test_zero_copy_is_refused_where_the_host_cannot_be_mapped(engine: Engines):
    made = engine(cuda=FakeCuda(maps=False))
    with pytest.raises(BackendError, match="zero_copy was asked for, and Orin cannot map host memory"):
        made.open(zero_copy=True)
    assert made.cuda.left() == []


def test_a_timed_run_gives_the_same_results_and_its_parts(engine: Engines):
    made = engine()
    with made.open(cuda_graph=True) as backend:
        results, timings = backend.timed_run(made.feeds(2), ["mask"])
        assert "launch" not in made.cuda.names()
    assert same(results, {"mask": made.expected(made.feeds(2))["mask"]})
    assert timings.h2d_ms > 0 and timings.compute_ms > 0 and timings.d2h_ms > 0
    assert 0 < timings.enqueue_ms <= timings.enqueue_to_sync_ms <= timings.total_ms


def test_an_explainer_on_an_engine_explains_as_on_the_graph(engine: Engines):
    made = engine(batches=(2, 3))
    pictures = list(made.feeds(7)["image"])
    on_graph, on_engine = Explainer(made.reference), Explainer(made.open())
    seen: list[int] = []
    run = on_engine.backend.run
    on_engine.backend.run = lambda feeds, outputs: seen.append(len(feeds["image"])) or run(feeds, outputs)
    for batch_size, batches in ((8, [3, 3, 2]), (1, [2, 2, 2, 2])):
        seen.clear()
        results = list(on_engine.explain_batch(pictures, batch_size, target="green"))
        assert seen == batches
        for result, picture in zip(results, pictures, strict=True):
            alone = on_graph.explain(picture, target="green")
            assert (result.label, result.index, result.area) == (alone.label, alone.index, alone.area)
            assert np.array_equal(result.saliency, alone.saliency)
    assert on_engine.explain(pictures[0]).label == on_graph.explain(pictures[0]).label


def test_a_closed_engine_says_so(engine: Engines):
    backend = engine().open()
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match=r"fused\.plan: the engine was closed; load it again"):
        backend.run({})


def test_closing_waits_for_runs_under_way_and_tells_those_that_wait(engine: Engines):
    made = engine()
    backend = made.open()
    lane = backend._take()
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(backend.run, made.feeds(1)) for _ in range(2)]
        closing = pool.submit(backend.close)
        backend._idle.put(lane)
        closing.result(timeout=10)
        for run in waiting:
            if run.exception(timeout=10) is None:
                assert same(run.result(), made.expected(made.feeds(1)))
            else:
                assert "was closed" in str(run.exception())
    assert made.cuda.left() == []
