"""Half precision with FP32 islands: one typed graph, valid for TensorRT 10 and 11 (`STRONGLY_TYPED`) and ONNX Runtime.

The body (classifier and explainer) runs in FP16. Normalisation, an explainer's last sum over channels and its
statistics, the saliency's sigmoid, the threshold and every output stay in FP32. Whoever wants FP32 somewhere says so
with `.float()` in the module.
"""

from __future__ import annotations

import copy

import onnx
import torch
from onnx import TensorProto
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from whymask.runtime.errors import ArtefactError
from whymask.train.classifier import FrozenClassifier
from whymask.train.explainers import Explainer
from whymask.train.flint.interpreter import Interpreter
from whymask.train.guided import unfiltered

LARGEST_HALF = 65504.0
HEAVY_OPS = ("Conv", "ConvTranspose", "Gemm")


def body_dtype(classifier: FrozenClassifier) -> torch.dtype:
    """The dtype in which the classifier computes: that of its first floating parameter."""
    floating = (p.dtype for p in classifier.model.parameters() if p.is_floating_point())
    return next(floating, torch.float32)


def half_copies(classifier: FrozenClassifier, explainer: Explainer) -> tuple[FrozenClassifier, Explainer]:
    """Copies whose weights are FP16; the originals are left as they are.

    Args:
        classifier, explainer: in float32.

    Returns:
        The copies. The classifier's normalisation constants stay in float32; what the two shared, they still share.

    Raises:
        ArtefactError: a weight is too large for FP16.
    """
    half_classifier, half_explainer = copy.deepcopy((classifier, explainer))
    for body in (half_classifier.model, half_explainer):
        _absorb_statistics(body)
        _refuse_overflow(body)
        body.half()
    unfiltered(half_explainer).register_module("out", ExactSum(unfiltered(explainer).out))
    return half_classifier, half_explainer


def half_interpreter(interpreter: Interpreter) -> Interpreter:
    """A copy whose attribute network is FP16; the class weights, with which relevance is computed, stay in float32.

    Args:
        interpreter: in float32, left as it is.

    Raises:
        ArtefactError: a weight is too large for FP16.
    """
    half = copy.deepcopy(interpreter)
    _absorb_statistics(half.phi)
    _refuse_overflow(half.phi)
    half.phi.half()
    return half


class ExactSum(nn.Module):
    """A 1 × 1 convolution to one channel as a weighted sum in FP32.

    What it gives is standardised. A map whose mean is twenty times its deviation, as that of an explainer which has
    hardly been trained, would be rounded by FP16 to a hundredth of that deviation.

    Args:
        convolution: in float32; its weights are copied.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.register_buffer("weight", convolution.weight.detach().clone())
        bias = torch.zeros(1) if convolution.bias is None else convolution.bias.detach().clone()
        self.register_buffer("bias", bias)

    def forward(self, features: Tensor) -> Tensor:
        """Of any floating dtype, (B, C, h, w) → float32, (B, 1, h, w)."""
        return (features.float() * self.weight).sum(1, keepdim=True) + self.bias


def _absorb_statistics(body: nn.Module) -> None:
    """Turn each BatchNorm into its scale and shift while still in float32: variances overflow or vanish in FP16."""
    for module in body.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            weight = torch.ones_like(module.running_var) if module.weight is None else module.weight.detach()
            bias = torch.zeros_like(module.running_var) if module.bias is None else module.bias.detach()
            scale = weight / torch.sqrt(module.running_var + module.eps)
            module.weight = nn.Parameter(scale, requires_grad=False)
            module.bias = nn.Parameter(bias - module.running_mean * scale, requires_grad=False)
            module.running_mean = torch.zeros_like(module.running_mean)
            module.running_var = torch.full_like(module.running_var, 1.0 - module.eps)


def _refuse_overflow(body: nn.Module) -> None:
    for name, tensor in body.state_dict().items():
        if _is_floating(tensor) and float(tensor.abs().max()) > LARGEST_HALF:
            raise ArtefactError(
                f"{name} holds {float(tensor.abs().max()):.4g}, more than FP16 can ({LARGEST_HALF:.0f}); "
                "export with --precision fp32"
            )


def _is_floating(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 0


def check_precision(model: onnx.ModelProto, precision: str) -> None:
    """Hold a graph to its stated precision.

    Args:
        model: with the types of its tensors stated, as the exporter leaves it.
        precision: `fp32`, `fp16`, or `int8`, whose layers give FP32 and are quantised later.

    Raises:
        ArtefactError: a convolution or matrix product computes in another type.
    """
    expected = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT
    types = tensor_types(model)
    wrong = [
        node.name for node in model.graph.node if node.op_type in HEAVY_OPS and types.get(node.output[0]) != expected
    ]
    if wrong:
        raise ArtefactError(
            f"{len(wrong)} layers do not compute in {precision}, the first is {wrong[0]!r}; the module converts its "
            "tensors itself there"
        )


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    """ONNX element type of each named tensor that states one."""
    graph = model.graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
    return types | {i.name: i.data_type for i in graph.initializer}
