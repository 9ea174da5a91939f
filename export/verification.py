"""The result of comparing two forms of one model: figures, bounds, what was compared on what."""

from __future__ import annotations

import dataclasses
import datetime
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whymask.runtime.bounds import Bounds
from whymask.runtime.parity import check, is_lower_bound, passes
from whymask.runtime.versions import installed_versions

RECORD_SCHEMA = 1
RUN, ONNX, ENGINE, GOLDEN = "run", "ONNX", "engine", "golden bundle"
"""Kinds of forms."""
PACKAGES = ("whymask", "numpy", "onnxruntime", "onnxruntime-gpu", "torch", "tensorrt", "tensorrt-rtx")
"""Whose versions a record states, where they are installed."""


@dataclass(frozen=True)
class Side:
    """What a result says of one of the two.

    Attributes:
        name: of the file or the run directory, without its folders.
        kind: `run`, `ONNX`, `engine` or `golden bundle`.
        precision: `fp32` or `fp16`.
        provider: what ran it; of a bundle, what gave its outputs.
        sha256: of the file; of a run, of its explainer's file.
    """

    name: str
    kind: str
    precision: str
    provider: str
    sha256: str

    def __str__(self) -> str:
        """Such as `fused.onnx (ONNX, fp16), CPUExecutionProvider`."""
        return f"{self.name} ({self.kind}, {self.precision}), {self.provider}"


@dataclass(frozen=True)
class Images:
    """What the two were compared on.

    Attributes:
        count: number of images.
        source: folder or bundle; empty for drawn ones.
        is_synthetic: whether they are drawn, not photographed.
    """

    count: int
    source: str
    is_synthetic: bool

    def __str__(self) -> str:
        """Such as `64 images of photos`."""
        kind = "synthetic images" if self.is_synthetic else "images"
        return f"{self.count} {kind}{f' of {self.source}' if self.source else ''}"


@dataclass(frozen=True)
class Gate:
    """One figure.

    Attributes:
        name: as in `Tolerances`, or of a figure that is only reported.
        measured: may be NaN, which passes no bound.
        allowed: its bound, or None where there is none.
    """

    name: str
    measured: float
    allowed: float | None

    @property
    def is_lower_bound(self) -> bool:
        """Whether at least `allowed` is asked for, not at most."""
        return is_lower_bound(self.name)

    @property
    def passes(self) -> bool:
        """Whether the bound is kept; true without one."""
        return self.allowed is None or passes(self.name, self.measured, self.allowed)


@dataclass(frozen=True)
class Verification:
    """The result of one comparison.

    Attributes:
        reference: the more exact of the two.
        measured: the other.
        images: what they were compared on.
        bounds: what they may differ by.
        figures: measured values by name.
        each: the same for every image alone, in their order.
    """

    reference: Side
    measured: Side
    images: Images
    bounds: Bounds
    figures: Mapping[str, float]
    each: list[dict[str, float]]

    @property
    def gates(self) -> list[Gate]:
        """Every figure with its bound."""
        allowed = self.bounds.tolerances.bounds()
        return [Gate(name, value, allowed.get(name)) for name, value in self.figures.items()]

    def check(self) -> None:
        """Hold the figures to their bounds.

        Raises:
            ParityError: with every gate that failed.
        """
        again = "whymask build FUSED.onnx" if self.measured.kind == ENGINE else "whymask export RUN"
        remedy = f"Do not use {self.measured.name}; make it again: {again} -o {self.measured.name}"
        subject = f"{self.measured.name} disagrees with {self.reference.name}"
        check(self.figures, self.bounds.tolerances, subject, remedy)

    def to_record(self) -> dict[str, Any]:
        """The result as plain values for JSON; a figure that is not finite is null."""
        return {
            "schema": RECORD_SCHEMA,
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "passed": all(gate.passes for gate in self.gates),
            "reference": dataclasses.asdict(self.reference),
            "measured": dataclasses.asdict(self.measured),
            "images": dataclasses.asdict(self.images),
            "tolerances": {"precision": self.bounds.precision, "source": self.bounds.source},
            "figures": [
                {"name": g.name, "measured": _plain(g.measured), "allowed": g.allowed, "passes": g.passes}
                for g in self.gates
            ],
            "each_image": [{name: _plain(value) for name, value in row.items()} for row in self.each],
            "versions": {"python": platform.python_version()} | installed_versions(PACKAGES),
        }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
