"""What the engine inspector says, in the shapes that it is known to take.

The layers below are written from TensorRT's documented examples and from what its users have published, not recorded:
no engine was built for them.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from whymask.export.engine_report import (
    INSPECTOR,
    Layer,
    LayerReport,
    check_graph,
    check_precision,
    report_from_inspector,
    report_from_network,
)
from whymask.runtime.errors import ArtefactError


def tensors(*types: str, key: str = "Format/Datatype") -> list[dict[str, Any]]:
    return [{"Name": "t", "Location": "Device", "Dimensions": [1, 8], key: text} for text in types]


ROW_32, ROW_16 = "Row major linear FP32", "Row major linear FP16 format"
WIDE_16 = "Channel major FP16 format where channel % 8 == 0"
UNKNOWN = "N/A due to dynamic shapes"

LAYERS = {
    "8: reformat": ({"LayerType": "Reformat", "Inputs": tensors(ROW_32), "Outputs": tensors(ROW_16)}, "fp16", False),
    "8: convolution": (
        {
            "LayerType": "CaskConvolution",
            "Inputs": tensors(WIDE_16),
            "Outputs": tensors(WIDE_16),
            "ParameterType": "Convolution",
            "Weights": {"Type": "Half", "Count": 9408},
            "Bias": {"Type": "Half", "Count": 64},
            "TacticName": "sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc",
        },
        "fp16",
        True,
    ),
    "8: convolution in fp32": (
        {"LayerType": "CaskConvolution", "Inputs": tensors(ROW_32), "Weights": {"Type": "Float", "Count": 9408}},
        "fp32",
        True,
    ),
    "8: open shapes, weights known": (
        {"LayerType": "CaskConvolution", "Inputs": tensors(UNKNOWN), "Weights": {"Type": "Half", "Count": 9}},
        "fp16",
        True,
    ),
    "8: open shapes": (
        {"LayerType": "CaskGemmMatrixMultiply", "Inputs": tensors(UNKNOWN), "Outputs": tensors(UNKNOWN)},
        "other",
        True,
    ),
    "8: product of two tensors": (
        {"LayerType": "MatrixMultiply", "Inputs": tensors(ROW_16, ROW_16), "Outputs": tensors(ROW_32)},
        "fp16",
        True,
    ),
    "8: transposed": ({"LayerType": "CaskDeconvolutionV2", "Inputs": tensors("Half")}, "fp16", True),
    "8: pointwise": (
        {"LayerType": "PointWiseV2", "Inputs": tensors(ROW_16), "Outputs": tensors(ROW_32)},
        "fp32",
        False,
    ),
    "8: one block of Myelin": ({"LayerType": "Myelin", "Name": "{ForeignNode[a...b]}"}, "other", False),
    "8: integers": (
        {
            "LayerType": "CaskConvolution",
            "Inputs": tensors("Thirty-two wide channel vectorized row major Int8 format."),
        },
        "int8",
        True,
    ),
    "10: convolution": (
        {"LayerType": "CaskConvolution", "Inputs": tensors("Half"), "Outputs": tensors("Half")},
        "fp16",
        True,
    ),
    "10: Myelin's product": (
        {"LayerType": "gemm", "Name": "__myl_Fc_myl0_3", "Inputs": tensors("Half", "Half")},
        "fp16",
        True,
    ),
    "10: Myelin's kernel": (
        {"LayerType": "kgen", "Inputs": tensors("Half"), "Outputs": tensors("Float")},
        "fp32",
        False,
    ),
    "10: from bytes": ({"LayerType": "kgen", "Inputs": tensors("UInt8"), "Outputs": tensors("Float")}, "fp32", False),
    "10: to bytes": ({"LayerType": "kgen", "Inputs": tensors("Bool"), "Outputs": tensors("UInt8")}, "other", False),
    "10: event": ({"LayerType": "signal", "Inputs": [], "Outputs": []}, "other", False),
    "11: convolution": ({"LayerType": "conv", "Inputs": tensors("Half", key="Datatype")}, "fp16", True),
    "11: Myelin's convolution": ({"LayerType": "correlation", "Inputs": tensors("Half")}, "fp16", True),
    "11: bfloat16": ({"LayerType": "gemm", "Inputs": tensors("BFloat16", key="Datatype")}, "other", True),
    "11: format alone": ({"LayerType": "gemm", "Inputs": tensors("Float", key="Format")}, "fp32", True),
    "says its precision": ({"LayerType": "Convolution", "Precision": "FP16"}, "fp16", True),
    "converts": ({"LayerType": "Convert", "Outputs": tensors("Half")}, "fp16", False),
    "DLA": ({"LayerType": "DLA", "Inputs": tensors("Half"), "Outputs": tensors("Half")}, "fp16", False),
}


@pytest.mark.parametrize(("record", "precision", "is_product"), LAYERS.values(), ids=LAYERS)
def test_a_layers_precision_and_kind_are_read(record: dict[str, Any], precision: str, is_product: bool) -> None:
    report = report_from_inspector(json.dumps({"Layers": [{"Name": "x", **record}], "Bindings": []}))
    (layer,) = report.layers
    assert (layer.precision, layer.is_product) == (precision, is_product)


def test_bare_control_characters_in_metadata_are_read() -> None:
    text = '{"Layers": [{"Name": "a", "LayerType": "gemm", "Precision": "Half", "Metadata": "[ONNX Layer: b]\x1f"}]}'
    assert report_from_inspector(text).products["fp16"] == 1


@pytest.mark.parametrize(
    "text",
    [None, "", "not JSON", "[]", "{}", '{"Layers": []}', '{"Layers": ["conv1 + relu1", "fc"]}'],
    ids=["none", "empty", "text", "list", "object", "no layer", "names alone"],
)
def test_a_report_that_says_no_precision_is_not_conclusive(text: str | None) -> None:
    report = report_from_inspector(text)
    assert report.counts["fp16"] == report.counts["fp32"] == 0
    assert not report.is_conclusive


def test_one_unknown_product_makes_a_report_inconclusive() -> None:
    known = Layer("a", "fp16", True)
    assert LayerReport((known,), INSPECTOR).is_conclusive
    assert not LayerReport((known, Layer("b", "other", True)), INSPECTOR).is_conclusive


def report(*products: str) -> LayerReport:
    return LayerReport(tuple(Layer(f"layer{i}", name, True) for i, name in enumerate(products)), INSPECTOR)


HALF = report("fp16", "fp16", "fp16", "fp16")


def test_convolutions_in_fp32_are_an_error_with_share_and_names() -> None:
    built = report("fp16", "fp32", "fp32", "fp32", "fp32")
    with pytest.raises(ArtefactError) as error:
        check_precision(built, "fp16", HALF, "fused.onnx")
    assert str(error.value) == (
        "fused.onnx: fp16 was asked for, and 4 of 5 convolutions and matrix products (80%) were not built in it: "
        "'layer1' (fp32), 'layer2' (fp32), 'layer3' (fp32), …. Nothing is written; build the fp32 graph with "
        "--precision fp32, or build with another TensorRT"
    )


def test_products_that_the_graph_itself_keeps_in_fp32_are_allowed_and_no_more() -> None:
    graph = report("fp16", "fp16", "fp32")
    check_precision(report("fp16", "fp32"), "fp16", graph, "x")
    with pytest.raises(ArtefactError, match="2 of 3"):
        check_precision(report("fp16", "fp32", "fp32"), "fp16", graph, "x")


@pytest.mark.parametrize("wrong", ["fp16", "int8"])
def test_an_fp32_engine_with_other_products_is_refused(wrong: str) -> None:
    with pytest.raises(ArtefactError, match=f"fp32 was asked for, and 1 of 2 .* 'layer1' \\({wrong}\\)"):
        check_precision(report("fp32", wrong), "fp32", report("fp32", "fp32"), "x")


def test_unknown_products_are_not_held_against_the_engine() -> None:
    check_precision(report("fp16", "other"), "fp16", HALF, "x")


def test_a_graph_whose_types_are_not_its_cards_is_refused() -> None:
    check_graph(HALF, "fp16", "x")
    check_graph(report(), "fp16", "x")
    with pytest.raises(ArtefactError, match=r"x: fp16 was asked for, and only 1 of 3 convolutions .* --precision fp16"):
        check_graph(report("fp16", "fp32", "fp32"), "fp16", "x")


def test_a_networks_layers_are_typed_by_their_first_output() -> None:
    def layer(name: str, kind: str, *types: str) -> SimpleNamespace:
        outputs = [SimpleNamespace(dtype=SimpleNamespace(name=t)) for t in types]
        return SimpleNamespace(
            name=name, type=SimpleNamespace(name=kind), num_outputs=len(outputs), get_output=outputs.__getitem__
        )

    layers = [
        layer("a", "CONVOLUTION", "HALF"),
        layer("b", "TOPK", "FLOAT", "INT32"),
        layer("c", "SHAPE", "INT64"),
        layer("d", "ASSERTION"),
    ]
    found = report_from_network(SimpleNamespace(num_layers=4, get_layer=layers.__getitem__))
    assert [(one.precision, one.is_product) for one in found.layers] == [
        ("fp16", True),
        ("fp32", False),
        ("other", False),
        ("other", False),
    ]
