"""Resize by constant scales in place of computed sizes, where both are the same resize.

The exporter gives each Resize its output's sizes, and where the batch is open it computes them by Shape and Concat at
every call. ONNX Runtime moreover keeps a Resize in its blocked layout only where the scales are constant whole numbers:
with sizes, each is wrapped in two reorders.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper

from whymask.export.cost import Shape, shapes_at_batch_1

PREFIX = "resize.scales"


def scale_resizes(model: onnx.ModelProto) -> int:
    """Rewrite every Resize of images whose sizes follow from constant scales, in place, and drop what is then unread.

    Returns:
        The number of Resize nodes rewritten. One whose sizes float32 scales do not give exactly is left as it is.
    """
    shapes = shapes_at_batch_1(model)
    count = 0
    for node in model.graph.node:
        scales = _scales(node, shapes) if node.op_type == "Resize" and len(node.input) > 3 else None
        if scales is None:
            continue
        name = f"{PREFIX}_{count}"
        model.graph.initializer.append(numpy_helper.from_array(scales, name))
        node.input[:] = [node.input[0], "", name]
        count += 1
    _drop_unread(model.graph)
    return count


def _scales(node: NodeProto, shapes: Mapping[str, Shape]) -> np.ndarray[tuple[int], np.dtype[np.float32]] | None:
    given, wanted = shapes.get(node.input[0]), shapes.get(node.output[0])
    policy = [a.s for a in node.attribute if a.name == "keep_aspect_ratio_policy"]
    if given is None or wanted is None or len(given) != 4 or given[:2] != wanted[:2]:
        return None
    scales = np.array([wanted[i] / given[i] for i in range(4)], np.float32)
    # The operator's own rule: output size = floor(input size · scale); runtimes multiply in float32, onnx in float64.
    exact = [np.floor(np.array(given, dtype) * scales.astype(dtype)) == wanted for dtype in (np.float32, np.float64)]
    return scales if np.all(exact) and policy in ([], [b"stretch"]) else None


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Remove nodes and initialisers that nothing reads, from the ends backwards."""
    read = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if read.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            read.update(node.input)
    for initialiser in [i for i in graph.initializer if i.name not in read]:
        graph.initializer.remove(initialiser)
