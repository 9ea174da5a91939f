"""Finer taps and the guided filter, from training to the verdict, on a tiny classifier; and what pays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_base import make_base

from whymask.benchmarks import sharpness
from whymask.benchmarks.suite.sample import Column
from whymask.benchmarks.variants import Row, Study, Variant
from whymask.runtime.errors import InputError

RETENTION = Column("retention", "higher", "of a test")


def row(name: str, macs: float, retention: float, ratio: float | None = None) -> Row:
    facts = {"added_macs": macs, "cost": {"classifier_macs": 1e6, "added_macs": macs}, "map": [4, 4]}
    facts |= {} if ratio is None else {"latency_ratio": [ratio, ratio, ratio]}
    values = retention + np.linspace(-0.01, 0.01, 40)
    return Row(Variant(name, {}), {name: values[None] for name in ("retention", "edge_agreement")}, (facts,))


def test_a_row_pays_where_it_beats_every_cheaper_one():
    rows = (row("fine", 3e5, 0.6), row("middle", 2e5, 0.5), row("coarse", 1e5, 0.5))
    study = Study("sharpness", "shapes", ("",) * 40, (RETENTION,), rows)
    said = {each.variant.name: sharpness.pays(study, each, RETENTION) for each in rows}
    assert said == {"fine": "**pays**", "middle": "no: not above coarse", "coarse": "the cheapest"}


def test_measured_time_ranks_before_multiply_adds():
    rows = (row("fine", 3e5, 0.6, ratio=1.1), row("coarse", 1e5, 0.5, ratio=1.4))
    study = Study("sharpness", "shapes", ("",) * 40, (RETENTION,), rows)
    assert sharpness.pays(study, rows[0], RETENTION) == "the cheapest"


def test_the_filter_is_counted_by_its_own_formula():
    facts = {"cost": {"added_macs": 100.0}}
    assert sharpness.added_multiply_adds(facts, None, 32, 32) == 100.0
    guide = {"map": [4, 4], "radius": 1, "epsilon": 0.05}
    assert sharpness.added_multiply_adds(facts, guide, 32, 32) == 100.0 + 16 * 64 + 1024 * 13


def test_the_finest_taps_go_first(tmp_path: Path):
    base = make_base(tmp_path, taps=("body.0", "body.1", "body.2"))
    assert [(each.name, each.fields["taps"]) for each in sharpness.variants_of(base)] == [
        ("stride 2", ("body.0", "body.1", "body.2")),
        ("stride 4", ("body.1", "body.2")),
        ("stride 8", ("body.2",)),
    ]


def test_one_tap_leaves_nothing_to_compare(tmp_path: Path):
    with pytest.raises(InputError, match=r"one tap, 'body.2'; expected two or more"):
        sharpness.variants_of(make_base(tmp_path, taps=("body.2",)))


def test_from_training_to_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base = make_base(tmp_path, taps=("body.1", "body.2"))
    monkeypatch.setattr(sharpness, "base_named", lambda name, folder: base)
    timed: list[str] = []
    # Both plain maps are one run's, so that fewer are trained and exported: an export takes longer than all else here.
    taps = ("body.1", "body.2")
    monkeypatch.setattr(sharpness, "variants_of", lambda base: [Variant(n, {"taps": taps}) for n in ("fine", "coarse")])
    real = sharpness.train_variant
    monkeypatch.setattr(
        sharpness,
        "train_variant",
        lambda base, v, folder, steps: real(
            base, Variant(next((n for n in ("sharpen", "detail") if n in v.fields), "both"), v.fields), folder
        ),
    )

    def cost_facts(graph: Path, pictures: Path, seconds: float) -> dict[str, object]:
        timed.append(graph.name)
        assert (pictures / "00.png").is_file()
        return {"latency_ratio": [1.0 + len(timed) / 10, 1.0, 2.0], "latency_valid": False}

    monkeypatch.setattr(sharpness, "cost_facts", cost_facts)
    out = tmp_path / "sharpness.json"
    sharpness.sharpness("shapes", 0, 4, 1, 0.05, 2, 1.0, folder=tmp_path / "runs", out=out)
    (record,) = json.loads(out.read_text())
    names = [each["variant"] for each in record["rows"]]
    assert names == ["fine", "coarse", "coarse + guided", "coarse, sharpen", "coarse, detail"]
    assert [each["seeds"][0]["map"] for each in record["rows"]] == [[8, 8], [8, 8], [32, 32], [32, 32], [32, 32]]
    coarse, guided, sharpened, detailed = (each["seeds"][0]["added_macs"] for each in record["rows"][1:])
    assert guided == sharpened == coarse + 64 * 64 + 1024 * 13
    assert detailed > coarse + 1024 * 3 * 9 * 2
    assert timed == ["fused.onnx", "fused.onnx", "r1-e0.05-guided.onnx", "fused.onnx", "fused.onnx"]
    page = out.with_suffix(".md").read_text()
    assert "| fine | 8×8 |" in page
    assert "(not valid)" in page
    assert "- The filter put behind coarse: retention " in page
    assert "- The filter trained with coarse: retention " in page
    assert "- Textures trained with coarse: retention " in page
