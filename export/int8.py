"""INT8 by static quantisation: Q/DQ pairs around the inputs and weights of a graph's heavy layers.

ONNX Runtime's quantizer does the work, with the choices that TensorRT asks for: symmetric, signed, weights by channel,
activations by tensor, biases and outputs left in float (TensorRT refuses INT32 biases behind a DequantizeLinear).
Normalisation, sums, sigmoid, threshold and every output of the graph stay in FP32, and the input uint8. Ranges of
activations are percentiles over a user's pictures.

ONNX Runtime's CPU provider has kernels for quantised layers only where their outputs are quantised too: there such a
graph is for checking, and slower than FP32. It is made for TensorRT.

Letters: N pictures, H W the graph's input size.
"""

from __future__ import annotations

import contextlib
import copy
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx.utils import Extractor

from whymask.export.parity import OnnxRunner
from whymask.runtime.card import IMAGE, LOGITS, SALIENCY
from whymask.runtime.errors import ArtefactError, InputError, ParityError
from whymask.runtime.feeds import PREDICTED, feeds_for
from whymask.runtime.ort import ERRORS_ONLY
from whymask.runtime.parity import SAME_TOP1, TOLERANCES, Tolerances, check, is_lower_bound

QUANTISED_OPS = ("Conv", "Gemm", "MatMul")
EXPLAINER = "explainer."
"""What the names of the explainer's layers begin with."""
PERCENTILE = 99.99
"""Of an activation's absolute values: its range. The few beyond are clipped, which costs less than a coarser step."""
TOGETHER = 8
"""Pictures whose activations are held at once."""
RANKED_ON = 8
"""Pictures on which layers are ranked by the error that they bring alone."""
MOST_KEPT = 0.5
"""Share of the classifier's layers that may stay in FP32; a graph with more of them is INT8 in name alone."""
WARNINGS = 2

LEAST_SAME_TOP1 = 0.9
"""Share of pictures that must keep their top-1, near ties among them: 8 bits make so many ties that these would hide
a loss."""

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Plan:
    """Which layers stay in FP32.

    Attributes:
        kept: their names, in the graph's order.
        layers: number of all heavy layers with constant weights.
    """

    kept: tuple[str, ...]
    layers: int

    def __str__(self) -> str:
        """How many are quantised."""
        return f"{self.layers - len(self.kept)} of {self.layers} layers in INT8"

    def summary(self, pictures: int) -> dict[str, Any]:
        """For the card.

        Args:
            pictures: number of those calibrated on.
        """
        method = f"static, symmetric, weights by channel, activations at percentile {PERCENTILE:g}"
        return {"layers": self.layers, "kept_fp32": list(self.kept), "pictures": pictures, "method": method}


class Quantiser:
    """Makes INT8 forms of one graph from one calibration.

    Args:
        model: in FP32, with the types of its tensors stated.
        pictures: uint8, (N, H, W, 3): like those that the graph will see.

    Raises:
        InputError: no picture.
        ArtefactError: the graph has no layer to quantise, or two of one name.
    """

    def __init__(self, model: onnx.ModelProto, pictures: Pictures) -> None:
        if not len(pictures):
            raise InputError("calibration: no picture was given; give a folder of some hundred with --calibration-data")
        self._model, self.pictures = model, pictures
        self.layers = tuple(heavy_layers(model))
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise ArtefactError("no layer to quantise, or two of one name; export with --precision fp16")
        self._ranges = _ranges(model, pictures)

    def quantised(self, kept: Sequence[str] = ()) -> onnx.ModelProto:
        """The graph with all layers but some in INT8.

        Args:
            kept: names of those that stay in FP32.
        """
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        chosen = [name for name in self.layers if name not in set(kept)]
        options = {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": list(QUANTISED_OPS),
        }
        types, ops = (QuantType.QInt8, QuantType.QInt8), list(QUANTISED_OPS)
        model = copy.deepcopy(self._model)  # the quantizer works in place
        quantizer = QDQQuantizer(model, True, False, *types, self._ranges, chosen or [""], [], ops, options)
        with contextlib.redirect_stdout(io.StringIO()):
            quantizer.quantize_model()
        done: onnx.ModelProto = quantizer.model.model
        return done

    def plans(self) -> Iterator[Plan]:
        """What to try, in turn: all in INT8; the explainer in FP32; and then ever more of the worst layers too."""
        yield Plan((), len(self.layers))
        own = [name for name in self.layers if name.startswith(EXPLAINER)]
        if own:
            yield Plan(tuple(own), len(self.layers))
        of_classifier = [name for name in self.layers if name not in set(own)]
        worst, count = self._by_error(of_classifier), 1
        while count <= MOST_KEPT * len(of_classifier):
            kept = {*own, *worst[:count]}
            yield Plan(tuple(name for name in self.layers if name in kept), len(self.layers))
            count *= 2

    def _by_error(self, names: list[str]) -> list[str]:
        """Layers by what each, quantised alone, changes in logits and saliency; the worst first."""
        pictures = self.pictures[:: -(-len(self.pictures) // RANKED_ON)]
        expected = OnnxRunner(self._model.SerializeToString(), fixed_batch(self._model))(pictures)
        errors = {name: self._error_of(name, pictures, expected) for name in names}
        return sorted(names, key=lambda name: -errors[name])

    def _error_of(self, name: str, pictures: Pictures, expected: dict[str, NDArray[Any]]) -> float:
        model = self.quantised([other for other in self.layers if other != name])
        got = OnnxRunner(model.SerializeToString(), fixed_batch(model))(pictures)
        return sum(
            float(np.square(got[tensor] - expected[tensor]).mean() / max(float(expected[tensor].var()), 1e-12))
            for tensor in (LOGITS, SALIENCY)
        )


def check_int8(
    figures: Mapping[str, float],
    subject: str = "the INT8 graph disagrees",
    remedy: str = "",
    *,
    margin: bool = False,
) -> None:
    """Hold a graph in INT8 to its bounds: those of every form, and the same top-1 on nearly all pictures.

    Args:
        figures: as `parity.compare` gives them.
        subject, remedy: see `runtime.parity.check`.
        margin: allow half as much, so that pictures unlike those that were compared are within bounds too.

    Raises:
        ParityError: with every gate that failed.
    """
    allowed, least = TOLERANCES["int8"], LEAST_SAME_TOP1
    check(figures, halved(allowed) if margin else allowed, subject, remedy)
    least = (1.0 + least) / 2.0 if margin else least
    if figures[SAME_TOP1] < least:
        got = f"{figures[SAME_TOP1]:.1%} of pictures keep their top-1, expected {least:.0%} or more"
        raise ParityError(f"{subject}: {got}, near ties among them. {remedy}")


def halved(allowed: Tolerances) -> Tolerances:
    """Half of what each bound allows."""
    return Tolerances(
        **{
            name: (1.0 + bound) / 2.0 if is_lower_bound(name) else bound / 2.0
            for name, bound in allowed.as_dict().items()
        }
    )


def classifier_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """The classifier alone, cut out of a fused graph: the same layers with the same ranges.

    Args:
        model: the fused graph.
    """
    alone = Extractor(model).extract_model([IMAGE], [LOGITS])
    del alone.metadata_props[:]
    return alone


def heavy_layers(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions and matrix products whose weights are constants, in the graph's order."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type in QUANTISED_OPS and node.input[1] in constants]


def fixed_batch(model: onnx.ModelProto) -> int | None:
    """The graph's batch size; None where it is open."""
    image = next(tensor for tensor in model.graph.input if tensor.name == IMAGE)
    return image.type.tensor_type.shape.dim[0].dim_value or None


def _ranges(model: onnx.ModelProto, pictures: Pictures) -> Any:
    """Ranges of the inputs of all heavy layers."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    batch = fixed_batch(model) or TOGETHER
    inputs = [tensor.name for tensor in model.graph.input]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "shaped.onnx"
        onnx.save_model(onnx.shape_inference.infer_shapes(model), path)
        calibrator = create_calibrator(
            path,
            list(QUANTISED_OPS),
            str(Path(folder) / "observed.onnx"),
            CalibrationMethod.Percentile,
            extra_options={"symmetric": True, "percentile": PERCENTILE},
        )
        for start in range(0, len(pictures), batch):
            part = pictures[np.arange(start, start + batch) % len(pictures)]
            calibrator.collect_data(_reader(feeds_for(inputs, part, PREDICTED)))
        return calibrator.compute_data()


def _reader(feeds: dict[str, NDArray[Any]]) -> Any:
    """One batch as the calibrator reads it."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = [feeds]

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return self._left.pop() if self._left else None

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the calibrator's chatter off standard output, and ONNX Runtime's warnings about its graph off the other."""
    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(WARNINGS)
