"""What a graph must be before an engine is made of it: its tensors, its batch and its precision."""

from __future__ import annotations

from pathlib import Path

from whymask.export.build_config import BuildConfig
from whymask.export.trt_network import OPEN, Parsed
from whymask.runtime.backends import INPUTS, OUTPUTS, REQUIRED_OUTPUTS
from whymask.runtime.card import IMAGE, LOGITS, METADATA_KEY, Card
from whymask.runtime.engine_card import FUSED
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.onnx_wire import metadata
from whymask.runtime.trt_engine import DTYPES

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
"""TensorRT's names of numpy's types."""


def card_of(onnx: Path) -> Card:
    """The card that a fused graph's file carries.

    Args:
        onnx: the graph's file.

    Raises:
        ArtefactError: not an ONNX file, or one without a card.
    """
    text = metadata(onnx).get(METADATA_KEY)
    if text is None:
        raise ArtefactError(f"{onnx}: carries no whymask card; expected a fused graph made by whymask export")
    return Card.from_json(text)


def check_precision_of_card(onnx: Path, card: Card, config: BuildConfig) -> None:
    """Refuse a graph whose types are not those of the engine that is asked for.

    Args:
        onnx: the graph's file.
        card: of the fused graph.
        config: what the engine is to be.

    Raises:
        InputError: the precisions differ.
    """
    if card.precision == "int8":
        raise InputError(
            f"{onnx}: the graph is int8, of which whymask builds no engine yet; give it to trtexec, or run "
            f"whymask export RUN -o {onnx.name} --precision fp16"
        )
    if card.precision != config.precision:
        raise InputError(
            f"{onnx}: the graph is {card.precision} and the engine is asked for in {config.precision}; the types stand "
            f"in the graph: run whymask export RUN -o {onnx.name} --precision {config.precision}, or build with "
            f"--precision {card.precision}"
        )


def check_tensors(parsed: Parsed, role: str, subject: str) -> None:
    """Refuse a network whose tensors are not those of the graph contract.

    Args:
        parsed: the graph.
        role: `fused` or `classifier`.
        subject: what the graph is called in an error.

    Raises:
        ArtefactError: a tensor is missing, unknown or of another type.
    """
    # TensorRT 8 has no INT64 and makes an INT32 of such a tensor.
    types = _NAMES | ({} if hasattr(parsed.trt.DataType, "INT64") else {"int64": "INT32"})
    fused = role == FUSED
    known_inputs, known_outputs = (
        {name: types[dtype] for name, (dtype, _) in side.items() if fused or name in (IMAGE, LOGITS)}
        for side in (INPUTS, OUTPUTS)
    )
    for side, tensors, known, needed in (
        ("input", parsed.inputs, known_inputs, (IMAGE,)),
        ("output", parsed.outputs, known_outputs, REQUIRED_OUTPUTS if fused else (LOGITS,)),
    ):
        found = {tensor.name: tensor.dtype.name for tensor in tensors}
        if any(known.get(name) != dtype for name, dtype in found.items()) or not set(needed) <= set(found):
            raise ArtefactError(
                f"{subject}: as {parsed.label} reads it, its {side}s are {_listed(found)}; expected {_listed(known)}, "
                f"with {', '.join(needed)} at least; give a {role} graph made by whymask export"
            )


def batches_of(parsed: Parsed, config: BuildConfig, subject: str) -> tuple[int, int, int]:
    """Smallest, best and largest batch of the engine: those asked for, or the graph's own where it is fixed.

    Args:
        parsed: the graph.
        config: what the engine is to be.
        subject: what the graph is called in an error.

    Raises:
        InputError: the graph's fixed batch is not among the batches asked for.
        ArtefactError: another dimension than the batch is open.
    """
    shapes = {tensor.name: tuple(tensor.shape) for tensor in parsed.inputs}
    for name, shape in shapes.items():
        if OPEN in shape[1:]:
            raise ArtefactError(f"{subject}: input {name} is {shape}; expected a graph whose batch alone is open")
    sizes = {shape[0] for shape in shapes.values()}
    if sizes == {OPEN}:
        return config.min_batch, config.opt_batch, config.max_batch
    if len(sizes) > 1:
        raise ArtefactError(
            f"{subject}: its inputs have batches {_listed(shapes)}; expected one for all; export it again"
        )
    size = sizes.pop()
    if not config.min_batch <= size <= config.max_batch:
        raise InputError(
            f"{subject}: its batch is fixed at {size}, outside of {config.min_batch} to {config.max_batch}; build it "
            f"with --min-batch {size} --opt-batch {size} --max-batch {size}, or export it without --fixed-batch"
        )
    return size, size, size


def _listed(names: dict[str, str] | dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in names.items())
