from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

EXAMPLES = ROOT / "examples"


def test_the_python_example_runs_and_prints_what_its_page_says(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    image = pytest.importorskip("PIL.Image")
    models = pytest.importorskip("onnx_models")
    graph = models.write_fused(tmp_path / "fused.onnx")
    image.new("RGB", (40, 30), (250, 20, 240)).save(tmp_path / "photo.png")
    command = [sys.executable, str(EXAMPLES / "explain.py"), str(graph), str(tmp_path / "photo.png")]
    done = subprocess.run(
        [*command, str(tmp_path / "overlay.png")], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    first, second, third, fourth = done.stdout.splitlines()
    assert re.fullmatch(r"red, \d+% sure, on \d+% of the pixels \(CPUExecutionProvider\)", first)
    assert second.startswith("next: ")
    assert third == "mask: (8, 8) uint8 saliency: (8, 8) float32"
    assert fourth.startswith("on the kept pixels alone: ")
    with image.open(tmp_path / "overlay.png") as overlay:
        assert (overlay.mode, overlay.size) == ("RGB", (40, 30))


def test_the_readme_shows_the_python_example_as_it_is() -> None:
    source = (EXAMPLES / "explain.py").read_text(encoding="utf-8")
    body = source[source.index("explainer = load") :].strip()
    assert body in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_classifier_example_loads_as_a_model(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from whymask.train.model_spec import load_classifier

    classifier = load_classifier(f"{EXAMPLES / 'my_classifier.py'}:build", size=(96, 96))
    assert classifier.num_classes == 10
    assert classifier.has_class_evidence
