"""INT8: which layers are quantised, how TensorRT wants them, and what happens where a gate fails."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from tiny_run import make_run

from whymask.export import int8, onnx_from_run
from whymask.export.config import classifier_path
from whymask.export.cost import cost_of
from whymask.export.half import tensor_types
from whymask.export.int8 import Plan, Quantiser, check_int8, classifier_of, heavy_layers
from whymask.export.onnx_from_run import export_run
from whymask.export.parity import OnnxRunner
from whymask.export.samples import synthetic_pictures
from whymask.runtime.card import LOGITS, QUANTISED, Card
from whymask.runtime.describe import describe, lines
from whymask.runtime.errors import InputError, ParityError
from whymask.runtime.explainer import load
from whymask.train.run import Run

LENIENT = {"top1_agreement_min": 1.0, "logits_max": 0.0, "top1_same": 1.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("int8"), "tapped")


@pytest.fixture(scope="module")
def pictures(run: Run) -> NDArray[np.uint8]:
    return synthetic_pictures(run.card.input, 24)


@pytest.fixture(scope="module")
def quantiser(run: Run, pictures: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Quantiser:
    """Of the run's plain graph in FP32."""
    path = tmp_path_factory.mktemp("plain") / "fused.onnx"
    export_run(run, path, max_batch=4, images=pictures)
    return Quantiser(onnx.load(path), pictures)


def of_type(model: onnx.ModelProto, kind: str) -> dict[str, onnx.NodeProto]:
    return {node.name: node for node in model.graph.node if node.op_type == kind}


def test_heavy_layers_read_int8_weights_by_channel_and_float_biases(quantiser: Quantiser):
    model = quantiser.quantised()
    makers = {node.output[0]: node for node in model.graph.node}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in of_type(model, "Conv").values():
        activation, weight = (makers[name] for name in node.input[:2])
        assert (activation.op_type, weight.op_type) == ("DequantizeLinear", "DequantizeLinear")
        assert constants[weight.input[0]].data_type == TensorProto.INT8
        assert constants[weight.input[1]].dims[0] == constants[weight.input[0]].dims[0]
        assert not numpy_helper.to_array(constants[activation.input[2]]).any()
        assert all(constants[name].data_type == TensorProto.FLOAT for name in node.input[2:])
    assert of_type(model, "Conv").keys() == of_type(quantiser._model, "Conv").keys()


def test_input_and_outputs_stay_as_they_are(quantiser: Quantiser):
    model = quantiser.quantised()
    assert list(model.graph.input) == list(quantiser._model.graph.input)
    assert list(model.graph.output) == list(quantiser._model.graph.output)
    assert tensor_types(model)["image"] == TensorProto.UINT8


def test_what_is_kept_reads_float_weights(quantiser: Quantiser):
    first, *others = quantiser.layers
    model = quantiser.quantised([first])
    constants = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    nodes = {node.name: node for node in model.graph.node}
    assert nodes[first].input[1] in constants
    assert all(nodes[name].input[1] not in constants for name in others)


def test_plans_keep_the_explainer_and_then_ever_more_of_the_worst(quantiser: Quantiser):
    plans = list(quantiser.plans())
    own = {name for name in quantiser.layers if name.startswith("explainer.")}
    assert (plans[0].kept, set(plans[1].kept)) == ((), own)
    more = [set(plan.kept) - own for plan in plans[2:]]
    assert [len(each) for each in more] == [2**power for power in range(len(more))]
    assert all(less < larger for less, larger in itertools.pairwise(more))
    assert len(more[-1]) <= (len(quantiser.layers) - len(own)) / 2
    assert str(plans[0]) == f"{len(quantiser.layers)} of {len(quantiser.layers)} layers in INT8"


def test_the_worst_layer_is_the_one_with_the_widest_weights(quantiser: Quantiser, pictures: NDArray[np.uint8]):
    model = onnx.ModelProto()
    model.CopyFrom(quantiser._model)
    spoilt = [name for name in heavy_layers(model) if not name.startswith("explainer.")][1]
    node = next(node for node in model.graph.node if node.name == spoilt)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    values = numpy_helper.to_array(weight).copy()
    values[:, 0, 0, 0] = 60.0 * np.abs(values).max()  # one weight a channel takes all 8 bits
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    plans = Quantiser(model, pictures).plans()
    next(plans), next(plans)
    assert spoilt in next(plans).kept


def test_the_classifier_cut_out_gives_the_fused_graphs_logits(quantiser: Quantiser, pictures: NDArray[np.uint8]):
    fused = quantiser.quantised()
    alone = classifier_of(fused)
    assert [tensor.name for tensor in alone.graph.output] == [LOGITS]
    expected, got = (OnnxRunner(model.SerializeToString())(pictures)[LOGITS] for model in (fused, alone))
    np.testing.assert_array_equal(got, expected)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch, quantiser: Quantiser) -> Iterator[list[dict[str, float]]]:
    """What the gates are told, in turn; the last again and again. The graph in FP32 is not exported anew."""
    models = onnx_from_run._Models(quantiser._model, classifier_of(quantiser._model))
    monkeypatch.setattr(onnx_from_run, "_models", lambda *_: models)
    figures: list[dict[str, float]] = []
    monkeypatch.setattr(
        onnx_from_run, "_compared", lambda *_: figures.pop(0) if len(figures) > 1 else figures[0], raising=True
    )
    monkeypatch.setattr(onnx_from_run.rtx, "is_installed", lambda: False)
    yield figures


def test_a_failed_gate_keeps_layers_and_the_card_says_which(
    run: Run, pictures: NDArray[np.uint8], tmp_path: Path, judged: list
):
    judged += [{**LENIENT, "logits_max": 0.9}, LENIENT]
    out = tmp_path / "fused.onnx"
    card = export_run(run, out, precision="int8", max_batch=4, images=pictures, calibration=pictures)
    kept = card.training[QUANTISED]["kept_fp32"]
    assert kept
    assert all(name.startswith("explainer.") for name in kept)
    assert Card.from_json(card.to_json()).training[QUANTISED]["pictures"] == len(pictures)
    text = "\n".join(lines(describe(out)))
    assert "precision  int8" in text
    assert f"kept in FP32: {kept[0]}" in text
    with load(out, threads=1, when="never") as explainer:
        assert explainer.explain(pictures[0]).index == explainer.explain(pictures[0], when="always").index


def test_the_card_counts_the_graph_that_ships(
    run: Run, pictures: NDArray[np.uint8], quantiser: Quantiser, tmp_path: Path, judged: list
):
    judged.append(LENIENT)
    out = tmp_path / "fused.onnx"
    cost = export_run(run, out, precision="int8", max_batch=4, images=pictures, calibration=pictures).cost
    nodes, alone = (len(onnx.load(path).graph.node) for path in (out, classifier_path(out)))
    assert (cost["nodes"], cost["classifier_nodes"], cost["added_nodes"]) == (nodes, alone, nodes - alone)
    plain = cost_of(quantiser._model, classifier_of(quantiser._model))
    assert cost["nodes"] > plain["nodes"]
    assert [cost[name] for name in ("macs", "parameters")] == [plain[name] for name in ("macs", "parameters")]


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ([{**LENIENT, "logits_max": 0.15}, LENIENT], True),
        ([{**LENIENT, "top1_same": 0.94}, {**LENIENT, "top1_same": 0.95}], True),
        ([{**LENIENT, "logits_max": 0.15}, {**LENIENT, "logits_max": 0.14}], False),
        ([{**LENIENT, "logits_max": 0.15}, {**LENIENT, "logits_max": 0.9}], False),
    ],
)
def test_a_plan_with_a_margin_is_preferred_and_else_the_first_within_bounds(
    told: list[dict[str, float]],
    kept: bool,
    run: Run,
    pictures: NDArray[np.uint8],
    tmp_path: Path,
    judged: list,
):
    judged += told
    out = tmp_path / "fused.onnx"
    card = export_run(run, out, precision="int8", max_batch=4, images=pictures, calibration=pictures)
    assert bool(card.training[QUANTISED]["kept_fp32"]) == kept
    assert card.metrics["parity_logits_max"] == told[kept]["logits_max"]


def test_where_no_plan_passes_nothing_is_written(run: Run, pictures: NDArray[np.uint8], tmp_path: Path, judged: list):
    judged.append({**LENIENT, "mask_iou_min": 0.2})
    with pytest.raises(ParityError, match=r"mask_iou is 0\.2, allowed ≥ 0\.95.*Nothing was written"):
        export_run(run, tmp_path / "a.onnx", precision="int8", max_batch=4, images=pictures, calibration=pictures)
    assert not (tmp_path / "a.onnx").exists()
    assert not classifier_path(tmp_path / "a.onnx").exists()


def test_near_ties_do_not_hide_a_loss():
    with pytest.raises(ParityError, match=r"80\.0% of pictures keep their top-1, expected 90% or more"):
        check_int8({**LENIENT, "top1_same": 0.8})
    check_int8(LENIENT)


def test_int8_needs_real_pictures_and_other_precisions_none(run: Run, pictures: NDArray[np.uint8], tmp_path: Path):
    with pytest.raises(InputError, match=r"int8 needs real pictures.*--calibration-data"):
        export_run(run, tmp_path / "a.onnx", precision="int8", images=pictures)
    with pytest.raises(InputError, match="calibration pictures are for int8, and fp32 was asked for"):
        export_run(run, tmp_path / "a.onnx", images=pictures, calibration=pictures)
    with pytest.raises(InputError, match="no picture was given"):
        Quantiser(onnx.ModelProto(), pictures[:0])


def test_tensorrt_rtx_accepts_the_graph(quantiser: Quantiser):
    pytest.importorskip("tensorrt_rtx")
    from whymask.export.rtx import build_with_rtx

    assert build_with_rtx(quantiser.quantised().SerializeToString(), 4).layers > 0


def test_a_plan_says_for_the_card_what_it_is():
    summary = Plan(("a",), 3).summary(100)
    assert (summary["layers"], summary["kept_fp32"], summary["pictures"]) == (3, ["a"], 100)
    assert f"percentile {int8.PERCENTILE}" in summary["method"]
