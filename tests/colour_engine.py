"""The colour graph as an engine: a file with a true sidecar, and stand-ins for TensorRT and CUDA that compute it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from colour_graph import Options, card_of, write_graph
from engine_files import PLAN, written_engine
from fake_cuda import FakeCuda
from fake_tensorrt import JETPACK, OLDEST, RTX, Script, fake_tensorrt

from whymask.runtime.backends import Arrays
from whymask.runtime.ort import OrtBackend
from whymask.runtime.trt import TrtBackend

TYPES = {"uint8": "UINT8", "int64": "INT64", "float32": "FLOAT"}
"""TensorRT's names of the graph's types."""


class ColourEngine:
    """Everything around one engine.

    Args:
        folder: where its files go.
        version: of the stand-in for TensorRT.
        batches: smallest and largest batch of its profile.
        module: name of the Python module; None is that of the version.
        cuda: the device; an Orin that copies by default.
        card: fields of the sidecar to replace.
        graph: options of the colour graph.
    """

    def __init__(
        self,
        folder: Path,
        version: str = JETPACK,
        batches: tuple[int, int] = (1, 8),
        module: str | None = None,
        cuda: FakeCuda | None = None,
        card: dict | None = None,
        **graph: object,
    ) -> None:
        self.onnx = write_graph(folder / "fused.onnx", **graph)
        self.reference = OrtBackend(self.onnx, "cpu", threads=1)
        self.cuda = FakeCuda() if cuda is None else cuda
        self._integers = {np.dtype(np.int64): np.dtype(np.int32)} if version == OLDEST else {}
        self.script = Script(self._tensors(version), tuple(self.reference.inputs), self._compute, batches)
        builder = "tensorrt_rtx" if version == RTX else "tensorrt"
        self.module = fake_tensorrt(self.script, self.cuda, version, module or builder)
        fields = {
            "card": card_of(Options(**graph)),
            "builder": builder,
            "builder_version": version,
            "min_batch": batches[0],
            "opt_batch": batches[0],
            "max_batch": batches[1],
        }
        self.path = written_engine(folder / "fused.plan", PLAN, **(fields | (card or {})))

    def open(self, **options: object) -> TrtBackend:
        """The engine, opened with these options of `TrtBackend`."""
        return TrtBackend(self.path, **{"cuda": self.cuda, **options})

    def feeds(self, count: int, seed: int = 0) -> Arrays:
        """Random pictures, and a class for each or the predicted one."""
        rng = np.random.default_rng(seed)
        image = self.reference.inputs["image"].shape
        feeds: Arrays = {"image": rng.integers(0, 256, (count, *image[1:]), np.uint8)}
        if "target" in self.reference.inputs:
            feeds["target"] = rng.integers(-1, 3, count)
        if "against" in self.reference.inputs:
            feeds["against"] = rng.integers(-1, 3, count)
        return feeds

    def expected(self, feeds: Arrays) -> Arrays:
        """What the graph answers."""
        return self.reference.run(feeds)

    def _tensors(self, version: str) -> dict[str, tuple[str, tuple[int, ...]]]:
        # Outputs first: nothing may depend on the order.
        infos = [*self.reference.outputs.values(), *self.reference.inputs.values()]
        types = TYPES | ({"int64": "INT32"} if version == OLDEST else {})
        return {
            info.name: (types[info.dtype], tuple(size if isinstance(size, int) else -1 for size in info.shape))
            for info in infos
        }

    def _compute(self, feeds: Arrays) -> Arrays:
        asked = {name: feeds[name].astype(np.int64) for name in ("target", "against") if name in feeds}
        results = self.reference.run({**feeds, **asked})
        return {name: values.astype(self._integers.get(values.dtype, values.dtype)) for name, values in results.items()}


def same(a: Arrays, b: Arrays) -> bool:
    """Whether two runs gave the same outputs, types included."""
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and np.array_equal(a[name], b[name]) for name in a
    )
