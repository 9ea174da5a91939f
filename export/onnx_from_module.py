"""From a torch module to a checked ONNX graph at the asked operator set, its nodes named after the module's parts."""

from __future__ import annotations

import ast
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout

import onnx
import torch
from onnx import NodeProto, helper
from torch import Tensor, nn

from whymask.export.cost import BATCH
from whymask.export.fold import fold_batch_norm
from whymask.export.opset import EXPORTED, LOWEST, lower_to_17
from whymask.export.resizes import scale_resizes
from whymask.runtime.errors import ArtefactError

FOREIGN_WARNINGS = (
    "# The axis name: batch will not be used",  # torch: the second input's batch dimension is the first one's
    ".*is deprecated",  # torch.export and onnxscript, of their own internals
)

NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"
"""torch's scope of what no module asked for: the size of an open batch, read off an input."""


def onnx_from_module(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    opset: int,
    max_batch: int | None,
    axes: Mapping[int, tuple[str, int]] | None = None,
) -> onnx.ModelProto:
    """Export a module.

    Args:
        module: in eval mode, on the CPU.
        example: its inputs, batch first.
        inputs, outputs: tensor names, in the module's own order.
        opset: operator set, ≥ 17.
        max_batch: largest batch of an open batch dimension; None fixes the batch at the example's.
        axes: further open dimensions, the same of all inputs: name and largest size by position. Read where the batch
            is open.

    Returns:
        A graph that onnx's full check accepts, with node names `part.submodule/Op` and types stated.

    Raises:
        ArtefactError: the module cannot be exported, or not at this opset.
    """
    sizes = {} if max_batch is None else {0: (BATCH, max_batch), **(axes or {})}
    model = _exported(module, example, inputs, outputs, max(opset, EXPORTED), sizes)
    for position, (name, _) in sizes.items():
        _name_dimension(model, position, name)
    _name_nodes(model)
    _strip(model)
    fold_batch_norm(model)
    scale_resizes(model)
    if opset == LOWEST:
        lower_to_17(model)
    model.ir_version = helper.find_min_ir_version_for(list(model.opset_import))
    _check(model, opset)
    return model


def _exported(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    opset: int,
    sizes: Mapping[int, tuple[str, int]],
) -> onnx.ModelProto:
    shapes = None
    if sizes:
        free = {position: torch.export.Dim(name, min=1, max=most) for position, (name, most) in sizes.items()}
        shapes = tuple(dict(free) for _ in example)
    with _quiet(), torch.no_grad():
        try:
            # Traced here: torch.onnx would try looser ways of tracing, and fix the batch without an error.
            traced = torch.export.export(module, example, dynamic_shapes=shapes, strict=False)
            _pool_by_mean(traced.graph)
            program = torch.onnx.export(
                traced,
                dynamo=True,
                opset_version=opset,
                input_names=list(inputs),
                output_names=list(outputs),
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # torch.export raises many kinds, all of which mean: this module does not export
            raise ArtefactError(_why_not_exported(error, bool(sizes))) from error
    if program is None:
        raise ArtefactError("torch.onnx.export returned nothing; this torch is too old, install torch 2.6 or newer")
    return program.model_proto


def _pool_by_mean(graph: torch.fx.Graph) -> None:
    """Write global average pooling as a mean.

    torch's own decomposition restores channels-last strides afterwards, which ends as a Gather over computed indices.
    """
    for node in graph.nodes:
        if node.target == torch.ops.aten.adaptive_avg_pool2d.default and list(node.args[1]) in ([1, 1], [1]):
            node.target = torch.ops.aten.mean.dim
            node.args = (node.args[0], [-2, -1], True)


def _why_not_exported(error: Exception, is_open: bool) -> str:
    reason: BaseException = error
    while reason.__cause__ is not None:
        reason = reason.__cause__
    lines = [line.strip() for line in str(reason).splitlines() if line.strip()] or [type(reason).__name__]
    hint = "; a classifier whose code fixes the batch size exports with --fixed-batch" if is_open else ""
    return f"torch could not export the graph ({type(reason).__name__}: {' '.join(lines[:2])}){hint}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the exporter's own chatter, and nothing else."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        for message in FOREIGN_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        yield


def _name_dimension(model: onnx.ModelProto, position: int, name: str) -> None:
    """Give an open dimension of the inputs its name; the tracer calls it s40 or the like, and its multiples 2*s40."""
    symbol = model.graph.input[0].type.tensor_type.shape.dim[position].dim_param
    if not symbol:
        return
    word = re.compile(rf"\b{re.escape(symbol)}\b")
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = word.sub(name, dimension.dim_param)


def _name_nodes(model: onnx.ModelProto) -> None:
    """Name each node after its module: profilers and the cost table tell the parts apart by these names."""
    seen: Counter[str] = Counter()
    for node in model.graph.node:
        base = f"{_scope(node)}/{node.op_type}"
        node.name = f"{base}_{seen[base]}" if seen[base] else base
        seen[base] += 1


def _scope(node: NodeProto) -> str:
    for prop in node.metadata_props:
        if prop.key == "pkg.torch.onnx.name_scopes":
            modules = ast.literal_eval(prop.value)[:-1]  # the last entry is the operator
            scope = modules[-1].split("@")[0] if modules else ""
            return "graph" if scope in ("", NO_MODULE) else scope
    return "graph"


def _strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter noted for debugging: stack traces with this machine's paths, and a kilobyte a node."""
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        if hasattr(holder, "metadata_props"):
            del holder.metadata_props[:]
        holder.doc_string = ""
    model.producer_name, model.producer_version = "whymask", ""


def _check(model: onnx.ModelProto, opset: int) -> None:
    found = {entry.domain: entry.version for entry in model.opset_import}
    if found.get("") != opset:
        raise ArtefactError(f"asked for opset {opset}, the exporter made {found.get('')}; try another --opset")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ArtefactError(f"the exported graph is not valid ONNX at opset {opset}: {error}") from None
