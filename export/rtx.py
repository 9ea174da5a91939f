"""The TensorRT gate: NVIDIA's own parser and builder accept the graph, on a machine with no GPU and no driver.

TensorRT-RTX is strongly typed only, which makes its rules those of TensorRT 11. That it builds says that every operator
and every type is accepted; it says nothing of speed.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from whymask.runtime.errors import ArtefactError, BackendError, MissingExtra

PACKAGE = "tensorrt_rtx"
EXTRA = "tensorrt-rtx"
NOT_RUN = f'not run: pip install "whymask[{EXTRA}]"'

COMPUTE_CAPABILITY = "SM86"
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
    trt = _tensorrt_rtx()
    logger = _logger(trt)
    builder = trt.Builder(logger)
    if not builder:
        raise BackendError(f"TensorRT-RTX {trt.__version__} made no builder: {_tail(logger)}")
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        raise ArtefactError(f"TensorRT-RTX {trt.__version__} does not parse the graph: {_parser_errors(parser)}")
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(getattr(trt.ComputeCapability, COMPUTE_CAPABILITY), 0):
        raise BackendError(f"TensorRT-RTX {trt.__version__} cannot build for {COMPUTE_CAPABILITY}: {_tail(logger)}")
    _add_profile(builder, network, config, max_batch)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ArtefactError(f"TensorRT-RTX {trt.__version__} parses the graph but does not build it: {_tail(logger)}")
    return RtxBuild(trt.__version__, network.num_layers, plan.nbytes)


def _tensorrt_rtx() -> Any:
    try:
        return importlib.import_module(PACKAGE)
    except ImportError:
        raise MissingExtra(PACKAGE, EXTRA, "check a graph with TensorRT's parser and builder") from None


def _logger(trt: Any) -> Any:
    """A logger that keeps warnings and errors for the message instead of printing them."""

    class Kept(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.messages.append(message)

    return Kept()


def _tail(logger: Any) -> str:
    return "; ".join(logger.messages[-3:]) or "it gave no reason"


def _parser_errors(parser: Any) -> str:
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    return "; ".join(f"node {e.node_name()!r} ({e.node_operator()}): {e.desc()}" for e in errors) or "it gave no reason"


def _add_profile(builder: Any, network: Any, config: Any, max_batch: int) -> None:
    profile = builder.create_optimization_profile()
    is_dynamic = False
    for tensor in (network.get_input(i) for i in range(network.num_inputs)):
        shape = tuple(tensor.shape)
        if -1 in shape:
            is_dynamic = True
            smallest, largest = (tuple(n if d == -1 else d for d in shape) for n in (1, max_batch))
            profile.set_shape(tensor.name, smallest, smallest, largest)
    # The index of the profile, or −1 where its shapes do not fit the network.
    if is_dynamic and config.add_optimization_profile(profile) < 0:
        raise ArtefactError(f"TensorRT-RTX refuses batches of 1 to {max_batch} for this graph")
