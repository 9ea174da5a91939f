"""What examples/jetson/camera.py needs of OpenCV: recorded frames in, a list of what was done out.

Frames come from `$FAKE_CV2/frames.npy`, uint8 (N, height, width, 3), BGR; calls are added to `$FAKE_CV2/calls.txt`. The
source `broken` does not open.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

CAP_GSTREAMER, CAP_PROP_FPS = 1800, 5
FOLDER = Path(os.environ["FAKE_CV2"])


def note(*words: object) -> None:
    with (FOLDER / "calls.txt").open("a", encoding="utf-8") as file:
        file.write(" ".join(str(word) for word in words) + "\n")


class VideoCapture:
    def __init__(self, source: int | str, api: int = 0) -> None:
        note("open", repr(source), api)
        self._source, self._frames = source, list(np.load(FOLDER / "frames.npy"))

    def isOpened(self) -> bool:  # OpenCV's own name
        return self._source != "broken"

    def get(self, what: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        return (True, self._frames.pop(0)) if self._frames else (False, None)

    def release(self) -> None:
        note("release camera")


class VideoWriter:
    def __init__(self, path: str, code: int, rate: float, size: tuple[int, int]) -> None:
        note("write to", path, rate, size)

    def isOpened(self) -> bool:  # OpenCV's own name
        return True

    def write(self, frame: np.ndarray) -> None:
        note("write", frame.shape, frame.dtype, *frame[0, 0])

    def release(self) -> None:
        note("release writer")


def VideoWriter_fourcc(*letters: str) -> int:  # OpenCV's own name
    return len(letters)


def imshow(title: str, frame: np.ndarray) -> None:
    note("show", frame.shape)


def waitKey(milliseconds: int) -> int:  # OpenCV's own name
    return ord(os.environ.get("FAKE_CV2_KEY", "\0"))
