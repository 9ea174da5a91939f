from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from whymask.runtime.errors import InputError
from whymask.train.cli import parse_size, parse_triple, train
from whymask.train.config import TrainConfig

APP = typer.Typer()
APP.command()(train)


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


@pytest.mark.parametrize(("parse", "text"), [(parse_size, "big"), (parse_size, "0"), (parse_triple, "0.5,0.5")])
def test_what_cannot_be_read_is_one_error(parse: object, text: str) -> None:
    with pytest.raises(InputError, match="expected"):
        parse(text)  # type: ignore[operator]
