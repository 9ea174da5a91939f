from __future__ import annotations

import dataclasses

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


def test_sizes_and_triples_are_read() -> None:
    assert parse_size("160") == (160, 160)
    assert parse_size("192x256") == (192, 256)
    assert parse_triple("0.5, 0.25,1") == (0.5, 0.25, 1.0)


@pytest.mark.parametrize(("parse", "text"), [(parse_size, "big"), (parse_size, "0"), (parse_triple, "0.5,0.5")])
def test_what_cannot_be_read_is_one_error(parse: object, text: str) -> None:
    with pytest.raises(InputError, match="expected"):
        parse(text)  # type: ignore[operator]
