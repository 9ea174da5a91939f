"""`whymask train --method flint` as a person meets it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from whymask.runtime.cli import guarded
from whymask.train.cli import train
from whymask.train.flint.config import FlintConfig
from whymask.train.flint.run import load_run

APP = typer.Typer()
APP.command()(guarded(train))


def command(model_file: Path, pictures: Path, out: Path, *options: str) -> Result:
    fixed = ["--data", str(pictures), "-o", str(out), "--size", "32", "--steps", "4", "--batch-size", "4"]
    return CliRunner().invoke(APP, [f"{model_file}:build", *fixed, *options])


def test_every_field_of_flint_is_an_option() -> None:
    text = CliRunner().invoke(APP, ["--help"], env={"COLUMNS": "300"}).output
    for field in dataclasses.fields(FlintConfig):
        assert ("MODEL" if field.name == "model" else f"--{field.name.replace('_', '-')}") in text


def test_flint_is_trained_and_says_what_came_out(model_file: Path, pictures: Path, tmp_path: Path) -> None:
    options = ("--method", "flint", "--attributes", "5", "--conciseness", "0.3", "--seed", "7")
    result = command(model_file, pictures, tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    assert "5 attributes of " in result.stdout and "post hoc, the classifier bit-identical, seed 7" in result.stdout
    assert "on 2 held-out images: fidelity " in result.stdout
    config = load_run(tmp_path / "run").config
    assert (config.attributes, config.conciseness, config.by_design, config.size) == (5, 0.3, False, (32, 32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--attributes", "5"), "--attributes has no meaning for --method mask; it is FLINT's: add --method flint"),
        (("--by-design",), "--by-design has no meaning for --method mask"),
        (
            ("--method", "flint", "--tv", "2"),
            "--tv has no meaning for --method flint; it belongs to the mask explainer",
        ),
        (("--method", "flint", "--resume"), "--resume has no meaning for --method flint"),
        (("--method", "spark"), "--method is 'spark', expected one of mask, flint"),
        (("--method", "flint", "--by-design"), "by_design: the pictures lie in 1 folders"),
    ],
    ids=["own option", "own flag", "mask's option", "resume", "unknown", "classes"],
)
def test_what_does_not_belong_together_is_one_clear_line(
    model_file: Path, pictures: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = command(model_file, pictures, tmp_path / "run", *options)
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "run").exists()
