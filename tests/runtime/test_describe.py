from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from pathlib import Path

import pytest
from colour_graph import Options, card_of
from engine_files import written_engine

from whymask.runtime.card import GuaranteeCard
from whymask.runtime.describe import cost_in_words, describe, guarantee_in_words, lines, quantity
from whymask.runtime.engine_card import TENSORRT_RTX, sidecar_path
from whymask.runtime.errors import ArtefactError

CARD = card_of(Options())
MET = GuaranteeCard(alpha=0.1, delta=0.05, n=500, retention=0.934, mean_area=0.21, met=True, lower_bound=0.912)


def test_a_graph_is_described(fused: Path):
    record = describe(fused).to_record()
    assert record["sha256"] == hashlib.sha256(fused.read_bytes()).hexdigest()
    assert record["files"] == {"fused.onnx": fused.stat().st_size}
    assert record["inputs"][0] == {"name": "image", "dtype": "uint8", "shape": ("B", 32, 32, 3)}
    assert [tensor["name"] for tensor in record["outputs"]][:3] == ["logits", "saliency", "mask"]
    assert record["operators"]["Resize"] == 1
    assert record["cost"]["explainer_macs"] == 1e5
    assert record["card"]["classifier"]["id"] == "tests:colours"
    json.dumps(record)


def test_the_lines_say_what_a_person_asks(fused: Path):
    text = "\n".join(lines(describe(fused)))
    for part in (
        "image: uint8 (B, 32, 32, 3)",
        "3: red, green, blue",
        "(+5.0 %); 14 nodes",
        "No promise",
        "RGB 10, 20",
    ):
        assert part in text


def test_a_run_directory_is_described(tmp_path: Path):
    (tmp_path / "card.json").write_text(CARD.to_json(), "utf-8")
    (tmp_path / "metrics.csv").write_text("step\n")
    description = describe(tmp_path)
    assert description.card == CARD
    assert description.files["metrics.csv"] == 5
    assert lines(description)[0].endswith(str(tmp_path))


def test_folders_and_cards_that_are_no_run_are_refused(tmp_path: Path):
    with pytest.raises(ArtefactError, match=r"a folder without card\.json, expected a run directory"):
        describe(tmp_path)
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"card\.json: card: schema is None"):
        describe(tmp_path)


def test_a_guarantee_that_holds():
    words = guarantee_in_words(dataclasses.replace(CARD, guarantee=MET))
    assert "at least 90 % of pictures" in words
    assert "with confidence 95 %" in words
    assert "500 held-out images" in words
    assert "93.4 % kept their class with 21 % of the pixels" in words


def test_a_guarantee_that_does_not_hold_is_said_first():
    words = guarantee_in_words(dataclasses.replace(CARD, guarantee=dataclasses.replace(MET, met=False)))
    assert words.startswith(
        "NOT met: 90 % was asked for, and with confidence 95 % no more than 91.2 % can be promised."
    )


def test_cost_of_both_parts():
    assert cost_in_words(CARD) == "classifier 2 M multiply-adds, explainer 100 k (+5.0 %)"
    assert cost_in_words(dataclasses.replace(CARD, cost={})) == "not counted"


@pytest.mark.parametrize(("value", "text"), [(12, "12 B"), (46_800_000, "46.8 MB"), (1.82e9, "1.82 GB")])
def test_quantities_for_people(value: float, text: str):
    assert quantity(value, "B") == text


def engine_text(engine: Path) -> str:
    return "\n".join(lines(describe(engine)))


def test_an_engine_is_described_from_its_sidecar_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for module in ("tensorrt", "tensorrt_rtx", "cuda", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    text = engine_text(written_engine(tmp_path / "fused.plan"))
    for part in (
        "fused.plan, 100 B",
        "fused.plan.json, ",
        "check      the file is the one that its sidecar describes",
        "engine     classifier and explainer, fused; built for TensorRT 10.3.0 on Orin (8.7)",
        "runs on    TensorRT 10.3.0 alone; Orin (8.7) alone",
        "precision  fp16 (layers: 41 fp16, 9 fp32, 3 other; its graph: fp32)",
        "batch      1 to 8 pictures, tuned for 1",
        "build      whymask build fused.onnx -o fused.plan --precision fp16",
        "built      2026-11-21T08:00:00Z in 62 s: CUDA 12.6, driver for 12.6",
        "classifier tests:colours",
        "guarantee  No promise",
    ):
        assert part in text
    assert text.count("precision") == 2


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"role": "classifier"}, "engine     classifier alone; built for"),
        (
            {"version_compatible": True, "hardware_compatible": True},
            "10.3.0 or newer; every GPU of compute capability 8.0",
        ),
        (
            {"builder": TENSORRT_RTX, "builder_version": "1.7.1", "device": "", "compute_capability": "8.6, 8.9"},
            "runs on    TensorRT-RTX 1.7.1 alone; GPUs of compute capability 8.6, 8.9",
        ),
        ({"cuda": "", "driver": "", "flags": {}}, "in 62 s\n"),
        ({"flags": {"dla_core": 0, "workspace_mib": None}}, "driver for 12.6, dla_core 0\n"),
        ({"layers": {}}, "fp16 (layers not counted; its graph: fp32)"),
    ],
)
def test_what_an_engine_was_built_for_is_said(tmp_path: Path, changes: dict[str, object], part: str):
    assert part in engine_text(written_engine(tmp_path / "fused.engine", **changes))


def test_a_file_that_is_not_its_sidecars_is_described_and_said_so(tmp_path: Path):
    engine = written_engine(tmp_path / "fused.trt")
    engine.write_bytes(b"other")
    assert "check      NOT the file that its sidecar describes, whose sha256 is" in engine_text(engine)
    record = describe(engine).to_record()
    assert record["engine"]["is_intact"] is False
    assert record["sha256"] == hashlib.sha256(b"other").hexdigest()


def test_an_engines_record_is_its_sidecar(tmp_path: Path, fused: Path):
    engine = written_engine(tmp_path / "fused.plan")
    record = json.loads(json.dumps(describe(engine).to_record()))
    sidecar = json.loads(sidecar_path(engine).read_text("utf-8"))
    assert record["card"] == sidecar.pop("card")
    assert record["engine"] == {**sidecar, "is_intact": True}
    assert describe(fused).to_record()["engine"] is None


def test_an_engine_without_file_or_sidecar_is_refused(tmp_path: Path):
    with pytest.raises(ArtefactError, match=r"fused\.plan: no such file, expected an engine made by whymask build"):
        describe(tmp_path / "fused.plan")
    (tmp_path / "fused.plan").touch()
    with pytest.raises(ArtefactError, match=r"its sidecar fused\.plan\.json cannot be read"):
        describe(tmp_path / "fused.plan")
