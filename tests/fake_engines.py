"""Engines without TensorRT: a stand-in for `TrtBackend` that reads true sidecars and computes with numpy."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from engine_files import written_engine
from tiny_card import CLASSES, SIZE, card

from whymask.runtime.backends import TensorInfo
from whymask.runtime.engine_card import CLASSIFIER, FUSED, read_sidecar
from whymask.runtime.errors import InputError
from whymask.runtime.trt_lane import Timings

TIMINGS = Timings(h2d_ms=0.01, compute_ms=0.2, d2h_ms=0.02, enqueue_ms=0.05, enqueue_to_sync_ms=0.25, total_ms=0.27)


class FakeTrt:
    """An engine of the tiny graphs of `onnx_models`; takes what `TrtBackend` takes."""

    opened: ClassVar[list[tuple[str, bool]]] = []

    def __init__(
        self, path: Path, *, cuda_graph: bool = False, zero_copy: bool | None = None, contexts: int = 1
    ) -> None:
        self.engine_card = read_sidecar(Path(path))
        self.card = self.engine_card.card
        self.zero_copy = bool(zero_copy)
        self.provider = f"TensorRT 10.3.0 on Orin (8.7), fp16{', CUDA graph' if cuda_graph else ''}"
        self.batch_range = (self.engine_card.min_batch, self.engine_card.max_batch)
        self.inputs = {"image": TensorInfo("image", "uint8", ("B", SIZE, SIZE, 3))}
        planes = {"saliency": "float32", "mask": "uint8"} if self.engine_card.role == FUSED else {}
        self.outputs = {
            "logits": TensorInfo("logits", "float32", ("B", CLASSES)),
            **{name: TensorInfo(name, dtype, ("B", SIZE, SIZE)) for name, dtype in planes.items()},
        }
        FakeTrt.opened.append((Path(path).name, cuda_graph))

    def run(self, feeds, outputs=None):
        images = feeds["image"]
        if not self.batch_range[0] <= len(images) <= self.batch_range[1]:
            raise InputError(f"batch of {len(images)}, expected {self.batch_range}")
        scaled = images.astype(np.float32) / 255
        every = {"logits": scaled.mean((1, 2)), "saliency": scaled.mean(3), "mask": np.uint8(scaled.mean(3) >= 0.5)}
        return {name: every[name] for name in (outputs or self.outputs)}

    def timed_run(self, feeds, outputs=None):
        return self.run(feeds, outputs), TIMINGS

    def close(self) -> None:
        self.closed = True

    def __enter__(self):
        return self

    def __exit__(self, *unused) -> None:
        self.close()


def write_engine_pair(folder: Path, fused: dict | None = None, alone: dict | None = None) -> Path:
    """`tiny.plan` and `tiny.classifier.plan`; keywords replace fields of their sidecars."""
    common = {"card": card(), "build_command": "whymask build tiny.onnx -o tiny.plan --precision fp16 --classifier"}
    written_engine(folder / "tiny.classifier.plan", **{**common, "role": CLASSIFIER, **(alone or {})})
    return written_engine(folder / "tiny.plan", **{**common, **(fused or {})})
