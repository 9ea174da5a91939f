"""TensorRT's `IBuilderConfig` from a `BuildConfig`: every setting is made where this version has it, or is an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whymask.export.build_config import BuildConfig
from whymask.export.trt_network import Parsed
from whymask.runtime.errors import BackendError, InputError

MIB = 1 << 20


def settings_for(parsed: Parsed, config: BuildConfig) -> Any:
    """A builder configuration with everything but profile, timing cache and progress monitor.

    Args:
        parsed: the graph; on TensorRT 8 its layers are given their precision.
        config: what the engine is to be.

    Raises:
        BackendError: TensorRT refuses a setting, or this version does not know it.
        InputError: a DLA core that this machine lacks.
    """
    settings = empty_settings(parsed)
    trt = parsed.trt
    settings.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # With TF32, convolutions of an FP32 graph would have the mantissa of FP16.
    settings.clear_flag(trt.BuilderFlag.TF32)
    if not parsed.is_strongly_typed and config.precision == "fp16":
        settings.set_flag(trt.BuilderFlag.FP16)
        settings.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        constrain_layers(parsed)
    if config.workspace_mib is not None:
        _limit_workspace(parsed, settings, config.workspace_mib * MIB)
    if config.optimization_level is not None:
        _need(parsed, settings, "builder_optimization_level", "--optimization-level")
        settings.builder_optimization_level = config.optimization_level
    if config.version_compatible:
        _need(parsed, trt.BuilderFlag, "VERSION_COMPATIBLE", "--version-compatible")
        settings.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if config.hardware_compatible:
        _need(parsed, getattr(trt, "HardwareCompatibilityLevel", None), "AMPERE_PLUS", "--hardware-compatible")
        settings.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if config.dla_core is not None:
        _use_dla(parsed, settings, config.dla_core)
    return settings


def empty_settings(parsed: Parsed) -> Any:
    """A builder configuration as TensorRT makes it.

    Args:
        parsed: the graph.

    Raises:
        BackendError: TensorRT makes none.
    """
    settings = parsed.builder.create_builder_config()
    if settings is None:
        raise BackendError(f"{parsed.label} made no builder configuration: {parsed.logger.said()}")
    return settings


def set_compute_capabilities(parsed: Parsed, settings: Any, capabilities: Sequence[str]) -> None:
    """Name the GPUs that a TensorRT-RTX engine is for.

    Args:
        parsed: the graph, in TensorRT-RTX's hands.
        settings: TensorRT-RTX's `IBuilderConfig`.
        capabilities: such as `8.6`; at least one.

    Raises:
        BackendError: TensorRT-RTX does not build for one of them.
    """
    known = parsed.trt.ComputeCapability
    settings.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        value = getattr(known, f"SM{capability.replace('.', '')}", None)
        if value is None or not settings.set_compute_capability(value, index):
            names = [name.removeprefix("SM") for name in dir(known) if name.startswith("SM")]
            listed = ", ".join(f"{name[:-1]}.{name[-1]}" for name in sorted(names, key=int))
            raise BackendError(
                f"{parsed.label} does not build for compute capability {capability}, only for {listed}; "
                "name one of them with --compute-capability, or build with TensorRT, without --rtx"
            )


def constrain_layers(parsed: Parsed) -> None:
    """Give each layer of a weakly typed network the precision that the graph's types say, so that FP32 islands stay.

    Args:
        parsed: the graph, in TensorRT 8's hands.
    """
    trt, network = parsed.trt, parsed.network
    floats = (trt.DataType.HALF, trt.DataType.FLOAT)
    moves = {getattr(trt.LayerType, name) for name in ("CONCATENATION", "IDENTITY", "SHUFFLE", "SLICE")}
    fixed = {getattr(trt.LayerType, name) for name in ("CAST", "CONSTANT", "SHAPE")}
    layers = [layer for layer in (network.get_layer(i) for i in range(network.num_layers)) if layer.type not in fixed]
    # All types are read before the first is set: TensorRT infers the rest from those that are set.
    for layer, reads, makes in [(layer, _tensors(layer, "input"), _tensors(layer, "output")) for layer in layers]:
        typed = [(index, dtype) for index, (dtype, is_shape) in enumerate(makes) if dtype in floats and not is_shape]
        for index, dtype in typed:
            layer.set_output_type(index, dtype)
        # A comparison makes booleans: what it reads says how it is computed.
        deciding = [dtype for _, dtype in typed] or [dtype for dtype, is_shape in reads if dtype in floats]
        if deciding and layer.type not in moves:
            layer.precision = deciding[0]


def _tensors(layer: Any, side: str) -> list[tuple[Any, bool]]:
    """Type of each tensor on one side of a layer, and whether it is a shape."""
    count, get = getattr(layer, f"num_{side}s"), getattr(layer, f"get_{side}")
    # An optional input that is not given is None.
    tensors = [tensor for tensor in (get(index) for index in range(count)) if tensor is not None]
    return [(tensor.dtype, tensor.is_shape_tensor) for tensor in tensors]


def _limit_workspace(parsed: Parsed, settings: Any, nbytes: int) -> None:
    pool = parsed.trt.MemoryPoolType.WORKSPACE
    settings.set_memory_pool_limit(pool, nbytes)
    accepted = settings.get_memory_pool_limit(pool)
    if accepted != nbytes:
        raise BackendError(
            f"{parsed.label} refuses --workspace {nbytes // MIB}: its limit stays {accepted // MIB} MiB; "
            f"give fewer MiB or leave the option out ({parsed.logger.said()})"
        )


def check_dla(config: BuildConfig, batches: tuple[int, int, int]) -> None:
    """Refuse a DLA engine of an open batch: TensorRT would put all of it on the GPU, and tell it in its log alone.

    "DLA does not support dynamic dimensions, so the profile's min, max, and opt values must be equal" (TensorRT's
    documentation, DLA restrictions).

    Args:
        config: what the engine is to be.
        batches: smallest, best and largest of the engine.

    Raises:
        InputError: they differ.
    """
    if config.dla_core is not None and len(set(batches)) > 1:
        smallest, best, largest = batches
        raise InputError(
            f"--dla {config.dla_core}: a DLA runs one batch size, and the engine's are {smallest}, {best} and "
            f"{largest} (smallest, best, largest); add --min-batch {best} --opt-batch {best} --max-batch {best}"
        )


def _use_dla(parsed: Parsed, settings: Any, core: int) -> None:
    trt, cores = parsed.trt, parsed.builder.num_DLA_cores
    if core >= cores:
        has = f"cores 0 to {cores - 1}" if cores else "no DLA"
        raise InputError(f"--dla {core}: this machine has {has}; name one that it has, or leave the option out")
    settings.default_device_type = trt.DeviceType.DLA
    settings.DLA_core = core
    settings.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _need(parsed: Parsed, owner: Any, name: str, option: str) -> None:
    if not hasattr(owner, name):
        raise BackendError(
            f"{option}: {parsed.label} does not know it; leave the option out, or build with a newer one"
        )
