"""Folding BatchNorm into the convolution before it.

The exporter's optimiser does so only where a weight is used once. In a certified graph the classifier runs two or three
times on one set of weights, so the remaining pairs are folded here, each shared weight once: the file does not grow.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, numpy_helper

Array = npt.NDArray[np.generic]


def fold_batch_norm(model: onnx.ModelProto) -> int:
    """Fold every foldable Conv + BatchNormalization pair, in place.

    Returns:
        The number of pairs folded.
    """
    graph = model.graph
    initialisers = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    pairs = _pairs(graph, initialisers)
    folded: dict[tuple[str, ...], str] = {}  # what went in → name of what came out: a shared pair is stored once
    for conv, norm in pairs:
        key = (*conv.input[1:], *norm.input[1:])
        if key not in folded:
            folded[key] = f"{conv.input[1]}.folded_{len(folded)}"
            weight, bias = _fold(conv, norm, initialisers)
            graph.initializer.append(numpy_helper.from_array(weight, folded[key]))
            graph.initializer.append(numpy_helper.from_array(bias, f"{folded[key]}.bias"))
        conv.input[:] = [conv.input[0], folded[key], f"{folded[key]}.bias"]
        conv.output[0] = norm.output[0]
    for _, norm in pairs:
        graph.node.remove(norm)
    _drop_unused_initialisers(graph)
    return len(pairs)


def _pairs(graph: onnx.GraphProto, initialisers: dict[str, Array]) -> list[tuple[NodeProto, NodeProto]]:
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    producer = {node.output[0]: node for node in graph.node if node.op_type == "Conv"}
    found = []
    for norm in graph.node:
        conv = producer.get(norm.input[0]) if norm.op_type == "BatchNormalization" else None
        if conv is None or uses[norm.input[0]] > 1 or len([name for name in norm.output if name]) > 1:
            continue
        if all(name in initialisers for name in (*conv.input[1:], *norm.input[1:]) if name):
            found.append((conv, norm))
    return found


def _fold(conv: NodeProto, norm: NodeProto, initialisers: dict[str, Array]) -> tuple[Array, Array]:
    """Weight and bias of y = ((w · x + b) − mean) · scale + shift, from float64 to the weight's own type."""
    weight = initialisers[conv.input[1]]
    has_bias = len(conv.input) > 2 and conv.input[2]
    bias = initialisers[conv.input[2]].astype(np.float64) if has_bias else 0.0
    gamma, beta, mean, variance = (initialisers[name].astype(np.float64) for name in norm.input[1:5])
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    scale = gamma / np.sqrt(variance + epsilon)
    per_filter = scale.reshape(-1, *([1] * (weight.ndim - 1)))
    return (weight.astype(np.float64) * per_filter).astype(weight.dtype), ((bias - mean) * scale + beta).astype(
        weight.dtype
    )


def _drop_unused_initialisers(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for initialiser in [i for i in graph.initializer if i.name not in used]:
        graph.initializer.remove(initialiser)
