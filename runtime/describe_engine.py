"""What an engine is, in words, from its sidecar alone: no TensorRT and no GPU is needed."""

from __future__ import annotations

import dataclasses
from typing import Any

from whymask.runtime.engine_card import BUILDERS, FUSED, TENSORRT_RTX, EngineCard

_ROLES = {FUSED: "classifier and explainer, fused"}


def engine_record(engine: EngineCard, sha256: str) -> dict[str, Any]:
    """The sidecar as plain values for JSON, without the graph's card.

    Args:
        engine: the sidecar.
        sha256: digest of the engine's file as it is now.

    Returns:
        the sidecar's values, and `is_intact`: whether the file is the one that the sidecar describes.
    """
    values = {field.name: getattr(engine, field.name) for field in dataclasses.fields(engine) if field.name != "card"}
    return {**values, "is_intact": sha256 == engine.engine_sha256}


def engine_rows(engine: EngineCard, sha256: str) -> list[tuple[str, str]]:
    """Name and text of what a person asks of an engine.

    Args:
        engine: the sidecar.
        sha256: digest of the engine's file as it is now.
    """
    return [
        ("check", _check(engine, sha256)),
        ("engine", f"{_ROLES.get(engine.role, 'classifier alone')}; built for {engine.built_for()}"),
        ("runs on", _runs_on(engine)),
        ("precision", f"{engine.precision} ({_layers(engine)}; its graph: {engine.card.precision})"),
        ("batch", f"{engine.min_batch} to {engine.max_batch} pictures, tuned for {engine.opt_batch}"),
        ("graph", f"sha256 {engine.onnx_sha256}"),
        ("build", engine.build_command),
        ("built", _built(engine)),
    ]


def _check(engine: EngineCard, sha256: str) -> str:
    if sha256 == engine.engine_sha256:
        return "the file is the one that its sidecar describes"
    return (
        f"NOT the file that its sidecar describes, whose sha256 is {engine.engine_sha256}: copy both again, or run: "
        f"{engine.build_command}"
    )


def _runs_on(engine: EngineCard) -> str:
    library = BUILDERS[engine.builder]
    version = f"{library} {engine.builder_version}" + (" or newer" if engine.version_compatible else " alone")
    if engine.builder == TENSORRT_RTX:
        return f"{version}; GPUs of compute capability {engine.compute_capability}"
    if engine.hardware_compatible:
        return f"{version}; every GPU of compute capability 8.0 or more"
    return f"{version}; {engine.device} ({engine.compute_capability}) alone"


def _layers(engine: EngineCard) -> str:
    counts = ", ".join(f"{count} {kind}" for kind, count in engine.layers.items() if count)
    return f"layers: {counts}" if counts else "layers not counted"


def _built(engine: EngineCard) -> str:
    versions = [f"CUDA {engine.cuda}" if engine.cuda else "", f"driver for {engine.driver}" if engine.driver else ""]
    # Of the options, 0 is a value (the first DLA core); None and False mean: not used.
    flags = [f"{name} {value}" for name, value in engine.flags.items() if value is not None and value is not False]
    details = [text for text in (*versions, *flags) if text]
    return f"{engine.created} in {engine.build_seconds:.0f} s{': ' if details else ''}{', '.join(details)}"
