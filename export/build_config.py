"""The settings of one engine build, checked when they are made, and as they stand on a command line."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from whymask.runtime.engine_card import PRECISIONS
from whymask.runtime.errors import InputError

LEVELS = range(6)
OPTIONS = {
    "precision": "--precision",
    "min_batch": "--min-batch",
    "opt_batch": "--opt-batch",
    "max_batch": "--max-batch",
    "workspace_mib": "--workspace",
    "timing_cache": "--timing-cache",
    "version_compatible": "--version-compatible",
    "hardware_compatible": "--hardware-compatible",
    "optimization_level": "--optimization-level",
    "dla_core": "--dla",
    "compute_capabilities": "--compute-capability",
}
"""The option of `whymask build` for each field of `BuildConfig`."""

TENSORRT_ALONE = {
    "timing_cache": "TensorRT-RTX has no timing cache",
    "version_compatible": "a TensorRT-RTX engine runs on the version that built it",
    "hardware_compatible": "name the GPUs with --compute-capability",
    "dla_core": "TensorRT-RTX runs on no DLA",
}
"""Fields that TensorRT-RTX does not know, and what to know instead."""


@dataclass(frozen=True)
class BuildConfig:
    """What the engine is to be.

    Attributes:
        precision: `fp16` or `fp32`; must be the graph's own, since the types stand in the graph.
        min_batch, opt_batch, max_batch: the profile in images, 1 ≤ min ≤ opt ≤ max; the engine is fastest at opt.
        workspace_mib: most memory that a layer may use while it runs, in MiB; None leaves TensorRT's own limit.
        timing_cache: file of measured kernel times, read where it exists and written after the build.
        version_compatible: whether newer TensorRT versions may run the engine; costs speed.
        hardware_compatible: whether every GPU of compute capability 8.0 or more may run it; costs speed.
        optimization_level: 0 (builds fastest) to 5 (looks longest); None leaves TensorRT's own, 3.
        dla_core: the DLA core that runs what it can, the GPU the rest; None uses the GPU alone.
        compute_capabilities: of the GPUs that a TensorRT-RTX engine is for, such as `8.6`; empty takes this machine's.
    """

    precision: str = "fp16"
    min_batch: int = 1
    opt_batch: int = 1
    max_batch: int = 8
    workspace_mib: int | None = None
    timing_cache: Path | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    optimization_level: int | None = None
    dla_core: int | None = None
    compute_capabilities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.precision not in PRECISIONS:
            raise InputError(f"--precision is {self.precision!r}, expected one of {', '.join(PRECISIONS)}")
        if not 1 <= self.min_batch <= self.opt_batch <= self.max_batch:
            raise InputError(
                f"--min-batch, --opt-batch, --max-batch are {self.min_batch}, {self.opt_batch}, {self.max_batch}; "
                "expected 1 or more, in this order"
            )
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise InputError(f"--workspace is {self.workspace_mib}, expected 1 MiB or more")
        if self.optimization_level is not None and self.optimization_level not in LEVELS:
            raise InputError(f"--optimization-level is {self.optimization_level}, expected 0 to {LEVELS.stop - 1}")
        if self.dla_core is not None and (self.dla_core < 0 or self.precision != "fp16"):
            raise InputError(f"--dla {self.dla_core} --precision {self.precision}: expected a core from 0, and fp16")
        for capability in self.compute_capabilities:
            if not re.fullmatch(r"\d+\.\d", capability):
                raise InputError(f"--compute-capability is {capability!r}, expected one such as 8.6")

    def check_builder(self, rtx: bool) -> None:
        """Refuse options that do not belong to the builder.

        Args:
            rtx: whether TensorRT-RTX builds.

        Raises:
            InputError: an option is set that the builder does not know.
        """
        if not rtx and self.compute_capabilities:
            raise InputError("--compute-capability: TensorRT builds for the GPU of this machine; it belongs to --rtx")
        for name, instead in TENSORRT_ALONE.items():
            if rtx and name in self._changed():
                raise InputError(f"{OPTIONS[name]} does not belong to --rtx: {instead}")

    def words(self) -> list[str]:
        """The options that differ from the defaults, and the precision, as words of a command line."""
        words = ["--precision", self.precision]
        for name, value in self._changed().items():
            if name == "precision":
                continue
            if value is True:
                words.append(OPTIONS[name])
                continue
            for one in value if isinstance(value, tuple) else (value,):
                words += [OPTIONS[name], one.name if isinstance(one, Path) else str(one)]
        return words

    def _changed(self) -> dict[str, Any]:
        given = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in given.items() if value != default}


def build_line(onnx: Path, out: Path, config: BuildConfig, *, rtx: bool = False, classifier: bool = False) -> str:
    """The `whymask build …` line with plain file names, so that it holds on every machine.

    Args:
        onnx: the fused graph's file.
        out: the fused engine's file.
        config: its options are on the line.
        rtx: whether TensorRT-RTX builds.
        classifier: whether the classifier alone is built beside it.
    """
    flags = [*(["--rtx"] if rtx else []), *(["--classifier"] if classifier else [])]
    return shlex.join(["whymask", "build", onnx.name, "-o", out.name, *config.words(), *flags])
