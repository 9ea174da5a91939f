"""Memory for an engine's tensors: pinned host memory and device memory for the largest batch, allocated once.

On an integrated GPU, which shares its memory with the host, mapped host memory is both: nothing is copied.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.backends import Arrays
from whymask.runtime.cudart import Cuda
from whymask.runtime.errors import InputError
from whymask.runtime.trt_engine import EngineTensor


class Slot(NamedTuple):
    """One tensor's memory for one batch size.

    Attributes:
        tensor: whose memory it is.
        view: the pinned host memory, in the engine's dtype.
        host, device: addresses.
        nbytes: used by this batch.
    """

    tensor: EngineTensor
    view: NDArray[Any]
    host: int
    device: int
    nbytes: int


class Plan:
    """What one batch size needs, made once so that a run only looks it up.

    Args:
        batch: in images.
        slots: of every tensor.
    """

    def __init__(self, batch: int, slots: Iterable[Slot]) -> None:
        slots = list(slots)
        self.batch = batch
        self.inputs = [slot for slot in slots if slot.tensor.is_input]
        self.outputs = {slot.tensor.name: slot for slot in slots if not slot.tensor.is_input}
        self._expected = [(slot.tensor.name, slot.view.shape, slot.tensor.caller_dtype) for slot in self.inputs]

    def accepts(self, feeds: Mapping[str, Any]) -> bool:
        """Whether these are this batch's inputs, all of them and of the right type and shape."""
        if len(feeds) != len(self._expected):
            return False
        for name, shape, dtype in self._expected:
            value = feeds.get(name)
            if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype != dtype:
                return False
        return True

    def fill(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        """Copy accepted inputs into pinned memory.

        Raises:
            InputError: a number that the engine's narrower type cannot hold.
        """
        for slot in self.inputs:
            values = feeds[slot.tensor.name]
            np.copyto(slot.view, values, casting="same_kind")
            if slot.view.dtype != values.dtype and not np.array_equal(slot.view, values):
                raise InputError(f"{slot.tensor.name}: {values.max()} does not fit in the engine's {slot.view.dtype}")

    def results(self, wanted: Iterable[str]) -> Arrays:
        """Copies of the outputs, of the contract's types, which belong to the caller."""
        slots = ((name, self.outputs[name]) for name in wanted)
        return {name: slot.view.astype(slot.tensor.caller_dtype) for name, slot in slots}


class Buffers:
    """Memory of all tensors of an engine.

    Args:
        cuda: allocates it.
        tensors: inputs and outputs by name.
        largest: batch that it must hold.
        mapped: one memory for host and device in place of two.

    Attributes:
        addresses: of every tensor in device memory; the same object for as long as it lives.

    Raises:
        CudaError: not enough memory; what was allocated is freed.
    """

    def __init__(self, cuda: Cuda, tensors: Mapping[str, EngineTensor], largest: int, mapped: bool) -> None:
        self._cuda, self._tensors, self.mapped = cuda, tensors, mapped
        self.addresses: dict[str, int] = {}
        self._hosts: dict[str, int] = {}
        self._plans: dict[int, Plan] = {}
        with ExitStack() as made:
            for tensor in tensors.values():
                self._allocate(tensor, tensor.nbytes_at(largest), made)
            self._made = made.pop_all()

    def plan(self, batch: int) -> Plan:
        """The plan of a batch size within the engine's range."""
        found = self._plans.get(batch)
        if found is None:
            found = self._plans[batch] = Plan(batch, (self._slot(tensor, batch) for tensor in self._tensors.values()))
        return found

    def copy_in(self, plan: Plan, stream: int) -> None:
        """Queue the copies of the inputs to the device; none where host and device share them."""
        if not self.mapped:
            for slot in plan.inputs:
                self._cuda.copy_to_device(slot.device, slot.host, slot.nbytes, stream)

    def copy_out(self, plan: Plan, wanted: Iterable[str], stream: int) -> None:
        """Queue the copies of outputs to the host; none where host and device share them."""
        if not self.mapped:
            for name in wanted:
                slot = plan.outputs[name]
                self._cuda.copy_to_host(slot.host, slot.device, slot.nbytes, stream)

    def close(self) -> None:
        """Free the memory; no work that uses it may be under way, and no plan may be used after."""
        self._plans.clear()
        self._made.close()

    def _allocate(self, tensor: EngineTensor, nbytes: int, made: ExitStack) -> None:
        host = self._cuda.malloc_host(nbytes, mapped=self.mapped)
        made.callback(self._cuda.free_host, host)
        if self.mapped:
            device = self._cuda.device_pointer(host)
        else:
            device = self._cuda.malloc(nbytes)
            made.callback(self._cuda.free, device)
        self._hosts[tensor.name], self.addresses[tensor.name] = host, device

    def _slot(self, tensor: EngineTensor, batch: int) -> Slot:
        host, nbytes = self._hosts[tensor.name], tensor.nbytes_at(batch)
        view = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(host)).view(tensor.dtype)
        view = view.reshape(tensor.shape_at(batch))
        return Slot(tensor, view, host, self.addresses[tensor.name], nbytes)
