"""What a graph runs on, and the check that a graph obeys the contract of `card.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from whymask.runtime import card as names
from whymask.runtime.card import Card
from whymask.runtime.errors import ArtefactError

Arrays: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a graph.

    Attributes:
        name: its fixed name.
        dtype: numpy's name of its type, such as `uint8`.
        shape: one entry a dimension; a dimension that may vary is its name, or None where it has none.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        """Such as `image: uint8 (B, 224, 224, 3)`."""
        return f"{self.name}: {self.dtype} ({', '.join('?' if size is None else str(size) for size in self.shape)})"


class Backend(Protocol):
    """A loaded graph. `run` may be called from several threads at once."""

    @property
    def provider(self) -> str:
        """What really runs the graph, in the library's own words."""

    @property
    def inputs(self) -> Mapping[str, TensorInfo]:
        """Inputs by name."""

    @property
    def outputs(self) -> Mapping[str, TensorInfo]:
        """Outputs by name."""

    @property
    def batch_range(self) -> tuple[int, int | None]:
        """Smallest and largest batch, in images; None where there is no largest."""

    @property
    def card(self) -> Card:
        """The graph's card; raises ArtefactError where there is none."""

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> Arrays:
        """Run once; the returned arrays belong to the caller.

        Args:
            feeds: every input by name.
            outputs: names of the outputs wanted, or None for all.
        """

    def close(self) -> None:
        """Let go of the graph's memory; closing twice does nothing."""

    def __enter__(self) -> Backend:
        """The backend itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, also when the body raised."""


INPUTS = {
    names.IMAGE: ("uint8", "B H W 3"),
    names.TARGET: ("int64", "B"),
    names.AGAINST: ("int64", "B"),
}
"""Type and shape of every input that a fused graph may have; letters as in `card.py`."""
OUTPUTS = {
    names.LOGITS: ("float32", "B C"),
    names.SALIENCY: ("float32", "B h w"),
    names.MASK: ("uint8", "B H W"),
    names.EXPLANATION: ("uint8", "B H W 3"),
    names.KEPT_LOGITS: ("float32", "B C"),
    names.DROPPED_LOGITS: ("float32", "B C"),
    names.CLASSES: ("int64", "B K"),
    names.CLASS_SALIENCY: ("float32", "B K h w"),
    names.CLASS_MASK: ("uint8", "B K H W"),
    names.ATTRIBUTES: ("float32", "B J"),
    names.RELEVANCE: ("float32", "B J"),
}
"""Type and shape of every output that a fused graph may have."""
REQUIRED_OUTPUTS = (names.LOGITS, names.SALIENCY, names.MASK)
CLASS_OUTPUTS = (names.CLASSES, names.CLASS_SALIENCY, names.CLASS_MASK)
"""Outputs that a graph has all of, or none."""
CERTIFICATES = {"kept": (names.KEPT_LOGITS,), "both": (names.KEPT_LOGITS, names.DROPPED_LOGITS)}
"""Outputs by the forms of `--certify`; each costs one more pass of the classifier."""
ATTRIBUTE_OUTPUTS = (names.ATTRIBUTES, names.RELEVANCE)
"""Outputs that a graph has both of, with names in its card, or none."""


def check_contract(backend: Backend, name: str) -> None:
    """Refuse a graph that does not obey the contract, before a picture meets it.

    Args:
        backend: the loaded graph.
        name: what to call it in the message, its file as a rule.

    Raises:
        ArtefactError: a tensor is missing, has another type or another shape, or there is an input of another name.
    """
    again = "export it again: whymask export RUN -o FILE.onnx"
    if names.IMAGE not in backend.inputs:
        got = ", ".join(backend.inputs) or "none"
        raise ArtefactError(f"{name}: no input {names.IMAGE!r} (inputs: {got}), so this is no fused graph; {again}")
    unknown = [tensor for tensor in backend.inputs if tensor not in INPUTS]
    if unknown:
        raise ArtefactError(f"{name}: unknown input {unknown[0]!r}, expected {' and '.join(INPUTS)} at most; {again}")
    missing = [tensor for tensor in REQUIRED_OUTPUTS if tensor not in backend.outputs]
    if missing:
        got = ", ".join(backend.outputs) or "none"
        raise ArtefactError(f"{name}: lacks the output {', '.join(missing)} (outputs: {got}); {again}")
    for tensors, expected in ((backend.inputs, INPUTS), (backend.outputs, OUTPUTS)):
        for tensor in tensors.values():
            if tensor.name in expected:
                dtype, letters = expected[tensor.name]
                _check_tensor(tensor, dtype, letters, backend.card, f"{name}: {tensor.name}", again)
    _check_together(backend, name, again)


def contract_shape(letters: str, card: Card) -> tuple[int | str, ...]:
    """Sizes of a tensor of the contract: a number where the card tells it, the letter where it does not.

    Args:
        letters: as `INPUTS` and `OUTPUTS` have them.
        card: of the graph.
    """
    sizes = {"H": card.input.height, "W": card.input.width, "C": card.classifier.num_classes, "3": 3}
    if card.attributes is not None:
        sizes["J"] = len(card.attributes.names)
    return tuple(sizes.get(letter, letter) for letter in letters.split())


def _check_together(backend: Backend, name: str, again: str) -> None:
    """Refuse a graph with a part of what belongs together."""
    if names.AGAINST in backend.inputs and names.TARGET not in backend.inputs:
        raise ArtefactError(f"{name}: has the input {names.AGAINST!r} without {names.TARGET!r}; {again}")
    attributes = [tensor for tensor in ATTRIBUTE_OUTPUTS if tensor in backend.outputs]
    if attributes and (len(attributes) < len(ATTRIBUTE_OUTPUTS) or backend.card.attributes is None):
        raise ArtefactError(f"{name}: has {', '.join(attributes)}, expected both outputs and their names; {again}")
    found = [tensor for tensor in CLASS_OUTPUTS if tensor in backend.outputs]
    if found and len(found) < len(CLASS_OUTPUTS):
        raise ArtefactError(
            f"{name}: of the outputs {', '.join(CLASS_OUTPUTS)} it has {', '.join(found)} alone; {again}"
        )
    counts = {tensor: backend.outputs[tensor].shape[1] for tensor in found}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{tensor} {count}" for tensor, count in counts.items())
        raise ArtefactError(f"{name}: its outputs are of different numbers of classes: {listed}; {again}")


def _check_tensor(tensor: TensorInfo, dtype: str, letters: str, card: Card, subject: str, again: str) -> None:
    if tensor.dtype != dtype:
        raise ArtefactError(f"{subject} is {tensor.dtype}, expected {dtype}; {again}")
    expected = contract_shape(letters, card)
    fits = len(expected) == len(tensor.shape) and all(
        not isinstance(want, int) or not isinstance(got, int) or want == got
        for want, got in zip(expected, tensor.shape, strict=True)
    )
    if not fits:
        shape = ", ".join(str(size) for size in expected)
        got = ", ".join(str(size) for size in tensor.shape)
        raise ArtefactError(f"{subject} has shape ({got}), expected ({shape}) by the card; {again}")
