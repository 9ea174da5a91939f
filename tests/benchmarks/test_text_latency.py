"""What the explanation of texts costs, as a command: on what, how long, and when it says nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from tiny_text import texts, tiny_classifier, tiny_text_run
from typer.testing import CliRunner, Result

from whymask.benchmarks.text_latency import KIND, bench_texts, main, told
from whymask.export.onnx_from_text_run import export_text_run
from whymask.runtime.errors import ArtefactError, InputError


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tiny_text_run(tmp_path_factory.mktemp("text"), tiny_classifier())
    export_text_run(run, run.path / "fused.onnx", texts=[text for text, _ in texts(20, 21)])
    return run.path / "fused.onnx"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n\n" for text, _ in texts(5, 3)), "utf-8")
    return tmp_path / "texts.txt"


def bench(*words: object) -> Result:
    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_graph_of_texts_is_timed_beside_its_classifier(graph: Path, file: Path, tmp_path: Path):
    done = bench(graph, "--texts", file, "--seconds", "1", "-o", tmp_path / "out.json")
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert (record["kind"], record["texts"], record["file"]) == (KIND, 5, "fused.onnx")
    assert len(record["fused_ms"]) == len(record["classifier_ms"]) == record["fused"]["count"] > 0
    assert all(count > 1 for count in record["tokens"])
    assert f"{record['ratio']['value']:.3f} ×" in done.stdout and "5 texts of" in done.stdout
    assert ("NOT VALID" in done.stdout) == (not record["valid"])


def test_a_record_that_is_not_valid_says_why(graph: Path):
    record = bench_texts(graph, ["we saw a fine box"], 1.0)
    assert told(record | {"valid": False, "reasons": ["the machine was busy"]}).endswith(
        "NOT VALID: the machine was busy"
    )
    assert "NOT VALID" not in told(record | {"valid": True})


def test_what_cannot_be_timed_is_one_error(graph: Path, tmp_path: Path):
    (tmp_path / "alone.onnx").write_bytes(graph.read_bytes())
    with pytest.raises(ArtefactError, match=r"alone.classifier.onnx: no such file, expected the classifier alone"):
        bench_texts(tmp_path / "alone.onnx", ["we saw"], 1.0)
    with pytest.raises(InputError, match="no token to explain"):
        bench_texts(graph, ["  "], 1.0)
