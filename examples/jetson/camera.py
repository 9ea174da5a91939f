"""Explain what a camera sees: python examples/jetson/camera.py fused.plan --source csi.

Runs an engine on the GPU, or an ONNX file anywhere. OpenCV reads the frames; on a Jetson take JetPack's own (apt): it
knows GStreamer, which a CSI camera needs. Stop with q or Esc in the window, or with Ctrl-C.
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from whymask.runtime import Explainer, load
from whymask.runtime.overlay import draw

# The newest frame only: a late explanation of an old frame is worth less than a lost frame.
CSI = (
    "nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1 ! nvvidconv ! "
    "video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
)
ENGINES = (".plan", ".engine", ".trt")
ESCAPE = 27
REPORT_SECONDS = 1.0


def main() -> None:
    """Read, explain, draw and show until the frames end or the user does."""
    options = parse()
    graph_options = {"cuda_graph": True} if Path(options.graph).suffix in ENGINES else {}
    latencies_ms: list[float] = []
    with load(options.graph, **graph_options) as explainer, opened(options.source) as camera:
        print(f"explaining with {explainer.provider}")
        frames = itertools.islice(frames_of(camera), options.frames)
        shown, seconds = show(explained(frames, explainer, options.every, latencies_ms), camera, options)
    print(report(shown, seconds, latencies_ms))


def frames_of(camera: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Frames as the graph wants them, uint8 (height, width, 3), RGB: OpenCV's are BGR."""
    while (read := camera.read())[0]:
        yield np.ascontiguousarray(read[1][..., ::-1])


def explained(
    frames: Iterator[np.ndarray], explainer: Explainer, every: int, latencies_ms: list[float]
) -> Iterator[tuple[np.ndarray, str]]:
    """Each frame with its mask drawn, BGR, and its summary; frames in between show the last mask."""
    for number, frame in enumerate(frames):
        if number % every == 0:
            before = time.perf_counter()
            result = explainer.explain(frame)
            latencies_ms.append(1e3 * (time.perf_counter() - before))
        drawn = draw(frame, result.mask_at(*frame.shape[:2]), result.summary())
        yield np.ascontiguousarray(drawn[..., ::-1]), result.summary()


def show(
    pictures: Iterator[tuple[np.ndarray, str]], camera: cv2.VideoCapture, options: argparse.Namespace
) -> tuple[int, float]:
    """Show and write each picture, tell the rate every second; how many, and in how many seconds."""
    writer, shown, start = None, 0, time.perf_counter()
    reported = start - REPORT_SECONDS
    try:
        for drawn, summary in pictures:
            if options.output and writer is None:
                writer = open_writer(options.output, camera, drawn.shape)
            if writer is not None:
                writer.write(drawn)
            shown += 1
            if time.perf_counter() - reported >= REPORT_SECONDS:
                reported = time.perf_counter()
                print(f"{summary}, {shown / (reported - start):.1f} frames/s")
            if not options.headless and is_stopped(drawn):
                break
    except KeyboardInterrupt:
        print("stopped")
    finally:
        if writer is not None:
            writer.release()
    return shown, time.perf_counter() - start


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Explain what a camera sees.")
    parser.add_argument("graph", help="engine (.plan) or ONNX file")
    parser.add_argument("--source", default="0", help="0, 1, …: USB camera; csi; a GStreamer pipeline; a video file")
    parser.add_argument("--every", type=positive, default=1, help="explain every Nth frame (default 1)")
    parser.add_argument("--frames", type=positive, help="stop after this many frames (default: never)")
    parser.add_argument("--output", help="also write a video, such as explained.mp4")
    parser.add_argument("--headless", action="store_true", help="open no window")
    return parser.parse_args()


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of at least 1")
    return int(text)


@contextmanager
def opened(source: str) -> Iterator[cv2.VideoCapture]:
    """A camera, a pipeline or a video file, released at the end; ends the program where OpenCV cannot open it."""
    if source.isdigit():
        camera = cv2.VideoCapture(int(source))
    elif source == "csi" or "!" in source:
        camera = cv2.VideoCapture(CSI if source == "csi" else source, cv2.CAP_GSTREAMER)
    else:
        camera = cv2.VideoCapture(source)
    if not camera.isOpened():
        raise SystemExit(
            f"{source}: OpenCV cannot open it; for csi and pipelines it must be built with GStreamer: "
            'python3 -c "import cv2; print(cv2.getBuildInformation())" | grep GStreamer'
        )
    try:
        yield camera
    finally:
        camera.release()


def open_writer(path: str, camera: cv2.VideoCapture, shape: tuple[int, int, int]) -> cv2.VideoWriter:
    """A video file at the source's own frame rate, 30 where it does not tell."""
    rate = camera.get(cv2.CAP_PROP_FPS) or 30.0
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mp4v"), rate, (shape[1], shape[0]))
    if not writer.isOpened():
        raise SystemExit(f"{path}: OpenCV cannot write it; try an ending of another format, such as .avi")
    return writer


def is_stopped(drawn: np.ndarray) -> bool:
    """Show a frame, uint8 (height, width, 3), BGR; True where q or Esc was pressed."""
    cv2.imshow("whymask", drawn)
    return cv2.waitKey(1) & 0xFF in (ord("q"), ESCAPE)


def report(shown: int, seconds: float, latencies_ms: list[float]) -> str:
    """Frame rate of all, latency of those explained: resize, transfers, engine."""
    if not latencies_ms:
        return "no frame came"
    p50, p90, p99 = np.percentile(latencies_ms, (50, 90, 99))
    return (
        f"{shown} frames in {seconds:.1f} s: {shown / seconds:.1f} frames/s\n"
        f"{len(latencies_ms)} explained: p50 {p50:.2f} ms, p90 {p90:.2f} ms, p99 {p99:.2f} ms"
    )


if __name__ == "__main__":
    main()
