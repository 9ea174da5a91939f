"""The study of activation matching, on a tiny classifier and few steps."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import make_run
from typer.testing import CliRunner

from whymask.benchmarks import matching
from whymask.benchmarks.matching import OURS, PUBLISHED, config_from, measure, measure_chunk, record_from
from whymask.benchmarks.matching_page import (
    FAILS,
    HOLDS,
    OPEN,
    claims,
    page_from_records,
    read_record,
    reductions,
    result_lines,
    verdict,
)
from whymask.benchmarks.method_clock import Clock, settings_of_device
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.files import write_atomically
from whymask.train.classifier import FrozenClassifier
from whymask.train.matching.config import MatchingConfig

TINY = MatchingConfig(steps=2, network="plain", width=4, learning_rate=1e-3)


@pytest.fixture
def classifier(tmp_path: Path) -> FrozenClassifier:
    return make_run(tmp_path / "run", "tapped").classifier


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(3):
        cells = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(cells).resize((40, 36), Image.Resampling.NEAREST).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


def test_every_picture_has_a_record_of_its_own(classifier: FrozenClassifier, photos: list[Path], tmp_path: Path):
    records = measure(classifier, photos, TINY, 2, tmp_path / "work.jsonl")
    assert [each["picture"] for each in records] == ["photos/0.png", "photos/1.png", "photos/2.png"]
    for each in records:
        assert 0.0 <= each["area"] <= 1.0
        assert 0.0 < each["before"] <= 1.0
        assert 0.0 < each["after"] <= 1.0
        assert each["seconds"] > 0.0
        assert all(
            isinstance(each[name], bool)
            for name in ("kept", "kept_without", "kept_by_random", "kept_by_centre", "kept_on_black", "kept_on_white")
        )


def test_an_interrupted_run_goes_on_and_another_one_does_not(
    classifier: FrozenClassifier, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    work = tmp_path / "work.jsonl"
    first = measure(classifier, photos[:2], TINY, 2, work)
    asked: list[list[str]] = []
    real = matching.measure_chunk
    monkeypatch.setattr(matching, "measure_chunk", lambda *a: asked.append(list(a[1])) or real(*a))
    assert measure(classifier, photos, TINY, 2, work)[:2] == first
    assert asked == [["photos/2.png"]]
    with pytest.raises(ArtefactError, match="pictures done with other settings; remove the file"):
        measure(classifier, photos, replace(TINY, steps=3), 2, work)


def test_masks_are_judged_as_they_are_cut(
    classifier: FrozenClassifier, monkeypatch: pytest.MonkeyPatch, photos: list[Path]
):
    import torch

    from whymask.train.matching import loop

    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    maps = torch.stack([torch.ones(32, 32), torch.zeros(32, 32)])
    monkeypatch.setattr(loop, "match", lambda *_: loop.Matched(maps, {}))
    whole, empty = measure_chunk(classifier, ["a", "b"], pictures, TINY, lambda _: None)
    assert (whole["area"], whole["kept"], whole["after"]) == (1.0, True, whole["before"])
    assert whole["kept_by_random"] and whole["kept_by_centre"]
    assert whole["kept_on_black"] and whole["kept_on_white"], "no pixel is dropped"
    assert (whole["parts"], whole["largest_part"]) == (1, 1.0)
    assert (empty["parts"], empty["largest_part"]) == (0, 0.0)
    assert (empty["area"], empty["kept_without"]) == (0.0, True)
    assert empty["kept"] == empty["kept_by_random"] == empty["kept_by_centre"]


def test_parts_of_a_mask_are_counted_and_the_largest_is_weighed(
    classifier: FrozenClassifier, monkeypatch: pytest.MonkeyPatch
):
    import torch

    from whymask.train.matching import loop

    maps = torch.zeros(1, 32, 32)
    maps[0, 2:4, 2:5] = maps[0, 10, 10] = maps[0, 11, 11] = 1.0
    monkeypatch.setattr(loop, "match", lambda *_: loop.Matched(maps, {}))
    (found,) = measure_chunk(classifier, ["a"], np.zeros((1, 32, 32, 3), np.uint8), TINY, lambda _: None)
    assert (found["parts"], found["largest_part"]) == (2, 0.75)


def record(area: list[float], kept: list[bool], after: list[float], **config: object) -> dict[str, object]:
    rivals = {"kept_without": False, "kept_by_random": False, "kept_by_centre": True}
    rivals |= {"kept_on_black": True, "kept_on_white": False, "parts": 7, "largest_part": 0.5}
    pictures = [
        {"picture": str(i), "area": a, "kept": k, "before": 0.5, "after": s, "seconds": 2.0, **rivals}
        for i, (a, k, s) in enumerate(zip(area, kept, after, strict=True))
    ]
    settings = {
        "steps": 880,
        "network": "unet",
        "answer": "last",
        "learning_rate": 5e-5,
        "seed": 0,
        "weights": {"tv": 500.0},
    }
    return {
        "kind": "whymask.matching",
        "schema": 1,
        "classifier": "resnet",
        "set": "photos",
        "setting": OURS,
        "input": [224, 224],
        "config": {**settings, **config},
        "layers": [["relu", 1.0, True]],
        "batch": 4,
        "threads": 1,
        "machine": {"cpu": "a processor"},
        "versions": {"torch": "2"},
        "pictures": pictures,
    }


def test_claims_are_judged_by_exact_intervals_over_pictures():
    made = record([0.04] * 30 + [0.2] * 10, [True] * 25 + [False] * 15, [0.6] * 5 + [0.4] * 35)
    small, surer = claims(made).values()
    assert (small.value, surer.value) == (25 / 40, 5 / 40)
    assert verdict(small, made) == OPEN  # 25 of 40: the interval reaches below a half
    assert verdict(surer, made) == FAILS
    better = record([0.04] * 40, [True] * 40, [0.6] * 40)
    assert [verdict(share, better) for share in claims(better).values()] == [HOLDS, HOLDS]


def test_a_smaller_run_than_published_judges_nothing():
    made = record([0.04] * 3, [True] * 3, [0.6] * 3, steps=5)
    made["input"] = [96, 96]
    assert reductions(made) == ["5 of 880 steps", "96 × 96 of 224 × 224 pixels", "3 pictures"]
    assert all(verdict(share, made).startswith("not judged: 5 of 880 steps") for share in claims(made).values())


def test_the_page_gives_distributions_not_examples():
    made = record([0.01 * i for i in range(1, 41)], [True] * 40, [0.6] * 40)
    text = page_from_records([made])
    assert "| resnet, ours, unet, last | active pixels, % | 2.95 | 10.8 | 20.5 | 30.2 | 38 |" in text
    assert "| resnet, ours, unet, last | gain in confidence, points | 10 | 10 | 10 | 10 | 10 |" in text
    assert "| resnet, ours, unet, last | 100 % [91, 100] | 0 % [0, 9] | 100 % [91, 100] | 0 % [0, 9] |" in text
    assert "880 steps of Adam at 5e-05, 224 × 224 px, 4 pictures at a time" in text
    assert result_lines(made)[0] == "resnet, ours, unet, last: 40 pictures of photos"
    assert "last | processor seconds a picture | 2 | 2 |" in text
    on_gpu = page_from_records([made | {"clock": "wall clock on NVIDIA H200"}])
    assert "last | wall clock on NVIDIA H200, seconds a picture | 2 | 2 |" in on_gpu


def test_a_gpu_is_timed_by_the_wall_and_a_processor_by_its_own_time(monkeypatch: pytest.MonkeyPatch):
    import torch

    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    clock, wall = Clock(cpu), Clock(gpu)
    with clock.counted(), wall.counted():
        time.sleep(0.2)
    assert clock.seconds < 0.1 < wall.seconds
    assert (clock.words, wall.words) == ("processor time", "wall clock on NVIDIA H200")
    assert settings_of_device(cpu) == {}
    assert settings_of_device(gpu) == {"device": "NVIDIA H200"}


def test_a_record_is_written_and_read(classifier: FrozenClassifier, photos: list[Path], tmp_path: Path):
    records = measure(classifier, photos, TINY, 4, tmp_path / "work.jsonl")
    made = record_from(classifier, "tiny", PUBLISHED, TINY, records, 4)
    write_atomically(tmp_path / "out" / "tiny.json", json.dumps(made))
    assert read_record(tmp_path / "out" / "tiny.json")["pictures"] == records
    done = CliRunner().invoke(matching.app, ["page", "--folder", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "not judged: 2 of 880 steps" in (tmp_path / "out" / "README.md").read_text("utf-8")
    (tmp_path / "out" / "other.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"no whymask\.matching record of schema 2"):
        read_record(tmp_path / "out" / "other.json")


def test_the_committed_page_is_of_the_committed_records():
    records = [read_record(path) for path in sorted(matching.FOLDER.glob("*.json"))]
    assert page_from_records(records) == (matching.FOLDER / "README.md").read_text("utf-8")


def test_settings_are_told_apart():
    assert config_from(PUBLISHED, "unet", "last", 880, 0) == MatchingConfig(as_published=True)
    assert config_from(OURS, "plain", "least", 5, 1) == MatchingConfig(5, network="plain", answer="least", seed=1)
    with pytest.raises(InputError, match="--setting: got 'theirs', expected published or ours"):
        config_from("theirs", "unet", "last", 880, 0)


@pytest.mark.data
def test_the_study_runs_on_a_real_classifier(tmp_path: Path):
    try:
        matching.data_root()
    except InputError as error:
        pytest.skip(str(error))
    options = ["--pictures", "1", "--steps", "1", "--size", "64", "--network", "plain"]
    folders = ["--work", str(tmp_path / "work"), "-o", str(tmp_path)]
    done = CliRunner().invoke(matching.app, ["run", "resnet18_noncommercial", *options, *folders])
    assert done.exit_code == 0, done.output
    made = read_record(tmp_path / "resnet18_noncommercial.ours.plain.last.json")
    assert [name for name, _, _ in made["layers"]] == ["relu", "layer1", "layer2", "layer3", "layer4"]
    assert len(made["pictures"]) == 1
