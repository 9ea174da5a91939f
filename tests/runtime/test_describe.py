from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from colour_graph import Options, card_of

from whymask.runtime.card import GuaranteeCard
from whymask.runtime.describe import cost_in_words, describe, guarantee_in_words, lines, quantity
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
