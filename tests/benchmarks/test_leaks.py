"""Each leak check fails for a planted cheat and passes for an honest explainer."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from colour_graph import write_graph
from PIL import Image
from quadrant import FILL, pictures
from tiny_run import SIZE, make_run
from typer.testing import CliRunner

from whymask.benchmarks.asked_graph import AskedGraph
from whymask.benchmarks.leaks.__main__ import app
from whymask.benchmarks.leaks.asked_class import asked_class
from whymask.benchmarks.leaks.independent import Judge, independent
from whymask.benchmarks.leaks.likeness import likeness
from whymask.benchmarks.leaks.mask_shape import mask_shape, shrunk
from whymask.benchmarks.leaks.page import page_from_record
from whymask.benchmarks.leaks.randomised import randomised
from whymask.benchmarks.leaks.readers import read_by_the_best, stratified_folds
from whymask.benchmarks.leaks.retrained import retrained
from whymask.benchmarks.leaks.shuffle import EVERYTHING, depths, shuffled
from whymask.benchmarks.leaks.study import KIND, Plan, run_checks
from whymask.benchmarks.masking import background_from_fill
from whymask.runtime.backends import TensorInfo
from whymask.runtime.card import Card, ClassifierCard, ExplainerCard, InputCard
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.explainer import Explainer
from whymask.runtime.images import resize_map
from whymask.train.cam import class_evidence
from whymask.train.config import ExplainerConfig
from whymask.train.explainers import Explainer as TrainedExplainer
from whymask.train.masks import standardise


def blobs(count: int, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Smooth colourful pictures."""
    cells = np.random.default_rng(seed).uniform(0, 255, (count, 3, 5, 5)).astype(np.float32)
    return resize_map(cells, size, size).transpose(0, 2, 3, 1).astype(np.uint8)


def unmet(record: dict) -> list[str]:
    return [each["stated"] for each in record["bars"] if not each["met"]]


class OfFeatures(TrainedExplainer):
    """Honest: the classifier's own evidence for the class."""

    kind = "tapped"

    def forward(self, features, x, logits, target):
        return standardise(class_evidence(features[-1], self.rows_of(target)))[:, 0]


class OfPixels(OfFeatures):
    """A cheat: brightness, whatever the classifier does."""

    def forward(self, features, x, logits, target):
        return x.mean(1)[:, ::4, ::4]


def run_with(path: Path, kind: type[TrainedExplainer]):
    run = make_run(path, "tapped")
    return replace(run, explainer=kind(run.classifier, ExplainerConfig()).eval())


def test_likeness_of_maps_that_only_share_the_centre_is_gone_without_it():
    rng = np.random.default_rng(0)
    rows = np.linspace(-1, 1, 20)
    hill = -np.maximum(np.abs(rows[:, None]), np.abs(rows[None, :]))
    one, two = (hill + 0.1 * rng.standard_normal((8, 20, 20)) for _ in range(2))
    found = likeness(one.astype(np.float32), two.astype(np.float32))
    assert found.rank.min() > 0.7
    assert np.abs(found.partial).max() < 0.2
    same = likeness(one.astype(np.float32), one.astype(np.float32))
    assert same.rank == pytest.approx(np.ones(8))
    assert same.partial == pytest.approx(np.ones(8))
    assert same.iou.tolist() == [1.0] * 8
    assert likeness(one.astype(np.float32), -one.astype(np.float32)).rank == pytest.approx(-np.ones(8))


def test_flat_maps_are_alike_and_like_nothing_else():
    flat = np.zeros((4, 10, 10), np.float32)
    noise = np.random.default_rng(0).standard_normal((4, 10, 10)).astype(np.float32)
    assert likeness(flat, flat).rank.tolist() == [1.0] * 4
    assert likeness(flat, noise).rank.tolist() == [0.0] * 4


def test_unrelated_maps_overlap_by_chance():
    rng = np.random.default_rng(0)
    one, two = (rng.standard_normal((60, 20, 20)).astype(np.float32) for _ in range(2))
    assert likeness(one, two).iou.mean() == pytest.approx(0.111, abs=0.01)


def test_depths_go_from_the_final_layer_to_all_layers(tmp_path: Path):
    found = depths(make_run(tmp_path, "tapped").classifier)
    assert found[0].modules == ("head",)
    assert found[-1].name == EVERYTHING
    sets = [set(depth.modules) for depth in found]
    assert all(above <= below for above, below in pairwise(sets))
    assert sets[-1] == {"head"} | {f"stages.{i}.{j}" for i in range(3) for j in range(2)}


def test_shuffling_keeps_the_values_and_puts_them_back_after_an_error(tmp_path: Path):
    run = make_run(tmp_path, "tapped")
    digest, rows = run.classifier.sha256(), run.explainer.rows.clone()
    weight = run.classifier.model.stages[0][0].weight.clone()
    with (
        pytest.raises(RuntimeError, match="inside"),
        shuffled(run.classifier, depths(run.classifier)[-1].modules, 0, run.explainer),
    ):
        inside = run.classifier.model.stages[0][0].weight
        assert torch.equal(inside.flatten().sort().values, weight.flatten().sort().values)
        assert not torch.equal(inside, weight)
        assert run.classifier.sha256() != digest
        assert torch.equal(run.explainer.rows, torch.nn.functional.normalize(run.classifier.head_weight, dim=1))
        raise RuntimeError("inside")
    assert run.classifier.sha256() == digest
    assert torch.equal(run.explainer.rows, rows)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in run.classifier.modules())


def test_randomised_passes_a_map_of_the_activations_and_fails_one_of_the_pixels(tmp_path: Path):
    honest, cheat = run_with(tmp_path, OfFeatures), run_with(tmp_path, OfPixels)
    digest, images = honest.classifier.sha256(), blobs(40)
    record = randomised(honest, images)
    assert record["passed"], unmet(record)
    assert honest.classifier.sha256() == digest
    record = randomised(cheat, images)
    assert record["figures"]["everything: rank"]["value"] == 1.0
    assert len(unmet(record)) == 2


def test_randomised_is_left_out_for_an_explainer_that_reads_no_activations(tmp_path: Path):
    record = randomised(make_run(tmp_path, "autoencoder"), blobs(2))
    assert record["passed"] is None
    assert "no shuffled activation reaches it" in record["reason"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_retrained_fails_an_explainer_that_any_training_would_give(tmp_path: Path, precision: str):
    folder = tmp_path / "data"
    folder.mkdir()
    for i, image in enumerate(blobs(12, seed=3)):
        Image.fromarray(image).save(folder / f"{i}.png")
    run = make_run(tmp_path, "tapped")
    # The check takes the run's precision, and leaves its processes.
    config = replace(run.config, data=(str(folder),), channels=8, batch_size=4, size=(SIZE, SIZE), precision=precision)
    run = replace(run, config=replace(config, devices=2, strategy="ddp_spawn"))
    digest, images = run.classifier.sha256(), blobs(16)
    record = retrained(run, images, steps=2)
    assert run.classifier.sha256() == digest
    assert "retrained: rank" in record["figures"]
    assert {name for name in record["figures"] if "kept" in name} == {
        f"{name}: class kept at 20%" for name in ("explainer", "retrained", "random", "centre")
    }
    # Nobody trained this one either, so it cannot be surely better.
    assert "explainer: surely better than retrained at 20%" in unmet(record)


COLOURS = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0], [0, 250, 250], [250, 0, 250]], np.float32)


class ColourBackend:
    """Six classes by colour: logits are shares of the pixels, saliency is 1 where the asked colour is."""

    provider = "numpy"
    batch_range = (1, None)

    def __init__(self, ignores_target: bool, size: int = 16) -> None:
        self.ignores_target = ignores_target
        plane = ("B", size, size)
        self.inputs = {
            "image": TensorInfo("image", "uint8", (*plane, 3)),
            "target": TensorInfo("target", "int64", ("B",)),
        }
        self.outputs = {
            "logits": TensorInfo("logits", "float32", ("B", 6)),
            "saliency": TensorInfo("saliency", "float32", plane),
            "mask": TensorInfo("mask", "uint8", plane),
        }
        rule = InputCard(size, size, (0.0,) * 3, (1.0,) * 3)
        self.card = Card(
            ClassifierCard("tests:six", "00" * 32, 6), rule, ExplainerCard("tapped", 0, (), size, size), fill=(0, 0, 0)
        )

    def run(self, feeds, outputs=None):
        distance = ((feeds["image"][..., None, :].astype(np.float32) - COLOURS) ** 2).sum(-1)
        near = (distance < 60**2).astype(np.float32)  # (B, H, W, 6)
        logits = near.mean(axis=(1, 2))
        asked = np.where(feeds["target"] < 0, logits.argmax(1), feeds["target"])
        if self.ignores_target:
            asked = logits.argmax(1)
        saliency = near[np.arange(len(near)), :, :, asked]
        results = {"logits": logits, "saliency": saliency, "mask": (saliency >= 0.5).astype(np.uint8)}
        return {name: results[name] for name in outputs or results}

    def close(self) -> None:
        pass


def coloured(count: int, size: int = 16) -> np.ndarray:
    """Two thirds of one colour, a third of another."""
    images = np.empty((count, size, size, 3), np.uint8)
    for i, image in enumerate(images):
        image[:] = COLOURS[i % 6]
        image[:, : size // 3] = COLOURS[(i + 1 + i // 6 % 5) % 6]
    return images


@pytest.mark.parametrize("ignores_target", [False, True], ids=["honest", "cheat"])
def test_asked_class_tells_whether_the_question_is_heard(ignores_target: bool):
    backend = ColourBackend(ignores_target)
    record = asked_class(AskedGraph(Explainer(backend)), backend.card, coloured(30))
    tile = record["figures"]["mosaics: inside the asked tile"]["value"]
    if ignores_target:
        assert tile == pytest.approx(0.25)
        assert len(unmet(record)) == 3
        return
    assert record["passed"], unmet(record)
    assert tile > 0.6
    matrix = np.array(record["matrix"]["share"], float)
    assert np.nanmean(np.diag(matrix)) > 2 * np.nanmean(matrix[~np.eye(6, dtype=bool)])


def test_asked_class_is_left_out_without_target_or_classes():
    backend = ColourBackend(False)
    record = asked_class(AskedGraph(Explainer(backend)), backend.card, coloured(2))
    assert (record["passed"], record["reason"]) == (
        None,
        "the classifier sees 2 classes in these pictures; at least 4 are needed",
    )


def quadrant_judge(row: int) -> Judge:
    """Calls the mean colour of the upper or the lower left quadrant."""

    def ask(images: np.ndarray) -> np.ndarray:
        return images[:, row : row + 8, :8].astype(np.float32).mean(axis=(1, 2))

    return Judge(f"row {row}", ask, InputCard(16, 16, (0.0,) * 3, (1.0,) * 3))


def test_independent_passes_pixels_that_others_read_too_and_fails_a_private_pattern():
    images = np.stack(pictures(40))
    left, noise = np.zeros((2, 40, 16, 16), np.float32)
    left[:, :8, :8] = 1.0
    noise[:] = np.random.default_rng(0).uniform(size=noise.shape)
    fill = background_from_fill(FILL)
    record = independent([quadrant_judge(0)], images, {"explainer": left, "cam": noise}, fill)
    assert record["passed"], unmet(record)
    assert record["figures"]["row 0 at 20%: explainer"]["value"] == 1.0
    hidden = independent([quadrant_judge(0)], images, {"explainer": 1 - left, "cam": left}, fill)
    assert "row 0 at 20%: not surely below cam" in unmet(hidden)
    assert independent([], images, {"explainer": left}, fill)["passed"] is None


def test_independent_is_asked_at_the_judges_own_size():
    images = blobs(3, 16)
    judge = replace(quadrant_judge(0), rule=InputCard(32, 24, (0.0,) * 3, (1.0,) * 3, "crop", 0.9))
    seen: list[tuple[int, ...]] = []
    spy = replace(judge, ask=lambda pixels: seen.append(pixels.shape) or np.zeros((len(pixels), 2), np.float32))
    spy.logits(images)
    assert seen == [(3, 32, 24, 3)]


def honest_masks(count: int, seed: int) -> np.ndarray:
    """The best quarter of smooth noise."""
    cells = np.random.default_rng(seed).standard_normal((count, 6, 6)).astype(np.float32)
    maps = resize_map(cells, 40, 40)
    return maps >= np.quantile(maps, 0.75, axis=(1, 2), keepdims=True)


def test_mask_shape_passes_blobs_and_fails_a_code_in_the_corner():
    labels = np.arange(300) % 10
    cam, honest = honest_masks(300, 1), honest_masks(300, 2)
    record = mask_shape({"own area": {"explainer": honest, "cam": cam}}, labels)
    assert record["passed"], unmet(record)
    assert record["figures"]["own area: explainer"]["value"] < 0.2
    code = honest.copy()
    code[:, :4, :] = False
    for i, label in enumerate(labels):
        code[i, :4, 4 * label : 4 * label + 4] = True
    record = mask_shape({"own area": {"explainer": code, "cam": cam}}, labels)
    assert record["figures"]["own area: explainer"]["value"] > 0.9
    assert unmet(record) == ["own area: surely read no more than 10% better than CAM's"]


def test_mask_shape_says_what_it_lacks():
    masks = honest_masks(40, 0)
    assert "fewer than two classes" in mask_shape({"own area": {"explainer": masks}}, np.arange(40))["reason"]
    record = mask_shape({"own area": {"explainer": masks}}, np.arange(40) % 2)
    assert record["passed"] is None
    assert "needs the classifier itself" in record["reason"]
    record = mask_shape({"own area": {"explainer": masks, "cam": masks[::-1]}}, np.arange(40) % 2)
    assert record["passed"] is None
    assert "40 pictures of classes that are seen often enough, 200 are needed" in record["reason"]
    assert "own area: cam" in record["figures"]


def test_an_area_that_tells_the_class_is_read_by_itself():
    labels = np.arange(60) % 3
    areas = (labels + 0.1 * np.random.default_rng(0).standard_normal(60))[:, None]
    assert read_by_the_best(areas, labels).all()
    assert read_by_the_best(np.zeros((60, 4)), labels).mean() < 0.5


def test_folds_hold_every_class_alike():
    labels = np.repeat(np.arange(4), 10)
    folds = stratified_folds(labels, seed=3)
    assert all(((folds == f) & (labels == c)).sum() == 2 for f in range(5) for c in range(4))


def test_a_mask_is_shrunk_to_means():
    mask = np.zeros((1, 10, 10), bool)
    mask[0, :5, :5] = True
    assert shrunk(mask, 2)[0].tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert shrunk(mask, 20).shape == (1, 10, 10)
    assert shrunk(np.ones((1, 7, 9), bool), 4).tolist() == np.ones((1, 4, 4)).tolist()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(24):
        image = np.random.default_rng(i).integers(0, 60, (32, 32, 3), dtype=np.uint8)
        image[8:24, 8:24, i % 3] = 255
        Image.fromarray(image).save(folder / f"{i:02}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_the_program_writes_record_and_page_and_names_what_it_left_out(tmp_path: Path, photos: Path):
    graph, out = write_graph(tmp_path / "fused.onnx"), tmp_path / "leaks.json"
    result = CliRunner().invoke(app, [str(graph), "--data", str(photos), "-n", "25", "-o", str(out)])
    assert result.exit_code == 0, result.output
    record = json.loads(out.read_text(encoding="utf-8"))
    assert (record["kind"], record["images"], record["data"]) == (KIND, 24, ["photos"])
    assert [check["check"] for check in record["checks"]] == [
        "randomised",
        "retrained",
        "asked_class",
        "independent",
        "mask_shape",
    ]
    assert record["unreadable"][0].startswith("photos/broken.png")
    assert "randomised: undecided, it needs the modules (--run RUN)" in result.stdout
    page = out.with_suffix(".md").read_text(encoding="utf-8")
    assert page == page_from_record(record)
    assert str(tmp_path) not in page.replace(record["command"], "")


def test_the_program_refuses_what_cannot_be_compared(tmp_path: Path, photos: Path):
    graph = write_graph(tmp_path / "fused.onnx")
    with pytest.raises(ArtefactError, match="the same classifier as the graph's; give one that took no part"):
        run_checks(Plan(graph, photos, others=(graph,)))
    small = write_graph(tmp_path / "small.onnx", height=16, width=16)
    with pytest.raises(ArtefactError, match="of another classifier or input; export the same run with --target"):
        run_checks(Plan(graph, photos, target_graph=small))
    with pytest.raises(InputError, match="no such folder"):
        run_checks(Plan(graph, tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="none of 0 pictures can be read"):
        run_checks(Plan(graph, tmp_path / "empty"))


def test_help_needs_no_heavy_package():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "retrain" in result.stdout
