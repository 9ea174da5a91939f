"""What comes before the graph: a camera's picture decoded, and resized to the graph's input, in each library at hand.

The graph takes a uint8 picture at its own size, so this is the part of an application's call that it cannot shorten.
Pillow is what `whymask.runtime` itself resizes with; OpenCV is what many a camera loop has already.

Letters: H W the graph's input size.
"""

from __future__ import annotations

import importlib
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from whymask.benchmarks.latency import NS_PER_S, BenchSettings, Clock, collector_paused
from whymask.benchmarks.latency_pictures import synthetic_pictures
from whymask.benchmarks.latency_stats import Summary, summarise
from whymask.runtime.card import InputCard
from whymask.runtime.images import Picture, fit, window_of

FRAME_HEIGHT, FRAME_WIDTH = 720, 1280
"""Of a camera's picture, in pixels."""
FRAMES = 3
"""Distinct ones."""
JPEG_QUALITY = 90
PILLOW, OPENCV = "Pillow", "OpenCV"
DECODE, RESIZE = "decode", "resize"

Calls: TypeAlias = dict[str, Callable[[int], object]]
"""By name, what is done with the frame of a number."""


@dataclass(frozen=True)
class Preprocess:
    """Times of one picture, on one thread but where the library takes more.

    Attributes:
        height, width, resize, crop_fraction: the graph's input H, W and how a picture is brought to it.
        frame_height, frame_width: of the camera's pictures, uint8 RGB, synthetic.
        ways: summaries by `decode, Pillow`, `resize, Pillow`, `decode, OpenCV` and `resize, OpenCV`, as far as these
            libraries are installed.
        stated: what each way does.
        absent: libraries that are not there, each with what to install.
        samples_ms: raw, in the order of timing.
    """

    height: int
    width: int
    resize: str
    crop_fraction: float
    frame_height: int
    frame_width: int
    ways: dict[str, Summary]
    stated: dict[str, str]
    absent: dict[str, str]
    samples_ms: dict[str, list[float]]


def measure_preprocess(card: InputCard, settings: BenchSettings, clock: Clock = time.perf_counter_ns) -> Preprocess:
    """Time every library that is installed.

    Args:
        card: the graph's input.
        settings: `phase_calls` calls of each way at most, in turn, within `phase_share` of the time limit.
        clock: nanoseconds.
    """
    frames = _frames(settings.seed)
    calls: Calls = {}
    stated: dict[str, str] = {}
    absent: dict[str, str] = {}
    for name, module, install, prepare in (
        (PILLOW, "PIL.Image", "pip install pillow", _pillow_calls),
        (OPENCV, "cv2", "pip install opencv-python-headless", _opencv_calls),
    ):
        try:
            library: Any = importlib.import_module(module)
        except ImportError:
            absent[name] = f"not timed: no module {module.partition('.')[0]}; {install}"
            continue
        made, said = prepare(library, frames, card)
        calls |= {f"{step}, {name}": call for step, call in made.items()}
        stated |= {f"{step}, {name}": said[step] for step in made}
    samples = _timed(calls, settings, clock)
    return Preprocess(
        *(card.height, card.width, card.resize, card.crop_fraction, FRAME_HEIGHT, FRAME_WIDTH),
        ways={name: summarise(np.array(times)) for name, times in samples.items()},
        stated=stated,
        absent=absent,
        samples_ms=samples,
    )


@lru_cache(maxsize=1)
def _frames(seed: int) -> tuple[Picture, ...]:
    """What a camera may give; made once for all files of a sweep, which only read it."""
    return tuple(synthetic_pictures(FRAMES, seed, FRAME_HEIGHT, FRAME_WIDTH)[0])


def _timed(calls: Calls, settings: BenchSettings, clock: Clock) -> dict[str, list[float]]:
    """Milliseconds of each way, called in turn, so that what slows the machine slows all; the first is a warm-up."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    limit_ns, start, number = settings.seconds * settings.phase_share * NS_PER_S, clock(), 0
    with collector_paused():
        while calls and number <= settings.phase_calls and (number < 2 or clock() - start < limit_ns):
            for name, call in calls.items():
                begin = clock()
                call(number)
                end = clock()
                if number:
                    samples[name].append((end - begin) / 1e6)
            number += 1
    return samples


def _pillow_calls(pil: Any, frames: Sequence[Picture], card: InputCard) -> tuple[Calls, dict[str, str]]:
    files = []
    for frame in frames:
        file = io.BytesIO()
        pil.fromarray(frame).save(file, format="JPEG", quality=JPEG_QUALITY)
        files.append(file.getvalue())

    def decode(number: int) -> object:
        with pil.open(io.BytesIO(files[number % len(files)])) as image:
            return np.asarray(image.convert("RGB"))

    calls: Calls = {DECODE: decode, RESIZE: lambda number: fit(frames[number % len(frames)], card)}
    return calls, {
        DECODE: f"JPEG of quality {JPEG_QUALITY} to an RGB array",
        RESIZE: "bilinear with antialiasing, as whymask.runtime does it",
    }


def _opencv_calls(cv2: Any, frames: Sequence[Picture], card: InputCard) -> tuple[Calls, dict[str, str]]:
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    files = [cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), quality)[1] for frame in frames]
    window = window_of(FRAME_HEIGHT, FRAME_WIDTH, card)
    top, left = round(window.top * FRAME_HEIGHT), round(window.left * FRAME_WIDTH)
    rows = slice(top, top + round(window.height * FRAME_HEIGHT))
    columns = slice(left, left + round(window.width * FRAME_WIDTH))
    size = (card.width, card.height)

    def decode(number: int) -> object:
        image = cv2.imdecode(files[number % len(files)], cv2.IMREAD_COLOR)
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def resize(number: int) -> object:
        return cv2.resize(frames[number % len(frames)][rows, columns], size, interpolation=cv2.INTER_AREA)

    threads = f"{cv2.getNumThreads()} threads"
    calls: Calls = {DECODE: decode, RESIZE: resize}
    return calls, {
        DECODE: f"JPEG of quality {JPEG_QUALITY} to an RGB array, OpenCV {cv2.__version__}, {threads}",
        RESIZE: f"mean of areas, which antialiases too but gives other pixels than Pillow; {threads}",
    }
