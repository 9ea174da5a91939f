"""The file that ships: its contract, and what its tensors mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from tiny_run import CLASSES, SIZE, TOP, Exported, make_run, map_side

from whymask.export.config import ExportConfig, classifier_path
from whymask.export.fuse import FusedGraph, pixels_from
from whymask.export.half import check_precision, tensor_types
from whymask.export.onnx_from_run import STAGES
from whymask.export.parity import OnnxRunner, torch_outputs
from whymask.runtime import load
from whymask.runtime.backends import Arrays
from whymask.runtime.card import METADATA_KEY, Card
from whymask.runtime.errors import ArtefactError
from whymask.runtime.images import resize_map
from whymask.train.run import Run

Export = Callable[[str, str], Exported]
BOTH = pytest.mark.parametrize("precision", ["fp32", "fp16"])

UINT8, INT64, FLOAT = TensorProto.UINT8, TensorProto.INT64, TensorProto.FLOAT
CONTRACT = {
    "image": (UINT8, ["batch", SIZE, SIZE, 3]),
    "target": (INT64, ["batch"]),
    "against": (INT64, ["batch"]),
    "logits": (FLOAT, ["batch", CLASSES]),
    "saliency": (FLOAT, ["batch", "h", "w"]),
    "mask": (UINT8, ["batch", SIZE, SIZE]),
    "explanation": (UINT8, ["batch", SIZE, SIZE, 3]),
    "kept_logits": (FLOAT, ["batch", CLASSES]),
    "dropped_logits": (FLOAT, ["batch", CLASSES]),
    "classes": (INT64, ["batch", TOP]),
    "class_saliency": (FLOAT, ["batch", TOP, "h", "w"]),
    "class_mask": (UINT8, ["batch", TOP, SIZE, SIZE]),
}


def tensors(model: onnx.ModelProto) -> dict[str, tuple[int, list[str | int]]]:
    values = (*model.graph.input, *model.graph.output)
    return {
        v.name: (v.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in values
    }


def runner(exported: Exported) -> OnnxRunner:
    return OnnxRunner(exported.path.read_bytes())


@BOTH
def test_file_has_the_tensors_of_the_contract(exported: Export, precision: str) -> None:
    made = exported("tapped", precision)
    found, side = tensors(made.model), map_side(made.run)
    maps = {"saliency": (FLOAT, ["batch", side, side]), "class_saliency": (FLOAT, ["batch", TOP, side, side])}
    assert found == {**CONTRACT, **maps}
    assert list(found) == list(CONTRACT)


@BOTH
def test_plain_file_has_no_optional_tensors(exported: Export, precision: str) -> None:
    found = tensors(exported("autoencoder", precision).model)
    assert list(found) == ["image", "logits", "saliency", "mask"]


@BOTH
def test_file_is_opset_17_of_its_time_and_begins_with_a_cast(exported: Export, precision: str) -> None:
    model = exported("tapped", precision).model
    readers = [node.op_type for node in model.graph.node if "image" in node.input]
    assert [(e.domain, e.version) for e in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    assert readers == ["Cast"]
    onnx.checker.check_model(model, full_check=True)


def test_file_holds_no_trace_of_the_machine_that_made_it(exported: Export) -> None:
    raw = exported("tapped", "fp32").path.read_bytes()
    assert b'.py", line' not in raw
    assert b"/home" not in raw and b"site-packages" not in raw


@BOTH
def test_card_inside_is_the_card_returned(exported: Export, precision: str) -> None:
    made = exported("tapped", precision)
    metadata = {entry.key: entry.value for entry in made.model.metadata_props}
    card = Card.from_json(metadata[METADATA_KEY])
    assert card == made.card
    assert card.precision == precision
    assert (card.explainer.height, card.explainer.width) == (map_side(made.run), map_side(made.run))
    assert card.versions["opset"] == "17" and "tensorrt_rtx" in card.versions
    assert card.metrics["parity_images"] == 64 and card.metrics["parity_synthetic"] == 1
    assert len(made.stages) == STAGES


@BOTH
def test_every_batch_size_gives_the_same_answers(exported: Export, pictures: NDArray[np.uint8], precision: str) -> None:
    path = exported("tapped", precision).path
    together = OnnxRunner(path.read_bytes())(pictures[:3])
    session = OnnxRunner(path.read_bytes())
    apart = [session(pictures[i : i + 1]) for i in range(3)]
    for name, value in together.items():
        np.testing.assert_allclose(value, np.concatenate([a[name] for a in apart]), atol=1e-5, err_msg=name)


def test_target_minus_one_means_the_predicted_class(exported: Export, pictures: NDArray[np.uint8]) -> None:
    run = runner(exported("tapped", "fp32"))
    free = run(pictures)
    predicted = free["logits"].argmax(1)
    asked = run(pictures, predicted)
    other = run(pictures, (predicted + 1) % CLASSES)
    np.testing.assert_array_equal(free["saliency"], asked["saliency"])
    np.testing.assert_array_equal(free["logits"], other["logits"])
    assert np.abs(free["saliency"] - other["saliency"]).max() > 1e-3


@BOTH
def test_each_of_the_likeliest_classes_is_explained_as_if_asked_for(
    exported: Export, pictures: NDArray[np.uint8], precision: str
) -> None:
    run = runner(exported("tapped", precision))
    free = run(pictures)
    np.testing.assert_array_equal(free["classes"], np.argsort(-free["logits"], axis=1)[:, :TOP])
    for place in range(TOP):
        asked = run(pictures, free["classes"][:, place])
        # A row that may be held against another is brought to unit length once more, which half precision notices.
        np.testing.assert_allclose(
            free["class_saliency"][:, place], asked["saliency"], atol={"fp32": 1e-5, "fp16": 1e-2}[precision]
        )
        assert (free["class_mask"][:, place] != asked["mask"]).mean() < {"fp32": 1e-4, "fp16": 0.01}[precision]


def test_a_contrast_is_another_map_and_none_where_it_is_not_asked_for(
    exported: Export, pictures: NDArray[np.uint8]
) -> None:
    run = runner(exported("tapped", "fp32"))
    free = run(pictures)
    first, second = free["classes"][:, 0], free["classes"][:, 1]
    contrast, itself = run(pictures, first, second), run(pictures, first, first)
    assert np.abs(contrast["saliency"] - free["saliency"]).max() > 1e-3
    np.testing.assert_array_equal(itself["saliency"], free["saliency"])
    np.testing.assert_array_equal(contrast["class_mask"], free["class_mask"])


@pytest.mark.parametrize("kind", ["tapped", "autoencoder"])
def test_the_explained_class_is_the_same_whatever_else_is_asked_of_the_modules(
    tmp_path: Path, pictures: NDArray[np.uint8], kind: str
) -> None:
    run = make_run(tmp_path, kind)

    def outputs(**options: object) -> Arrays:
        graph = FusedGraph(run.classifier, run.explainer, run.card, ExportConfig(**options)).eval()
        return torch_outputs(graph, pictures)

    plain, wide = outputs(), outputs(top=TOP)
    asked, all_of_it = outputs(top=TOP, target=True), outputs(top=TOP, target=True, contrast=True)
    for other in (wide, asked, all_of_it):
        np.testing.assert_allclose(other["saliency"], plain["saliency"], atol=1e-5)
        np.testing.assert_allclose(other["class_saliency"][:, 0], plain["saliency"], atol=1e-5)
        np.testing.assert_allclose(other["class_saliency"], wide["class_saliency"], atol=1e-5)


def test_a_plain_graph_is_the_explainer_at_the_predicted_class_bit_for_bit(
    tiny_run: Run, pictures: NDArray[np.uint8]
) -> None:
    graph = FusedGraph(tiny_run.classifier, tiny_run.explainer, tiny_run.card, ExportConfig()).eval()
    with torch.no_grad():
        x = graph.body_input(pixels_from(torch.from_numpy(pictures)))
        logits, features = tiny_run.classifier.with_taps(x)
        expected = torch.sigmoid(tiny_run.explainer(features, x, logits, logits.argmax(1)))
        made = graph(torch.from_numpy(pictures))[1]
    assert torch.equal(made, expected)


def test_mask_is_the_resized_saliency_at_the_threshold(exported: Export, pictures: NDArray[np.uint8]) -> None:
    made = exported("tapped", "fp32")
    outputs = runner(made)(pictures)
    resized = resize_map(outputs["saliency"], SIZE, SIZE)
    clear = np.abs(resized - made.card.threshold) > 1e-6
    np.testing.assert_array_equal(outputs["mask"][clear], (resized >= made.card.threshold)[clear])
    assert 0.05 < outputs["mask"].mean() < 0.95


@BOTH
def test_explanation_is_the_image_in_the_mask_and_the_rounded_fill_outside(
    exported: Export, pictures: NDArray[np.uint8], precision: str
) -> None:
    outputs = runner(exported("tapped", precision))(pictures)
    expected = np.where(outputs["mask"][..., None] == 1, pictures, np.array([120, 0, 255], np.uint8))
    np.testing.assert_array_equal(outputs["explanation"], expected)


@BOTH
def test_certificate_is_the_classifier_on_the_explanation(
    exported: Export, pictures: NDArray[np.uint8], precision: str
) -> None:
    made = exported("tapped", precision)
    outputs = runner(made)(pictures)
    alone = OnnxRunner(classifier_path(made.path).read_bytes())
    dropped = np.where(outputs["mask"][..., None] == 1, np.array([120, 0, 255], np.uint8), pictures)
    # The fused passes and the single one may sum in another order, and only one of them round its logits to half.
    allowed = {"fp32": 1e-5, "fp16": 3e-3}[precision]
    np.testing.assert_allclose(outputs["kept_logits"], alone(outputs["explanation"])["logits"], atol=allowed)
    np.testing.assert_allclose(outputs["dropped_logits"], alone(dropped)["logits"], atol=allowed)
    np.testing.assert_allclose(outputs["logits"], alone(pictures)["logits"], atol=allowed)


@BOTH
def test_runtime_explains_with_it(exported: Export, pictures: NDArray[np.uint8], precision: str) -> None:
    made = exported("tapped", precision)
    expected = runner(made)(pictures[:1])
    with load(made.path, provider="cpu") as explainer:
        result = explainer.explain(pictures[0])
    np.testing.assert_array_equal(result.mask, expected["mask"][0])
    assert result.index == expected["logits"][0].argmax()


def test_classifier_beside_it_has_the_same_input_and_logits(exported: Export) -> None:
    alone = onnx.load(classifier_path(exported("tapped", "fp32").path))
    assert tensors(alone) == {name: CONTRACT[name] for name in ("image", "logits")}


@BOTH
def test_convolutions_compute_in_the_stated_precision(exported: Export, precision: str) -> None:
    model = exported("tapped", precision).model
    types = tensor_types(model)
    convolutions = {types[node.output[0]] for node in model.graph.node if node.op_type == "Conv"}
    assert convolutions == {TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT}


def test_islands_of_the_half_graph_are_in_float(exported: Export) -> None:
    model = exported("tapped", "fp16").model
    types = tensor_types(model)
    found = {
        n.op_type: types[n.input[0]] for n in model.graph.node if n.name.startswith("graph/") or n.op_type == "Sqrt"
    }
    assert {found[op] for op in ("Div", "Sub", "TopK", "Sigmoid", "Resize", "GreaterOrEqual", "Sqrt")} == {FLOAT}


def test_half_file_is_little_more_than_half_as_large(exported: Export) -> None:
    # Also that three uses of the classifier store its folded weights once.
    full, half = (sum(len(i.raw_data) for i in exported("tapped", p).model.graph.initializer) for p in ("fp32", "fp16"))
    alone = onnx.load(classifier_path(exported("tapped", "fp32").path))
    classifier = sum(len(i.raw_data) for i in alone.graph.initializer)
    explainer = 4 * exported("tapped", "fp32").card.explainer.parameters
    assert half < 0.6 * full
    assert full < classifier + 1.5 * explainer
    assert not [n for n in exported("tapped", "fp32").model.graph.node if n.op_type == "BatchNormalization"]


def test_precision_that_is_not_the_stated_one_is_refused(exported: Export) -> None:
    with pytest.raises(
        ArtefactError, match=r"do not compute in fp16, the first is 'classifier\.model\.stages\.0\.\d/Conv"
    ):
        check_precision(exported("tapped", "fp32").model, "fp16")


@BOTH
def test_export_leaves_classifier_and_explainer_as_they_were(exported: Export, precision: str) -> None:
    run = exported("tapped", precision).run
    assert run.classifier.sha256() == run.card.classifier.sha256
    tensors = (*run.classifier.parameters(), *run.explainer.parameters(), run.classifier.mean, run.classifier.std)
    assert {t.dtype for t in tensors} == {torch.float32}
    assert not run.classifier.training and not run.explainer.training


def test_nodes_are_named_after_the_modules_that_made_them(exported: Export) -> None:
    names = [node.name for node in exported("tapped", "fp32").model.graph.node]
    assert len(set(names)) == len(names)
    assert {name.split("/")[0].split(".")[0] for name in names} == {"graph", "classifier", "explainer"}
