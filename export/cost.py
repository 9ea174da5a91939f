"""What a graph costs: multiply-adds and nodes, of classifier and explainer apart.

The parts are told by node names, `classifier.…/Conv` and `explainer.…/Conv`, which the exporter sets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx
from onnx import NodeProto, TensorProto, helper

from whymask.runtime.card import CLASSIFIER_PASSES, DROPPED_LOGITS, KEPT_LOGITS
from whymask.runtime.errors import ArtefactError

Shape = tuple[int, ...]

BATCH = "batch"
"""Name of the open dimension."""

WEIGHTS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16, TensorProto.INT8)
"""Types of stored values that are parameters; whole numbers of other types are shapes and indices."""
QUANTISERS = ("QuantizeLinear", "DequantizeLinear")


def cost_of(fused: onnx.ModelProto, classifier: onnx.ModelProto) -> dict[str, float]:
    """Figures for the card, at batch 1.

    Args:
        fused: the fused graph.
        classifier: the classifier alone behind the same input.

    Returns:
        `classifier_macs` and `classifier_nodes` of the classifier alone; `explainer_macs` and `explainer_nodes` of the
        explainer inside the fused graph; `macs` and `nodes` of the whole fused graph, `added_macs` and `added_nodes`
        of it over the classifier alone; `parameters`, the weights that the fused file stores, floating or in 8 bits;
        `classifier_passes`, how often the fused graph runs the classifier: once, and once a certificate. In INT8
        the pairs around activations count as `nodes`, of neither part.
    """
    macs, alone = multiply_adds(fused), multiply_adds(classifier)
    nodes, nodes_alone = len(fused.graph.node), len(classifier.graph.node)
    certificates = sum(output.name in (KEPT_LOGITS, DROPPED_LOGITS) for output in fused.graph.output)
    figures = {
        "classifier_macs": alone,
        "explainer_macs": multiply_adds(fused, "explainer"),
        "macs": macs,
        "added_macs": macs - alone,
        "classifier_nodes": nodes_alone,
        "explainer_nodes": sum(is_part(node, "explainer") for node in fused.graph.node),
        "nodes": nodes,
        "added_nodes": nodes - nodes_alone,
        "parameters": _parameters(fused),
        CLASSIFIER_PASSES: 1 + certificates,
    }
    return {name: float(value) for name, value in figures.items()}


def _parameters(model: onnx.ModelProto) -> int:
    """Stored weights; the scales and zero points of quantised ones say how they are written, and are none."""
    rulers = {name for node in model.graph.node if node.op_type in QUANTISERS for name in node.input[1:]}
    stored = (i for i in model.graph.initializer if i.data_type in WEIGHTS and i.name not in rulers)
    return sum(math.prod(i.dims) for i in stored)


def is_part(node: NodeProto, part: str) -> bool:
    """Whether a node belongs to the module `part`."""
    return bool(node.name.split("/")[0].split(".")[0] == part)


def multiply_adds(model: onnx.ModelProto, part: str | None = None) -> int:
    """Multiply-adds of convolutions and matrix products at batch 1.

    Args:
        model: any graph whose only open dimension is the batch.
        part: count only this module's nodes; all when None.

    Raises:
        ArtefactError: a shape stays unknown.
    """
    shapes = shapes_at_batch_1(model)
    nodes = (node for node in model.graph.node if part is None or is_part(node, part))
    return sum(_node_macs(node, shapes) for node in nodes)


def shapes_at_batch_1(model: onnx.ModelProto) -> dict[str, Shape]:
    """Shape of each tensor whose shape is known once the batch is 1."""
    single = onnx.ModelProto()
    single.CopyFrom(model)
    for value in (*single.graph.input, *single.graph.output, *single.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param == BATCH:
                dimension.dim_value = 1
            elif dimension.dim_param:  # a multiple of it, which shape inference finds again
                dimension.Clear()
    graph = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    shapes = {i.name: tuple(i.dims) for i in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if all(d.HasField("dim_value") for d in dimensions):
            shapes[value.name] = tuple(d.dim_value for d in dimensions)
    return shapes


def _node_macs(node: NodeProto, shapes: Mapping[str, Shape]) -> int:
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"):
        return 0
    try:
        inputs = [shapes[name] for name in node.input if name]
        output = shapes[node.output[0]]
    except KeyError as error:
        raise ArtefactError(
            f"the shape of {error.args[0]!r}, read by {node.name!r}, is unknown; its cost is too"
        ) from None
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Conv":  # weight (out, in / groups, ·, ·)
        return math.prod(output) * math.prod(inputs[1][1:])
    if node.op_type == "ConvTranspose":  # weight (in, out / groups, ·, ·)
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if node.op_type == "Einsum":
        return _einsum_macs(attributes["equation"].decode(), inputs)
    transposed = bool(attributes.get("transA", 0))
    return math.prod(output) * inputs[0][0 if transposed else -1]


def _einsum_macs(equation: str, inputs: list[Shape]) -> int:
    """One multiply-add for each combination of all indices."""
    terms = equation.replace(" ", "").split("->")[0].split(",")
    sizes = {
        letter: size
        for term, shape in zip(terms, inputs, strict=True)
        for letter, size in zip(term, shape, strict=True)
    }
    return math.prod(sizes.values())
