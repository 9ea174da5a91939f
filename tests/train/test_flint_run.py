"""FLINT from pictures to a run directory and back, post hoc and by design."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from PIL import Image

from whymask.runtime.errors import ArtefactError, InputError
from whymask.train.classifier import FrozenClassifier
from whymask.train.config import TrainConfig
from whymask.train.flint.config import FlintConfig
from whymask.train.flint.examples import Examples
from whymask.train.flint.fit import judge, learn, new_interpreter
from whymask.train.flint.run import FlintRun, load_run, train

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255))


@pytest.fixture()
def flint(model_file: Path, pictures: Path) -> FlintConfig:
    return FlintConfig(f"{model_file}:build", (str(pictures),), size=(32, 32), attributes=6, steps=6, batch_size=4)


@pytest.fixture()
def labelled(tmp_path: Path) -> Path:
    """Five folders of four pictures, a colour each."""
    for name, colour in zip("abcde", COLOURS, strict=True):
        (tmp_path / "labelled" / name).mkdir(parents=True)
        for number in range(4):
            shade = tuple(value * (10 - number) // 10 for value in colour)
            Image.new("RGB", (32, 32), shade).save(tmp_path / "labelled" / name / f"{number}.png")
    return tmp_path / "labelled"


def state(classifier: FrozenClassifier) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in classifier.model.state_dict().items()}


def test_post_hoc_leaves_parameters_and_buffers_bit_identical(classifier: FrozenClassifier, flint: FlintConfig) -> None:
    before = state(classifier)
    pixels = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8)
    for cache in (0.0, 4.0):
        config = dataclasses.replace(flint, cache_gigabytes=cache)
        learn(classifier, new_interpreter(classifier, config), Examples(pixels), config)
    after = classifier.model.state_dict()
    assert list(before) == list(after) and any("running" in name for name in before)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in classifier.model.parameters())


def test_remembered_activations_give_the_same_attributes(classifier: FrozenClassifier, flint: FlintConfig) -> None:
    pixels = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8)
    made = []
    for cache in (0.0, 4.0):
        config = dataclasses.replace(flint, cache_gigabytes=cache)
        interpreter = new_interpreter(classifier, config)
        learn(classifier, interpreter, Examples(pixels), config)
        made.append(judge(classifier, interpreter, pixels).phi)
    torch.testing.assert_close(made[0], made[1], rtol=1e-3, atol=1e-4)


def test_by_design_trains_the_classifier_and_leaves_it_frozen(classifier: FrozenClassifier, flint: FlintConfig) -> None:
    before = state(classifier)
    pixels = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8)
    config = dataclasses.replace(flint, by_design=True)
    learn(classifier, new_interpreter(classifier, config), Examples(pixels, torch.arange(12) % 5), config)
    moved = [name for name, tensor in classifier.model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert set(moved) == set(before)
    assert not classifier.model.training and not any(p.requires_grad for p in classifier.model.parameters())


def test_by_design_needs_classes(classifier: FrozenClassifier, flint: FlintConfig) -> None:
    config = dataclasses.replace(flint, by_design=True)
    with pytest.raises(InputError, match="needs the pictures' classes; none were given"):
        learn(classifier, new_interpreter(classifier, config), Examples(torch.zeros(4, 3, 32, 32)), config)


def same(one: FlintRun, other: FlintRun, pixels: torch.Tensor) -> bool:
    first, second = (judge(run.classifier, run.interpreter, pixels) for run in (one, other))
    return torch.equal(first.phi, second.phi) and torch.equal(first.predicted, second.predicted)


def test_a_run_comes_back_from_its_directory(flint: FlintConfig, tmp_path: Path) -> None:
    run = train(flint, tmp_path / "run")
    loaded = load_run(tmp_path / "run")
    assert same(run, loaded, torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8))
    assert loaded.card == run.card and loaded.card.seed == 0
    assert set(loaded.card.figures["conciseness"]) == {"1.5", "2", "3", "4", "5", "7", "10"}
    assert (tmp_path / "run" / "metrics.csv").read_text().startswith("step,loss,output_fidelity,input_fidelity,")
    assert not (tmp_path / "run" / "classifier.safetensors").exists()


def test_by_design_learns_folders_as_classes_and_brings_its_own_weights(
    flint: FlintConfig, labelled: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(flint, data=(str(labelled),), by_design=True, steps=60, holdout=0.2)
    run = train(config, tmp_path / "run")
    loaded = load_run(tmp_path / "run")
    assert loaded.card.classifier.labels == ("a", "b", "c", "d", "e")
    assert loaded.card.figures["accuracy"] >= 0.75
    assert same(run, loaded, torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8))


def test_folders_that_are_not_the_classes_are_refused(flint: FlintConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(flint, by_design=True)
    with pytest.raises(InputError, match=r"lie in 1 folders \(pictures\d\), and the classifier has 5 classes"):
        train(config, tmp_path / "run")


def test_the_same_seed_gives_the_same_run_and_another_seed_another(flint: FlintConfig, tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    runs = [train(dataclasses.replace(flint, seed=seed), tmp_path / str(i)) for i, seed in enumerate((3, 3, 4))]
    assert same(runs[0], runs[1], pixels) and not same(runs[0], runs[2], pixels)


def test_a_factory_that_draws_its_weights_draws_those_of_the_seed(
    flint: FlintConfig, model_file: Path, tmp_path: Path
) -> None:
    drawn = tmp_path / "drawn.py"
    drawn.write_text(model_file.read_text().replace("torch.manual_seed(1)", "pass"))
    config = dataclasses.replace(flint, model=f"{drawn}:build", steps=1)
    digests = [train(config, tmp_path / name).card.classifier.sha256 for name in ("one", "other")]
    assert digests[0] == digests[1]


def test_another_classifier_and_a_taken_or_empty_folder_are_refused(
    flint: FlintConfig, model_file: Path, tmp_path: Path
) -> None:
    train(flint, tmp_path / "run")
    with pytest.raises(ArtefactError, match="already holds a run; give another -o"):
        train(flint, tmp_path / "run")
    other = tmp_path / "other.py"
    other.write_text(model_file.read_text().replace("manual_seed(1)", "manual_seed(2)"))
    with pytest.raises(ArtefactError, match="the attributes were trained for"):
        load_run(tmp_path / "run", model=f"{other}:build")
    with pytest.raises(ArtefactError, match=r"is not a FLINT run: flint\.json is absent; make one with"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attributes": 1}, "attributes is 1, expected a number from 2 to 1024"),
        ({"output_fidelity": 0.0}, "nothing would tie attributes to the classifier"),
        ({"batch_size": 1}, "batch_size is 1, expected a number ≥ 2"),
        ({"resize": "stretch"}, "resize is 'stretch', expected one of squash, crop"),
    ],
    ids=["attributes", "fidelity", "batch", "resize"],
)
def test_a_wrong_setting_is_refused(flint: FlintConfig, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(flint, **change)


def test_what_both_methods_are_asked_has_one_default() -> None:
    mask = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    flint = {field.name: field.default for field in dataclasses.fields(FlintConfig)}
    assert {name: flint[name] for name in flint if name in mask} == {name: mask[name] for name in mask if name in flint}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flint.json", r"flint\.json is damaged \('utf-8' codec .*copy the folder whole, or train again"),
        ("config.json", r"config\.json is damaged \('utf-8' codec .*copy the folder whole, or train again"),
        ("interpreter.safetensors", r"interpreter\.safetensors: is damaged, or not of the attributes that flint\.json"),
    ],
)
def test_a_damaged_file_of_a_run_is_one_clear_error(
    flint: FlintConfig, tmp_path: Path, name: str, message: str
) -> None:
    train(flint, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(b"\xff\xfe torn")
    with pytest.raises(ArtefactError, match=message):
        load_run(tmp_path / "run")


def test_attributes_of_another_shape_are_one_clear_error(flint: FlintConfig, tmp_path: Path) -> None:
    train(flint, tmp_path / "run")
    train(dataclasses.replace(flint, attributes=5), tmp_path / "other")
    name = "interpreter.safetensors"
    (tmp_path / "run" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(ArtefactError, match=r"is damaged, or not of the attributes that flint\.json tells of"):
        load_run(tmp_path / "run")
