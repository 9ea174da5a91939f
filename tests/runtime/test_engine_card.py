from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_files import PLAN, engine_card, written_engine

from whymask.runtime.engine_card import (
    SIDECAR_SCHEMA,
    TENSORRT_RTX,
    EngineCard,
    check_engine,
    read_sidecar,
    sidecar_path,
    write_engine,
)
from whymask.runtime.errors import ArtefactError

GOLDEN_KEYS = (
    "card role builder builder_version precision layers onnx_sha256 engine_sha256 engine_bytes cuda driver device "
    "compute_capability min_batch opt_batch max_batch version_compatible hardware_compatible build_seconds flags "
    "build_command versions created schema"
).split()
RTX = {
    "builder": TENSORRT_RTX,
    "builder_version": "1.7.1.116",
    "device": "",
    "compute_capability": "8.6, 8.9",
    "build_command": "whymask build fused.onnx -o fused.plan --rtx",
}


@dataclasses.dataclass(frozen=True)
class Gpu:
    name: str
    compute_capability: str


ORIN, ADA, VOLTA = Gpu("Orin", "8.7"), Gpu("NVIDIA L4", "8.9"), Gpu("Xavier", "7.2")


def test_a_sidecar_comes_back_from_its_text():
    card = engine_card(flags={"dla_core": 0, "timing_cache": "cache.bin"})
    assert EngineCard.from_json(card.to_json()) == card


def test_the_sidecar_is_written_as_it_always_was():
    record = json.loads(engine_card().to_json())
    assert list(record) == GOLDEN_KEYS
    assert record["schema"] == SIDECAR_SCHEMA == 1
    assert record["card"] == json.loads(engine_card().card.to_json())
    assert record["layers"] == {"fp16": 41, "fp32": 9, "int8": 0, "other": 3}


def test_the_sidecar_lies_beside_the_engine(tmp_path: Path):
    engine = written_engine(tmp_path / "deep" / "fused.plan")
    assert sidecar_path(engine) == tmp_path / "deep" / "fused.plan.json"
    assert sorted(path.name for path in engine.parent.iterdir()) == ["fused.plan", "fused.plan.json"]
    assert read_sidecar(engine) == engine_card()
    assert engine.read_bytes() == PLAN


def without_sidecar(engine: Path) -> None:
    sidecar_path(engine).unlink()


def with_text(text: str | bytes) -> Callable[[Path], None]:
    raw = text.encode() if isinstance(text, str) else text
    return lambda engine: sidecar_path(engine).write_bytes(raw) and None


def with_values(**values: object) -> Callable[[Path], None]:
    return with_text(json.dumps({**json.loads(engine_card().to_json()), **values}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(without_sidecar, r"fused\.plan\.json cannot be read \(No such file or directory\)", id="absent"),
        pytest.param(with_text("{"), r"fused\.plan\.json: sidecar: not valid JSON", id="no JSON"),
        pytest.param(with_text(b"\xff\xfe"), "not UTF-8 text", id="no text"),
        pytest.param(with_text("[1]"), "expected a JSON object, got list", id="no object"),
        pytest.param(with_values(schema=2), "schema 2 is newer than schema 1.*upgrade whymask", id="newer schema"),
        pytest.param(with_values(precission="fp16"), "did you mean 'precision'", id="misspelt key"),
        pytest.param(with_values(engine_bytes="100"), "engine_bytes is '100', expected int", id="text for a number"),
        pytest.param(with_values(max_batch=True), "max_batch is True, expected int", id="truth for a number"),
        pytest.param(
            with_values(version_compatible=1), "version_compatible is 1, expected bool", id="number for truth"
        ),
        pytest.param(with_values(layers=[]), r"layers is \(\), expected dict", id="list for an object"),
        pytest.param(with_values(card="x"), "card is 'x', expected Card", id="card of another type"),
        pytest.param(with_values(card={"schema": 9}), "card: schema 9 is newer", id="newer card"),
        pytest.param(with_values(role="head"), "role is 'head', expected one of fused, classifier", id="role"),
        pytest.param(with_values(builder="onnx"), "expected one of tensorrt, tensorrt_rtx", id="builder"),
        pytest.param(with_values(precision="int8"), "expected one of fp16, fp32", id="precision"),
        pytest.param(with_values(opt_batch=9), "batch are 1, 9, 8, expected 1 or more, in order", id="batch order"),
    ],
)
def test_a_wrong_sidecar_is_refused_with_the_line_that_mends_it(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
):
    engine = written_engine(tmp_path / "fused.plan")
    spoil(engine)
    with pytest.raises(ArtefactError, match=message) as caught:
        read_sidecar(engine)
    assert str(tmp_path) in str(caught.value)
    assert "whymask build FUSED.onnx -o fused.plan" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "machine", "version"),
    [
        pytest.param({}, ORIN, "10.3.0", id="the machine that built it"),
        pytest.param({}, None, "10.3.0", id="machine not asked"),
        pytest.param({"version_compatible": True}, ORIN, "10.13.3.9", id="version-compatible, newer TensorRT"),
        pytest.param({"version_compatible": True}, ORIN, "11.0.0", id="version-compatible, next major"),
        pytest.param({"hardware_compatible": True}, ADA, "10.3.0", id="hardware-compatible, another GPU"),
        pytest.param(RTX, ADA, "1.7.1.116", id="RTX on a listed compute capability"),
    ],
)
def test_an_engine_that_fits_is_accepted(tmp_path: Path, changes: dict[str, object], machine: Gpu | None, version: str):
    engine = written_engine(tmp_path / "fused.plan", **changes)
    check_engine(engine, read_sidecar(engine), machine, builder_version=version)


@pytest.mark.parametrize(
    ("changes", "machine", "version", "reason"),
    [
        pytest.param({}, ADA, "10.3.0", "runs on the model of GPU that it was built on", id="another GPU"),
        pytest.param({}, Gpu("Orin Nano", "8.7"), "10.3.0", "model of GPU", id="another model of the same capability"),
        pytest.param({}, ORIN, "10.3.1", "runs on the TensorRT that built it", id="another TensorRT"),
        pytest.param({}, ORIN, "8.6.2", "runs on the TensorRT that built it", id="older TensorRT"),
        pytest.param(
            {"version_compatible": True},
            ORIN,
            "10.2.9",
            "never runs on a TensorRT older",
            id="version-compatible, older",
        ),
        pytest.param(
            {"hardware_compatible": True}, VOLTA, "10.3.0", "capability 8.0 or more", id="hardware-compatible, too old"
        ),
        pytest.param(RTX, ORIN, "1.7.1.116", "compute capabilities that it was built for", id="RTX elsewhere"),
        pytest.param(RTX, ADA, "1.8.0.3", "runs on the TensorRT-RTX that built it", id="another TensorRT-RTX"),
    ],
)
def test_an_engine_of_another_machine_is_refused_in_one_message(
    tmp_path: Path, changes: dict[str, object], machine: Gpu, version: str, reason: str
):
    engine = written_engine(tmp_path / "fused.plan", **changes)
    card = read_sidecar(engine)
    with pytest.raises(ArtefactError, match=reason) as caught:
        check_engine(engine, card, machine, builder_version=version)
    message = str(caught.value)
    assert message.startswith(f"{engine}: ")
    assert f"It was built for {card.built_for()}; " in message
    here = (
        f"this machine has {card.built_for().split(' ')[0]} {version} on {machine.name} ({machine.compute_capability})"
    )
    assert here in message
    assert message.endswith(f"Build it here: {card.build_command}")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(
            lambda engine: engine.write_bytes(PLAN[:60]), "truncated, with 60 bytes.* says 100", id="truncated"
        ),
        pytest.param(
            lambda engine: engine.write_bytes(PLAN * 2), "not the engine of its sidecar, with 200", id="longer"
        ),
        pytest.param(
            lambda engine: engine.write_bytes(PLAN[::-1]), "changed since it was built: its sha256", id="stale"
        ),
        pytest.param(lambda engine: engine.unlink(), r"cannot be read \(No such file", id="absent"),
    ],
)
def test_a_spoilt_file_is_found_before_anything_else(tmp_path: Path, spoil: Callable[[Path], object], reason: str):
    engine = written_engine(tmp_path / "fused.plan")
    card = read_sidecar(engine)
    spoil(engine)
    tail = (
        "built for TensorRT 10.3.0 on Orin (8.7); this machine has TensorRT 11.1.0 on NVIDIA L4 (8.9). Build it here: "
    )
    with pytest.raises(ArtefactError, match=f"{reason}.*{re.escape(tail + card.build_command)}$"):
        check_engine(engine, card, ADA, builder_version="11.1.0")


@pytest.mark.parametrize("name", ["fused.plan", "fused.plan.json"])
def test_engine_and_sidecar_are_both_replaced_or_neither(tmp_path: Path, name: str):
    engine = written_engine(tmp_path / "fused.plan")
    other, blocked = engine.with_name("kept"), engine.with_name(name)
    blocked.rename(other)
    (blocked / "in the way").mkdir(parents=True)
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir()) if path.is_file()]
    with pytest.raises(ArtefactError, match=rf"{re.escape(name)}: cannot be written"):
        write_engine(engine, b"new", engine_card(b"new"))
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir()) if path.is_file()] == before


def test_no_sidecar_is_left_without_its_first_engine(tmp_path: Path):
    (tmp_path / "fused.plan" / "in the way").mkdir(parents=True)
    with pytest.raises(ArtefactError, match=r"fused\.plan: cannot be written"):
        written_engine(tmp_path / "fused.plan")
    assert [path.name for path in tmp_path.iterdir()] == ["fused.plan"]
