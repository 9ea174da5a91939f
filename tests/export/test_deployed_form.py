"""The deployed form of the tapped explainer, and Resize by constant scales: the same function, fewer nodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_run
import torch
from onnx import TensorProto, helper, numpy_helper

from whymask.export.config import ExportConfig
from whymask.export.fuse import FusedGraph
from whymask.export.half import half_copies
from whymask.export.onnx_from_run import _models
from whymask.export.resizes import scale_resizes
from whymask.export.tabled import TabledExplainer, deployed, tempered_standard, unscaled_figures
from whymask.train.config import ExplainerConfig
from whymask.train.explainers import TappedExplainer, build_explainer
from whymask.train.levels import confidence
from whymask.train.masks import standardise
from whymask.train.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run whose explainer tells absent classes, too, and cuts at an uneven chance."""
    made = tiny_run.make_run(tmp_path, "tapped")
    config = ExplainerConfig("tapped", channels=8, presence=True, retention=0.9)
    explainer = build_explainer(config, made.classifier).eval().requires_grad_(False)
    tiny_run._settle(explainer)
    torch.nn.init.normal_(explainer.level.out.weight)  # zero before training: nothing would be compared
    return replace(made, explainer=explainer)


def batch_of(run: Run) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    x = torch.randn(4, 3, tiny_run.SIZE, tiny_run.SIZE, generator=torch.Generator().manual_seed(3))
    logits, features = run.classifier.with_taps(x)
    return features, x, logits


@pytest.mark.parametrize("predicted", [True, False], ids=["predicted class", "asked class"])
def test_the_deployed_form_gives_the_same_saliency(run: Run, predicted: bool) -> None:
    features, x, logits = batch_of(run)
    target = logits.argmax(1) if predicted else torch.tensor([0, 1, 2, 4])
    expected = run.explainer(features, x, logits, target, None, predicted)
    actual = deployed(run.explainer)(features, x, logits, target, None, predicted)
    assert expected.std() > 0.1
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_several_classes_and_a_contrast_are_the_same_too(run: Run) -> None:
    features, x, logits = batch_of(run)
    fast, targets = deployed(run.explainer), torch.tensor([[0, 1], [2, 3], [4, 0], [1, 2]])
    expected = run.explainer.forward_classes(features, x, logits, targets)
    torch.testing.assert_close(fast.forward_classes(features, x, logits, targets), expected, rtol=1e-4, atol=1e-4)
    against = torch.tensor([1, -1, 0, 2])
    expected = run.explainer(features, x, logits, targets[:, 0], against)
    torch.testing.assert_close(fast(features, x, logits, targets[:, 0], against), expected)


def test_a_classifier_without_class_evidence_has_a_deployed_form(run: Run) -> None:
    run.classifier.head = None  # as where no final linear layer is found: the classes are embedded
    explainer = build_explainer(ExplainerConfig("tapped", channels=8), run.classifier).eval()
    tiny_run._settle(explainer)
    features, x, logits = batch_of(run)
    target = logits.argmax(1)
    assert isinstance(explainer, TappedExplainer) and not explainer.has_evidence
    with torch.no_grad():
        expected, actual = (each(features, x, logits, target) for each in (explainer, deployed(explainer)))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_the_half_precision_form_has_half_tables(run: Run) -> None:
    _, half = half_copies(run.classifier, run.explainer)
    fast = deployed(half)
    assert isinstance(fast, TabledExplainer) and fast.table.dtype is torch.float16


def test_an_autoencoder_is_deployed_as_it_is(tmp_path: Path) -> None:
    explainer = tiny_run.make_run(tmp_path, "autoencoder").explainer
    assert deployed(explainer) is explainer


def test_the_parts_are_those_of_training() -> None:
    random = torch.Generator().manual_seed(0)
    maps = 3.0 + 2.0 * torch.randn(2, 1, 5, 7, generator=random)
    torch.testing.assert_close(tempered_standard(maps, 0.5), standardise(maps) / 0.5)
    assert tempered_standard(torch.full((1, 1, 4, 4), 7.0), 0.5).abs().max() == 0.0
    logits, target = 4.0 * torch.randn(3, 6, generator=random), torch.tensor([0, 5, 2])
    p, log_p, entropy = unscaled_figures(logits, target)
    scaled = torch.cat([p, log_p / 4.0, -entropy / np.log(6)], dim=1)
    torch.testing.assert_close(scaled, confidence(logits, target))


def test_the_exported_graph_is_the_deployed_form_and_resizes_by_scales(run: Run) -> None:
    model = _models(run, ExportConfig()).fused
    plain = FusedGraph(run.classifier, run.explainer, run.card, ExportConfig()).eval()
    picture = np.random.default_rng(0).integers(0, 256, (3, tiny_run.SIZE, tiny_run.SIZE, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    _, saliency, mask = session.run(None, {"image": picture})
    _, expected, expected_mask = plain(torch.from_numpy(picture))
    np.testing.assert_allclose(saliency, expected.numpy(), atol=1e-5)
    assert (mask != expected_mask.numpy()).mean() < 1e-3
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["Shape"] == 0 and kinds["Resize"] > 0
    assert all(node.input[1:3] == ["", node.input[2]] for node in model.graph.node if node.op_type == "Resize")
    gates = [node for node in model.graph.node if node.op_type == "Gemm" and "gate" in node.name]
    assert not gates


def resize_model(given: int, wanted: int) -> onnx.ModelProto:
    """(batch, 2, given, given) → (batch, 2, wanted, wanted), sizes by Shape and Concat as the exporter writes them."""
    nodes = [
        helper.make_node("Shape", ["x"], ["front"], start=0, end=2),
        helper.make_node("Concat", ["front", "size"], ["sizes"], axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2, side, side])
        for name, side in (("x", given), ("y", wanted))
    ]
    size = numpy_helper.from_array(np.array([wanted, wanted]), "size")
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [size])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize(("given", "wanted"), [(7, 14), (13, 27), (28, 224), (14, 7)])
def test_a_resize_by_scales_is_the_resize_by_sizes(given: int, wanted: int) -> None:
    model, plain = resize_model(given, wanted), resize_model(given, wanted)
    assert scale_resizes(model) == 1 and [node.op_type for node in model.graph.node] == ["Resize"]
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(0).normal(size=(2, 2, given, given)).astype(np.float32)
    actual, expected = (
        onnxruntime.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
        for each in (model, plain)
    )
    np.testing.assert_allclose(actual[0], expected[0], atol=1e-6)


def test_sizes_that_scales_do_not_give_stay() -> None:
    model = resize_model(27, 224)  # 27 · float32(224 / 27) is 224 in float32 and 223.99999 in float64
    assert scale_resizes(model) == 0 and [node.op_type for node in model.graph.node] == ["Shape", "Concat", "Resize"]
