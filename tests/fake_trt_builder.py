"""Stand-ins for TensorRT's builder: 8.6, 10 and 11, each with its own names only.

They know what `whymask build` calls and no more, note every call, and are as strict as TensorRT or stricter. A network
is what a `Script` says; nothing is parsed or built.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

OLDEST, JETPACK, NEWEST = "8.6.1", "10.3.0", "11.4.0.106"
VERSIONS = (OLDEST, JETPACK, NEWEST)
PLAN = b"ftrt" + bytes(60)
CACHE_HEADER = b"cache of "

FLAGS_OF_8 = ("FP16", "OBEY_PRECISION_CONSTRAINTS")
FLAGS = ("GPU_FALLBACK", "TF32", "VERSION_COMPATIBLE")
KINDS = ("CAST", "CONVOLUTION", "ELEMENTWISE", "MATRIX_MULTIPLY", "SHUFFLE", "CONSTANT", "SHAPE", "IDENTITY", "SLICE")


@dataclass(frozen=True)
class Node:
    """One layer: its kind, and the types of what it reads and makes."""

    name: str
    kind: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]


HALF_GRAPH = (
    Node("to_float", "CAST", ("UINT8",), ("FLOAT",)),
    Node("normalise", "ELEMENTWISE", ("FLOAT", "FLOAT"), ("FLOAT",)),
    Node("to_half", "CAST", ("FLOAT",), ("HALF",)),
    Node("stem", "CONVOLUTION", ("HALF",), ("HALF",)),
    Node("flatten", "SHUFFLE", ("HALF",), ("HALF",)),
    Node("head", "MATRIX_MULTIPLY", ("HALF", "HALF"), ("HALF",)),
    Node("sizes", "SHAPE", ("HALF",), ("INT32",)),
    Node("threshold", "ELEMENTWISE", ("FLOAT", "FLOAT"), ("BOOL",)),
)
FLOAT_GRAPH = tuple(
    Node(node.name, node.kind, *(tuple(t.replace("HALF", "FLOAT") for t in side) for side in (node.reads, node.makes)))
    for node in HALF_GRAPH
)
TENSORS = {"image": ("UINT8", (-1, 32, 32, 3)), "target": ("INT64", (-1,))}
OUTPUTS = {"logits": ("FLOAT", (-1, 5)), "saliency": ("FLOAT", (-1, 8, 8)), "mask": ("UINT8", (-1, 32, 32))}


def inspected(*layers: tuple[str, str, str]) -> str:
    """The inspector's JSON for layers of name, kind and type."""
    records = [
        {"Name": name, "LayerType": kind, "Inputs": [{"Format/Datatype": t}], "Outputs": [{"Format/Datatype": t}]}
        for name, kind, t in layers
    ]
    return json.dumps({"Layers": records, "Bindings": ["image"]})


HALF_REPORT = inspected(("stem", "CaskConvolution", "Half"), ("head", "gemm", "Half"), ("threshold", "kgen", "Float"))
FLOAT_REPORT = HALF_REPORT.replace("Half", "Float")


@dataclass
class Script:
    """What the graph is, what the machine has, and where TensorRT fails.

    Attributes:
        nodes: the network's layers.
        inputs, outputs: type and shape by name.
        report: what the inspector says once it has been given shapes; None: it tells nothing of this engine.
        silent_context: whether the inspector tells nothing through a context, and what it can without.
        failing: names of the calls that fail.
        errors: of the parser: description, name and operator of the node, and its place in the graph.
        lacking: names that this version is made without.
        cores: number of DLA cores.
        on_step: called at each of ten steps of the build.
        log: what was called, in order.
        layers: as the build left them, by name.
        config: the builder's configuration.
    """

    nodes: Sequence[Node] = HALF_GRAPH
    inputs: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=lambda: dict(TENSORS))
    outputs: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=lambda: dict(OUTPUTS))
    report: str | None = HALF_REPORT
    silent_context: bool = False
    failing: set[str] = field(default_factory=set)
    errors: list[tuple[str, str, str, int]] = field(default_factory=list)
    lacking: set[str] = field(default_factory=set)
    cores: int = 0
    on_step: Callable[[int], None] = lambda step: None
    log: list[str] = field(default_factory=list)
    layers: dict[str, Any] = field(default_factory=dict)
    config: Any = None

    def fails(self, call: str) -> bool:
        """Note a call, and say whether it fails."""
        self.log.append(call)
        return call.split()[0] in self.failing


def constraints(script: Script) -> dict[str, tuple[str | None, dict[int, str]]]:
    """What was set on each layer: its precision, and the type of each output."""
    return {
        name: (layer.precision and layer.precision.name, getattr(layer, "_set_types", {}))
        for name, layer in script.layers.items()
    }


def fake_builder(script: Script, version: str = JETPACK) -> ModuleType:
    """A module of this version, whose network is that of the script."""
    trt: Any = ModuleType("tensorrt")
    is_8, is_11 = version == OLDEST, version == NEWEST
    trt.__version__ = version
    trt.ILogger = _ILogger
    trt.DataType = _enum("DataType", ("FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8", *(() if is_8 else ("INT64",))))
    trt.LayerType = _enum("LayerType", (*KINDS, "CONCATENATION"))
    trt.BuilderFlag = _enum("BuilderFlag", FLAGS if is_11 else (*FLAGS_OF_8, *FLAGS), script)
    creation = {OLDEST: ("EXPLICIT_BATCH",), JETPACK: ("EXPLICIT_BATCH", "STRONGLY_TYPED"), NEWEST: ("STRONGLY_TYPED",)}
    trt.NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", creation[version], start=0)
    trt.HardwareCompatibilityLevel = _enum("HardwareCompatibilityLevel", ("NONE", "AMPERE_PLUS"), script)
    trt.MemoryPoolType = _enum("MemoryPoolType", ("WORKSPACE",))
    trt.DeviceType = _enum("DeviceType", ("GPU", "DLA"))
    trt.ProfilingVerbosity = _enum("ProfilingVerbosity", ("LAYER_NAMES_ONLY", "DETAILED"))
    trt.LayerInformationFormat = _enum("LayerInformationFormat", ("JSON",))
    trt.ParserError = _ParserError8 if is_8 else _ParserError
    trt.ILayer = _Layer if is_11 else _Layer8
    trt.IBuilderConfig, trt.INetworkDefinition, trt.ITensor = _Config, _Network, _Tensor
    trt.IOptimizationProfile, trt.ITimingCache, trt.EngineInspector = _Profile, _Cache, _Inspector
    trt.ICudaEngine, trt.IExecutionContext = _Engine, _Context
    if not is_8:
        trt.IProgressMonitor = _IProgressMonitor
    for name, kind in (("Builder", _Builder), ("OnnxParser", _Parser), ("Runtime", _Runtime)):
        setattr(trt, name, type(name, (kind,), {"_parts": (trt, script)}))
    return trt


def _enum(name: str, members: Sequence[str], script: Script | None = None) -> Any:
    return enum.Enum(name, [member for member in members if script is None or member not in script.lacking])


class _Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class _ILogger:
    Severity = _Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = _Severity

    def log(self, severity: _Severity, message: str) -> None:
        raise NotImplementedError


class _IProgressMonitor:
    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class _Tensor:
    def __init__(self, name: str, dtype: Any, shape: tuple[int, ...]) -> None:
        self.name, self.dtype, self.shape, self.is_shape_tensor = name, dtype, shape, False


class _Layer:
    def __init__(self, trt: Any, node: Node) -> None:
        self.name, self.type = node.name, trt.LayerType[node.kind]
        self._reads, self._makes = (
            [_Tensor(f"{node.name}.{index}", trt.DataType[t], ()) for index, t in enumerate(side)]
            for side in (node.reads, node.makes)
        )
        self.num_inputs, self.num_outputs = len(self._reads), len(self._makes)

    def get_input(self, index: int) -> _Tensor:
        return self._reads[index]

    def get_output(self, index: int) -> _Tensor:
        return self._makes[index]


class _Layer8(_Layer):
    precision: Any = None

    def set_output_type(self, index: int, dtype: Any) -> None:
        assert dtype == self._makes[index].dtype, "the graph's own type"
        self._set_types = {**getattr(self, "_set_types", {}), index: dtype.name}


class _Network:
    """False while it is empty, as TensorRT's is."""

    def __init__(self, trt: Any, script: Script) -> None:
        self._trt, self._script, self._layers = trt, script, list[_Layer]()
        self._inputs, self._outputs = (
            [_Tensor(name, trt.DataType[self._known(t)], shape) for name, (t, shape) in side.items()]
            for side in (script.inputs, script.outputs)
        )
        self.num_inputs, self.num_outputs = len(self._inputs), len(self._outputs)

    def _known(self, kind: str) -> str:
        return "INT32" if kind == "INT64" and not hasattr(self._trt.DataType, "INT64") else kind

    def _fill(self) -> None:
        self._layers = [self._trt.ILayer(self._trt, node) for node in self._script.nodes]
        self._script.layers = {layer.name: layer for layer in self._layers}

    def __len__(self) -> int:
        return len(self._layers)

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    def get_layer(self, index: int) -> _Layer:
        return self._layers[index]

    def get_input(self, index: int) -> _Tensor:
        return self._inputs[index]

    def get_output(self, index: int) -> _Tensor:
        return self._outputs[index]


class _ParserError8:
    def __init__(self, description: str, name: str, operator: str, place: int) -> None:
        self._says = description, name, operator, place

    def desc(self) -> str:
        return self._says[0]

    def node(self) -> int:
        return self._says[3]


class _ParserError(_ParserError8):
    def node_name(self) -> str:
        return self._says[1]

    def node_operator(self) -> str:
        return self._says[2]


class _Parser:
    _parts: tuple[Any, Script]

    def __init__(self, network: _Network, logger: Any) -> None:
        self._network = network

    def parse(self, model: bytes) -> bool:
        self._network._fill()
        return not self._parts[1].fails("parse") and not self.num_errors

    @property
    def num_errors(self) -> int:
        return len(self._parts[1].errors)

    def get_error(self, index: int) -> Any:
        trt, script = self._parts
        return trt.ParserError(*script.errors[index])


class _Profile:
    def __init__(self, script: Script) -> None:
        self._script = script

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        if self._script.fails(f"set_shape {input} {min} {opt} {max}"):
            raise ValueError(f"Shape provided for min is inconsistent with other shapes: {input}")


class _Cache:
    def __init__(self, version: str, content: bytes) -> None:
        # A file of another version makes an empty cache, as TensorRT does after a word in its log.
        header = CACHE_HEADER + version.encode()
        self._content = content if content.startswith(header) else header

    def serialize(self) -> bytes:
        return self._content


class _Config:
    def __init__(self, trt: Any, script: Script) -> None:
        self._trt, self._script, self._pools = trt, script, {trt.MemoryPoolType.WORKSPACE: 1 << 34}
        self._cache: _Cache | None = None

    profiling_verbosity: Any = None
    builder_optimization_level = 3
    hardware_compatibility_level: Any = None
    default_device_type: Any = None
    DLA_core = -1

    def set_flag(self, flag: Any) -> None:
        self._script.log.append(f"set_flag {flag.name}")

    def clear_flag(self, flag: Any) -> None:
        self._script.log.append(f"clear_flag {flag.name}")

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        if not self._script.fails(f"set_memory_pool_limit {pool.name} {pool_size}"):
            self._pools[pool] = pool_size

    def get_memory_pool_limit(self, pool: Any) -> int:
        return self._pools[pool]

    def add_optimization_profile(self, profile: _Profile) -> int:
        return -1 if self._script.fails("add_optimization_profile") else 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> _Cache | None:
        if self._script.fails("create_timing_cache"):
            return None
        return _Cache(self._trt.__version__, serialized_timing_cache)

    def set_timing_cache(self, cache: _Cache, ignore_mismatch: bool) -> bool:
        self._cache = cache
        return not self._script.fails(f"set_timing_cache {ignore_mismatch}")

    def get_timing_cache(self) -> _Cache | None:
        return None if self._script.fails("get_timing_cache") else self._cache


class _Builder:
    _parts: tuple[Any, Script]

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        if self._parts[1].fails("Builder"):
            logger.log(_Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    @property
    def num_DLA_cores(self) -> int:
        return self._parts[1].cores

    def create_network(self, flags: int = 0) -> _Network | None:
        trt, script = self._parts
        names = [flag.name for flag in trt.NetworkDefinitionCreationFlag if flags & 1 << int(flag)]
        return None if script.fails(f"create_network {' '.join(names)}") else _Network(trt, script)

    def create_builder_config(self) -> _Config | None:
        trt, script = self._parts
        if script.fails("create_builder_config"):
            return None
        kind = _Config if trt.__version__ == OLDEST else _MonitoredConfig
        script.config = kind(trt, script)
        return script.config

    def create_optimization_profile(self) -> _Profile:
        return _Profile(self._parts[1])

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        script = self._parts[1]
        if script.fails("build_serialized_network"):
            self._logger.log(_Severity.ERROR, "Could not find any implementation for node stem")
            return None
        if not _stepped(script, getattr(config, "progress_monitor", None)):
            self._logger.log(_Severity.ERROR, "Build canceled by user")
            return None
        if config._cache is not None:
            config._cache._content += b" kernel times"
        return PLAN


class _MonitoredConfig(_Config):
    progress_monitor: Any = None


def _stepped(script: Script, monitor: Any) -> bool:
    if monitor is None:
        return True
    monitor.phase_start("Building engine", None, 2)
    monitor.phase_start("Timing tactics", "Building engine", 10)
    for step in range(10):
        script.on_step(step)
        if not monitor.step_complete("Timing tactics", step):
            return False
    monitor.phase_finish("Timing tactics")
    return bool(monitor.step_complete("Building engine", 0))


class _Runtime:
    _parts: tuple[Any, Script]
    engine_host_code_allowed = False
    DLA_core = -1

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> _Engine | None:
        script = self._parts[1]
        call = f"deserialize_cuda_engine {self.engine_host_code_allowed} {self.DLA_core}"
        return None if script.fails(call) else _Engine(script)


class _Engine:
    def __init__(self, script: Script) -> None:
        self._script = script

    def create_execution_context(self) -> _Context | None:
        return None if self._script.fails("create_execution_context") else _Context(self._script)

    def create_engine_inspector(self) -> _Inspector | None:
        return None if self._script.fails("create_engine_inspector") else _Inspector(self._script)


class _Context:
    def __init__(self, script: Script) -> None:
        self._script, self._shapes = script, dict[str, tuple[int, ...]]()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        return not self._script.fails(f"set_input_shape {name} {shape}")


class _Inspector:
    execution_context: _Context | None = None

    def __init__(self, script: Script) -> None:
        self._script = script

    def get_engine_information(self, format: Any) -> str | None:
        if self._script.silent_context:
            return None if self.execution_context else self._script.report
        open_inputs = {name for name, (_, shape) in self._script.inputs.items() if -1 in shape}
        if self.execution_context is None or open_inputs - set(self.execution_context._shapes):
            return inspected(("stem", "CaskConvolution", "N/A due to dynamic shapes"))
        return self._script.report
