"""A graph in TensorRT's hands: logger, builder, network and parser, and what they say when they refuse.

The same code serves TensorRT 8.6 to 11 and TensorRT-RTX; where they differ, the names that a version has are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from whymask.runtime.engine_card import BUILDERS
from whymask.runtime.errors import ArtefactError, BackendError
from whymask.runtime.onnx_wire import node_names
from whymask.runtime.trt_module import import_first, kept_logger

OPEN = -1
"""Size of a dimension that is not fixed."""


@dataclass(frozen=True)
class Parsed:
    """A parsed graph. The parser owns memory that the network refers to: all of it lives until the build is done.

    Attributes:
        trt: TensorRT's or TensorRT-RTX's module.
        label: the library's name and version, such as `TensorRT 10.3.0`.
        logger: keeps the errors for `said()`.
        builder, network, parser: as TensorRT made them.
    """

    trt: Any
    label: str
    logger: Any
    builder: Any
    network: Any
    parser: Any

    @property
    def inputs(self) -> list[Any]:
        """The network's inputs."""
        return [self.network.get_input(index) for index in range(self.network.num_inputs)]

    @property
    def outputs(self) -> list[Any]:
        """The network's outputs."""
        return [self.network.get_output(index) for index in range(self.network.num_outputs)]

    @property
    def is_strongly_typed(self) -> bool:
        """Whether the builder must keep the network's types."""
        return hasattr(self.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def builder_module(builder: str) -> Any:
    """The Python module of a builder.

    Args:
        builder: `tensorrt` or `tensorrt_rtx`.

    Raises:
        MissingExtra: it is not installed.
        BackendError: it is installed and does not load, or has no builder.
    """
    trt = import_first(builder, purpose="build an engine")
    if not hasattr(trt, "Builder"):
        raise BackendError(
            f"{builder} {trt.__version__} has no builder: this is a lean runtime; install the full package"
        )
    return trt


def parse_graph(trt: Any, builder: str, graph: bytes, subject: str = "the graph") -> Parsed:
    """Parse an ONNX graph.

    Args:
        trt: from `builder_module`.
        builder: `tensorrt` or `tensorrt_rtx`.
        graph: a serialised ONNX model.
        subject: what the graph is called in an error.

    Raises:
        BackendError: TensorRT itself cannot start.
        ArtefactError: the parser refuses the graph; the message has every error with its node.
    """
    label = f"{BUILDERS[builder]} {trt.__version__}"
    logger = kept_logger(trt)
    maker = _made_builder(trt, label, logger)
    network = maker.create_network(_network_flags(trt))
    # A network without layers is false.
    if network is None:
        raise BackendError(f"{label} made no network: {logger.said()}")
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        raise ArtefactError(f"{label} does not parse {subject}: {_parser_errors(parser, graph, logger)}")
    return Parsed(trt, label, logger, maker, network, parser)


def add_profile(parsed: Parsed, config: Any, batches: tuple[int, int, int]) -> bool:
    """Give the builder the batch sizes of every input whose batch is open.

    Args:
        parsed: the graph.
        config: TensorRT's `IBuilderConfig`.
        batches: smallest, best and largest batch, in images.

    Returns:
        Whether there is such an input.

    Raises:
        ArtefactError: TensorRT refuses the sizes.
    """
    open_inputs = [tensor for tensor in parsed.inputs if OPEN in tuple(tensor.shape)]
    if not open_inputs:
        return False
    profile = parsed.builder.create_optimization_profile()
    try:
        for tensor in open_inputs:
            shape = tuple(tensor.shape)
            profile.set_shape(tensor.name, *(tuple(n if size == OPEN else size for size in shape) for n in batches))
        index = config.add_optimization_profile(profile)
    except (ValueError, RuntimeError) as error:
        raise ArtefactError(
            f"{parsed.label} refuses batches of {_in_words(batches)} for this graph: {error}"
        ) from error
    # −1 where the shapes do not fit the network.
    if index < 0:
        raise ArtefactError(
            f"{parsed.label} refuses batches of {_in_words(batches)} for this graph: {parsed.logger.said()}"
        )
    return True


def build_plan(parsed: Parsed, config: Any, subject: str = "the graph") -> Any:
    """Build, and return TensorRT's `IHostMemory`.

    Args:
        parsed: the graph.
        config: TensorRT's `IBuilderConfig`, complete.
        subject: what the graph is called in an error.

    Raises:
        ArtefactError: TensorRT does not build it; the message has TensorRT's last errors.
    """
    plan = parsed.builder.build_serialized_network(parsed.network, config)
    if plan is None:
        raise ArtefactError(f"{parsed.label} parses {subject} but does not build it: {parsed.logger.said()}")
    return plan


def _made_builder(trt: Any, label: str, logger: Any) -> Any:
    try:
        maker = trt.Builder(logger)
    # "factory function returned nullptr", where CUDA does not start.
    except TypeError:
        maker = None
    if maker is None:
        raise BackendError(f"{label} made no builder: {logger.said()}; run whymask doctor to see driver and GPU")
    return maker


def _network_flags(trt: Any) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    # TensorRT 8 needs EXPLICIT_BATCH, 10 ignores it, 11 lacks it; STRONGLY_TYPED came with 9 and is all that 11 has.
    names = [name for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED") if hasattr(flags, name)]
    return sum(1 << int(getattr(flags, name)) for name in names)


def _parser_errors(parser: Any, graph: bytes, logger: Any) -> str:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return "; ".join(f"{_node(error, graph)}: {error.desc()}" for error in errors) or logger.said()


def _node(error: Any, graph: bytes) -> str:
    if hasattr(error, "node_name"):
        return f"node {error.node_name()!r} ({error.node_operator()})"
    # TensorRT 8 says only the node's place in the graph.
    nodes, index = node_names(graph), error.node()
    if not 0 <= index < len(nodes):
        return "the graph"
    name, operator = nodes[index]
    return f"node {name!r} ({operator})"


def _in_words(batches: tuple[int, int, int]) -> str:
    return f"{batches[0]} to {batches[2]}, best {batches[1]},"
