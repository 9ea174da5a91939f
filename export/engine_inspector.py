"""TensorRT's engine inspector: load a plan on the GPU that built it and ask what its layers are."""

from __future__ import annotations

from typing import Any

from whymask.export.build_config import BuildConfig
from whymask.export.engine_report import LayerReport, report_from_inspector
from whymask.export.trt_network import OPEN, Parsed
from whymask.runtime.errors import ArtefactError, BackendError


def inspected(parsed: Parsed, plan: Any, config: BuildConfig, batch: int) -> LayerReport:
    """Read an engine back.

    Args:
        parsed: the graph that it was built from.
        plan: the serialised engine.
        config: how it was built.
        batch: the batch at which layers are looked at, in images; without one, TensorRT says no types of open shapes.

    Raises:
        ArtefactError: TensorRT does not load what it built.
        BackendError: there is no execution context or inspector for it.
    """
    engine = _engine(parsed, plan, config)
    context = _made(parsed, engine.create_execution_context(), "execution context")
    for tensor in parsed.inputs:
        shape = tuple(tensor.shape)
        if OPEN in shape and not context.set_input_shape(tensor.name, (batch, *shape[1:])):
            raise BackendError(
                f"{parsed.label} refuses a batch of {batch} for its own engine's {tensor.name}: {parsed.logger.said()}"
            )
    # Some engines tell nothing through a context (others have seen it on Blackwell): then it is asked without.
    told = _told(parsed, engine, context)
    return told if told.layers else _told(parsed, engine, None)


def _told(parsed: Parsed, engine: Any, context: Any) -> LayerReport:
    inspector = _made(parsed, engine.create_engine_inspector(), "engine inspector")
    if context is not None:
        inspector.execution_context = context
    return report_from_inspector(inspector.get_engine_information(parsed.trt.LayerInformationFormat.JSON))


def _engine(parsed: Parsed, plan: Any, config: BuildConfig) -> Any:
    runtime = _made(parsed, parsed.trt.Runtime(parsed.logger), "runtime")
    if config.version_compatible:
        # Such an engine brings its own runtime along, which TensorRT loads only where it is told to trust it.
        runtime.engine_host_code_allowed = True
    if config.dla_core is not None:
        runtime.DLA_core = config.dla_core
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise ArtefactError(f"{parsed.label} does not load the engine that it has just built: {parsed.logger.said()}")
    return engine


def _made(parsed: Parsed, thing: Any, name: str) -> Any:
    if thing is None:
        raise BackendError(f"{parsed.label} made no {name}: {parsed.logger.said()}")
    return thing
