"""What was built, layer by layer: the precision of each layer, from the engine inspector or from the network.

The inspector's JSON is documented by examples alone and changes between versions. Read here: `Layers` as objects
(profiling verbosity DETAILED) or as bare names; a layer's `Precision`; its `Weights` with `Type`; its `Inputs` and
`Outputs` with `Format/Datatype`, `Datatype` or `Format`, whose text names the type (`Half`, `Row major linear FP32`,
`N/A due to dynamic shapes`). What cannot be read counts as `other`, and no conclusion is drawn from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from whymask.runtime.errors import ArtefactError

FP16, FP32, INT8, OTHER = "fp16", "fp32", "int8", "other"
INSPECTOR, NETWORK = "inspector", "network"

_WORDS = ((OTHER, r"uint8|bf16|bfloat16|fp8"), (INT8, r"int8"), (FP16, r"half|fp16|float16"), (FP32, r"float|fp32"))
"""What names a type, first match first: `uint8` has `int8` in it, and `float16` has `float`."""
_PRODUCTS = re.compile(r"conv(?!ert)|correlation|gemm|mat_?mul|matrix_?mult|fully_?connected", re.IGNORECASE)
"""Kinds of layers that multiply: CaskConvolution, CaskDeconvolutionV2, CaskGemmMatrixMultiply, conv, gemm, …

Myelin calls some convolutions `correlation`."""
_NETWORK_PRODUCTS = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "FULLY_CONNECTED")
_NETWORK_TYPES = {"HALF": FP16, "FLOAT": FP32, "INT8": INT8}
SHOWN = 3
"""Layers that an error names."""


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        name: as TensorRT calls it.
        precision: `fp16`, `fp32`, `int8`, or `other` for every other type and for what cannot be read.
        is_product: whether it is a convolution or a matrix product, which take nearly all of the time.
    """

    name: str
    precision: str
    is_product: bool


@dataclass(frozen=True)
class LayerReport:
    """All layers.

    Attributes:
        layers: in the engine's order.
        source: `inspector` or `network`.
    """

    layers: tuple[Layer, ...]
    source: str

    @property
    def counts(self) -> dict[str, int]:
        """Number of layers of each precision."""
        return _counted(self.layers)

    @property
    def products(self) -> dict[str, int]:
        """Number of convolutions and matrix products of each precision."""
        return _counted(layer for layer in self.layers if layer.is_product)

    @property
    def is_conclusive(self) -> bool:
        """Whether the precision of every convolution and matrix product is known, and there is one."""
        products = self.products
        return not products[OTHER] and sum(products.values()) > 0


def report_from_inspector(text: str | None) -> LayerReport:
    """Read the engine inspector's JSON.

    Args:
        text: of `get_engine_information`; text that is not such JSON, or none, gives a report without layers.
    """
    try:
        # Metadata holds bare control characters between the names of ONNX nodes.
        record = json.loads(text or "", strict=False)
    except json.JSONDecodeError:
        return LayerReport((), INSPECTOR)
    found = record.get("Layers") if isinstance(record, dict) else None
    return LayerReport(tuple(_layer(one) for one in found or ()), INSPECTOR)


def report_from_network(network: Any) -> LayerReport:
    """Read the types of a strongly typed network, which the builder must keep.

    Args:
        network: TensorRT's `INetworkDefinition`, parsed.
    """
    found = []
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        types = [layer.get_output(index).dtype.name for index in range(layer.num_outputs)]
        precision = _NETWORK_TYPES.get(types[0], OTHER) if types else OTHER
        found.append(Layer(layer.name, precision, layer.type.name in _NETWORK_PRODUCTS))
    return LayerReport(tuple(found), NETWORK)


def check_graph(graph: LayerReport, asked: str, subject: str) -> None:
    """Refuse a network most of whose convolutions and matrix products have another precision than asked for.

    Args:
        graph: report of the network, before the build.
        asked: `fp16` or `fp32`.
        subject: what the message begins with.

    Raises:
        ArtefactError: the graph's types are not what its card says, or this TensorRT does not keep them.
    """
    total = sum(graph.products.values())
    if 2 * graph.products[asked] < total:
        raise ArtefactError(
            f"{subject}: {asked} was asked for, and only {graph.products[asked]} of {total} convolutions and matrix "
            f"products are typed so; export the graph again with --precision {asked}, or build with another TensorRT"
        )


def check_precision(report: LayerReport, asked: str, graph: LayerReport, subject: str) -> None:
    """Refuse an engine whose convolutions and matrix products were built in another precision than asked for.

    Args:
        report: of the engine.
        asked: `fp16` or `fp32`.
        graph: of the network before the build: as many layers may have another precision as the graph itself gave one.
        subject: what the message begins with.

    Raises:
        ArtefactError: the message has the share and the first layers.
    """
    wrong = [layer for layer in report.layers if layer.is_product and layer.precision not in (asked, OTHER)]
    allowed = sum(count for name, count in graph.products.items() if name not in (asked, OTHER))
    if len(wrong) <= allowed:
        return
    total = sum(report.products.values())
    names = ", ".join(f"{layer.name!r} ({layer.precision})" for layer in wrong[:SHOWN])
    more = ", …" if len(wrong) > SHOWN else ""
    other = FP32 if asked == FP16 else FP16
    raise ArtefactError(
        f"{subject}: {asked} was asked for, and {len(wrong)} of {total} convolutions and matrix products "
        f"({len(wrong) / total:.0%}) were not built in it: {names}{more}. Nothing is written; build the {other} graph "
        f"with --precision {other}, or build with another TensorRT"
    )


def _layer(record: Any) -> Layer:
    if not isinstance(record, dict):
        return Layer(str(record), OTHER, False)
    name, kind = str(record.get("Name", "")), str(record.get("LayerType", ""))
    is_product = bool(_PRODUCTS.search(kind) or _PRODUCTS.search(str(record.get("ParameterType", ""))))
    return Layer(name, _precision(record, is_product), is_product)


def _precision(record: dict[str, Any], is_product: bool) -> str:
    """A layer's precision, by the best evidence first: what it says, its weights, what it reads or what it makes."""
    weights = record.get("Weights")
    told = [record.get("Precision"), weights.get("Type") if isinstance(weights, dict) else None]
    reads, makes = _types(record.get("Inputs")), _types(record.get("Outputs"))
    # The inputs of a product decide how it is computed: FP16 products may accumulate into FP32 outputs.
    tensors = [*reads, *makes] if is_product else [*makes, *reads]
    for text in (*told, *tensors):
        precision = _named(text)
        if precision != OTHER:
            return precision
    return OTHER


def _types(tensors: Any) -> list[str]:
    if not isinstance(tensors, list):
        return []
    keys = ("Format/Datatype", "Datatype", "Format")
    return [str(next((one[key] for key in keys if key in one), "")) if isinstance(one, dict) else "" for one in tensors]


def _named(text: Any) -> str:
    lowered = str(text or "").lower()
    return next((precision for precision, words in _WORDS if re.search(words, lowered)), OTHER)


def _counted(layers: Iterable[Layer]) -> dict[str, int]:
    counts = dict.fromkeys((FP16, FP32, INT8, OTHER), 0)
    for layer in layers:
        counts[layer.precision] += 1
    return counts
