"""`--certify kept` and `--certify both`: what each file holds, costs and says, in every precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tiny_run import Exported

from whymask.export.config import classifier_path, golden_path
from whymask.export.onnx_from_run import export_run
from whymask.export.parity import OnnxRunner
from whymask.export.samples import synthetic_pictures
from whymask.runtime.describe import describe, lines
from whymask.runtime.errors import InputError
from whymask.runtime.explainer import load
from whymask.runtime.golden import read_golden, verify_golden
from whymask.runtime.parity import TOLERANCES, check
from whymask.train.run import Run

KEPT = ["logits", "saliency", "mask", "kept_logits"]


@pytest.fixture(scope="module", params=["fp32", "fp16", "int8"])
def kept(request: pytest.FixtureRequest, tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """An export with `kept`, through every gate, TensorRT-RTX's among them."""
    path, precision = tmp_path_factory.mktemp(request.param) / "fused.onnx", request.param
    pictures = synthetic_pictures(tiny_run.card.input, 24)
    others = {"calibration": pictures} if precision == "int8" else {}
    card = export_run(
        *(tiny_run, path), precision=precision, max_batch=4, certify="kept", images=pictures, golden=4, **others
    )
    return Exported(tiny_run, path, card, onnx.load(path), [])


def test_the_file_asks_the_classifier_once_more_and_no_more(kept: Exported, pictures: NDArray[np.uint8]):
    assert [output.name for output in kept.model.graph.output] == KEPT
    outputs = OnnxRunner(kept.path.read_bytes())(pictures)
    shown = np.where(outputs["mask"][..., None] == 1, pictures, np.array([120, 0, 255], np.uint8))
    alone = OnnxRunner(classifier_path(kept.path).read_bytes())(shown)["logits"]
    allowed = {"fp32": 1e-5, "fp16": 3e-3}.get(kept.card.precision)
    if allowed is not None:  # in INT8 each pass has ranges of its own
        np.testing.assert_allclose(outputs["kept_logits"], alone, atol=allowed)
    assert 0.0 <= kept.card.metrics["parity_certificate_max"] < TOLERANCES[kept.card.precision].certificate_max


def test_its_multiply_adds_are_of_two_passes_and_the_card_says_so(kept: Exported):
    cost = kept.card.cost
    assert cost["classifier_passes"] == 2.0
    assert cost["macs"] == 2 * cost["classifier_macs"] + cost["explainer_macs"]


def test_one_more_pass_is_the_difference_to_both(kept: Exported, exported: Callable[[str, str], Exported]):
    both = exported("tapped", "fp32").card.cost
    assert both["classifier_passes"] == 3.0
    assert both["macs"] == 3 * both["classifier_macs"] + both["explainer_macs"]
    assert kept.card.cost["classifier_macs"] == both["classifier_macs"]


def test_the_runtime_tells_what_the_file_can_tell_and_asks_for_the_rest(kept: Exported, pictures: NDArray[np.uint8]):
    with load(kept.path, provider="cpu") as explainer:
        result = explainer.explain(pictures[0])
        asked = result.certify()
    assert (result.kept, result.necessary) == (asked.kept, None)
    assert asked.necessary in (True, False)
    assert result.confidence_kept == pytest.approx(asked.confidence, abs=0.05)


def test_its_golden_bundle_is_kept(kept: Exported):
    bundle = read_golden(golden_path(kept.path))
    assert "kept_logits" not in bundle.outputs
    with load(kept.path, provider="cpu") as explainer:
        figures = verify_golden(explainer.backend, bundle)
    if kept.card.precision != "int8":  # whose bundle is of the modules, in FP32
        check(figures, TOLERANCES[kept.card.precision])
    assert figures["mask_iou_min"] > 0.9


def test_inspect_says_which(kept: Exported, exported: Callable[[str, str], Exported]):
    words = {
        kept.path: "certify    kept, by 1 more classifier pass: ",
        exported("tapped", "fp32").path: "certify    both, by 2 more classifier passes: ",
        exported("autoencoder", "fp32").path: "certify    none in the pass; result.certify() asks",
    }
    for path, part in words.items():
        assert any(line.startswith(part) for line in lines(describe(path))), part


@pytest.mark.parametrize("wrong", [True, "necessary", ""])
def test_another_form_is_refused(tiny_run: Run, tmp_path: Path, wrong: object):
    with pytest.raises(InputError, match=f"certify is {wrong!r}, expected kept or both"):
        export_run(tiny_run, tmp_path / "fused.onnx", certify=wrong)  # type: ignore[arg-type]
