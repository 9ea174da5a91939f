"""Runs that differ in named settings: trained once, judged alike, compared in pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_base import make_base

from whymask.benchmarks import ablation, demo, modes, variants
from whymask.benchmarks.suite.sample import Column
from whymask.benchmarks.variants import Row, Study, Variant, base_named, run_study, train_variant
from whymask.benchmarks.variants_page import (
    BETTER,
    OPEN,
    WORSE,
    check_json,
    mean_of,
    paired,
    record_file,
    record_from_study,
    verdict,
    write_records,
)
from whymask.runtime.errors import ArtefactError, InputError
from whymask.train import fit
from whymask.train.config import TrainConfig
from whymask.train.run import CARD_FILE, CONFIG_FILE

GOOD = Column("good", "higher", "of a test")
BAD = Column("bad", "lower", "of a test")


def row(name: str, *seeds: list[float], column: str = "good") -> Row:
    return Row(Variant(name, {}), {column: np.array(seeds)}, tuple({} for _ in seeds))


def trained(config: TrainConfig, folder: Path, calls: list[str]) -> None:
    calls.append(folder.name)
    folder.mkdir(parents=True)
    (folder / CARD_FILE).write_text("{}")
    (folder / CONFIG_FILE).write_text(config.to_json())


@pytest.fixture()
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Training and export that only note that they were asked for."""
    calls: list[str] = []
    monkeypatch.setattr(fit, "train", lambda config, out, resume: trained(config, out, calls) or "run")
    monkeypatch.setattr("whymask.export.onnx_from_run.export_run", lambda run, out: out.write_bytes(b"graph") and None)
    monkeypatch.setattr("whymask.train.run.load_run", lambda path: "run")
    return calls


def test_a_variant_differs_from_its_base_in_the_named_settings_alone(tmp_path: Path):
    base = make_base(tmp_path)
    config = Variant("no tv", {"tv": 0.0}).config(base.config, seed=3)
    assert (config.tv, config.seed) == (0.0, 3)
    assert config.binarisation == base.config.binarisation


def test_an_unknown_setting_is_named_with_the_nearest_one(tmp_path: Path):
    with pytest.raises(InputError, match="'necesity' is no setting; did you mean 'necessity'"):
        Variant("typing error", {"necesity": 1.0}).config(make_base(tmp_path).config, 0)


def test_a_finished_run_is_not_trained_again(tmp_path: Path, quick: list[str]):
    base, variant = make_base(tmp_path), Variant("no tv", {"tv": 0.0})
    first = train_variant(base, variant, tmp_path / "runs", steps=4)
    assert train_variant(base, variant, tmp_path / "runs", steps=4) == first
    assert quick == ["no-tv-4-seed0"]
    assert train_variant(base, variant, tmp_path / "runs", seed=1, steps=4) != first
    assert len(quick) == 2


def test_a_graph_that_is_missing_is_exported_without_training(tmp_path: Path, quick: list[str]):
    base, variant = make_base(tmp_path), Variant("no tv", {"tv": 0.0})
    graph = train_variant(base, variant, tmp_path / "runs")
    graph.unlink()
    assert train_variant(base, variant, tmp_path / "runs").is_file()
    assert len(quick) == 1


def test_a_folder_with_other_settings_is_refused(tmp_path: Path, quick: list[str]):
    base = make_base(tmp_path)
    train_variant(base, Variant("a", {"tv": 0.0}), tmp_path / "runs")
    with pytest.raises(ArtefactError, match="holds a run with another tv; remove it, or give another folder"):
        train_variant(base, Variant("a", {"tv": 0.5}), tmp_path / "runs")


def test_two_variants_of_one_name_are_refused(tmp_path: Path):
    twice = [Variant("a", {}), Variant("a", {"tv": 0.0})]
    with pytest.raises(InputError, match="expected different names"):
        run_study("test", make_base(tmp_path), twice, lambda *_: {}, [GOOD], folder=tmp_path)


def test_an_unknown_base_names_those_there_are(tmp_path: Path):
    with pytest.raises(InputError, match="base 'resnet': expected one of shapes, mobilenet_v2_tf"):
        base_named("resnet", tmp_path)


def test_the_demos_base_draws_its_pictures_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = base_named("shapes", tmp_path, demo.QUICK)
    monkeypatch.setattr(demo, "draw_sets", lambda *_: pytest.fail("drawn again"))
    assert base_named("shapes", tmp_path, demo.QUICK) == first
    assert len(first.pictures) == demo.QUICK.held_out
    assert not any(str(path).startswith(first.config.data[0]) for path in first.pictures)


def test_a_difference_is_paired_and_needs_every_seed(tmp_path: Path):
    noise = np.random.default_rng(0).random(50)
    reference = row("a", noise.tolist())
    assert mean_of(reference, "good").value == pytest.approx(noise.mean())
    shifted = row("b", (noise - 0.01).tolist())
    assert paired(shifted, reference, "good").low == pytest.approx(-0.01)
    assert verdict(shifted, reference, GOOD) == WORSE
    assert verdict(reference, shifted, GOOD) == BETTER
    assert verdict(reference, reference, GOOD) == OPEN
    two = row("a", noise.tolist(), noise.tolist())
    torn = row("c", (noise - 0.05).tolist(), (noise + 0.01).tolist())
    assert paired(torn, two, "good").high < 0
    assert verdict(torn, two, GOOD) == OPEN


def test_lower_is_better_where_the_column_says_so():
    assert verdict(row("b", [2.0, 3.0], column="bad"), row("a", [1.0, 1.0], column="bad"), BAD) == WORSE


def test_a_picture_without_a_number_is_left_out_and_written_as_null(tmp_path: Path):
    a, b = row("a", [1.0, float("nan"), 3.0]), row("b", [2.0, 2.0, 4.0])
    assert paired(b, a, "good").value == 1.0
    record = record_from_study(Study("test", "shapes", ("x", "y", "z"), (GOOD,), (a, b)), "python -m test")
    write_records(tmp_path / "test.json", [record], "# Page\n")
    (read,) = json.loads((tmp_path / "test.json").read_text())
    assert read["rows"][0]["figures"]["good"] == [[1.0, None, 3.0]]
    assert (tmp_path / "test.md").read_text() == "# Page\n"


def test_another_ending_than_json_is_refused():
    with pytest.raises(InputError, match=r"table.csv: expected a name ending in .json"):
        check_json(Path("table.csv"))
    with pytest.raises(InputError, match=r"table.csv: expected a name ending in .json"):
        record_file(Path("table.csv"), "test", ["shapes"])


@pytest.mark.parametrize(
    ("bases", "name"), [(["shapes"], "test.json"), (["vgg"], "test-vgg.json"), (["shapes", "vgg"], "test.json")]
)
def test_the_record_of_one_base_does_not_take_the_place_of_anothers(bases: list[str], name: str):
    assert record_file(None, "test", bases).name == name
    assert record_file(Path("mine.json"), "test", bases) == Path("mine.json")


def test_every_setting_that_the_studies_name_exists(tmp_path: Path):
    base = make_base(tmp_path).config
    named = [ablation.FULL, *(term.variant for term in ablation.TERMS), *modes.variants()]
    for variant in named:
        config = variant.config(base, 0)
        assert all(getattr(config, name) == value for name, value in variant.fields.items())
    assert len({variant.name for variant in named}) == len(named)
    assert variants.SHAPES in variants.BASES
