"""The study of amortized rationales: its verdicts, what it keeps, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from opinion_classifier import OpinionClassifier

from whymask.benchmarks import amortized_texts
from whymask.benchmarks.amortized_study import COPY, METHODS, PLAIN, STUDENT
from whymask.benchmarks.amortized_texts import study
from whymask.benchmarks.amortized_texts_page import difference, latency_told, verdict
from whymask.benchmarks.amortized_work import taught_masks
from whymask.benchmarks.intervals import Interval
from whymask.runtime.errors import ArtefactError

SETTINGS = {"steps": 3, "seed": 0}


@pytest.mark.parametrize(
    ("interval", "sign", "expected"),
    [
        (Interval(0.2, 0.1, 0.3), 1.0, "confirmed"),
        (Interval(0.2, 0.1, 0.3), -1.0, "refuted"),
        (Interval(-0.2, -0.3, -0.1), -1.0, "confirmed"),
        (Interval(0.2, -0.1, 0.3), 1.0, "undecided"),
    ],
)
def test_a_verdict_needs_the_whole_interval(interval: Interval, sign: float, expected: str):
    assert verdict(interval, sign) == expected


def test_differences_are_paired():
    assert difference([0.5, 0.9], [0.3, 0.7]).value == pytest.approx(0.2)
    assert difference([0.5, 0.9], [0.3, 0.7]).low == pytest.approx(0.2)


def test_a_busy_machine_is_told():
    side = {"p50_ms": 1.0, "count": 100}
    latency = {"fused": side, "classifier": side, "ratio": {"value": 1.2, "low": 1.1, "high": 1.3}}
    assert "; valid." in latency_told(latency | {"valid": True, "reasons": []})
    assert "**invalid**: others ran." in latency_told(latency | {"valid": False, "reasons": ["others ran"]})


def test_masks_go_on_where_they_were_cut_off(tmp_path: Path):
    classifier, file = OpinionClassifier(), tmp_path / "masks.json"
    texts = [classifier.tokenise(text) for text in ("a good day", "so bad", "it was fine")]
    begun = taught_masks(classifier, texts[:1], SETTINGS, file)  # type: ignore[arg-type]
    whole = taught_masks(classifier, texts, SETTINGS, file)  # type: ignore[arg-type]
    fresh = taught_masks(classifier, texts, SETTINGS, None)  # type: ignore[arg-type]
    assert torch.equal(begun.masks[0], whole.masks[0])
    assert all(torch.equal(a, b) for a, b in zip(whole.masks, fresh.masks, strict=True))
    assert len(taught_masks(classifier, texts, SETTINGS, None, seconds=0.0).masks) == 0  # type: ignore[arg-type]
    with pytest.raises(ArtefactError, match="was made with other settings"):
        taught_masks(classifier, texts, {**SETTINGS, "steps": 4}, file)  # type: ignore[arg-type]


def test_the_study_is_written_as_record_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(amortized_texts, "STUDENT_TEXTS", 80)
    out = tmp_path / "amortized.json"
    study(count=3, student_steps=6, steps=2, training_steps=60, seconds=0.3, seed=0, work=tmp_path / "work", out=out)
    record = json.loads(out.read_text())
    assert record["kind"] == "whymask.amortized-texts"
    assert tuple(record["methods"]) == tuple(record["seconds"]) == METHODS
    assert set(record["students"]) == {STUDENT, PLAIN, COPY}
    for figures in record["methods"].values():
        assert {len(values) for values in figures.values()} == {record["texts"]}
    assert record["parity"]["parity_top1_agreement"] == 1.0
    assert len(record["latency"]["fused_ms"]) == record["latency"]["fused"]["count"]
    page = out.with_suffix(".md").read_text()
    assert "by comprehensiveness ↑: **" in page
    assert f"{record['texts']} held-out generated texts" in page
