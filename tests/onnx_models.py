"""Two tiny graphs that obey the contract: a classifier of mean colours, and the same with brightness as saliency."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_card import CLASSES, SIZE, card

from whymask.runtime.card import METADATA_KEY, Card


def write_classifier(path: Path, flipped: bool = False, batch: int | str = "B") -> Path:
    """image → logits, the mean of each colour; `flipped` makes another classifier of it."""
    tail = [helper.make_node("Neg", ["means"], ["logits"])] if flipped else _renamed("means", "logits")
    return _write(path, [*_body(), *tail], [_logits(batch)], None, batch)


def write_fused(path: Path, batch: int | str = "B", with_card: bool = True) -> Path:
    """image → logits, saliency (brightness), mask (saliency ≥ 0.5)."""
    nodes = [
        *_body(),
        *_renamed("means", "logits"),
        helper.make_node("ReduceMean", ["scaled"], ["saliency"], axes=[3], keepdims=0),
        helper.make_node("GreaterOrEqual", ["saliency", "half"], ["kept"]),
        helper.make_node("Cast", ["kept"], ["mask"], to=TensorProto.UINT8),
    ]
    plane = [batch, SIZE, SIZE]
    outputs = [
        _logits(batch),
        helper.make_tensor_value_info("saliency", TensorProto.FLOAT, plane),
        helper.make_tensor_value_info("mask", TensorProto.UINT8, plane),
    ]
    return _write(path, nodes, outputs, card() if with_card else None, batch)


def _body() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "white"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled"], ["means"], axes=[1, 2], keepdims=0),
    ]


def _renamed(old: str, new: str) -> list[onnx.NodeProto]:
    return [helper.make_node("Identity", [old], [new])]


def _logits(batch: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])


def _write(
    path: Path, nodes: list[onnx.NodeProto], outputs: list[onnx.ValueInfoProto], card: Card | None, batch: int | str
) -> Path:
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, SIZE, SIZE, 3])
    constants = {"white": 255.0, "half": 0.5}
    used = {name for node in nodes for name in node.input}
    tensors = [_scalar(value, name) for name, value in constants.items() if name in used]
    graph = helper.make_graph(nodes, "tiny", [image], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if card is not None:
        helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def _scalar(value: float, name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, np.float32), name)
