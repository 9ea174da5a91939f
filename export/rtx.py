"""The TensorRT gate: NVIDIA's own parser and builder accept the graph, on a machine with no GPU and no driver.

TensorRT-RTX is strongly typed only, which makes its rules those of TensorRT 11. That it builds says that every operator
and every type is accepted; it says nothing of speed.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from whymask.export.builder_settings import empty_settings, set_compute_capabilities
from whymask.export.trt_network import add_profile, build_plan, builder_module, parse_graph
from whymask.runtime.engine_card import TENSORRT_RTX
from whymask.runtime.trt_module import EXTRAS

PACKAGE = TENSORRT_RTX
EXTRA = EXTRAS[PACKAGE]
NOT_RUN = f'not run: pip install "whymask[{EXTRA}]"'

COMPUTE_CAPABILITY = "8.6"
"""What the gate builds for, whatever GPU is there: Ampere, the nearest that TensorRT-RTX has to Jetson Orin's 8.7."""


@dataclass(frozen=True)
class RtxBuild:
    """What was built.

    Attributes:
        version: of TensorRT-RTX.
        layers: of the parsed network.
        engine_bytes: size of the serialised engine.
    """

    version: str
    layers: int
    engine_bytes: int


def is_installed() -> bool:
    """Whether TensorRT-RTX can be imported."""
    try:
        importlib.import_module(PACKAGE)
    except ImportError:
        return False
    return True


def build_with_rtx(graph: bytes, max_batch: int) -> RtxBuild:
    """Parse a graph and build an engine from it.

    Args:
        graph: a serialised ONNX model.
        max_batch: largest batch of the optimisation profile, in images; only read where the batch is open.

    Raises:
        MissingExtra: TensorRT-RTX is not installed.
        ArtefactError: the parser or the builder refuses the graph; the message has every error and its node.
        BackendError: TensorRT-RTX itself cannot start.
    """
    parsed = parse_graph(builder_module(PACKAGE), PACKAGE, graph)
    settings = empty_settings(parsed)
    set_compute_capabilities(parsed, settings, (COMPUTE_CAPABILITY,))
    add_profile(parsed, settings, (1, 1, max_batch))
    plan = build_plan(parsed, settings)
    return RtxBuild(parsed.trt.__version__, parsed.network.num_layers, plan.nbytes)
