"""The ablation from exported graphs to its page, and what its verdicts say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from colour_graph import write_graph
from tiny_base import make_base

from whymask.benchmarks import ablation, variants
from whymask.benchmarks.variants import Row, Study
from whymask.runtime.errors import InputError


def study(without: float, terms: tuple[ablation.Term, ...]) -> Study:
    """Rows whose figures all lie at 0.5 for the full objective, and elsewhere without a term."""
    spread = np.linspace(-0.01, 0.01, 30)
    full = Row(ablation.FULL, {column.name: 0.5 + spread[None] for column in ablation.COLUMNS}, ({},))
    others = [Row(t.variant, {c.name: without + spread[None] for c in ablation.COLUMNS}, ({},)) for t in terms]
    return Study("ablation", "shapes", ("",) * 30, ablation.COLUMNS, (full, *others))


@pytest.mark.parametrize(
    ("name", "without", "said"),
    [
        ("necessity", 0.3, "| necessity | `flip` | -0.200 (-0.200 to -0.200) | yes: worse without it |"),
        ("tv", 0.7, "| tv | `edge_length` | 0.200 (0.200 to 0.200) | yes: worse without it |"),
        ("tv", 0.3, "| tv | `edge_length` | -0.200 (-0.200 to -0.200) | **no: better without it** |"),
        ("robustness", 0.5, "| robustness | `robust` | 0.000 (0.000 to 0.000) | not told apart |"),
    ],
)
def test_a_term_is_judged_by_its_own_figure(name: str, without: float, said: str):
    terms = ablation.terms_named([name])
    assert said in ablation.verdict_table(study(without, terms), terms)


def test_every_figure_of_a_term_is_a_column_with_a_direction():
    columns = {column.name: column for column in ablation.COLUMNS}
    assert all(columns[name].better for term in ablation.TERMS for name in term.figures)


def test_an_unknown_term_names_those_there_are():
    with pytest.raises(InputError, match="term 'area': expected one of necessity, robustness"):
        ablation.terms_named(["area"])


def test_from_the_graphs_to_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    base = make_base(tmp_path)
    monkeypatch.setattr(ablation, "base_named", lambda name, folder: base)
    # tests/benchmarks/test_sharpness.py trains and exports; here any graph of this size will do.
    monkeypatch.setattr(variants, "train_variant", lambda *_: write_graph(tmp_path / "fused.onnx"))
    out, runs = tmp_path / "ablation.json", tmp_path / "runs"
    ablation.ablation("shapes", ["necessity"], steps=0, seeds=1, limit=4, folder=runs, out=out)
    (record,) = json.loads(out.read_text())
    assert [row["variant"] for row in record["rows"]] == ["full", "without necessity"]
    assert len(record["pictures"]) == 4
    assert {column["name"] for column in record["columns"]} == set(record["rows"][0]["figures"])
    assert all(len(seed) == 4 for values in record["rows"][1]["figures"].values() for seed in values)
    page = out.with_suffix(".md").read_text()
    assert page in capsys.readouterr().out
    assert "| necessity | `p_without` |" in page
    assert "## Paired differences" in page
