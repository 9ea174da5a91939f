"""The frozen classifier: loading it, its normalisation, its final layer, its digest.

Letters: B batch, H W the input size, C classes, D width of the features that the final layer reads.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whymask.runtime.card import ClassifierCard, InputCard
from whymask.runtime.errors import InputError
from whymask.train.taps import Tap, choose_taps, named_taps, recording

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InputRule:
    """How a picture becomes a classifier's input.

    Attributes:
        height, width: pixels.
        mean, std: of RGB in [0, 1].
        resize: `squash` or `crop` (see `whymask.runtime.card.InputCard`).
        crop_fraction: share of the resized short side that the centre crop keeps.
    """

    height: int = 224
    width: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    resize: str = "squash"
    crop_fraction: float = 1.0

    def to_card(self) -> InputCard:
        """The same facts for the card."""
        return InputCard(self.height, self.width, self.mean, self.std, self.resize, self.crop_fraction)


class FrozenClassifier(nn.Module):
    """A classifier that can be asked, and read, but never changed.

    It stays in eval mode whatever is asked of it, its parameters take no gradient, and `bits_sha256` proves that
    nothing moved.

    Args:
        model: float32 module, normalised RGB (B, 3, H, W) → logits (B, C).
        id: how the user named it.
        rule: its input.
        labels: one name a class, or empty.
        taps: names of the modules to tap; chosen automatically when None.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        id: str,
        rule: InputRule,
        labels: Sequence[str] = (),
        taps: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.id, self.rule = id, rule
        self.register_buffer("mean", torch.tensor(rule.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(rule.std).view(1, 3, 1, 1), persistent=False)
        self.num_classes = self._count_classes()
        self.labels = tuple(labels)
        if self.labels and len(self.labels) != self.num_classes:
            raise InputError(
                f"{len(self.labels)} labels for {self.num_classes} classes; give one label a class, in order"
            )
        self.head = find_head(self.model, self.num_classes)
        self.tap_specs = self._choose(taps)
        self.training = False

    def _count_classes(self) -> int:
        with torch.no_grad():
            logits = self.model(torch.zeros(1, 3, self.rule.height, self.rule.width))
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise InputError(f"classifier {self.id!r} returned {got}, expected logits of shape (batch, classes)")
        if logits.shape[1] < 2:
            raise InputError(
                f"classifier {self.id!r} has {logits.shape[1]} class, expected two or more: there is no decision to "
                "explain; give a single logit z as the two logits (0, z)"
            )
        return int(logits.shape[1])

    def _choose(self, taps: Sequence[str] | None) -> tuple[Tap, ...]:
        if taps is not None:
            return named_taps(self.model, taps, self.rule.height, self.rule.width, self.head)
        weight = self.head_weight
        return choose_taps(
            self.model, self.rule.height, self.rule.width, self.head, None if weight is None else weight.shape[1]
        )

    def train(self, mode: bool = True) -> FrozenClassifier:
        """Stay in eval mode: batch statistics and dropout of a frozen classifier never move."""
        del mode
        return super().train(False)

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the tapped modules, finest map first."""
        return tuple(tap.name for tap in self.tap_specs)

    @property
    def head_weight(self) -> Tensor | None:
        """Rows of the final layer, float32 (C, D), or None where no final linear layer was found."""
        if self.head is None:
            return None
        weight = self.model.get_submodule(self.head).weight
        return weight.detach().flatten(1) if isinstance(weight, Tensor) else None

    @property
    def has_class_evidence(self) -> bool:
        """Whether the final layer reads the deepest tap's channels, so that its rows give class evidence (CAM)."""
        weight = self.head_weight
        return weight is not None and weight.shape[1] == self.tap_specs[-1].channels

    def normalise(self, pixels: Tensor) -> Tensor:
        """float (B, 3, H, W) in 0–255 → what the classifier expects."""
        return (pixels / 255.0 - self.mean) / self.std

    def forward(self, x: Tensor) -> Tensor:
        """Normalised float (B, 3, H, W) → logits (B, C)."""
        logits: Tensor = self.model(x)
        return logits

    def with_taps(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Normalised float (B, 3, H, W) → logits (B, C) and the feature maps (B, channels, h, w), finest first."""
        with recording(self.model, self.taps) as outputs:
            logits = self.model(x)
        return logits, [tap.to_map(outputs[tap.name]) for tap in self.tap_specs]

    def tapped_at(self, taps: tuple[Tap, ...]) -> FrozenClassifier:
        """The same classifier, listened to elsewhere; nothing of it is copied."""
        other = copy.copy(self)
        other.tap_specs = taps
        return other

    def sha256(self) -> str:
        """Digest of every parameter and buffer that a file of weights holds; see `module_sha256`."""
        return module_sha256(self.model)

    def bits_sha256(self) -> str:
        """Digest of all parameters and buffers, by which nothing may move; see `module_bits_sha256`."""
        return module_bits_sha256(self.model)

    def card(self) -> ClassifierCard:
        """What the card says of this classifier."""
        parameters = sum(p.numel() for p in self.model.parameters())
        return ClassifierCard(self.id, self.sha256(), self.num_classes, self.labels, parameters)


def module_sha256(module: nn.Module) -> str:
    """Digest of every parameter and buffer that a file of weights holds: names, dtypes, shapes, bytes; hexadecimal.

    It says which classifier this is, on any machine. Buffers that no file holds are computed where a model is built,
    and may differ there in a last bit.
    """
    return _digest(module.state_dict())


def module_bits_sha256(module: nn.Module) -> str:
    """Digest of every parameter and buffer, also of those that no file holds: within a process, whether it changed."""
    return _digest({**dict(module.named_buffers()), **module.state_dict()})


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return digest.hexdigest()


def find_head(model: nn.Module, num_classes: int) -> str | None:
    """Name of the final layer: the last Linear, or 1 × 1 convolution, with one output a class."""
    found = None
    for name, module in model.named_modules():
        linear = isinstance(module, nn.Linear) and module.out_features == num_classes
        pointwise = (
            isinstance(module, nn.Conv2d) and module.out_channels == num_classes and module.kernel_size == (1, 1)
        )
        if linear or pointwise:
            found = name
    return found
