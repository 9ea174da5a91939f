"""`whymask build` as a person meets it, and its settings."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from colour_graph import Options, card_of
from engine_files import engine_card
from repository import project
from typer.testing import CliRunner, Result

from whymask.export import build_cli
from whymask.export.build_config import OPTIONS, BuildConfig, build_line
from whymask.runtime.card import METADATA_KEY
from whymask.runtime.cli import COMMAND_GROUP, build_app, guarded, help_text
from whymask.runtime.engine_card import EngineCard
from whymask.runtime.errors import InputError
from whymask.runtime.onnx_wire import encode, identity_model

PRODUCTS = {"fp16": 22, "fp32": 0, "int8": 0, "other": 0}
FLAGS = {"products": PRODUCTS, "precision_verified": True, "timing_cache": None}
Command = Callable[..., Result]


@pytest.fixture
def asked() -> list[dict[str, Any]]:
    """What each build was asked for."""
    return []


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: list[dict[str, Any]]) -> Command:
    """The command, with a graph at hand and without TensorRT."""
    entry = encode(1, METADATA_KEY.encode()) + encode(2, card_of(Options()).to_json().encode())
    (tmp_path / "fused.onnx").write_bytes(identity_model() + encode(14, entry))

    def build(onnx: Path, out: Path, config: BuildConfig, **options: Any) -> EngineCard:
        options.pop("on_progress")(100, "built")
        asked.append({"onnx": onnx.name, "out": out.name, "config": config, **options})
        return engine_card(flags=FLAGS, role=options.get("role", "fused"), min_batch=1, opt_batch=2, max_batch=8)

    monkeypatch.setattr(build_cli, "engine_from_onnx", build)
    app = typer.Typer()
    app.command(help=help_text(build_cli.build))(guarded(build_cli.build))
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_build_says_what_was_built_and_the_next_step(command: Command, tmp_path: Path) -> None:
    result = command(tmp_path / "fused.onnx", "-o", tmp_path / "fused.plan")
    assert result.exit_code == 0, result.output
    assert "fused.plan: fp16, 0.0 MB, batch 1 to 8 (best 2), built in 61.5 s; sidecar fused.plan.json" in result.stdout
    assert "built for: TensorRT 10.3.0 on Orin (8.7)" in result.stdout
    assert "layers: 41 fp16, 9 fp32, 3 other; convolutions and matrix products: 22 fp16" in result.stdout
    assert "fused.plan IMAGES -o explained" in result.stdout
    assert "not verified" not in result.stdout
    assert "building fused.plan: 100/100" in result.stderr


def test_options_mirror_the_settings_one_to_one(command: Command, tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    words = "--precision fp16 --min-batch 2 --opt-batch 3 --max-batch 4 --workspace 5 --timing-cache k.cache "
    words += "--version-compatible --hardware-compatible --optimization-level 4 --dla 1"
    result = command(tmp_path / "fused.onnx", "-o", "x.plan", *words.split())
    assert result.exit_code == 0, result.output
    (one,) = asked
    assert one["config"] == BuildConfig("fp16", 2, 3, 4, 5, Path("k.cache"), True, True, 4, 1)
    assert " ".join(one["config"].words()) == words


def test_the_classifier_is_built_beside_it_with_the_fused_graphs_card(
    command: Command, tmp_path: Path, asked: list[dict[str, Any]]
) -> None:
    (tmp_path / "fused.classifier.onnx").write_bytes(identity_model())
    result = command(tmp_path / "fused.onnx", "-o", tmp_path / "x.plan", "--classifier", "--rtx")
    assert result.exit_code == 0, result.output
    assert [(one["onnx"], one["out"]) for one in asked] == [
        ("fused.onnx", "x.plan"),
        ("fused.classifier.onnx", "x.classifier.plan"),
    ]
    assert asked[1]["role"] == "classifier" and asked[1]["card"] == card_of(Options())
    assert all(one["rtx"] for one in asked)


def test_an_absent_classifier_is_named(command: Command, tmp_path: Path) -> None:
    result = command(tmp_path / "fused.onnx", "-o", tmp_path / "x.plan", "--classifier")
    assert result.exit_code == 1
    assert "fused.classifier.onnx is not there; whymask export writes it beside fused.onnx" in result.stderr


def test_json_is_all_that_stands_on_standard_output(command: Command, tmp_path: Path) -> None:
    result = command(tmp_path / "fused.onnx", "-o", tmp_path / "x.plan", "--json")
    (engine,) = json.loads(result.stdout)["engines"]
    assert engine["out"] == str(tmp_path / "x.plan")
    assert EngineCard.from_json(json.dumps(engine["engine"])).precision == "fp16"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flags": FLAGS | {"precision_verified": False}}, "not verified: the engine inspector does not say"),
        (
            {"flags": FLAGS | {"precision_verified": False}, "builder": "tensorrt_rtx"},
            "not verified: the layers are those of the typed network",
        ),
        ({"flags": FLAGS | {"timing_cache": "new"}}, "timing cache: new"),
    ],
    ids=["inspector", "RTX", "cache"],
)
def test_what_the_user_must_know_is_a_line(changes: dict[str, Any], message: str) -> None:
    assert any(line.startswith(message) for line in build_cli.summary(Path("x.plan"), engine_card(**changes)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "--precision is 'int8', expected one of fp16, fp32"),
        ({"min_batch": 0}, "are 0, 1, 8; expected 1 or more, in this order"),
        ({"opt_batch": 9}, "are 1, 9, 8; expected 1 or more, in this order"),
        ({"min_batch": 2}, "are 2, 1, 8; expected 1 or more, in this order"),
        ({"workspace_mib": 0}, "--workspace is 0, expected 1 MiB or more"),
        ({"optimization_level": 6}, "--optimization-level is 6, expected 0 to 5"),
        ({"dla_core": -1}, "--dla -1 --precision fp16: expected a core from 0"),
        ({"dla_core": 0, "precision": "fp32"}, "--dla 0 --precision fp32: expected a core from 0, and fp16"),
        ({"compute_capabilities": ("86",)}, "--compute-capability is '86', expected one such as 8.6"),
    ],
    ids=["precision", "min", "opt over max", "min over opt", "workspace", "level", "core", "DLA in fp32", "GPU"],
)
def test_a_wrong_setting_names_its_option(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        BuildConfig(**options)


@pytest.mark.parametrize(
    ("options", "rtx", "message"),
    [
        (
            {"timing_cache": Path("k")},
            True,
            "--timing-cache does not belong to --rtx: TensorRT-RTX has no timing cache",
        ),
        ({"version_compatible": True}, True, "--version-compatible does not belong to --rtx"),
        ({"hardware_compatible": True}, True, "--hardware-compatible does not belong to --rtx: name the GPUs"),
        ({"dla_core": 0}, True, "--dla does not belong to --rtx"),
        (
            {"compute_capabilities": ("8.6",)},
            False,
            "--compute-capability: TensorRT builds for the GPU of this machine",
        ),
    ],
    ids=["cache", "version", "hardware", "DLA", "GPU"],
)
def test_an_option_of_the_other_builder_is_refused(options: dict[str, Any], rtx: bool, message: str) -> None:
    with pytest.raises(InputError, match=message):
        BuildConfig(**options).check_builder(rtx)


def test_the_build_line_has_plain_names_and_what_differs_from_the_defaults() -> None:
    config = BuildConfig(timing_cache=Path("/deep/down/k.cache"), compute_capabilities=("8.6", "8.9"))
    line = build_line(Path("/a/b c.onnx"), Path("/d/e.plan"), config, rtx=True, classifier=True)
    assert line == (
        "whymask build 'b c.onnx' -o e.plan --precision fp16 --timing-cache k.cache --compute-capability 8.6 "
        "--compute-capability 8.9 --rtx --classifier"
    )


def test_every_setting_has_its_option() -> None:
    assert list(OPTIONS) == [field.name for field in dataclasses.fields(BuildConfig)]


def test_help_has_one_example_and_units(command: Command) -> None:
    text = " ".join(command("--help").output.replace("│", " ").split())
    assert text.count("whymask build fused.onnx -o fused.plan") == 1
    assert "in MiB" in text and "Largest batch in images" in text


def test_the_command_loads_where_neither_torch_nor_onnx_is() -> None:
    blocked = ["torch", "onnx", "onnxscript", "torchvision", "timm", "onnxruntime", "tensorrt", "tensorrt_rtx"]
    code = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {blocked}: raise ImportError(name + ' is blocked')\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "import whymask.export.build_cli\n"
        f"assert not set({blocked}) & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_build_is_listed_between_export_and_explain(monkeypatch: pytest.MonkeyPatch) -> None:
    table = project()["project"]["entry-points"][COMMAND_GROUP]
    assert table["build"] == "whymask.export.build_cli:build"
    entries = [importlib.metadata.EntryPoint(name, value, COMMAND_GROUP) for name, value in table.items()]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: entries)
    names = [command.name for command in build_app().registered_commands]
    assert names[:6] == ["demo", "train", "export", "build", "explain", "inspect"]
