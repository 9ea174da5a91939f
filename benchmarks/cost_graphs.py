"""The graphs of one classifier that the cost study times, from random weights: latency does not ask what they mean.

Letters: B batch, H W input size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
import torch
from onnx.helper import tensor_dtype_to_np_dtype
from torch import nn

from whymask.benchmarks.rivals.rival_graphs import RECIPRO_CAM, rival_graph
from whymask.export.config import ExportConfig
from whymask.export.cost import multiply_adds
from whymask.export.fuse import ClassifierGraph, FusedGraph
from whymask.export.onnx_from_module import onnx_from_module
from whymask.export.tabled import deployed
from whymask.runtime.backends import CERTIFICATES
from whymask.runtime.card import IMAGE, LOGITS, Card, ExplainerCard
from whymask.runtime.errors import InputError
from whymask.runtime.files import write_atomically
from whymask.runtime.ort import ERRORS_ONLY, new_cpu_session
from whymask.train.classifier import FrozenClassifier
from whymask.train.config import ExplainerConfig
from whymask.train.explainers import Explainer, build_explainer
from whymask.train.model_spec import load_classifier

ALONE, FUSED, RECIPRO = "alone", "fused", "recipro"
GRAPHS = (ALONE, FUSED, *CERTIFICATES, RECIPRO)
"""`kept` and `both` are the fused graph with `--certify` of that form."""
OPSET = 17
MAX_BATCH = 32
REORDERS = ("ReorderInput", "ReorderOutput")


@dataclass(frozen=True)
class GraphCost:
    """What can be counted of a graph.

    Attributes:
        multiply_adds: at batch 1, of convolutions and matrix products.
        parameter_bytes: that its initialisers hold.
        nodes: as exported.
        run_nodes: after ONNX Runtime's optimisers, on this machine's instruction set.
        reorders: of these, those that only change the layout between plain and blocked.
    """

    multiply_adds: int
    parameter_bytes: int
    nodes: int
    run_nodes: int
    reorders: int


def seeded(
    model: str, weights: str | None, explainer: ExplainerConfig, side: int | None, seed: int
) -> tuple[FrozenClassifier, Explainer]:
    """A classifier and an untrained explainer of it.

    Args:
        model, weights: as `whymask train` takes them.
        explainer: which one.
        side: of the input in pixels; the model's own when None.
        seed: of both.
    """
    size = None if side is None else (side, side)
    classifier = load_classifier(model, weights=weights, size=size, seed=seed)
    torch.manual_seed(seed)
    made = build_explainer(explainer, classifier).eval().requires_grad_(False)
    return classifier, made


def build_graph(name: str, classifier: FrozenClassifier, explainer: Explainer) -> onnx.ModelProto:
    """One of GRAPHS, as `whymask export` makes it (the batch left open), or Recipro-CAM's."""
    if name == RECIPRO:
        return rival_graph(RECIPRO_CAM, classifier, batch=1)
    config = ExportConfig(opset=OPSET, max_batch=MAX_BATCH, certify=name if name in CERTIFICATES else None)
    module: nn.Module = FusedGraph(classifier, deployed(explainer), card_of(classifier, explainer), config)
    outputs = config.outputs
    if name == ALONE:
        module, outputs = ClassifierGraph(classifier), (LOGITS,)
    image = torch.zeros(2, classifier.rule.height, classifier.rule.width, 3, dtype=torch.uint8)
    return onnx_from_module(module.eval(), (image,), (IMAGE,), outputs, OPSET, MAX_BATCH)


def card_of(classifier: FrozenClassifier, explainer: Explainer, height: int = 0, width: int = 0) -> Card:
    """What a fused graph of the study would carry.

    Args:
        height, width: of the saliency; graphs that are only timed need none.
    """
    made = ExplainerCard(explainer.kind, 0, classifier.taps, height, width)
    return Card(classifier.card(), classifier.rule.to_card(), made, threshold=0.5)


def write_graphs(
    classifier: FrozenClassifier, explainer: Explainer, folder: Path, on_graph: Callable[[str], None]
) -> dict[str, GraphCost]:
    """Write `<name>.onnx` of each of GRAPHS; Recipro-CAM's is left out where the classifier is not made for it.

    Args:
        folder: exists.
        on_graph: told the name of each graph before it is made.

    Returns:
        What each costs.
    """
    costs = {}
    for name in GRAPHS:
        on_graph(name)
        try:
            model = build_graph(name, classifier, explainer)
        except InputError:
            if name != RECIPRO:
                raise
            continue  # a transformer's class token reads no feature map whose cells could be left alone
        write_atomically(folder / f"{name}.onnx", model.SerializeToString())
        costs[name] = count(model, folder / f"{name}.optimised.onnx")
    return costs


def count(model: onnx.ModelProto, scratch: Path) -> GraphCost:
    """Count a graph.

    Args:
        scratch: file that ONNX Runtime writes its optimised graph to; removed again.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.optimized_model_filepath = str(scratch)
    new_cpu_session(onnxruntime, model.SerializeToString(), options)
    kinds = [node.op_type for node in onnx.load(scratch).graph.node]
    scratch.unlink()
    stored = model.graph.initializer
    return GraphCost(
        multiply_adds=multiply_adds(model),
        parameter_bytes=sum(math.prod(i.dims) * tensor_dtype_to_np_dtype(i.data_type).itemsize for i in stored),
        nodes=len(model.graph.node),
        run_nodes=len(kinds),
        reorders=sum(kind in REORDERS for kind in kinds),
    )
