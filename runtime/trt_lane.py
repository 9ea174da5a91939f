"""All that one thread needs to run an engine: execution context, stream, memory, CUDA graphs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from numpy.typing import NDArray

from whymask.runtime.backends import Arrays
from whymask.runtime.cudart import Cuda
from whymask.runtime.device_arrays import (
    ALIGNMENT,
    DeviceArray,
    DeviceInput,
    device_input,
    device_shape,
    new_device_arrays,
)
from whymask.runtime.trt_buffers import Buffers, Plan, Slot
from whymask.runtime.trt_engine import Context, Engine
from whymask.runtime.trt_feeds import check_batch, check_names, wrong_feeds
from whymask.runtime.trt_graphs import CapturedGraphs

Names = tuple[str, ...]
MARKS = 4
"""Events of a timed run: before and after the copies in, after the engine, after the copies out."""


@dataclass(frozen=True)
class Timings:
    """What one run is made of, in milliseconds.

    Attributes:
        h2d_ms, compute_ms, d2h_ms: copies to the device, the engine, copies to the host, by CUDA events.
        enqueue_ms: the host's time to queue the engine's work.
        enqueue_to_sync_ms: the host's time from the first call that queues work to the end of that work.
        total_ms: the host's time from the caller's arrays to arrays that belong to the caller.
    """

    h2d_ms: float
    compute_ms: float
    d2h_ms: float
    enqueue_ms: float
    enqueue_to_sync_ms: float
    total_ms: float


class Lane:
    """One execution context with its stream and memory. For one thread at a time; two threads take two lanes.

    Args:
        engine: what it runs.
        cuda: with which.
        mapped: one memory for host and device in place of two and the copies between them.
        cuda_graph: capture each shape once and launch it thereafter.

    Raises:
        BackendError: not enough memory, as a rule; what was made is let go.
    """

    def __init__(self, engine: Engine, cuda: Cuda, *, mapped: bool, cuda_graph: bool) -> None:
        self._engine, self._cuda = engine, cuda
        self._device = cuda.device().index
        self._first_input = next(name for name, tensor in engine.tensors.items() if tensor.is_input)
        self._is_ahead = False
        with ExitStack() as made:
            self._stream = cuda.create_stream()
            made.callback(cuda.destroy_stream, self._stream)
            self._order, *self._marks = (self._new_event(made) for _ in range(1 + MARKS))
            self._buffers = Buffers(cuda, engine.tensors, engine.batch_range[1], mapped)
            made.callback(self._buffers.close)
            self._context = engine.new_context()
            made.callback(self._context.close)
            self._graphs = CapturedGraphs(engine, cuda, self._stream) if cuda_graph else None
            if self._graphs is not None:
                made.callback(self._graphs.close)
            made.callback(cuda.synchronize, self._stream)
            self._made = made.pop_all()

    def run(self, feeds: Mapping[str, NDArray[Any]], wanted: Names) -> Arrays:
        """Run once, from host memory to host memory; see `TrtBackend.run`."""
        plan = self._filled(feeds)
        if self._graphs is None:
            self._queue(self._context, plan, wanted)
        else:
            self._graphs.launch((plan.batch, wanted), lambda context: self._queue(context, plan, wanted))
        self._cuda.synchronize(self._stream)
        return plan.results(wanted)

    def timed_run(self, feeds: Mapping[str, NDArray[Any]], wanted: Names) -> tuple[Arrays, Timings]:
        """Run once without CUDA graph, with events between the parts; see `TrtBackend.timed_run`."""
        cuda, stream, clock, marks = self._cuda, self._stream, time.perf_counter_ns, self._marks
        start = clock()
        plan = self._filled(feeds)
        filled = clock()
        cuda.record(marks[0], stream)
        self._buffers.copy_in(plan, stream)
        cuda.record(marks[1], stream)
        before = clock()
        self._compute(self._context, plan)
        queued = clock()
        cuda.record(marks[2], stream)
        self._buffers.copy_out(plan, wanted, stream)
        cuda.record(marks[3], stream)
        cuda.synchronize(stream)
        done = clock()
        results = plan.results(wanted)
        end = clock()
        h2d_ms, compute_ms, d2h_ms = (cuda.elapsed_ms(*pair) for pair in pairwise(marks))
        enqueue_ms, enqueue_to_sync_ms, total_ms = (queued - before) / 1e6, (done - filled) / 1e6, (end - start) / 1e6
        return results, Timings(h2d_ms, compute_ms, d2h_ms, enqueue_ms, enqueue_to_sync_ms, total_ms)

    def run_on_device(self, feeds: Mapping[str, object], wanted: Names, stream: int | None) -> dict[str, DeviceArray]:
        """Run once within device memory; see `TrtBackend.run_on_device`."""
        plan, inputs = self._device_inputs(feeds)
        results = new_device_arrays(self._cuda, [plan.outputs[name].tensor for name in wanted], plan.batch, stream)
        for source in {stream, *(given.stream for given in inputs.values())}:
            if source is not None:
                self._wait(self._stream, source)
        addresses = {slot.tensor.name: self._placed(slot, inputs[slot.tensor.name].pointer) for slot in plan.inputs}
        addresses |= {name: array.pointer for name, array in results.items()}
        # A new mapping each time, so that the context takes note of it; outputs not wanted go to the lane's own memory.
        self._context.bind(plan.batch, {**self._buffers.addresses, **addresses})
        self._context.enqueue(self._stream)
        if stream is None:
            self._cuda.synchronize(self._stream)
        else:
            self._wait(stream, self._stream)
            self._is_ahead = True
        return results

    def close(self) -> None:
        """Wait for what is under way, then let go of everything; closing twice does nothing."""
        self._made.close()

    def _new_event(self, made: ExitStack) -> int:
        event = self._cuda.create_event()
        made.callback(self._cuda.destroy_event, event)
        return event

    def _filled(self, feeds: Mapping[str, NDArray[Any]]) -> Plan:
        """The plan of this batch, its inputs in pinned memory."""
        if self._is_ahead:
            # A run on the device may still read what lies in this lane's memory.
            self._cuda.synchronize(self._stream)
            self._is_ahead = False
        shape = getattr(feeds.get(self._first_input), "shape", ())
        smallest, largest = self._engine.batch_range
        if not shape or not smallest <= shape[0] <= largest:
            raise wrong_feeds(self._engine, feeds)
        plan = self._buffers.plan(shape[0])
        if not plan.accepts(feeds):
            raise wrong_feeds(self._engine, feeds)
        plan.fill(feeds)
        return plan

    def _queue(self, context: Context, plan: Plan, wanted: Names) -> None:
        self._buffers.copy_in(plan, self._stream)
        self._compute(context, plan)
        self._buffers.copy_out(plan, wanted, self._stream)

    def _compute(self, context: Context, plan: Plan) -> None:
        context.bind(plan.batch, self._buffers.addresses)
        context.enqueue(self._stream)

    def _device_inputs(self, feeds: Mapping[str, object]) -> tuple[Plan, dict[str, DeviceInput]]:
        """The plan of this batch, and each input's address."""
        check_names(self._engine, feeds)
        shape = device_shape(feeds[self._first_input], self._first_input)
        plan = self._buffers.plan(check_batch(self._engine, self._first_input, shape))
        return plan, {
            tensor.name: device_input(
                feeds[tensor.name], tensor.name, tensor.shape_at(plan.batch), tensor.caller_dtype, self._device
            )
            for tensor in (slot.tensor for slot in plan.inputs)
        }

    def _placed(self, slot: Slot, pointer: int) -> int:
        """Where the engine may read an input: where it is, or in the lane's memory after a copy within the device."""
        tensor, cuda = slot.tensor, self._cuda
        if tensor.dtype != tensor.caller_dtype:
            # int64 for an engine of int32: the low half of each number, which is its first, as CUDA is little-endian.
            wide, narrow = tensor.caller_dtype.itemsize, tensor.dtype.itemsize
            for i in range(slot.view.size):
                cuda.copy_on_device(slot.device + i * narrow, pointer + i * wide, narrow, self._stream)
            return slot.device
        if pointer % ALIGNMENT:
            cuda.copy_on_device(slot.device, pointer, slot.nbytes, self._stream)
            return slot.device
        return pointer

    def _wait(self, stream: int, other: int) -> None:
        """Let a stream wait for what another has been given until now; the host does not wait."""
        self._cuda.record(self._order, other)
        self._cuda.wait_event(stream, self._order)
