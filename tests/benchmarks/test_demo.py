from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from whymask.benchmarks import baselines
from whymask.benchmarks.cli import _print_demo
from whymask.benchmarks.demo import GRAPH_FILE, MARKER, QUICK, STAGES, check_bars, prepare_folder, run_demo
from whymask.benchmarks.demo_report import example_rows, page_from_results, summary_table
from whymask.benchmarks.demo_results import MAPS, RIVALS, ClassifierScore, DemoResults, bars
from whymask.benchmarks.faithfulness import AREAS, Case
from whymask.benchmarks.latency_stats import Verdict
from whymask.benchmarks.masking import BLUR, FILL
from whymask.benchmarks.overlap import Overlap, overlap
from whymask.runtime import ArtefactError, WhymaskError, load
from whymask.train.run import load_run


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> DemoResults:
    """Every stage once, with hardly any training."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    done = run_demo(tmp_path_factory.mktemp("demo") / "run", seed=3, quick=True)
    torch.set_num_threads(before)
    return done


def judged(results: DemoResults, explainer: float, rival: float, precision: float, right: int = 99) -> DemoResults:
    """The same with other figures: shares of pictures kept by explainer and rivals, and the explainer's precision."""
    n = len(results.shapes)

    def kept(case: Case) -> np.ndarray:
        share = explainer if case.map == baselines.EXPLAINER else rival
        return np.arange(n) < share * n

    own = Overlap(np.full(n, precision), np.full(n, 0.5))
    others = Overlap(np.full(n, min(precision, 0.3) - 0.1), np.full(n, 0.1))
    return replace(
        results,
        judged=True,
        score=ClassifierScore(right, 100, 10),
        faithfulness=replace(results.faithfulness, kept={case: kept(case) for case in results.faithfulness.kept}),
        overlaps={name: own if name == baselines.EXPLAINER else others for name in MAPS},
    )


def test_it_leaves_a_run_that_other_commands_can_use(results: DemoResults):
    out = results.report.parent
    assert load_run(out).card.explainer == results.card.explainer
    with load(out / GRAPH_FILE) as explainer:
        picture = out / "pictures" / "held-out" / "00000.png"
        again = explainer.explain(picture)
    assert np.array_equal(np.asarray(Image.open(picture)), results.shapes.images[0])
    assert np.array_equal(again.mask, results.explanations[0].mask)
    assert (out / "fused.classifier.onnx").is_file()
    with Image.open(out / "examples.png") as sheet:
        assert sheet.mode == "RGB"


def test_no_two_sets_share_a_picture(results: DemoResults):
    folders = [results.report.parent / "pictures" / name for name in ("train", "held-out")]
    pictures = [{path.read_bytes() for path in folder.glob("*.png")} for folder in folders]
    assert [len(each) for each in pictures] == [QUICK.explaining, QUICK.held_out]
    assert not pictures[0] & pictures[1]


def test_every_rival_keeps_as_many_pixels_as_the_explainer(results: DemoResults):
    areas = {name: results.masks[name].sum(axis=(1, 2)) for name in MAPS}
    assert all(np.array_equal(areas[name], areas[baselines.EXPLAINER]) for name in RIVALS)
    truth = results.shapes.masks.astype(bool)
    assert np.array_equal(results.overlaps[baselines.CAM].iou, overlap(results.masks[baselines.CAM], truth).iou)


def test_every_stage_is_timed(results: DemoResults):
    assert [stage.name for stage in results.stages] == list(STAGES[:-1])
    assert all(stage.wall_s > 0 for stage in results.stages)


def test_the_report_stands_alone_and_says_that_nothing_was_judged(results: DemoResults):
    page = results.report.read_text(encoding="utf-8")
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert all(source.startswith("data:image/png") for source in re.findall(r'src="([^"]+)"', page))
    assert len(re.findall(r"<figure><img", page)) == len(example_rows(results))
    assert "no bar is judged" in page
    for words in ("Held-out pictures", "Does the mask keep the decision?", "on the object?", "What does it cost?"):
        assert words in page


def test_a_judged_report_shows_each_bar(results: DemoResults):
    page = page_from_results(judged(results, explainer=0.9, rival=0.2, precision=0.5))
    assert page.count('<span class="good">met</span>') == 4
    assert page.count('<span class="bad">not met</span>') == 1


def test_examples_are_chosen_by_place(results: DemoResults):
    rows = example_rows(results)
    paired = results.shapes.second_labels[rows] >= 0
    assert len(set(rows)) == len(rows)
    assert 0 < paired.sum() <= 6 and paired[-1] and not paired[0]
    singles = results.shapes.labels[rows][~paired]
    assert len(set(singles)) == len(singles)


def test_the_table_for_the_terminal_has_every_map(results: DemoResults):
    assert list(summary_table(results).columns[0].cells) == list(MAPS)


def test_met_bars_pass(results: DemoResults):
    good = judged(results, explainer=0.9, rival=0.5, precision=0.85)
    assert all(bar.met for bar in bars(good))
    check_bars(good)


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"explainer": 0.9, "rival": 0.5, "precision": 0.7}, r"70\.0% of the mask lies on the true object, asked: 80%"),
        (
            {"explainer": 0.5, "rival": 0.9, "precision": 0.9},
            r"explainer above cam .* not in retention at 5% area 50\.0% against",
        ),
        (
            {"explainer": 0.9, "rival": 0.5, "precision": 0.9, "right": 90},
            r"accuracy 90\.0% on 100 pictures",
        ),
    ],
    ids=["precision", "rivals", "accuracy"],
)
def test_a_missed_bar_fails_with_its_figures(results: DemoResults, figures: dict[str, float], words: str):
    with pytest.raises(WhymaskError, match=words):
        check_bars(judged(results, **figures))


def test_a_smoke_test_is_not_judged(results: DemoResults):
    check_bars(replace(judged(results, explainer=0.1, rival=0.9, precision=0.1), judged=False))


@pytest.mark.parametrize("area", [*AREAS, None])
def test_one_area_at_which_a_rival_is_as_good_misses_the_bar(results: DemoResults, area: float | None):
    good = judged(results, explainer=0.9, rival=0.5, precision=0.85)
    kept = good.faithfulness.kept
    tied = {**kept, Case(baselines.CAM, FILL, area): kept[Case(baselines.EXPLAINER, FILL, area)]}
    missed = [
        bar.text for bar in bars(replace(good, faithfulness=replace(good.faithfulness, kept=tied))) if not bar.met
    ]
    where = "the calibrated" if area is None else f"{area:.0%}"
    assert len(missed) == 1
    assert f"above cam at the same area: not in retention at {where} area" in missed[0]


def test_a_tie_with_a_blurred_background_is_reported_and_not_judged(results: DemoResults):
    good = judged(results, explainer=0.9, rival=0.5, precision=0.85)
    kept = dict(good.faithfulness.kept)
    kept[Case(baselines.CAM, BLUR, 0.5)] = kept[Case(baselines.EXPLAINER, BLUR, 0.5)]
    tied = replace(good, faithfulness=replace(good.faithfulness, kept=kept))
    check_bars(tied)
    assert "<td>✗ cam</td>" in page_from_results(tied)


def test_a_foreign_folder_is_left_alone(tmp_path: Path):
    (tmp_path / "card.json").write_text("mine")
    with pytest.raises(ArtefactError, match="was not made by an earlier demo; give another folder"):
        prepare_folder(tmp_path)
    assert (tmp_path / "card.json").read_text() == "mine"


def test_a_folder_below_a_file_is_one_clear_error(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ArtefactError, match=r"file is a file and no folder to make it in; give another folder with -o"):
        prepare_folder(tmp_path / "file" / "run")


def test_the_terminal_says_that_a_cost_may_not_be_quoted(results: DemoResults, capsys: pytest.CaptureFixture[str]):
    noisy = replace(results.bench, verdict=Verdict(False, ("other processes were busy",)))
    _print_demo(replace(results, bench=noisy))
    assert "· not valid: other processes were busy" in capsys.readouterr().out


def test_an_earlier_demo_is_made_anew(tmp_path: Path):
    prepare_folder(tmp_path / "run")
    for name in ("card.json", "checkpoint.pt", "notes.txt"):
        (tmp_path / "run" / name).write_text("old")
    prepare_folder(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {MARKER, "notes.txt"}
