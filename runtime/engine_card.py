"""An engine's sidecar: what the engine is, what it was built for, and whether this machine may run it.

The sidecar is one versioned JSON object beside the engine: `fused.plan` has `fused.plan.json`. The engine itself stays
as TensorRT wrote it, so that every other tool can read it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from whymask.runtime.card import Card
from whymask.runtime.errors import ArtefactError
from whymask.runtime.files import sha256_of, write_atomically
from whymask.runtime.from_json import dataclass_from_record, record_from_json

SIDECAR_SCHEMA = 1
TENSORRT, TENSORRT_RTX = "tensorrt", "tensorrt_rtx"
BUILDERS = {TENSORRT: "TensorRT", TENSORRT_RTX: "TensorRT-RTX"}
"""What people call each builder."""
CLASSIFIER, FUSED = "classifier", "fused"
ROLES = (FUSED, CLASSIFIER)
PRECISIONS = ("fp16", "fp32")
AMPERE = (8, 0)
"""Least compute capability on which a hardware-compatible engine runs."""

_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "dict": dict,
    "Card": Card,
}
"""What a field of each annotation may hold."""


class Machine(Protocol):
    """The GPU that is to run an engine."""

    @property
    def name(self) -> str:
        """Its model, such as `Orin`."""

    @property
    def compute_capability(self) -> str:
        """Such as `8.7`."""


@dataclass(frozen=True)
class EngineCard:
    """What an engine is.

    Attributes:
        card: the fused graph's card, unchanged.
        role: `fused`, or `classifier` for an engine of the classifier alone.
        builder: `tensorrt` or `tensorrt_rtx`.
        builder_version: such as `10.3.0`.
        precision: of the convolutions and matrix products as built, `fp16` or `fp32`.
        layers: number of layers of each precision, as the engine inspector says.
        onnx_sha256, engine_sha256: digests of the graph's file and of the engine's file, hexadecimal.
        engine_bytes: size of the engine's file.
        cuda, driver: versions at build time; empty where unknown.
        device: model of the GPU it was built on; empty where none took part.
        compute_capability: of that GPU, such as `8.7`; for TensorRT-RTX all that it was built for, such as `8.6, 8.9`.
        min_batch, opt_batch, max_batch: the optimisation profile, in images.
        version_compatible: whether newer TensorRT versions may run it.
        hardware_compatible: whether every GPU of compute capability 8.0 or more may run it.
        build_seconds: how long the build took.
        flags: the other options of the build, as given.
        build_command: the command line that made it, with plain file names.
        versions: of the packages that took part.
        created: UTC, ISO 8601.
    """

    card: Card
    role: str
    builder: str
    builder_version: str
    precision: str
    layers: dict[str, int]
    onnx_sha256: str
    engine_sha256: str
    engine_bytes: int
    cuda: str
    driver: str
    device: str
    compute_capability: str
    min_batch: int
    opt_batch: int
    max_batch: int
    version_compatible: bool
    hardware_compatible: bool
    build_seconds: float
    flags: dict[str, Any]
    build_command: str
    versions: dict[str, str]
    created: str
    schema: int = SIDECAR_SCHEMA

    def __post_init__(self) -> None:
        """Refuse values that no engine can have."""
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), str(field.type).partition("[")[0]
            # Python's bool is an int; JSON's is not.
            if not isinstance(value, _TYPES[kind]) or isinstance(value, bool) != (kind == "bool"):
                raise ArtefactError(f"sidecar: {field.name} is {value!r}, expected {kind}; build the engine again")
        for name, allowed in (("role", ROLES), ("builder", tuple(BUILDERS)), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                raise ArtefactError(f"sidecar: {name} is {getattr(self, name)!r}, expected one of {', '.join(allowed)}")
        if not 1 <= self.min_batch <= self.opt_batch <= self.max_batch:
            sizes = f"{self.min_batch}, {self.opt_batch}, {self.max_batch}"
            raise ArtefactError(f"sidecar: smallest, best and largest batch are {sizes}, expected 1 or more, in order")

    def to_json(self, indent: int | None = 2) -> str:
        """The sidecar as JSON text, keys in a fixed order."""
        record = {**dataclasses.asdict(self), "card": self.card.to_record()}
        return json.dumps(record, indent=indent, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> EngineCard:
        """Read a sidecar.

        Raises:
            ArtefactError: not JSON, a newer schema, an unknown or a missing key, or a value of another type.
        """
        record = record_from_json(text, "sidecar", SIDECAR_SCHEMA, "build the engine again")
        if isinstance(record.get("card"), dict):
            record = {**record, "card": Card.from_json(json.dumps(record["card"]))}
        return dataclass_from_record(cls, "sidecar", record)

    def built_for(self) -> str:
        """Builder, version and GPU, such as `TensorRT 10.3.0 on Orin (8.7)`."""
        library = f"{BUILDERS[self.builder]} {self.builder_version}"
        if self.builder == TENSORRT_RTX:
            return f"{library} for compute capability {self.compute_capability}"
        return f"{library} on {self.device} ({self.compute_capability})"


def sidecar_path(engine: Path) -> Path:
    """Where an engine's sidecar lies: `fused.plan` has `fused.plan.json`."""
    return engine.with_name(f"{engine.name}.json")


def read_sidecar(engine: Path) -> EngineCard:
    """Read what an engine is, from the file beside it.

    Args:
        engine: the engine's file; it is not opened.

    Raises:
        ArtefactError: there is no sidecar, or it cannot be read.
    """
    path = sidecar_path(engine)
    again = f"whymask build FUSED.onnx -o {engine.name}"
    try:
        return EngineCard.from_json(path.read_text("utf-8"))
    except OSError as error:
        raise ArtefactError(
            f"{engine}: its sidecar {path.name} cannot be read ({error.strerror}); copy it beside the engine, or run: "
            f"{again}"
        ) from None
    except UnicodeDecodeError:
        raise ArtefactError(f"{path}: not UTF-8 text, so this is no sidecar; run: {again}") from None
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error} (run: {again})") from None


def write_engine(engine: Path, plan: bytes, card: EngineCard) -> None:
    """Write an engine and its sidecar: both are there afterwards, or both are as they were.

    Args:
        engine: where to; missing folders are made.
        plan: the serialised engine.
        card: what it is; digest and size must already be those of `plan`.

    Raises:
        ArtefactError: one of the two cannot be written.
    """
    sidecar = sidecar_path(engine)
    with _put_back_on_failure(sidecar):
        write_atomically(sidecar, card.to_json())
        write_atomically(engine, plan)


def check_engine(engine: Path, card: EngineCard, machine: Machine | None, *, builder_version: str) -> None:
    """Refuse an engine that this machine must not load, before TensorRT sees it.

    Args:
        engine: the engine's file, read once for its digest.
        card: its sidecar.
        machine: the GPU that is to run it; None checks file and version alone.
        builder_version: version of the TensorRT or TensorRT-RTX that is to run it, such as `10.3.0`.

    Raises:
        ArtefactError: truncated or changed since it was built, or built for another version or another GPU.
    """
    reason = (
        _wrong_file(engine, card)
        or _wrong_version(card, builder_version)
        or (_wrong_gpu(card, machine) if machine else "")
    )
    if reason:
        here = f"{BUILDERS[card.builder]} {builder_version}"
        if machine:
            here += f" on {machine.name} ({machine.compute_capability})"
        raise ArtefactError(
            f"{engine}: {reason}. It was built for {card.built_for()}; this machine has {here}. "
            f"Build it here: {card.build_command}"
        )


def _wrong_file(engine: Path, card: EngineCard) -> str:
    try:
        size = engine.stat().st_size
        if size != card.engine_bytes:
            kind = "truncated" if size < card.engine_bytes else "not the engine of its sidecar"
            return f"{kind}, with {size} bytes where its sidecar says {card.engine_bytes}"
        digest = sha256_of(engine)
    except OSError as error:
        return f"the engine cannot be read ({error.strerror})"
    if digest != card.engine_sha256:
        expected = card.engine_sha256
        return f"changed since it was built: its sha256 begins with {digest[:12]}, its sidecar says {expected[:12]}"
    return ""


def _wrong_version(card: EngineCard, version: str) -> str:
    built, here = _numbers(card.builder_version), _numbers(version)
    if built == here or (card.version_compatible and built < here):
        return ""
    library = BUILDERS[card.builder]
    if card.version_compatible:
        return f"an engine never runs on a {library} older than its own"
    return f"an engine runs on the {library} that built it, unless it was built with --version-compatible"


def _wrong_gpu(card: EngineCard, machine: Machine) -> str:
    capability = machine.compute_capability
    if card.builder == TENSORRT_RTX:
        is_listed = capability in re.findall(r"[\d.]+", card.compute_capability)
        return "" if is_listed else "a TensorRT-RTX engine runs on the compute capabilities that it was built for"
    if card.hardware_compatible:
        is_new = _numbers(capability) >= AMPERE
        return "" if is_new else "a hardware-compatible engine needs a GPU of compute capability 8.0 or more"
    if (machine.name, capability) == (card.device, card.compute_capability):
        return ""
    return "an engine runs on the model of GPU that it was built on, unless it was built with --hardware-compatible"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


@contextmanager
def _put_back_on_failure(path: Path) -> Iterator[None]:
    """Leave a small file as it was when the body raises."""
    before = path.read_bytes() if path.is_file() else None
    try:
        yield
    except BaseException:
        if before is not None:
            write_atomically(path, before)
        elif path.is_file():
            path.unlink()
        raise
