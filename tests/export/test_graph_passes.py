"""The passes over a graph: folding, lowering to opset 17, counting, and the pictures to compare on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image
from tiny_run import SIZE, TOP, Exported
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from whymask.export.config import ExportConfig, classifier_path
from whymask.export.cost import cost_of, multiply_adds
from whymask.export.fold import fold_batch_norm
from whymask.export.fuse import FusedGraph
from whymask.export.opset import lower_to_17
from whymask.export.samples import real_pictures, synthetic_pictures
from whymask.export.tabled import deployed
from whymask.runtime.card import InputCard
from whymask.runtime.errors import ArtefactError
from whymask.train.run import Run

CARD = InputCard(12, 16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def graph(
    nodes: Sequence[NodeProto],
    shape: Sequence[int | str],
    tensors: dict[str, NDArray[Any]],
    opset: int,
    out: Sequence[int] | None = None,
) -> onnx.ModelProto:
    """x → y."""
    made = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[Any]:
    result: NDArray[Any] = ReferenceEvaluator(model).run(None, {"x": x})[0]
    return result


def normalised_twice() -> onnx.ModelProto:
    """One convolution and its BatchNorm, applied to x and to 2x with the same weights, and summed."""
    rng = np.random.default_rng(0)
    tensors = {"w": rng.normal(size=(4, 3, 1, 1)), "two": np.array(2.0), "var": rng.uniform(0.5, 2, 4)}
    tensors |= {name: rng.normal(size=4) for name in ("b", "gamma", "beta", "mean")}
    statistics = ["gamma", "beta", "mean", "var"]
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["x2"]),
        helper.make_node("Conv", ["x", "w", "b"], ["c1"]),
        helper.make_node("Conv", ["x2", "w", "b"], ["c2"]),
        helper.make_node("BatchNormalization", ["c1", *statistics], ["n1"], epsilon=1e-3),
        helper.make_node("BatchNormalization", ["c2", *statistics], ["n2"], epsilon=1e-3),
        helper.make_node("Add", ["n1", "n2"], ["y"]),
    ]
    return graph(nodes, [1, 3, 2, 2], {k: v.astype(np.float32) for k, v in tensors.items()}, 17, [1, 4, 2, 2])


def test_folding_keeps_the_function_and_stores_a_shared_pair_once() -> None:
    x = np.random.default_rng(1).normal(size=(1, 3, 2, 2)).astype(np.float32)
    model = normalised_twice()
    expected = run(model, x)
    assert fold_batch_norm(model) == 2
    np.testing.assert_allclose(run(model, x), expected, rtol=1e-5, atol=1e-6)
    assert [n.op_type for n in model.graph.node] == ["Mul", "Conv", "Conv", "Add"]
    assert len(model.graph.initializer) == 3  # weight, bias, and the 2


def test_convolution_that_is_read_elsewhere_is_not_folded() -> None:
    model = normalised_twice()
    model.graph.node[-1].input[0] = "c1"
    assert fold_batch_norm(model) == 1


LOWERED: dict[str, tuple[list[NodeProto], dict[str, NDArray[Any]], list[int]]] = {
    "ReduceMean": (
        [helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0, noop_with_empty_axes=0)],
        {"axes": np.array([1, -1])},
        [2, 3],
    ),
    "Resize": (
        [helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear", antialias=0)],
        {"sizes": np.array([2, 4, 7, 5])},
        [2, 4, 7, 5],
    ),
    "Pad": (
        [helper.make_node("Pad", ["x", "pads"], ["y"])],
        {"pads": np.array([0, 0, 1, 2, 0, 0, 3, 4])},
        [2, 4, 7, 10],
    ),
    "Split": ([helper.make_node("Split", ["x"], ["y", "rest"], axis=1, num_outputs=2)], {}, [2, 2, 3, 4]),
}


@pytest.mark.parametrize("case", LOWERED)
def test_lowered_operator_computes_the_same(case: str) -> None:
    nodes, tensors, shape = LOWERED[case]
    model = graph(nodes, [2, 4, 3, 4], tensors, 18, shape)
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 4)).astype(np.float32)
    expected = run(model, x)
    lower_to_17(model)
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(run(model, x), expected)
    assert model.opset_import[0].version == 17


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (helper.make_node("Mish", ["x"], ["y"], name="a/Mish"), "the operator Mish of 'a/Mish' came with opset 18"),
        (
            helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear", antialias=1, name="a/Resize"),
            "antialias=1 in Resize of 'a/Resize' came with opset 18",
        ),
        (helper.make_node("ReduceMax", ["x", "x"], ["y"], name="a/Max"), "computed axes in ReduceMax of 'a/Max'"),
        (helper.make_node("Own", ["x"], ["y"], name="a/Own", domain="mine"), "mine.Own of 'a/Own' is not ONNX's own"),
    ],
    ids=["new operator", "antialias", "computed axes", "foreign"],
)
def test_what_opset_17_cannot_say_is_refused_by_name(node: NodeProto, message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        lower_to_17(graph([node], [2, 4, 3, 4], {"sizes": np.array([2, 4, 7, 5])}, 18))


@pytest.mark.parametrize(
    ("node", "weight", "expected"),
    [
        (helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]), (8, 4, 3, 3), 8 * 4 * 9 * 6 * 6),
        (helper.make_node("Conv", ["x", "w"], ["y"], group=4), (4, 1, 3, 3), 4 * 9 * 4 * 4),
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"]), (4, 5, 2, 2), 4 * 6 * 6 * 5 * 4),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), (6, 10), 4 * 6 * 6 * 10),
        (helper.make_node("Einsum", ["x", "w"], ["y"], equation="bchw,kc->bkhw"), (3, 4), 3 * 4 * 6 * 6),
    ],
    ids=["conv", "depthwise", "transposed", "matmul", "einsum"],
)
def test_multiply_adds_of_an_operator(node: NodeProto, weight: tuple[int, ...], expected: int) -> None:
    model = graph([node], ["batch", 4, 6, 6], {"w": np.zeros(weight, np.float32)}, 17)
    assert multiply_adds(model) == expected


def test_multiply_adds_of_gemm_follow_its_transposition() -> None:
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transA=1)
    assert multiply_adds(graph([node], [5, 3], {"w": np.zeros((5, 7), np.float32)}, 17)) == 3 * 5 * 7


def macs_seen_by_torch(module: nn.Module, call: Callable[[], object]) -> int:
    """Multiply-adds of a module's convolutions and linear layers during a call, from their outputs' sizes."""
    seen: list[int] = []

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        assert isinstance(layer.weight, torch.Tensor)
        seen.append(output.numel() * layer.weight[0].numel())

    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        call()
    for hook in hooks:
        hook.remove()
    return sum(seen)


@torch.no_grad()
def macs_of_deployed(run: Run) -> int:
    """What a graph of all options does at batch 1: one encoding, a contrast, and TOP classes from the tables."""
    fast, target = deployed(run.explainer), torch.tensor([0])
    logits, features = run.classifier.with_taps(torch.zeros(1, 3, SIZE, SIZE))
    encoding, contrast, classes = (FlopCounterMode(display=False) for _ in range(3))
    with encoding:
        fast.encode(features, features[0])
    with contrast:
        fast(features, features[0], logits, target, target)
    with classes:
        fast.forward_classes(features, features[0], logits, target[:, None].expand(1, TOP))
    flops = contrast.get_total_flops() + classes.get_total_flops() - encoding.get_total_flops()
    return flops // 2


def macs_of_autoencoder(made: Exported) -> int:
    graph = FusedGraph(made.run.classifier, made.run.explainer, made.card, ExportConfig())
    image = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8)
    return macs_seen_by_torch(made.run.explainer, lambda: graph(image))


@pytest.mark.parametrize(("kind", "passes"), [("tapped", 3), ("autoencoder", 1)])
def test_cost_of_a_run_agrees_with_other_counts(
    exported: Callable[[str, str], Exported], kind: str, passes: int
) -> None:
    made = exported(kind, "fp32")
    classifier = 8 * 3 * 9 * 16 * 16 + 12 * 8 * 9 * 8 * 8 + 16 * 12 * 9 * 4 * 4 + 16 * 5
    explainer = macs_of_deployed(made.run) if kind == "tapped" else macs_of_autoencoder(made)
    cost, alone = made.card.cost, onnx.load(classifier_path(made.path))
    assert cost["classifier_macs"] == classifier
    assert cost["explainer_macs"] == explainer > 0
    assert cost["macs"] == passes * classifier + explainer
    assert cost["added_macs"] == (passes - 1) * classifier + explainer
    assert cost == cost_of(made.model, alone)
    assert cost["nodes"] - cost["added_nodes"] == cost["classifier_nodes"] == len(alone.graph.node)


def test_real_pictures_are_evenly_spaced_and_pass_over_broken_files(tmp_path: Path) -> None:
    for index in range(9):
        Image.new("RGB", (20, 10), (index, 0, 0)).save(tmp_path / f"{index}.png")
    (tmp_path / "4.png").write_bytes(b"broken")
    found = real_pictures([tmp_path], CARD, count=3)
    assert found is not None
    assert found.shape == (2, 12, 16, 3)
    assert found[:, 0, 0, 0].tolist() == [0, 8]


def test_no_real_picture_is_none(tmp_path: Path) -> None:
    assert real_pictures([tmp_path / "absent", tmp_path], CARD) is None


def test_synthetic_pictures_are_seeded_and_use_the_full_range() -> None:
    first, second = synthetic_pictures(CARD, 4), synthetic_pictures(CARD, 4)
    np.testing.assert_array_equal(first, second)
    assert first.min() < 5 and first.max() > 250
    assert (synthetic_pictures(CARD, 4, seed=1) != first).any()
