"""Engines of a few bytes with true sidecars: what the sidecar's tests need, where no TensorRT is."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from colour_graph import Options, card_of

from whymask.runtime.engine_card import FUSED, TENSORRT, EngineCard, write_engine

PLAN = b"ftrt" + bytes(range(96))


def engine_card(plan: bytes = PLAN, **changes: object) -> EngineCard:
    """The sidecar of an engine built on a Jetson Orin with TensorRT 10.3.0; keywords replace its fields."""
    card = EngineCard(
        card=card_of(Options()),
        role=FUSED,
        builder=TENSORRT,
        builder_version="10.3.0",
        precision="fp16",
        layers={"fp16": 41, "fp32": 9, "int8": 0, "other": 3},
        onnx_sha256="cd" * 32,
        engine_sha256=hashlib.sha256(plan).hexdigest(),
        engine_bytes=len(plan),
        cuda="12.6",
        driver="12.6",
        device="Orin",
        compute_capability="8.7",
        min_batch=1,
        opt_batch=1,
        max_batch=8,
        version_compatible=False,
        hardware_compatible=False,
        build_seconds=61.5,
        flags={"workspace_mib": None},
        build_command="whymask build fused.onnx -o fused.plan --precision fp16",
        versions={"tensorrt": "10.3.0"},
        created="2026-11-21T08:00:00Z",
    )
    return dataclasses.replace(card, **changes)  # type: ignore[arg-type]


def written_engine(path: Path, plan: bytes = PLAN, **changes: object) -> Path:
    """Write such an engine with its sidecar."""
    write_engine(path, plan, engine_card(plan, **changes))
    return path
