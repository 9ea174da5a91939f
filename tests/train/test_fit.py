from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from safetensors.torch import load_file

from whymask.runtime.errors import ArtefactError, InputError, TrainingError
from whymask.train import calibrate, fit, loop
from whymask.train.config import TrainConfig
from whymask.train.fit import train
from whymask.train.loop import Loop, csv_text
from whymask.train.model_spec import classifier_from_config
from whymask.train.run import CHECKPOINT_FILE, EXPLAINER_FILE, METRICS_FILE, load_run
from whymask.train.run_images import load_images
from whymask.train.summary import fill_of


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / EXPLAINER_FILE)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture()
def one_thread() -> None:
    """Bit-equality between runs is asked of one thread: sums over more may be ordered otherwise."""
    torch.set_num_threads(1)


def test_a_run_leaves_the_classifier_bit_identical_and_says_what_it_was(config: TrainConfig, tmp_path: Path) -> None:
    before = classifier_from_config(config).sha256()
    run = train(config, tmp_path / "run")
    assert run.classifier.sha256() == before == run.card.classifier.sha256
    assert run.card.seed == config.seed
    assert run.card.training["steps"] == 8
    assert run.card.training["stopped"] == "finished"
    assert run.card.guarantee is not None
    rows = list(csv.DictReader((tmp_path / "run" / METRICS_FILE).read_text().splitlines()))
    assert [int(float(row["step"])) for row in rows] == [2, 4, 6, 8]
    assert rows[-1]["retention_over_areas"]
    assert not rows[0]["retention_over_areas"]
    assert not list((tmp_path / "run").glob("*.tmp*"))


def test_the_threshold_is_calibrated_on_pictures_given_for_it(
    config: TrainConfig, pictures: Path, tmp_path: Path
) -> None:
    files = sorted(str(path) for path in pictures.iterdir())
    config = replace(config, data=tuple(files[:14]), calibration_data=tuple(files[14:]))
    run = train(config, tmp_path / "run")
    assert run.card.guarantee is not None
    assert run.card.guarantee.n == 10
    assert run.card.training["images"] + run.card.training["held_out_images"] == 14


def test_a_finished_run_is_calibrated_anew_by_resuming_it(config: TrainConfig, pictures: Path, tmp_path: Path) -> None:
    files = sorted(str(path) for path in pictures.iterdir())
    config = replace(config, data=tuple(files[:14]))
    first = train(config, tmp_path / "run")
    again = train(replace(config, calibration_data=tuple(files[14:]), alpha=0.5), tmp_path / "run", resume=True)
    assert again.card.guarantee is not None and first.card.guarantee is not None
    assert (again.card.guarantee.n, again.card.guarantee.alpha) == (10, 0.5)
    assert again.card.metrics == first.card.metrics
    assert same(dict(first.explainer.state_dict()), dict(again.explainer.state_dict()))


def test_a_picture_is_not_both_trained_and_calibrated_on(config: TrainConfig, pictures: Path, tmp_path: Path) -> None:
    shared = (str(pictures / "03.png"),)
    with pytest.raises(InputError, match=r"calibration_data holds 1 pictures of data, .*03\.png among them"):
        train(replace(config, calibration_data=shared), tmp_path / "run")


@pytest.mark.usefixtures("one_thread")
def test_pictures_that_are_read_ahead_from_files_train_the_same(config: TrainConfig, tmp_path: Path) -> None:
    train(config, tmp_path / "cached")
    train(replace(config, cache_gigabytes=0), tmp_path / "files")
    assert same(weights_of(tmp_path / "cached"), weights_of(tmp_path / "files"))


@pytest.mark.usefixtures("one_thread")
def test_a_run_in_half_precision_resumes_and_is_calibrated_in_full(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, precision="bf16-mixed")
    seen: set[torch.dtype] = set()
    kept_at = calibrate.kept_at

    def listen(*args: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        seen.update((args[2].dtype, args[0](torch.zeros(1, 3, 32, 32)).dtype))
        return kept_at(*args, **options)

    monkeypatch.setattr(calibrate, "kept_at", listen)
    unbroken = train(config, tmp_path / "unbroken")
    assert seen == {torch.float32}
    assert same(weights_of(tmp_path / "unbroken"), weights_when_broken(config, tmp_path / "broken", monkeypatch))
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights_of(tmp_path / "broken").values())
    again = calibrate.calibrate(
        unbroken.classifier,
        unbroken.explainer,
        load_images(config, unbroken.classifier, quiet=True).calibration,
        fill_of(unbroken.classifier),
        alpha=config.alpha,
        delta=config.delta,
        device=torch.device("cpu"),
    )
    assert again.threshold == unbroken.card.threshold
    assert again.guarantee == unbroken.card.guarantee


@pytest.mark.parametrize("precision", ["bf16-true", "half"])
def test_a_precision_that_would_round_the_weights_is_refused(config: TrainConfig, precision: str) -> None:
    with pytest.raises(InputError, match=f"precision is '{precision}', expected one of 32-true, bf16-mixed, 16-mixed"):
        replace(config, precision=precision)


class Interrupted(Exception):
    """Stands for a machine that dies between two steps."""


def weights_when_broken(config: TrainConfig, out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Of a run that was broken off at step 5 and resumed."""
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5, Interrupted)
        with pytest.raises(Interrupted):
            train(config, out)
    train(config, out, resume=True)
    return weights_of(out)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int, error: type[BaseException]) -> None:
    original = Loop.step

    def stop(self: Loop) -> dict[str, float]:
        if self.progress.step == step:
            raise error
        return original(self)

    monkeypatch.setattr(Loop, "step", stop)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("mode", ["constraint", "area", "weighted"])
def test_a_resumed_run_equals_an_unbroken_one(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    config = replace(config, mode=mode)
    unbroken = train(config, tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5, Interrupted)
        with pytest.raises(Interrupted):
            train(config, tmp_path / "broken")
    resumed = train(config, tmp_path / "broken", resume=True)
    assert same(weights_of(tmp_path / "unbroken"), weights_of(tmp_path / "broken"))
    assert resumed.card.threshold == unbroken.card.threshold
    assert resumed.card.metrics == unbroken.card.metrics


def test_ctrl_c_leaves_a_checkpoint_of_the_very_step(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(monkeypatch, 3, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run")
    checkpoint = torch.load(tmp_path / "run" / CHECKPOINT_FILE, weights_only=True)
    assert checkpoint["step"] == 3


def test_training_in_two_processes_ends_in_one_run(config: TrainConfig, tmp_path: Path) -> None:
    """Through the command line, as a user starts it: the second process is started by Fabric."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "whymask.runtime.cli", "train", config.model, "--data", config.data[0]]
    command += ["-o", str(out), "--size", "32", "--channels", "8", "--steps", "4", "--batch-size", "4"]
    command += ["--accelerator", "cpu", "--devices", "2", "--strategy", "ddp", "--level-from", "0.3"]
    command += ["--others", "0.5", "--presence", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    run = load_run(out)
    assert run.card.training["steps"] == 4
    assert done.stdout.count("next: whymask export") == 1


def test_an_early_stop_and_a_time_limit_still_finish_the_run(config: TrainConfig, tmp_path: Path) -> None:
    impatient = replace(config, steps=400, evaluate_every=1, patience=2)
    stopped = train(impatient, tmp_path / "patience")
    assert stopped.card.training["stopped"] == "patience"
    assert stopped.card.training["steps"] < 400
    hurried = train(replace(config, steps=100_000, max_minutes=1e-4), tmp_path / "minutes")
    assert hurried.card.training["stopped"] == "max_minutes"


def test_a_finished_run_is_not_overwritten_and_another_is_not_resumed(config: TrainConfig, tmp_path: Path) -> None:
    train(config, tmp_path / "run")
    with pytest.raises(ArtefactError, match="already holds a run"):
        train(config, tmp_path / "run")
    with pytest.raises(InputError, match="--resume: seed was 0 when this run began and is 1 now"):
        train(replace(config, seed=1), tmp_path / "run", resume=True)
    with pytest.raises(ArtefactError, match=r"has no checkpoint\.pt"):
        train(config, tmp_path / "empty", resume=True)


def test_a_finished_run_without_its_checkpoint_is_not_sent_in_a_circle(config: TrainConfig, tmp_path: Path) -> None:
    train(replace(config, steps=1), tmp_path / "run")
    (tmp_path / "run" / CHECKPOINT_FILE).unlink()
    with pytest.raises(ArtefactError, match=r"has no checkpoint\.pt; train into another folder$"):
        train(config, tmp_path / "run", resume=True)
    with pytest.raises(ArtefactError, match=r"already holds a run; give another -o$"):
        train(config, tmp_path / "run")


def test_a_loss_that_is_no_number_stops_the_run(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step 0"):
        train(replace(config, kl=float("inf")), tmp_path / "run")


def test_a_run_refuses_another_classifier(config: TrainConfig, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run")
    torch.save({n: p + 1 for n, p in run.classifier.model.state_dict().items()}, tmp_path / "other.pth")
    with pytest.raises(ArtefactError, match="give the same weights with --model and --weights"):
        load_run(tmp_path / "run", weights=str(tmp_path / "other.pth"))


@pytest.mark.parametrize("edges", [{"sharpen": 1}, {"detail": 4}], ids=["filtered", "detailed"])
def test_a_run_with_edges_trains_is_read_back_and_gives_maps_of_the_pictures_size(
    config: TrainConfig, tmp_path: Path, edges: dict[str, int]
) -> None:
    before = classifier_from_config(config).sha256()
    run = train(replace(config, **edges), tmp_path / "run")
    again = load_run(tmp_path / "run")
    assert run.classifier.sha256() == before
    assert same(dict(run.explainer.state_dict()), dict(again.explainer.state_dict()))
    plain = train(config, tmp_path / "plain")
    x = torch.randn(2, 3, *(plain.classifier.rule.height, plain.classifier.rule.width))
    sizes = []
    for each in (plain, again):
        with torch.no_grad():
            logits, features = each.classifier.with_taps(x)
            sizes.append(tuple(each.explainer(features, x, logits, logits.argmax(1)).shape[1:]))
    assert sizes[0] < sizes[1] == tuple(x.shape[2:])


def test_an_explainer_of_another_configuration_is_one_message(config: TrainConfig, tmp_path: Path) -> None:
    train(config, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "channels": 16}))
    with pytest.raises(ArtefactError, match=r"is damaged, or not of the explainer that config\.json tells of"):
        load_run(tmp_path / "run")


def test_weights_in_the_folder_of_a_run_move_with_it(config: TrainConfig, tmp_path: Path) -> None:
    here, there = tmp_path / "run", tmp_path / "moved"
    here.mkdir()
    state = classifier_from_config(config).model.state_dict()
    torch.save(state, here / "own.pth")
    train(replace(config, weights=str(here / "own.pth")), here)
    here.rename(there)
    assert load_run(there).classifier.sha256() == load_run(there, weights=str(there / "own.pth")).classifier.sha256()
    torch.save({name: value + 1 for name, value in state.items()}, there / "own.pth")
    with pytest.raises(ArtefactError, match="give the same weights with --model and --weights"):
        load_run(there)
    (there / "own.pth").unlink()
    with pytest.raises(InputError, match=r"weights file .*own\.pth does not exist; say with --weights where it is"):
        load_run(there)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", 0, "steps is 0, expected a number above 0"),
        ("sharpen", -1, "sharpen is -1, expected a radius of 0 to 8 cells"),
        ("sharpen", 9, "sharpen is 9, expected a radius of 0 to 8 cells"),
        ("flat", 0.0, "flat is 0.0, expected a share above 0"),
        ("detail", 65, "detail is 65, expected 0 to 64 textures"),
        ("alpha", 1.0, r"alpha is 1.0, expected a number in \(0, 1\)"),
        ("mode", "magic", "mode is 'magic', expected one of constraint, area, weighted"),
        ("min_area", 0.95, "min_area 0.95 must be below max_area 0.9"),
        ("batch_size", 1, "batch normalisation needs two or more"),
    ],
)
def test_options_out_of_range_are_refused(config: TrainConfig, field: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(config, **{field: value})  # type: ignore[arg-type]


def test_rows_of_different_columns_make_one_table() -> None:
    assert csv_text([{"step": 1, "a": 0.5}, {"step": 2, "b": 2}]) == "step,a,b\n1,0.5,\n2,,2\n"


def test_a_resumed_run_refuses_another_classifier(config: TrainConfig, tmp_path: Path) -> None:
    weights = tmp_path / "own.pth"
    state = classifier_from_config(config).model.state_dict()
    torch.save(state, weights)
    config = replace(config, weights=str(weights))
    train(config, tmp_path / "run")
    torch.save({name: value + 1 for name, value in state.items()}, weights)
    with pytest.raises(InputError, match=r"--resume: the classifier has sha256 \w+…, this run began with \w+…; give"):
        train(config, tmp_path / "run", resume=True)


@pytest.mark.parametrize("change", ["added", "exchanged"])
def test_a_resumed_run_refuses_other_pictures(config: TrainConfig, pictures: Path, tmp_path: Path, change: str) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(pictures, folder)
    config = replace(config, data=(str(folder),))
    train(config, tmp_path / "run")
    if change == "added":
        shutil.copy(folder / "03.png", folder / "00-first.png")
    else:
        one, other = (folder / "03.png").read_bytes(), (folder / "04.png").read_bytes()
        (folder / "03.png").write_bytes(other)
        (folder / "04.png").write_bytes(one)
    with pytest.raises(InputError, match=r"--resume: the pictures of data have sha256 .*, this run began with .* held"):
        train(config, tmp_path / "run", resume=True)
    shutil.rmtree(folder)
    shutil.copytree(pictures, folder)
    train(config, tmp_path / "run", resume=True)


def test_a_run_that_patience_ended_does_not_train_on_when_resumed(config: TrainConfig, tmp_path: Path) -> None:
    config = replace(config, steps=400, evaluate_every=1, patience=2)
    first = train(config, tmp_path / "run")
    again = train(replace(config, alpha=0.5), tmp_path / "run", resume=True)
    assert (again.card.training["stopped"], again.card.training["steps"]) == (
        "patience",
        first.card.training["steps"],
    )
    assert same(dict(first.explainer.state_dict()), dict(again.explainer.state_dict()))
    more = train(replace(config, patience=3), tmp_path / "run", resume=True)
    assert more.card.training["steps"] > first.card.training["steps"]


@pytest.fixture
def heard_ctrl_c() -> Iterator[None]:
    """Python's own answer to Ctrl-C, which a process in the background of a script begins without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("one_thread", "heard_ctrl_c")
@pytest.mark.parametrize("place", ["backward", "clip_gradients", "validate", "signal"])
def test_ctrl_c_in_the_middle_of_a_step_leaves_a_run_that_resumes_as_if_unbroken(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    train(config, tmp_path / "unbroken")
    owner: Any = loop if place == "validate" else Fabric
    name = "backward" if place == "signal" else place
    original, calls = getattr(owner, name), iter(range(1000))

    def interrupted(*args: Any, **options: Any) -> Any:
        found = original(*args, **options)
        if next(calls) == (0 if place == "validate" else 4):
            if place != "signal":
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "broken")
    step = torch.load(tmp_path / "broken" / CHECKPOINT_FILE, weights_only=True)["step"]
    assert step == {"validate": 2, "signal": 5}.get(place, 4)
    train(config, tmp_path / "broken", resume=True)
    assert same(weights_of(tmp_path / "unbroken"), weights_of(tmp_path / "broken"))
    steps = [
        [row["step"] for row in csv.DictReader((tmp_path / run / METRICS_FILE).read_text().splitlines())]
        for run in ("unbroken", "broken")
    ]
    assert steps[0] == steps[1]


@pytest.mark.usefixtures("one_thread")
def test_a_run_that_the_clock_ended_before_its_first_row_goes_on_when_resumed(
    config: TrainConfig, tmp_path: Path
) -> None:
    config = replace(config, log_every=100, evaluate_every=0)
    train(config, tmp_path / "unbroken")
    hurried = train(replace(config, max_minutes=1e-9), tmp_path / "run")
    assert (hurried.card.training["stopped"], hurried.card.training["steps"]) == ("max_minutes", 1)
    train(config, tmp_path / "run", resume=True)
    assert same(weights_of(tmp_path / "unbroken"), weights_of(tmp_path / "run"))


@pytest.mark.usefixtures("one_thread")
def test_half_precision_outlives_an_overflow_and_resumes_with_its_scale(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scaled(config: TrainConfig) -> Fabric:
        """On a CPU, where Fabric by itself takes bfloat16 instead."""
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
        return Fabric(accelerator="cpu", plugins=[MixedPrecision("16-mixed", "cpu", scaler)])

    config = replace(config, precision="16-mixed")
    monkeypatch.setattr(fit, "fabric_from_config", scaled)
    train(config, tmp_path / "unbroken")
    scale = torch.load(tmp_path / "unbroken" / CHECKPOINT_FILE, weights_only=True)["scaler"]["scale"]
    assert 1.0 < scale < 2.0**40
    assert same(weights_of(tmp_path / "unbroken"), weights_when_broken(config, tmp_path / "broken", monkeypatch))


def test_gradients_that_are_no_numbers_stop_a_run_in_full_precision(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Fabric.backward

    def spoilt(self: Fabric, loss: torch.Tensor, *args: Any, **options: Any) -> None:
        original(self, loss * float("inf"), *args, **options)

    monkeypatch.setattr(Fabric, "backward", spoilt)
    with pytest.raises(TrainingError, match=r"the gradients are no numbers at step 0; try a lower learning rate"):
        train(config, tmp_path / "run")
