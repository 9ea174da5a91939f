from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whymask.benchmarks.latency_page import latency_block, read_latency
from whymask.runtime.errors import ArtefactError


def record(valid: bool = True) -> dict[str, Any]:
    return {
        "kind": "whymask.bench",
        "classifier_id": "zoo/classifiers.py:small_net",
        "versions": {"onnxruntime": "1.31.1"},
        "machine": {"cpu": "A CPU"},
        "threads": 2,
        "batch": 1,
        "height": 160,
        "width": 160,
        "precision": "fp32",
        "classifier": {"p50_ms": 10.0, "p90_ms": 11.0},
        "fused": {"p50_ms": 12.5, "p90_ms": 14.0},
        "ratio": {"value": 1.25, "low": 1.2, "high": 1.3},
        "cost": {"classifier_macs": 1000.0, "explainer_macs": 80.0},
        "verdict": {"valid": valid, "reasons": [] if valid else ["another process ran"]},
    }


def test_a_row_says_what_the_why_adds() -> None:
    text = latency_block([record()])
    assert "| small_net | 10.00 / 11.00 | 12.50 / 14.00 | +25.0 % (20.0 to 30.0) | +8.0 % | yes |" in text
    assert "A CPU, 2 threads, batch 1, 160 × 160 px, fp32" in text
    assert "not valid" not in text


def test_a_figure_that_may_not_be_quoted_is_marked_with_its_reason() -> None:
    text = latency_block([record(), record(valid=False)])
    assert "- small_net is not valid: another process ran." in text
    assert text.count("| no |") == 1


def test_only_records_of_bench_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"kind": "other"}))
    with pytest.raises(ArtefactError, match="not a record of whymask bench"):
        read_latency(path)
    path.write_text(json.dumps(record()))
    assert read_latency(path)["threads"] == 2
