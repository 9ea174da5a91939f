"""The gates: what they refuse, what they say, and what they leave behind."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tiny_run import CLASSES, SIZE, TOP, Exported, weakened
from torch import nn

from whymask.export import onnx_from_run, parity, rtx
from whymask.export.config import ExportConfig, classifier_path
from whymask.export.fuse import ClassifierGraph, FusedGraph
from whymask.export.onnx_from_run import classifier_onnx, export_run
from whymask.runtime.card import LOGITS, MASK, SALIENCY
from whymask.runtime.errors import ArtefactError, InputError, MissingExtra, ParityError
from whymask.runtime.parity import TOLERANCES, check
from whymask.train.classifier import FrozenClassifier
from whymask.train.run import Run

Export = Callable[[str, str], Exported]
ALL = {"with_explanation": True, "certify": "both", "target": True, "top": TOP, "contrast": True, "max_batch": 4}


@pytest.fixture
def wrong_classifier(monkeypatch: pytest.MonkeyPatch, exported: Export) -> Exported:
    """Exports yield a fused graph whose classifier is slightly wrong."""
    made = exported("tapped", "fp32")
    alone = onnx.load(classifier_path(made.path))
    models = onnx_from_run._Models(weakened(made.model, "classifier.model.head"), alone)
    monkeypatch.setattr(onnx_from_run, "_models", lambda run, config: models)
    return made


def test_wrong_graph_is_refused_with_every_failed_gate_and_leaves_no_file(
    wrong_classifier: Exported, tmp_path: Path
) -> None:
    message = r"logits_max is 0\.0\d+, allowed ≤ 0\.0001; logits_p99 is .*certificate_max is .*classifier_max is "
    with pytest.raises(ParityError, match=message):
        export_run(wrong_classifier.run, tmp_path / "fused.onnx", **ALL)
    assert list(tmp_path.iterdir()) == []


def test_keep_leaves_the_wrong_graph_with_its_figures_and_raises_all_the_same(
    wrong_classifier: Exported, tmp_path: Path
) -> None:
    out = tmp_path / "fused.onnx"
    with pytest.raises(ParityError):
        export_run(wrong_classifier.run, out, keep=True, **ALL)
    assert {p.name for p in tmp_path.iterdir()} == {"fused.onnx", "fused.classifier.onnx"}
    assert '"parity_logits_max": 0.0' in out.read_bytes().decode(errors="ignore")


def test_failed_gate_leaves_the_older_file_as_it_was(wrong_classifier: Exported, tmp_path: Path) -> None:
    out = tmp_path / "fused.onnx"
    out.write_bytes(b"older")
    with pytest.raises(ParityError):
        export_run(wrong_classifier.run, out, **ALL)
    assert out.read_bytes() == b"older"


def good(count: int = 40) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    saliency = rng.random((count, 8, 8), dtype=np.float32)
    mask = (np.repeat(np.repeat(saliency, 4, 1), 4, 2) >= 0.5).astype(np.uint8)
    logits = rng.permuted(np.tile(np.linspace(-9, 9, CLASSES, dtype=np.float32), (count, 1)), axis=1)
    return {LOGITS: logits, SALIENCY: saliency, MASK: mask}


def measured(run: Run, reference: dict[str, Any], actual: dict[str, Any], precision: str = "fp32") -> dict[str, float]:
    graph = FusedGraph(run.classifier, run.explainer, run.card, ExportConfig()).eval()
    pictures = np.zeros((len(reference[LOGITS]), SIZE, SIZE, 3), np.uint8)
    allowed = TOLERANCES[precision]
    return parity.measure(reference, actual, actual[LOGITS], graph, pictures, allowed)


def test_equal_outputs_pass_every_gate(tiny_run: Run) -> None:
    figures = measured(tiny_run, good(), good())
    check(figures, TOLERANCES["fp32"])
    assert figures["mask_iou_min"] == 1.0 and figures["mask_flips"] == 0
    assert figures["saliency_rank_min"] == pytest.approx(1.0)


def spoil_logits(outputs: dict[str, NDArray[Any]]) -> None:
    outputs[LOGITS][:1] = -outputs[LOGITS][:1]


def spoil_saliency(outputs: dict[str, NDArray[Any]]) -> None:
    outputs[SALIENCY][3] = 1 - outputs[SALIENCY][3]


def spoil_mask(outputs: dict[str, NDArray[Any]]) -> None:
    outputs[MASK][:, :2] ^= 1


def spoil_finiteness(outputs: dict[str, NDArray[Any]]) -> None:
    outputs[SALIENCY][0, 0, 0] = np.nan


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_logits, "top1_agreement is 0.975, allowed ≥ 1"),
        (spoil_saliency, "saliency_rank is -"),
        (spoil_mask, r"mask_iou is 0\.\d+, allowed ≥ 0.999"),
        (spoil_finiteness, "saliency_max is nan, .*not_finite is 1, allowed ≤ 0"),
    ],
)
def test_each_gate_sees_its_fault(
    tiny_run: Run, spoil: Callable[[dict[str, NDArray[Any]]], None], message: str
) -> None:
    actual = good()
    spoil(actual)
    with pytest.raises(ParityError, match=message):
        check(measured(tiny_run, good(), actual), TOLERANCES["fp32"])


def test_near_tie_is_no_disagreement_and_is_counted(tiny_run: Run) -> None:
    reference, actual = good(), good()
    reference[LOGITS][0], actual[LOGITS][0] = [9, 9 - 3e-4, 0, 0, 0], [9 - 3e-4, 9, 0, 0, 0]
    figures = measured(tiny_run, reference, actual)
    assert figures["top1_agreement_min"] == 1.0
    assert figures["near_ties"] == 1


def test_rtx_names_the_node_that_it_does_not_know() -> None:
    node = helper.make_node("Unique", ["image"], ["values"], name="graph/Unique")
    graph = helper.make_graph(
        [node],
        "unsupported",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("values", TensorProto.FLOAT, [None])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ArtefactError, match=r"does not parse the graph: node 'graph/Unique' \(Unique\)"):
        rtx.build_with_rtx(model.SerializeToString(), 1)


def test_rtx_builds_the_half_graph(exported: Export) -> None:
    built = rtx.build_with_rtx(exported("tapped", "fp16").path.read_bytes(), 2)
    assert built.layers > 50 and built.engine_bytes > 10_000


@pytest.fixture
def without_rtx(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def absent(name: str, package: str | None = None) -> Any:
        if name == rtx.PACKAGE:
            raise ModuleNotFoundError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)


@pytest.mark.usefixtures("without_rtx")
def test_absent_rtx_is_left_out_of_the_card(monkeypatch: pytest.MonkeyPatch, exported: Export, tmp_path: Path) -> None:
    made = exported("tapped", "fp32")
    models = onnx_from_run._Models(made.model, onnx.load(classifier_path(made.path)))
    monkeypatch.setattr(onnx_from_run, "_models", lambda run, config: models)
    stale = dataclasses.replace(made.run, card=dataclasses.replace(made.run.card, versions={rtx.PACKAGE: "0"}))
    card = export_run(stale, tmp_path / "fused.onnx", **ALL)
    assert rtx.PACKAGE not in card.versions


@pytest.mark.usefixtures("without_rtx")
def test_required_but_absent_rtx_is_an_error_before_any_work(tiny_run: Run, tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match=r'pip install "whymask\[tensorrt-rtx\]"'):
        export_run(tiny_run, tmp_path / "fused.onnx", require_rtx=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "precision is 'int4', expected one of fp32, fp16, int8"),
        ({"precision": "int8"}, "int8 needs real pictures to calibrate on; give a folder of some hundred"),
        ({"opset": 16}, "opset is 16, expected 17 to 21"),
        ({"max_batch": 0}, "batch is 0, expected 1 or more images"),
        ({"top": -1}, "top is -1, expected 1 or more classes, or 0"),
        ({"top": 6}, "top: 6 classes at once were asked for, and the classifier has 5"),
        ({"contrast": True}, "asks why one class and not another; give target as well: --target --contrast"),
        (
            {"images": np.zeros((2, 8, 8, 3), np.uint8)},
            r"images are uint8 \(2, 8, 8, 3\), expected uint8 \(N, 32, 32, 3\)",
        ),
    ],
    ids=["precision", "no pictures", "opset", "batch", "negative top", "large top", "contrast", "images"],
)
def test_wrong_option_is_refused(tiny_run: Run, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        export_run(tiny_run, tmp_path / "fused.onnx", **options)


def test_output_that_is_no_onnx_file_is_refused(tiny_run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"output file is 'fused.engine', expected a name ending in .onnx"):
        export_run(tiny_run, tmp_path / "fused.engine")


def test_weight_too_large_for_half_is_named(tiny_run: Run, tmp_path: Path) -> None:
    with torch.no_grad():
        weight = tiny_run.classifier.head_weight
        assert weight is not None
        former = weight[0, 0].item()
        weight[0, 0] = 1e5
    try:
        with pytest.raises(ArtefactError, match=r"head\.weight holds 1e\+05, more than FP16 can \(65504\)"):
            classifier_onnx(tiny_run, tmp_path / "fused.onnx", precision="fp16")
    finally:
        weight[0, 0] = former


def test_classifier_is_written_alone(tiny_run: Run, tmp_path: Path) -> None:
    path = classifier_onnx(tiny_run, tmp_path / "fused.onnx", max_batch=1)
    outputs = parity.OnnxRunner(path.read_bytes(), batch=1)(np.zeros((3, SIZE, SIZE, 3), np.uint8))
    assert path == tmp_path / "fused.classifier.onnx"
    assert outputs[LOGITS].shape == (3, CLASSES)


class FixedBatchNet(nn.Module):
    """A classifier whose code reads the batch size as a Python number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.conv(x))
        logits: torch.Tensor = self.head(maps.reshape(len(x), 4, -1).mean(2))
        return logits


@pytest.fixture
def fixed_run(tiny_run: Run) -> Run:
    return dataclasses.replace(
        tiny_run, classifier=FrozenClassifier(FixedBatchNet(), "fixed", tiny_run.classifier.rule)
    )


def test_classifier_that_fixes_its_batch_is_told_of_the_option(fixed_run: Run, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"specialized it to be a constant.*--fixed-batch"):
        classifier_onnx(fixed_run, tmp_path / "fused.onnx")


def test_fixed_batch_exports_it(fixed_run: Run, tmp_path: Path) -> None:
    path = classifier_onnx(fixed_run, tmp_path / "fused.onnx", max_batch=2, dynamic=False)
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape
    assert [d.dim_value for d in shape.dim] == [2, SIZE, SIZE, 3]
    assert parity.OnnxRunner(path.read_bytes(), batch=2)(np.zeros((3, SIZE, SIZE, 3), np.uint8))[LOGITS].shape[0] == 3


@pytest.mark.parametrize("opset", [18, 20, 21])
def test_later_opsets_run_in_onnx_runtime(
    tiny_run: Run, pictures: NDArray[np.uint8], tmp_path: Path, opset: int
) -> None:
    path = classifier_onnx(tiny_run, tmp_path / "fused.onnx", opset=opset, max_batch=8)
    logits = parity.OnnxRunner(path.read_bytes())(pictures)[LOGITS]
    graph = ClassifierGraph(tiny_run.classifier)
    with torch.no_grad():
        np.testing.assert_allclose(logits, graph(torch.from_numpy(pictures)).numpy(), atol=1e-4)
    assert onnx.load(path).opset_import[0].version == opset
