"""A fused graph whose right answers can be seen: it names the dominant colour and keeps the pixels that have it.

One colour against another keeps the pixels that have more of the one. A colour that is nowhere has an empty mask.

Written field by field, so that the runtime's tests run where the onnx package is not. Field numbers are those of
onnx.proto3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.alone import CLASSIFIER_KEY, classifier_path
from whymask.runtime.backends import CERTIFICATES
from whymask.runtime.card import METADATA_KEY, Card, ClassifierCard, ExplainerCard, InputCard
from whymask.runtime.files import sha256_of
from whymask.runtime.onnx_wire import encode

LABELS = ("red", "green", "blue")
THRESHOLD = 0.5
FILL = (10.0, 20.0, 30.0)
FLOAT, UINT8, INT64 = 1, 2, 7
HALF_PIXEL = {"coordinate_transformation_mode": "half_pixel"}
NUMPY = {FLOAT: "<f4", INT64: "<i8"}


@dataclasses.dataclass(frozen=True)
class Options:
    """What kind of graph to write."""

    height: int = 32
    width: int = 32
    stride: int = 8
    batch: int | str = "B"
    target: bool = True
    explanation: bool = False
    certify: str | None = None
    """`kept` or `both`, as `whymask export --certify` takes it."""
    contrast: bool = False
    """Adds the input `against`; with `target`."""
    top: int = 0
    """Colours explained at once."""
    labels: tuple[str, ...] = LABELS
    resize: str = "squash"
    crop_fraction: float = 1.0
    metadata: str | None = ""
    """Text of the card; empty for the right one, None for no card at all."""
    image_dtype: int = UINT8
    without: tuple[str, ...] = ()
    """Outputs to leave out."""
    extra_input: str = ""
    classifier: str = ""
    """Digest of the classifier's file, as the graph's metadata has it."""


def card_of(options: Options) -> Card:
    """The card that belongs to such a graph."""
    return Card(
        ClassifierCard("tests:colours", "ab" * 32, 3, options.labels, 7),
        InputCard(options.height, options.width, (0.0,) * 3, (1.0,) * 3, options.resize, options.crop_fraction),
        ExplainerCard("tapped", 5, ("pool",), options.height // options.stride, options.width // options.stride),
        threshold=THRESHOLD,
        fill=FILL,
        cost={"classifier_macs": 2e6, "explainer_macs": 1e5, "nodes": 14},
    )


def write_graph(path: Path, **values: object) -> Path:
    """Write a graph; keywords are the fields of `Options`."""
    options = Options(**values)  # type: ignore[arg-type]
    path.write_bytes(model(options))
    return path


def write_pair(path: Path, **values: object) -> Path:
    """Write a graph with its classifier alone beside it; keywords are the fields of `Options`."""
    alone = {"target": False, "metadata": None, "without": ("saliency", "mask")}
    same = {name: values[name] for name in ("batch", "height", "width") if name in values}
    classifier = write_graph(classifier_path(path), **alone, **same)
    return write_graph(path, **{"classifier": sha256_of(classifier), **values})


def model(options: Options) -> bytes:
    """The graph as ONNX bytes, opset 17, IR 8."""
    text = card_of(options).to_json() if options.metadata == "" else options.metadata
    graph = b"".join(encode(1, node) for node in _nodes(options)) + encode(2, b"colours")
    graph += b"".join(encode(5, tensor) for tensor in _constants(options))
    graph += b"".join(encode(11, value) for value in _inputs(options))
    graph += b"".join(encode(12, value) for value in _outputs(options))
    whole = encode(1, 8) + encode(7, graph) + encode(8, encode(2, 17))
    if text is not None:
        whole += encode(14, encode(1, METADATA_KEY.encode()) + encode(2, text.encode()))
    if options.classifier:
        whole += encode(14, encode(1, CLASSIFIER_KEY.encode()) + encode(2, options.classifier.encode()))
    return whole


def _nodes(options: Options) -> Iterable[bytes]:
    yield _node("Cast", "image", "pixels", to=FLOAT)
    yield _node("Transpose", "pixels", "planes", perm=[0, 3, 1, 2])
    yield from _classifier("planes", "logits")
    yield _node("ArgMax", "logits", "predicted", axis=1, keepdims=0)
    if options.target:
        yield _node("Less", "target zero", "unasked")
        yield _node("Where", "unasked predicted target", "chosen")
    else:
        yield _node("Identity", "predicted", "chosen")
    yield _node("OneHot", "chosen depth off_on", "flat_choice")
    yield _node("Unsqueeze", "flat_choice spatial", "choice")
    yield _node("Div", "planes white", "scaled")
    yield _node("AveragePool", "scaled", "pooled", kernel_shape=[options.stride] * 2, strides=[options.stride] * 2)
    yield _node("Mul", "pooled choice", "chosen_plane")
    yield _node("ReduceSum", "chosen_plane channel", "own" if options.contrast else "map", keepdims=1)
    if options.contrast:
        yield from _contrast()
    yield _node("Squeeze", "map channel", "saliency")
    yield _node("Resize", "map  scales", "resized", mode="linear", **HALF_PIXEL)
    yield _node("GreaterOrEqual", "resized threshold", "kept")
    yield _node("Squeeze", "kept channel", "flat_kept")
    yield _node("Cast", "flat_kept", "mask", to=UINT8)
    if options.top:
        yield from _likeliest()
    if options.explanation or options.certify:
        yield _node("Where", "kept planes fill", "kept_planes")
    if options.explanation:
        yield _node("Transpose", "kept_planes", "kept_pixels", perm=[0, 2, 3, 1])
        yield _node("Cast", "kept_pixels", "explanation", to=UINT8)
    if options.certify:
        yield from _classifier("kept_planes", "kept_logits")
    if options.certify == "both":
        yield _node("Where", "kept fill planes", "dropped_planes")
        yield from _classifier("dropped_planes", "dropped_logits")


def _contrast() -> Iterable[bytes]:
    """The chosen plane less the one that it is held against, where that is asked for and another one."""
    yield _node("GreaterOrEqual", "against zero", "held")
    yield _node("Equal", "against chosen", "same")
    yield _node("Not", "same", "other")
    yield _node("And", "held other", "contrasted")
    yield _node("Cast", "contrasted", "share", to=FLOAT)
    yield _node("Unsqueeze", "share planes_of_one", "shares")
    yield _node("OneHot", "against depth off_on", "flat_against")
    yield _node("Unsqueeze", "flat_against spatial", "against_choice")
    yield _node("Mul", "pooled against_choice", "against_plane")
    yield _node("ReduceSum", "against_plane channel", "against_map", keepdims=1)
    yield _node("Mul", "against_map shares", "against_share")
    yield _node("Sub", "own against_share", "difference")
    yield _node("Relu", "difference", "map")


def _likeliest() -> Iterable[bytes]:
    """The planes of the likeliest classes, by a product with one row for each."""
    yield _node("TopK", "logits count", "class_logits classes", axis=1)
    yield _node("OneHot", "classes depth off_on", "class_choice")
    yield _node("Reshape", "pooled flat", "flat_planes")
    yield _node("MatMul", "class_choice flat_planes", "flat_maps")
    yield _node("Reshape", "flat_maps small", "class_saliency")
    yield _node("Resize", "class_saliency  scales", "resized_classes", mode="linear", **HALF_PIXEL)
    yield _node("GreaterOrEqual", "resized_classes threshold", "class_kept")
    yield _node("Cast", "class_kept", "class_mask", to=UINT8)


def _classifier(planes: str, logits: str) -> Iterable[bytes]:
    yield _node("ReduceMean", planes, f"{logits}_means", axes=[2, 3], keepdims=0)
    yield _node("Div", f"{logits}_means ten", logits)


def _constants(options: Options) -> Iterable[bytes]:
    floats = {
        "white": 255.0,
        "ten": 10.0,
        "off_on": [0.0, 1.0],
        "scales": [1.0, 1.0, options.stride, options.stride],
        "threshold": THRESHOLD,
        "fill": np.reshape(FILL, (1, 3, 1, 1)),
    }
    if not (options.explanation or options.certify):
        del floats["fill"]
    integers = {
        "depth": 3,
        "spatial": [2, 3],
        "channel": [1],
        **({"zero": 0} if options.target or options.contrast else {}),
    }
    if options.contrast:
        integers["planes_of_one"] = [1, 2, 3]
    if options.top:
        small = [options.height // options.stride, options.width // options.stride]
        integers |= {"count": [options.top], "flat": [0, 3, -1], "small": [0, options.top, *small]}
    yield from (_tensor(name, np.asarray(value), FLOAT) for name, value in floats.items())
    yield from (_tensor(name, np.asarray(value), INT64) for name, value in integers.items())


def _inputs(options: Options) -> Iterable[bytes]:
    yield _value("image", options.image_dtype, (options.batch, options.height, options.width, 3))
    if options.target:
        yield _value("target", INT64, (options.batch,))
    if options.contrast:
        yield _value("against", INT64, (options.batch,))
    if options.extra_input:
        yield _value(options.extra_input, FLOAT, (1,))


def _outputs(options: Options) -> Iterable[bytes]:
    frame = (options.batch, options.height, options.width)
    classes = (FLOAT, (options.batch, 3))
    small = (options.batch, options.height // options.stride, options.width // options.stride)
    tensors = {"logits": classes, "saliency": (FLOAT, small), "mask": (UINT8, frame)}
    if options.explanation:
        tensors["explanation"] = (UINT8, (*frame, 3))
    if options.certify:
        tensors |= {name: classes for name in CERTIFICATES[options.certify]}
    if options.top:
        tensors["classes"] = (INT64, (options.batch, options.top))
        tensors["class_saliency"] = (FLOAT, (options.batch, options.top, *small[1:]))
        tensors["class_mask"] = (UINT8, (options.batch, options.top, *frame[1:]))
    return [_value(name, *tensor) for name, tensor in tensors.items() if name not in options.without]


def _node(operator: str, inputs: str, outputs: str, **attributes: object) -> bytes:
    fields = b"".join(encode(1, name.encode()) for name in inputs.split(" "))
    fields += b"".join(encode(2, name.encode()) for name in outputs.split(" "))
    return fields + encode(4, operator.encode()) + b"".join(encode(5, _attribute(*pair)) for pair in attributes.items())


def _attribute(name: str, value: object) -> bytes:
    start = encode(1, name.encode())
    if isinstance(value, int):
        return start + encode(3, value) + encode(20, 2)
    if isinstance(value, str):
        return start + encode(4, value.encode()) + encode(20, 3)
    return start + b"".join(encode(8, number) for number in value) + encode(20, 7)  # type: ignore[attr-defined]


def _tensor(name: str, values: NDArray[np.float64], kind: int) -> bytes:
    dimensions = b"".join(encode(1, size) for size in values.shape)
    return dimensions + encode(2, kind) + encode(8, name.encode()) + encode(9, values.astype(NUMPY[kind]).tobytes())


def _value(name: str, kind: int, shape: Iterable[int | str]) -> bytes:
    sizes = [encode(1, size) if isinstance(size, int) else encode(2, size.encode()) for size in shape]
    dimensions = b"".join(encode(1, size) for size in sizes)
    return encode(1, name.encode()) + encode(2, encode(1, encode(1, kind) + encode(2, dimensions)))
