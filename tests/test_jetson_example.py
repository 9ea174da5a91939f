"""The camera loop for a Jetson, with recorded frames in the camera's place, and the page beside it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from repository import ROOT

pytest.importorskip("onnxruntime")
models = pytest.importorskip("onnx_models")
FOLDER = ROOT / "examples" / "jetson"
BLUE_FRAMES = 5


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A tiny fused graph, and five frames: blue in OpenCV's order, and the upper half bright enough to be kept."""
    frames = np.zeros((BLUE_FRAMES, 30, 40, 3), np.uint8)
    frames[..., 0] = 255
    frames[:, :15] = (255, 200, 190)
    np.save(tmp_path / "frames.npy", frames)
    return models.write_fused(tmp_path / "fused.onnx")


def camera(graph: Path, *arguments: str, key: str = "\0") -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the example on the frames; what it printed, and what it did with OpenCV."""
    folder = graph.parent
    environment = {"PYTHONPATH": str(ROOT / "tests" / "fake_cv2"), "FAKE_CV2": str(folder)}
    if key != "\0":
        environment["FAKE_CV2_KEY"] = key
    command = [sys.executable, str(FOLDER / "camera.py"), str(graph), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    calls = folder / "calls.txt"
    return done, calls.read_text(encoding="utf-8").splitlines() if calls.is_file() else []


def test_every_frame_is_explained_drawn_and_counted(graph: Path):
    done, calls = camera(graph, "--source", "film.mp4", "--headless", "--output", "explained.mp4")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "explaining with CPUExecutionProvider"
    assert re.fullmatch(r"5 frames in \d+\.\d s: \d+\.\d frames/s", lines[-2])
    assert re.fullmatch(r"5 explained: p50 \d+\.\d\d ms, p90 \d+\.\d\d ms, p99 \d+\.\d\d ms", lines[-1])
    assert calls[:2] == ["open 'film.mp4' 0", "write to explained.mp4 30.0 (40, 30)"]
    written = [call for call in calls if call.startswith("write (")]
    assert len(written) == BLUE_FRAMES
    assert calls[-2:] == ["release writer", "release camera"]


def test_colours_reach_the_graph_and_the_screen_in_the_right_order(graph: Path):
    done, calls = camera(graph, "--source", "film.mp4", "--headless", "--output", "explained.mp4")
    assert done.stdout.splitlines()[1].startswith("blue  ")
    assert "write (30, 40, 3) uint8 255 200 190" in calls


def test_only_every_nth_frame_is_explained_and_all_are_shown(graph: Path):
    done, calls = camera(graph, "--every", "2")
    assert done.returncode == 0, done.stderr
    assert "\n3 explained: " in done.stdout
    assert calls.count("show (30, 40, 3)") == BLUE_FRAMES


def test_a_key_stops_it_and_the_figures_are_told(graph: Path):
    done, calls = camera(graph, key="q")
    assert done.returncode == 0, done.stderr
    assert "1 frames in " in done.stdout
    assert calls[-1] == "release camera"


@pytest.mark.parametrize(
    ("source", "opened"),
    [("1", "open 1 0"), ("videotestsrc ! appsink", "open 'videotestsrc ! appsink' 1800")],
    ids=["usb", "pipeline"],
)
def test_a_source_is_a_camera_a_pipeline_or_a_file(graph: Path, source: str, opened: str):
    _, calls = camera(graph, "--source", source, "--headless", "--frames", "1")
    assert calls[0] == opened


def test_the_camera_on_the_ribbon_cable_is_read_through_gstreamer(graph: Path):
    _, calls = camera(graph, "--source", "csi", "--headless", "--frames", "1")
    assert calls[0].startswith("open 'nvarguscamerasrc")
    assert calls[0].endswith(" 1800")


def test_a_source_that_does_not_open_is_named(graph: Path):
    done, _ = camera(graph, "--source", "broken", "--headless")
    assert done.returncode == 1
    assert done.stderr.startswith("broken: OpenCV cannot open it; for csi and pipelines")


def test_every_0th_frame_is_refused(graph: Path):
    done, _ = camera(graph, "--every", "0")
    assert "argument --every: 0 is no whole number of at least 1" in done.stderr


def test_the_page_names_only_files_and_options_that_exist():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"camera\.py[^\n`]*?(--[a-z-]+)", page))
    assert shown <= set(re.findall(r'"(--[a-z-]+)"', (FOLDER / "camera.py").read_text(encoding="utf-8")))
    assert "Nothing here has run on a Jetson yet" in page
