"""Arrays that stay on the GPU: read where they are, answered in memory of their own, ordered by streams."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from colour_engine import ColourEngine, same
from fake_cuda import DEVICE, FakeCuda
from fake_tensorrt import OLDEST

from whymask.runtime.errors import BackendError, InputError

Engines = Callable[..., ColourEngine]


class OnDevice:
    """An array in a stand-in's device memory, as torch or CuPy would hand it over."""

    def __init__(self, cuda: FakeCuda, values: np.ndarray, offset: int = 0, **changes: object) -> None:
        self.block = cuda.malloc(values.nbytes + offset)
        self.values = np.ascontiguousarray(values)
        self.pointer = self.block + offset
        ctypes.memmove(self.pointer, self.values.ctypes.data, values.nbytes)
        self.interface = {
            "shape": values.shape,
            "typestr": values.dtype.str,
            "data": (self.pointer, True),
            "version": 3,
        } | changes
        if "dlpack" in self.interface:
            self.__dlpack_device__ = lambda: self.interface["dlpack"]

    @property
    def __cuda_array_interface__(self) -> dict:
        return self.interface


def on_host(cuda: FakeCuda, arrays: dict) -> dict[str, np.ndarray]:
    """What lies in device memory, as a consumer of the protocol reads it."""
    found = {}
    for name, array in arrays.items():
        interface = array.__cuda_array_interface__
        assert interface["version"] == 3 and interface["strides"] is None
        pointer, read_only = interface["data"]
        assert not read_only
        dtype, shape = np.dtype(interface["typestr"]), interface["shape"]
        nbytes = int(np.prod(shape)) * dtype.itemsize
        cuda.check(pointer, nbytes, (DEVICE,))
        found[name] = np.frombuffer(ctypes.string_at(pointer, nbytes), dtype).reshape(shape)
    return found


@pytest.fixture
def made(engine: Engines) -> Iterator[ColourEngine]:
    yield engine()


def given(made: ColourEngine, batch: int = 2, offset: int = 0, **changes: object) -> dict[str, OnDevice]:
    return {name: OnDevice(made.cuda, values, offset, **changes) for name, values in made.feeds(batch).items()}


def test_results_are_those_of_a_host_run_and_nothing_is_copied(made: ColourEngine):
    with made.open() as backend:
        feeds = given(made)
        made.cuda.calls.clear()
        results = backend.run_on_device(feeds)
        assert made.cuda.names() == ["malloc", "execute_async_v3", "synchronize"]
        assert same(on_host(made.cuda, results), made.expected(made.feeds(2)))
        assert repr(results["mask"]) == "DeviceArray(uint8, (2, 32, 32))"


@pytest.mark.parametrize("options", [{}, {"zero_copy": True}, {"cuda_graph": True}], ids=["plain", "mapped", "graph"])
def test_runs_on_host_and_device_take_turns(made: ColourEngine, options: dict):
    stream = made.cuda.create_stream()
    with made.open(**options) as backend:
        for batch in (1, 3, 1):
            feeds = made.feeds(batch, seed=batch)
            expected = made.expected(feeds)
            arrays = {name: OnDevice(made.cuda, values, offset=8) for name, values in feeds.items()}
            later = backend.run_on_device(arrays, stream)
            other = made.feeds(2, seed=9)
            assert same(backend.run(other), made.expected(other))
            made.cuda.synchronize(stream)
            assert same(on_host(made.cuda, later), expected)


def test_only_the_outputs_wanted_take_memory_of_their_own(made: ColourEngine):
    with made.open() as backend:
        results = backend.run_on_device(given(made), outputs=["mask"])
        assert list(results) == ["mask"]
        assert same(on_host(made.cuda, results), {"mask": made.expected(made.feeds(2))["mask"]})


def test_results_outlive_the_next_run_and_the_backend(made: ColourEngine):
    with made.open() as backend:
        first = backend.run_on_device(given(made))
        expected = made.expected(made.feeds(2))
        backend.run_on_device({name: OnDevice(made.cuda, values) for name, values in made.feeds(2, seed=5).items()})
    assert same(on_host(made.cuda, first), expected)


def test_memory_is_freed_with_the_last_array_of_a_run(made: ColourEngine):
    with made.open() as backend:
        feeds = given(made)
        before = made.cuda.left()
        results = backend.run_on_device(feeds)
        assert len(made.cuda.left()) == len(before) + 1
        kept = results.pop("mask")
        results["logits"].close()
        results["logits"].close()
        with pytest.raises(InputError, match="this device array was closed"):
            _ = results["logits"].__cuda_array_interface__
        del results
        gc.collect()
        assert len(made.cuda.left()) == len(before) + 1
        kept.close()
        assert made.cuda.left() == before


def test_a_callers_stream_is_waited_for_and_waits(made: ColourEngine):
    stream = made.cuda.create_stream()
    feeds = given(made)
    image = feeds["image"]
    black = bytes(image.values.nbytes)
    with made.open() as backend:
        made.cuda.enqueue(stream, lambda: ctypes.memmove(image.pointer, black, len(black)) and None)
        made.cuda.calls.clear()
        results = backend.run_on_device(feeds, stream)
        assert "synchronize" not in made.cuda.names()
        assert results["mask"].__cuda_array_interface__["stream"] == stream
        made.cuda.synchronize(stream)
        expected = made.expected(made.feeds(2) | {"image": np.zeros_like(image.values)})
        assert same(on_host(made.cuda, results), expected)


def test_the_default_stream_is_named_as_the_protocol_wants(made: ColourEngine):
    with made.open() as backend:
        assert backend.run_on_device(given(made))["mask"].__cuda_array_interface__["stream"] is None
        assert backend.run_on_device(given(made), stream=0)["mask"].__cuda_array_interface__["stream"] == 1


def test_a_stream_that_an_input_announces_is_waited_for(made: ColourEngine):
    stream = made.cuda.create_stream()
    feeds = given(made, stream=stream)
    made.cuda.enqueue(stream, lambda: ctypes.memset(feeds["target"].pointer, 0xFF, 16) and None)
    with made.open() as backend:
        results = backend.run_on_device(feeds)
        asked = made.feeds(2) | {"target": np.array([-1, -1])}
        assert same(on_host(made.cuda, results), made.expected(asked))


def test_inputs_off_alignment_are_copied_within_the_gpu(made: ColourEngine):
    with made.open() as backend:
        feeds = given(made, offset=8)
        made.cuda.calls.clear()
        results = backend.run_on_device(feeds)
        assert made.cuda.names().count("copy_on_device") == 2
        assert same(on_host(made.cuda, results), made.expected(made.feeds(2)))


def test_an_engine_of_int32_takes_the_contracts_int64(engine: Engines):
    made = engine(version=OLDEST)
    with made.open() as backend:
        feeds = made.feeds(3) | {"target": np.array([-1, 2, 0])}
        results = backend.run_on_device({name: OnDevice(made.cuda, values) for name, values in feeds.items()})
        assert same(on_host(made.cuda, results), made.expected(feeds))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "image",
            np.zeros((2, 32, 32, 3), np.uint8),
            "image: got ndarray without __cuda_array_interface__, .* run takes",
        ),
        ("image", {"version": 1}, "image: __cuda_array_interface__ has version 1, expected 3 or 2"),
        ("image", {"mask": object()}, "image: got a masked array"),
        ("image", {"stream": 0}, "image: __cuda_array_interface__ names stream 0, which the protocol forbids"),
        ("image", {"shape": (9, 32, 32, 3)}, r"image: got shape \(9, 32, 32, 3\), expected uint8 \(B, 32, 32, 3\)"),
        ("image", {"shape": (2, 32, 16, 3)}, r"image: got uint8 \(2, 32, 16, 3\) on the device, expected uint8"),
        ("image", {"typestr": "|i1"}, r"image: got int8 \(2, 32, 32, 3\) on the device"),
        ("target", {"typestr": "<i4"}, r"target: got int32 \(2,\) on the device, expected int64 \(2,\)"),
        ("target", {"shape": (3,)}, r"target: got int64 \(3,\) on the device, expected int64 \(2,\)"),
        ("image", {"strides": (1, 96, 3, 1)}, r"image: got strides \(1, 96, 3, 1\), expected a C-contiguous array"),
        ("image", {"dlpack": (2, 1)}, r"image: got DLPack device \(2, 1\), expected CUDA device 0"),
        ("image", {"dlpack": (1, 0)}, r"image: got DLPack device \(1, 0\)"),
    ],
)
def test_arrays_that_cannot_be_read_are_refused(made: ColourEngine, name: str, value: object, message: str):
    feeds: dict[str, object] = dict(given(made))
    with made.open() as backend:
        before = made.cuda.left()
        feeds[name] = OnDevice(made.cuda, made.feeds(2)[name], **value) if isinstance(value, dict) else value
        with pytest.raises(InputError, match=message):
            backend.run_on_device(feeds)
        with pytest.raises(InputError, match="inputs: got image, expected image and target"):
            backend.run_on_device({"image": feeds["image"]})
        assert len(made.cuda.left()) == len(before) + isinstance(value, dict)


@pytest.mark.parametrize(
    "changes",
    [{"version": 2}, {"strides": (3072, 96, 3, 1)}, {"strides": None}, {"dlpack": (2, 0)}, {"stream": None}],
    ids=str,
)
def test_arrays_of_torch_and_cupy_are_taken(made: ColourEngine, changes: dict):
    values = made.feeds(2)
    feeds = {"image": OnDevice(made.cuda, values["image"], **changes), "target": OnDevice(made.cuda, values["target"])}
    with made.open() as backend:
        assert same(on_host(made.cuda, backend.run_on_device(feeds)), made.expected(values))


def test_a_failing_run_keeps_no_memory(made: ColourEngine):
    feeds = given(made)
    with made.open() as backend:
        before = made.cuda.left()
        made.script.failing.add("execute_async_v3")
        with pytest.raises(BackendError, match="refuses execute_async_v3"):
            backend.run_on_device(feeds)
        gc.collect()
        assert made.cuda.left() == before
