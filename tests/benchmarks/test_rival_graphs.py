"""CAM and Recipro-CAM as ONNX graphs answer as their torch forms do, and stand in a sweep beside the fused graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
ort = pytest.importorskip("onnxruntime")
import torch  # noqa: E402
from tiny_base import MODEL_FILE  # noqa: E402
from tiny_run import SIZE, make_run  # noqa: E402

from whymask.benchmarks.bench_pair import RunOptions  # noqa: E402
from whymask.benchmarks.bench_scenarios import Point  # noqa: E402
from whymask.benchmarks.bench_sweep import SweepOptions, run_sweep  # noqa: E402
from whymask.benchmarks.latency import BenchSettings  # noqa: E402
from whymask.benchmarks.rivals.recipro_cam import recipro_cam_maps, standardised  # noqa: E402
from whymask.benchmarks.rivals.rival_graphs import rival_graph  # noqa: E402
from whymask.benchmarks.rivals.torch_maps import last_layer, normalised  # noqa: E402
from whymask.export.onnx_from_run import export_run  # noqa: E402
from whymask.runtime.card import Card, ExplainerCard  # noqa: E402
from whymask.runtime.errors import InputError  # noqa: E402
from whymask.train.cam import class_activation_map  # noqa: E402
from whymask.train.config import TrainConfig  # noqa: E402
from whymask.train.explainers import build_explainer  # noqa: E402
from whymask.train.model_spec import classifier_from_config  # noqa: E402
from whymask.train.run import Run, save_run  # noqa: E402

QUICK = BenchSettings(seconds=0.2, pictures=4, warmup_seconds=0.0, warmup_pairs=1, min_pairs=10, resamples=50)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory):
    return make_run(tmp_path_factory.mktemp("run"), "tapped").classifier


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run directory that can be loaded again, and its file."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "tiny.py").write_text(MODEL_FILE)
    config = TrainConfig(f"{folder / 'tiny.py'}:build", (str(folder / "absent"),), size=(SIZE, SIZE), channels=8)
    classifier = classifier_from_config(config)
    explainer = build_explainer(config.explainer_config(), classifier).eval().requires_grad_(False)
    explains = ExplainerCard("tapped", sum(p.numel() for p in explainer.parameters()), classifier.taps)
    run = Run(classifier, explainer, Card(classifier.card(), classifier.rule.to_card(), explains), config, folder)
    save_run(run)
    export_run(run, folder / "fused.onnx")
    return folder, folder / "fused.onnx"


def answers(model) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": IMAGES}), strict=True))


def logits_of(classifier) -> torch.Tensor:
    with torch.no_grad():
        return classifier(normalised(classifier, IMAGES))


def test_the_graph_of_recipro_cam_gives_its_maps_and_the_classifiers_logits(classifier):
    logits, layer = logits_of(classifier), last_layer(classifier)
    told = answers(rival_graph("recipro-cam", classifier, len(IMAGES)))
    expected = recipro_cam_maps(classifier, layer)(IMAGES, logits.argmax(1).numpy(), np.arange(len(IMAGES)))
    np.testing.assert_allclose(told["logits"], logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(told["saliency"], expected, atol=1e-3)
    assert (told["mask"].shape, told["mask"].dtype) == (IMAGES.shape[:3], np.uint8)
    assert 0 < told["mask"].mean() < 1


def test_the_graph_of_cam_gives_its_map_and_the_classifiers_logits(classifier):
    logits = logits_of(classifier)
    told = answers(rival_graph("cam", classifier, len(IMAGES)))
    expected = class_activation_map(classifier, normalised(classifier, IMAGES), logits.argmax(1))
    np.testing.assert_allclose(told["logits"], logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(told["saliency"], standardised(expected.flatten(1)).view(expected.shape), atol=1e-4)


def test_other_methods_stand_beside_the_fused_graph_in_one_sweep(exported: tuple[Path, Path]):
    run, file = exported
    options = SweepOptions(
        against=("recipro-cam", "cam", "grad-cam", "rise"), run=run, run_options=RunOptions("cpu", threads=1)
    )
    (point,) = run_sweep([file], [Point("single-stream", 1)], options, QUICK).points
    rows = {row.name: row for row in point.rows}
    assert list(rows) == ["classifier alone", "fused.onnx", "recipro-cam", "cam", "grad-cam", "rise-1000"]
    assert all(len(row.samples_ms) >= 2 for row in point.rows)
    alone = rows["classifier alone"].cost["macs"]
    # The stem runs once; what follows the last feature map runs for every cell.
    assert rows["recipro-cam"].cost["macs"] > alone
    assert rows["cam"].cost["macs"] == alone
    assert rows["rise-1000"].cost["macs"] == 1000 * alone
    assert [rows[name].extrapolated for name in ("recipro-cam", "cam", "grad-cam", "rise-1000")] == [1, 1, 1, 62.5]
    assert "by pytorch-grad-cam in torch" in rows["grad-cam"].stated


def test_a_run_of_another_classifier_is_refused(exported: tuple[Path, Path], tmp_path: Path):
    _, file = exported
    (tmp_path / "tiny.py").write_text(MODEL_FILE.replace("manual_seed(1)", "manual_seed(2)"))
    config = TrainConfig(f"{tmp_path / 'tiny.py'}:build", (str(tmp_path),), size=(SIZE, SIZE), channels=8)
    classifier = classifier_from_config(config)
    explainer = build_explainer(config.explainer_config(), classifier).eval()
    explains = ExplainerCard("tapped", 0, classifier.taps)
    save_run(Run(classifier, explainer, Card(classifier.card(), classifier.rule.to_card(), explains), config, tmp_path))
    with pytest.raises(InputError, match=r"--against cam: --run .* give the run that the file was exported from"):
        run_sweep([file], [Point("calls", 1)], SweepOptions(against=("cam",), run=tmp_path), QUICK)
