"""The settings of one export, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from whymask.runtime.alone import classifier_path as classifier_path
from whymask.runtime.backends import ATTRIBUTE_OUTPUTS, CERTIFICATES, CLASS_OUTPUTS
from whymask.runtime.card import (
    AGAINST,
    EXPLANATION,
    IMAGE,
    LOGITS,
    MASK,
    SALIENCY,
    TARGET,
)
from whymask.runtime.errors import InputError

INT8 = "int8"
PRECISIONS = ("fp32", "fp16", INT8)
CALIBRATION_PICTURES = 128
"""Pictures that ranges of INT8 activations are read from: their percentiles move little with more."""
OPSETS = range(17, 22)


@dataclass(frozen=True)
class ExportConfig:
    """What the exported graph is to be.

    Attributes:
        precision: `fp32`; `fp16` for a half-precision body with FP32 islands; or `int8` for 8-bit heavy layers in a
            graph of FP32, calibrated on pictures.
        opset: ONNX operator set, 17 to 21. 17 is what TensorRT 8.6 (JetPack 6.0) reads; later ones read it too.
        max_batch: largest batch, in images, ≥ 1. Only TensorRT profiles need it; 32 keeps their memory modest.
        dynamic: any batch from 1 to `max_batch`; False fixes the batch at `max_batch`.
        with_explanation: add the output `explanation`.
        certify: `kept` adds `kept_logits`, at the price of one more classifier pass; `both` adds `dropped_logits` too,
            of two; None, the default, adds none.
        target: add the input `target`.
        top: explain that many of the likeliest classes at once, in the outputs `classes`, `class_saliency` and
            `class_mask`: the encoder runs once, the explainer's decoder for each class. 0, the default, adds none.
        contrast: add the input `against`, for why the one class and not the other; needs `target`.
        attributes: add the outputs `attributes` and `relevance` of an interpreter (FLINT).
    """

    precision: str = "fp32"
    opset: int = 17
    max_batch: int = 32
    dynamic: bool = True
    with_explanation: bool = False
    certify: str | None = None
    target: bool = False
    top: int = 0
    contrast: bool = False
    attributes: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be exported."""
        if self.precision not in PRECISIONS:
            raise InputError(f"precision is {self.precision!r}, expected one of {', '.join(PRECISIONS)}")
        if self.opset not in OPSETS:
            raise InputError(f"opset is {self.opset}, expected {OPSETS.start} to {OPSETS.stop - 1}")
        if self.max_batch < 1:
            raise InputError(f"batch is {self.max_batch}, expected 1 or more images")
        if self.certify is not None and self.certify not in CERTIFICATES:
            raise InputError(f"certify is {self.certify!r}, expected {' or '.join(CERTIFICATES)}")
        if self.top < 0:
            raise InputError(f"top is {self.top}, expected 1 or more classes, or 0 for the explained class alone")
        if self.attributes and self.precision == INT8:
            raise InputError(
                "attributes are exported in fp32 or fp16: their relevance was not judged in int8; leave one out"
            )
        if self.contrast and not self.target:
            raise InputError("contrast asks why one class and not another; give target as well: --target --contrast")

    @property
    def has_dynamic_batch(self) -> bool:
        """Whether the batch is left open; a batch of 1 to 1 is a fixed one."""
        return self.dynamic and self.max_batch > 1

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs."""
        return (IMAGE, *((TARGET,) if self.target else ()), *((AGAINST,) if self.contrast else ()))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs."""
        certificate = () if self.certify is None else CERTIFICATES[self.certify]
        optional = (*((EXPLANATION,) if self.with_explanation else ()), *certificate)
        attributes = ATTRIBUTE_OUTPUTS if self.attributes else ()
        return (LOGITS, SALIENCY, MASK, *optional, *(CLASS_OUTPUTS if self.top else ()), *attributes)


def golden_path(fused: Path) -> Path:
    """Where the golden bundle lies: beside `fused.onnx` as `fused.golden.npz`."""
    return fused.with_name(f"{fused.stem}.golden.npz")
