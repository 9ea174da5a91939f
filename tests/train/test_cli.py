from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from whymask.runtime.cli import guarded
from whymask.runtime.errors import InputError
from whymask.train.cli import parse_size, parse_triple, train
from whymask.train.config import TrainConfig

APP = typer.Typer()
APP.command()(train)
GUARDED = typer.Typer()
GUARDED.command()(guarded(train))


def quick_training(model_file: Path, pictures: Path, out: Path, *options: str) -> Result:
    """The command as a person meets it: errors are a line."""
    fixed = ["--data", str(pictures), "-o", str(out), "--size", "32", "--steps", "1", "--batch-size", "4"]
    return CliRunner().invoke(GUARDED, [f"{model_file}:build", *fixed, *options])


def test_every_field_of_the_configuration_is_an_option() -> None:
    text = CliRunner().invoke(APP, ["--help"], env={"COLUMNS": "300"}).output
    for field in dataclasses.fields(TrainConfig):
        name = "MODEL" if field.name == "model" else f"--{field.name.replace('_', '-')}"
        assert name in text


def test_files_that_cannot_be_decoded_are_named_and_do_not_stop_the_run(
    model_file: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    command = [f"{model_file}:build", "--data", str(pictures), "--data", str(tmp_path / "broken.jpg")]
    command += ["-o", str(tmp_path / "run"), "--size", "32", "--steps", "1", "--batch-size", "4", "--channels", "8"]
    done = CliRunner().invoke(APP, [*command, "--accelerator", "cpu"])
    assert done.exit_code == 0, done.output
    assert "1 unreadable" in done.stdout
    assert "broken.jpg" in done.stderr
    assert "next: whymask export" in done.stdout


def test_sizes_and_triples_are_read() -> None:
    assert parse_size("160") == (160, 160)
    assert parse_size("192x256") == (192, 256)
    assert parse_triple("0.5, 0.25,1") == (0.5, 0.25, 1.0)


@pytest.mark.parametrize(
    ("parse", "text"), [(parse_size, "big"), (parse_size, "0"), (parse_size, "²"), (parse_triple, "0.5,0.5")]
)
def test_what_cannot_be_read_is_one_error(parse: object, text: str) -> None:
    with pytest.raises(InputError, match="expected"):
        parse(text)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", "-1"), "seed is -1, expected a whole number from 0 to 4294967295"),
        (("--seed", str(2**40)), "seed is 1099511627776, expected a whole number from 0 to 4294967295"),
        (("--accelerator", "foo"), "accelerator 'foo' with 1 devices and strategy 'auto': You selected an invalid"),
        (("--accelerator", "tpu"), "accelerator 'tpu' with 1 devices and strategy 'auto': "),
        (("--strategy", "foo"), "and strategy 'foo': You selected an invalid strategy name"),
        (
            ("--precision", "16-mixed"),
            "precision is '16-mixed', which needs a GPU, and cpu was taken; expected 32-true",
        ),
        (("--std", "0,0,0"), "std is (0.0, 0.0, 0.0), expected three finite numbers above 0"),
        (("--std", "nan,1,1"), "std is (nan, 1.0, 1.0), expected three finite numbers above 0"),
        (("--mean", "inf,1,1"), "mean is (inf, 1.0, 1.0), expected three finite numbers"),
        (("--learning-rate", "nan"), "learning_rate is nan, expected a number above 0"),
        (("--holdout", "nan"), "holdout is nan, expected a number in (0, 1)"),
        (("--method", "flint", "--seed", "-1"), "seed is -1, expected a whole number from 0 to 4294967295"),
        (("--method", "flint", "--std", "0,0,0"), "std is (0.0, 0.0, 0.0), expected three finite numbers above 0"),
    ],
)
def test_a_value_that_cannot_be_is_one_clear_line(
    model_file: Path, pictures: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = quick_training(model_file, pictures, tmp_path / "run", *options)
    assert done.exit_code == 1, done.exception
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_one_clear_line(model_file: Path, pictures: Path, tmp_path: Path) -> None:
    done = quick_training(model_file, pictures, tmp_path / "run", "--accelerator", "cuda")
    assert done.exit_code == 1, done.exception
    assert "accelerator 'cuda' with 1 devices and strategy 'auto': " in done.stderr
    assert "Expected cpu, cuda, mps or auto" in done.stderr


@pytest.mark.parametrize("method", ["mask", "flint"])
@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_file_is_no_place_for_a_run(
    model_file: Path, pictures: Path, tmp_path: Path, method: str, place: str
) -> None:
    (tmp_path / "file").write_text("mine")
    done = quick_training(model_file, pictures, tmp_path / place, "--method", method)
    assert done.exit_code == 1, done.exception
    assert f"-o {tmp_path / place}: {tmp_path / 'file'} is a file, expected a folder" in done.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_labels_that_are_no_utf_8_are_one_clear_line(model_file: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("a\nb\nc\nd\né\n".encode("latin-1"))
    done = quick_training(model_file, pictures, tmp_path / "run", "--labels", str(tmp_path / "labels.txt"))
    assert done.exit_code == 1, done.exception
    assert re.search(r"labels file .*labels\.txt cannot be read \(.*\); expected text in UTF-8", done.stderr)
