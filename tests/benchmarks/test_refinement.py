"""The study of refinement, the rival, and `whymask explain --refine`, on tiny models."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from colour_graph import write_graph
from PIL import Image
from tiny_run import make_run
from typer.testing import CliRunner, Result

from whymask.benchmarks import refinement
from whymask.benchmarks.refinement import (
    AREAS,
    SCRATCH,
    SINGLE_PASS,
    Case,
    ask_from_classifier,
    least_areas,
    measure_refinement,
    record_from_measured,
    retention_auc,
    steps_from_text,
)
from whymask.benchmarks.refinement_page import finding, page_from_record, tables_from_record
from whymask.benchmarks.rivals.optimised import optimised_rival
from whymask.runtime import cli, refiner
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.explainer import load
from whymask.runtime.images import rgb_from
from whymask.train.run import Run

SIZE = 32


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", "tapped")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(3):
        cells = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(cells).resize((40, 36), Image.Resampling.NEAREST).save(folder / f"{index}.png")
    return folder


def measured_record(run: Run, photos: Path) -> dict[str, object]:
    images = [*sorted(photos.iterdir()), photos / "absent.png"]
    measured = measure_refinement(run, ask_from_classifier(run.classifier), images, (0, 2), seed=0, batch=2)
    return record_from_measured(measured, run, "torch", seed=0, batch=2)


def test_every_case_has_raw_values_of_every_picture(run: Run, photos: Path):
    record = measured_record(run, photos)
    cases = [(each["start"], each["steps"]) for each in record["cases"]]
    assert cases == [(SINGLE_PASS, 0), (SINGLE_PASS, 2), (SCRATCH, 0), (SCRATCH, 2)]
    for each in record["cases"]:
        assert np.shape(each["kept"]) == (3, len(AREAS))
        assert all(len(each[name]) == 3 for name in ("retention", "auc", "least_area", "seconds"))
        assert min(each["seconds"]) > 0.0
    assert record["pictures"] == ["photos/0.png", "photos/1.png", "photos/2.png"]
    assert record["unreadable"] == ["photos/absent.png: no such picture file"]


def test_the_single_pass_is_the_runs_own_map(run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch):
    judged: list[np.ndarray] = []
    own = refinement.kept_at_areas
    monkeypatch.setattr(refinement, "kept_at_areas", lambda *a: judged.append(a[4]) or own(*a))
    images = sorted(photos.iterdir())
    measure_refinement(run, ask_from_classifier(run.classifier), images, (0,), seed=0, batch=8)
    import torch

    pixels = np.stack([refinement.read_pictures([path], 0, run.card.input)[1][0] for path in images])
    x = run.classifier.normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    with torch.no_grad():
        logits, features = run.classifier.with_taps(x)
        saliency = run.explainer(features, x, logits, logits.argmax(1)).flatten(1).argsort(1).numpy()
    assert np.array_equal(judged[0].reshape(3, -1).argsort(1, kind="stable"), saliency)
    assert not np.array_equal(judged[0], judged[1])


def test_a_curve_is_summed_up_by_hand_checked_figures():
    kept = np.zeros((3, len(AREAS)), bool)
    kept[0, 4:] = True
    kept[1, [2, 8]] = True
    assert least_areas(kept).tolist() == [0.2, 0.1, 1.0]
    auc = retention_auc(kept)
    assert auc[0] == pytest.approx((0.5 * 0.05 + 0.4) / 0.58)
    assert auc[1] == pytest.approx((0.5 * 0.05 + 0.5 * 0.05 + 0.5 * 0.1) / 0.58)
    assert auc[2] == 0.0
    assert retention_auc(np.ones((1, len(AREAS)), bool)) == pytest.approx([1.0])


def case(start: str, steps: int, retention: list[float], seconds: float) -> dict[str, object]:
    least = [1.0 - value for value in retention]
    same = {"retention": retention, "auc": retention, "least_area": least, "seconds": [seconds] * len(retention)}
    return {"start": start, "steps": steps, **same}


def test_the_finding_says_what_one_pass_leaves_on_the_table(run: Run, photos: Path):
    record = measured_record(run, photos)
    record["cases"] = [case(SINGLE_PASS, 0, [0.2, 0.4], 0.01), case(SINGLE_PASS, 30, [0.4, 0.6], 1.5)]
    record["cases"] += [case(SCRATCH, 0, [0.0, 0.2], 0.005), case(SCRATCH, 30, [0.2, 0.4], 1.4)]
    assert finding(record) == (
        "One pass leaves 20.0 points of mean retention on the table (95 % interval 20.0 to 20.0): what 30 steps of "
        "refinement at 1.5 s a picture add to a pass of 0.01 s. The least sufficient area moves by -20.0 points."
    )
    text = tables_from_record(record)
    assert "| single pass, refined | 30 | 1.5 | 50.0 % [40.0, 60.0] | +20.0 % [+20.0, +20.0] |" in text
    assert "| from scratch | 0 | 0.005 | 10.0 % [0.0, 20.0] | -20.0 % [-20.0, -20.0] |" in text
    page = page_from_record(record)
    assert page.count("<circle") == 4
    assert page.count("<polyline") == 2
    record["cases"] = [case(SINGLE_PASS, 0, [0.2, 0.4], 0.01), case(SINGLE_PASS, 30, [0.4, 0.2], 1.5)]
    assert "which does not tell it from nothing" in finding(record)
    record["cases"] = [case(SINGLE_PASS, 0, [0.2, 0.4], 0.01), case(SINGLE_PASS, 30, [0.1, 0.3], 1.5)]
    assert finding(record).startswith(
        "One pass leaves nothing on the table that was found: -10.0 points (95 % interval -10.0 to -10.0) by 30 steps"
    )


def test_the_command_writes_record_and_page(run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("whymask.train.run.load_run", lambda path: run)
    out = tmp_path / "out" / "refinement.json"
    done = CliRunner().invoke(
        refinement.app, [str(run.path), "--data", str(photos), "-n", "2", "--steps", "1", "-o", str(out)]
    )
    assert done.exit_code == 0, done.output
    record = json.loads(out.read_text("utf-8"))
    assert record["judge"] == "the classifier in torch"
    assert record["pictures"] == ["photos/0.png", "photos/2.png"]
    assert [each["steps"] for each in record["cases"]] == [0, 1, 0, 1]
    assert "<svg" in out.with_suffix(".html").read_text("utf-8")
    assert "One pass leaves" in done.stdout


def test_a_graph_of_another_classifier_does_not_judge(run: Run, tmp_path: Path):
    with pytest.raises(ArtefactError, match=r"explains another classifier than .*; give the graph exported from it"):
        refinement._ask_from_graph(write_graph(tmp_path / "colours.onnx"), run)


@pytest.mark.parametrize("text", ["", "a", "1,-2", "1.5", "3,,4"])
def test_steps_that_are_no_numbers_are_refused(text: str):
    with pytest.raises(InputError, match="expected whole numbers of at least 0 like 0,10,30,100"):
        steps_from_text(text)


def test_steps_are_sorted_and_begin_with_the_pass_alone():
    assert steps_from_text("30, 10,10") == (0, 10, 30)
    assert Case(SINGLE_PASS, 0) == (SINGLE_PASS, 0)


def test_the_rival_optimises_each_picture_alone(run: Run):
    rival = optimised_rival(run.classifier, run.card, (8, 8), steps=3)
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    target = np.array([0, 1, 2])
    before = run.classifier.sha256()
    maps = rival.maps(images, target, np.arange(len(images)))
    assert (maps.shape, maps.dtype) == ((3, 8, 8), np.float32)
    assert np.allclose(maps[1:2], rival.maps(images[1:2], target[1:2], np.array([1])), atol=1e-3)
    assert run.classifier.sha256() == before
    assert rival.name == "optimised"
    assert rival.passes == 2 + 3 * 3
    assert "3 steps of Adam" in rival.stated
    assert "11 passes" in rival.stated


@pytest.fixture
def whymask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `whymask`; the first argument is what is installed as a refiner."""

    def invoke(refiners: list[object], *arguments: object) -> Result:
        install(monkeypatch, refiners)
        return CliRunner().invoke(cli.build_app(), [str(argument) for argument in arguments])

    return invoke


def install(monkeypatch: pytest.MonkeyPatch, refiners: list[object]) -> None:
    """Make these the refiners, and leave no command but the runtime's own; torch's packages ask for groups too."""
    real = importlib.metadata.entry_points
    ours = {refiner.GROUP: refiners, cli.COMMAND_GROUP: []}
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda **asked: ours[asked["group"]] if asked.get("group") in ours else real(**asked),
    )


def entry(value: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint("train", value, refiner.GROUP)


def test_explain_refines_and_marks_what_it_refined(
    whymask: Callable[..., Result], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    graph = write_graph(tmp_path / "fused.onnx", certify="both")
    seen: list[tuple[object, ...]] = []

    def make(run: Path, card: object, steps: int) -> Callable[..., np.ndarray]:
        seen.append((run, steps))

        def refine(pictures: np.ndarray, target: np.ndarray, saliency: np.ndarray, on_step: object) -> np.ndarray:
            seen.append((pictures.shape, target.dtype, saliency.dtype))
            maps = np.zeros_like(saliency)
            maps[:, :2] = 1.0
            return maps

        return refine

    monkeypatch.setattr("whymask.train.refine.refiner_from_run", make)
    ours = entry("whymask.train.refine:refiner_from_run")
    out = tmp_path / "out"
    done = whymask([ours], "explain", graph, photos, "-o", out, "--refine", "7", "--run", "runs/mine")
    assert done.exit_code == 0, done.output
    assert seen == [(Path("runs/mine"), 7), ((3, SIZE, SIZE, 3), np.int64, np.float32)]
    records = [json.loads(line) for line in (out / "explanations.jsonl").read_text("utf-8").splitlines()]
    assert [each["refined"] for each in records] == [7, 7, 7]
    assert [each["threshold"] for each in records] == [0.5, 0.5, 0.5]
    assert [each["box"] for each in records] == [[0, 0, 40, 18]] * 3
    assert all("kept" not in each for each in records)
    assert "refining pictures 1 to 3" in done.stderr
    plain = whymask([ours], "explain", graph, photos, "-o", tmp_path / "plain")
    assert plain.exit_code == 0, plain.output
    assert "refined" not in (tmp_path / "plain" / "explanations.jsonl").read_text("utf-8")
    assert not np.array_equal(rgb_from(out / "0.png"), rgb_from(tmp_path / "plain" / "0.png"))


def test_a_refined_explanation_says_so_and_keeps_what_was_asked(tmp_path: Path):
    with load(write_graph(tmp_path / "fused.onnx", certify="both"), threads=1) as explainer:
        picture = np.zeros((SIZE, SIZE, 3), np.uint8)
        picture[:8, :8, 0] = 255
        result = explainer.explain(picture)
        saliency = np.zeros_like(result.saliency)
        saliency[1:, :] = 0.9
        refined = result.with_saliency(saliency, 30)
        assert refined.summary() == f"{result.summary().partition('  area')[0]}  area 75%  refined: 30"
        assert (refined.threshold, refined.refined, result.refined) == (0.5, 30, None)
        assert (result.kept is None, refined.kept) == (False, None)
        assert refined.certify() == explainer.certify(refined)
        graded = np.linspace(0.0, 0.9, saliency.size, dtype=np.float32).reshape(saliency.shape)
        assert explainer.explain(picture, area=0.25).with_saliency(graded, 1).area == pytest.approx(0.25, abs=0.01)
        assert explainer.explain(picture, threshold=0.95).with_saliency(graded, 1).area == 0.0


def test_refining_without_what_it_needs_is_one_message(whymask: Callable[..., Result], photos: Path, tmp_path: Path):
    graph = write_graph(tmp_path / "fused.onnx")
    ours = entry("whymask.train.refine:refiner_from_run")
    start = ("explain", graph, photos, "-o", tmp_path / "out")
    cases = [
        (([ours], "--refine", "5"), "--refine 5: a graph has no gradients; give the run directory"),
        (([ours], "--refine", "0", "--run", "r"), "--refine: got 0 steps, expected at least 1"),
        (([ours], "--run", "r"), "--run r: only --refine K needs a run directory"),
        (([ours], "--refine", "5", "--run", tmp_path), "is not a finished run directory: config.json is absent"),
        (
            ([], "--refine", "5", "--run", "r"),
            "whymask.train is needed to refine masks (--refine) and is not installed",
        ),
        (([entry("no_torch_here:f")], "--refine", "5", "--run", "r"), 'Run: pip install "whymask[train]"'),
    ]
    for (refiners, *options), message in cases:
        done = whymask(refiners, *start, *options)
        assert done.exit_code == 1, options
        assert message in done.stderr
        assert "Traceback" not in done.output


def test_a_run_of_another_classifier_is_refused_by_the_entry_itself(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("whymask.train.refine.load_run", lambda path: run)
    ours = entry("whymask.train.refine:refiner_from_run")
    install(monkeypatch, [ours])
    with load(write_graph(tmp_path / "fused.onnx")) as explainer, pytest.raises(ArtefactError, match="abababababab"):
        refiner.load_refiner(run.path, explainer.card, 1)
