"""A camera's picture before the graph: what is timed is the right work, and what is absent is said."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

pil = pytest.importorskip("PIL.Image")
from whymask.benchmarks.latency import BenchSettings  # noqa: E402
from whymask.benchmarks.preprocess import (  # noqa: E402
    DECODE,
    FRAME_HEIGHT,
    FRAME_WIDTH,
    RESIZE,
    _frames,
    _opencv_calls,
    _pillow_calls,
    measure_preprocess,
)
from whymask.runtime.card import InputCard  # noqa: E402
from whymask.runtime.images import fit  # noqa: E402

MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
SQUASH = InputCard(48, 64, MEAN, STD)
CROP = InputCard(48, 48, MEAN, STD, "crop", 0.875)
QUICK = BenchSettings(seconds=0.2, phase_calls=2)


@pytest.mark.parametrize("card", [SQUASH, CROP], ids=["squash", "crop"])
def test_both_libraries_make_nearly_the_same_input_of_a_frame(card: InputCard):
    cv2 = pytest.importorskip("cv2")
    frames = _frames(0)
    ours, theirs = (make(lib, frames, card)[0] for make, lib in ((_pillow_calls, pil), (_opencv_calls, cv2)))
    first, second = ours[RESIZE](1), theirs[RESIZE](1)
    assert np.array_equal(first, fit(frames[1], card))
    assert second.shape == (card.height, card.width, 3) and second.dtype == np.uint8
    assert np.abs(first.astype(int) - second.astype(int)).mean() < 4.0
    shifted = np.abs(first.astype(int) - np.roll(second, 4, 1).astype(int)).mean()
    assert shifted > 2 * np.abs(first.astype(int) - second.astype(int)).mean()


def test_a_decoded_frame_is_the_frame_in_rgb():
    frames = _frames(0)
    libraries = [(_pillow_calls, pil)]
    if "cv2" in sys.modules:
        libraries.append((_opencv_calls, sys.modules["cv2"]))
    for make, library in libraries:
        decoded = make(library, frames, SQUASH)[0][DECODE](2)
        assert decoded.shape == (FRAME_HEIGHT, FRAME_WIDTH, 3)
        assert np.abs(decoded.astype(int) - frames[2]).mean() < 8.0


def test_what_is_not_installed_is_absent_with_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    found = measure_preprocess(SQUASH, QUICK)
    assert list(found.ways) == list(found.stated) == ["decode, Pillow", "resize, Pillow"]
    assert found.absent == {"OpenCV": "not timed: no module cv2; pip install opencv-python-headless"}
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    found = measure_preprocess(SQUASH, QUICK)
    assert (found.ways, found.samples_ms, list(found.absent)) == ({}, {}, ["Pillow", "OpenCV"])


def test_ways_are_called_in_turn_the_first_time_as_a_warm_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    ticks = itertools.count(0, 1_000_000)
    found = measure_preprocess(SQUASH, BenchSettings(seconds=1e6, phase_calls=4), clock=lambda: next(ticks))
    assert found.samples_ms == {"decode, Pillow": [1.0] * 4, "resize, Pillow": [1.0] * 4}
    ticks = itertools.count(0, 10**12)  # past any limit from the first call on
    found = measure_preprocess(SQUASH, QUICK, clock=lambda: next(ticks))
    assert [len(times) for times in found.samples_ms.values()] == [1, 1]
