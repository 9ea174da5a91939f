"""Lowering a graph from opset 18, the exporter's lowest, to 17, the highest that TensorRT 8.6 reads.

onnx's own converter writes ReduceMean nodes that its checker refuses, and onnxscript's leaves the graph at 18 with no
error. Between 17 and 18 only a few operators changed, so each is rewritten here, and any other is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper, numpy_helper

from whymask.runtime.errors import ArtefactError

LOWEST = 17
EXPORTED = 18

Constants = Mapping[str, npt.NDArray[np.generic]]


def lower_to_17(model: onnx.ModelProto) -> None:
    """Rewrite an opset-18 graph as opset 17, in place.

    Raises:
        ArtefactError: an operator, or a way of using one, came only with opset 18.
    """
    constants = _constants(model)
    for node in model.graph.node:
        _lower(node, constants)
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = LOWEST


def _constants(model: onnx.ModelProto) -> dict[str, npt.NDArray[np.generic]]:
    """Small integer tensors by name: the axes that became inputs in opset 18."""
    found = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer if len(i.dims) <= 1}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def _lower(node: NodeProto, constants: Constants) -> None:
    if node.domain not in ("", "ai.onnx"):
        raise ArtefactError(f"operator {node.domain}.{node.op_type} of {node.name!r} is not ONNX's own")
    if onnx.defs.get_schema(node.op_type, EXPORTED).since_version < EXPORTED:
        return
    rewrite = _REWRITES.get(node.op_type)
    if rewrite is None:
        raise _only_18(node, "the operator")
    rewrite(node, constants)


def _only_18(node: NodeProto, what: str) -> ArtefactError:
    return ArtefactError(
        f"{what} {node.op_type} of {node.name!r} came with opset 18 and has no form in 17; "
        "export with --opset 18 (TensorRT 10 or newer)"
    )


def _drop_default(node: NodeProto, name: str, default: object) -> None:
    """Remove an attribute that only opset 18 has; it must hold the value that 17 always used."""
    for attribute in node.attribute:
        if attribute.name == name:
            value = helper.get_attribute_value(attribute)
            if value != default:
                raise _only_18(node, f"{name}={value!r} in")
            node.attribute.remove(attribute)
            return


def _axes_to_attribute(node: NodeProto, constants: Constants) -> None:
    if len(node.input) > 1 and node.input[1]:
        axes = constants.get(node.input[1])
        if axes is None:
            raise _only_18(node, "computed axes in")
        node.attribute.append(helper.make_attribute("axes", [int(a) for a in axes.ravel()]))
        _drop_attribute(node, "noop_with_empty_axes")
    else:
        _drop_default(node, "noop_with_empty_axes", 0)
    del node.input[1:]


def _drop_attribute(node: NodeProto, name: str) -> None:
    for attribute in [a for a in node.attribute if a.name == name]:
        node.attribute.remove(attribute)


def _split(node: NodeProto, constants: Constants) -> None:
    del constants
    # Without sizes, 17 splits into equal parts, one an output; onnx's shape inference refuses where that leaves a rest.
    _drop_attribute(node, "num_outputs")


def _resize(node: NodeProto, constants: Constants) -> None:
    del constants
    _drop_default(node, "antialias", 0)
    _drop_default(node, "keep_aspect_ratio_policy", b"stretch")
    _drop_default(node, "axes", None)


def _pad(node: NodeProto, constants: Constants) -> None:
    del constants
    if len(node.input) > 3 and node.input[3]:
        raise _only_18(node, "axes in")
    del node.input[3:]


def _scatter(node: NodeProto, constants: Constants) -> None:
    del constants
    if any(a.name == "reduction" and a.s in (b"min", b"max") for a in node.attribute):
        raise _only_18(node, "reduction min or max in")


_REWRITES: dict[str, Callable[[NodeProto, Constants], None]] = {
    **{
        f"Reduce{kind}": _axes_to_attribute
        for kind in ("Mean", "Max", "Min", "L1", "L2", "LogSum", "LogSumExp", "Prod", "SumSquare")
    },
    "Split": _split,
    "Resize": _resize,
    "Pad": _pad,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
}
