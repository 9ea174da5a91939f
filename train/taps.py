"""Where an explainer listens: choosing and reading the frozen classifier's activations.

A *tap* is a module of the classifier whose output is read as a feature map (B, C, h, w). Convolutional
maps, channels-last maps (Swin) and token sequences (ViT) are brought to that one layout. Letters: B batch, C channels,
h w map size, N tokens.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from whymask.runtime.errors import InputError

MAX_MAP_HEIGHT, MIN_STRIDE = 32, 4
"""Finest map that is tapped by default: at 224 px stride 8, at 64 px stride 4. Finer ones cost more than they add."""

MAX_SHALLOWER = 3
"""Most taps beside the deepest."""

MAX_PREFIX_TOKENS = 8
"""Class and register tokens that may stand before the patch tokens."""


@dataclass(frozen=True)
class Tap:
    """One tapped module.

    Attributes:
        name: of the module inside the classifier.
        layout: `nchw`, `nhwc` or `tokens`.
        channels, height, width: of its feature map at the classifier's input size.
        prefix: tokens before the patch tokens; 0 for maps.
    """

    name: str
    layout: str
    channels: int
    height: int
    width: int
    prefix: int = 0

    def to_map(self, output: Tensor) -> Tensor:
        """Bring a module's output to (B, C, h, w)."""
        if self.layout == "nchw":
            return output
        if self.layout == "nhwc":
            return output.permute(0, 3, 1, 2)
        patches = output[:, self.prefix :]  # (B, h·w, C)
        # −1, not len(patches): an exported graph keeps its batch free.
        return patches.transpose(1, 2).reshape(-1, self.channels, self.height, self.width)


@contextmanager
def recording(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of named modules during forward passes; the hooks are gone afterwards, also on an error."""
    outputs: dict[str, Tensor] = {}
    handles = []
    try:
        for name in names:

            def keep(_module: nn.Module, _inputs: Any, output: Any, name: str = name) -> None:
                outputs[name] = output

            handles.append(model.get_submodule(name).register_forward_hook(keep))
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def describe_output(name: str, output: Any, height: int, width: int) -> Tap | None:
    """Tell the layout of a module's output for one input of (height, width); None where it is no feature map."""
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return None
    shape = tuple(output.shape)
    # Blocks that fold patches or windows into the batch (MobileViT, Swin) give more than one row an image.
    if shape[:1] != (1,):
        return None
    if len(shape) == 4:
        if shape[2] > 1 and _same_aspect(shape[2], shape[3], height, width):
            return Tap(name, "nchw", shape[1], shape[2], shape[3])
        if shape[1] > 1 and _same_aspect(shape[1], shape[2], height, width):
            return Tap(name, "nhwc", shape[3], shape[1], shape[2])
    if len(shape) == 3:
        return _describe_tokens(name, shape, height, width)
    return None


def _describe_tokens(name: str, shape: tuple[int, ...], height: int, width: int) -> Tap | None:
    rows = math.isqrt(shape[1] * height // width)
    for h in range(rows, 1, -1):
        w = round(h * width / height)
        prefix = shape[1] - h * w
        if 0 <= prefix <= MAX_PREFIX_TOKENS:
            return Tap(name, "tokens", shape[2], h, w, prefix)
    return None


def _same_aspect(h: int, w: int, height: int, width: int) -> bool:
    """Whether a map of (h, w) can come from an input of (height, width), give or take one row of padding."""
    return h <= height and w <= width and abs(h * width / height - w) <= 1


def probe(model: nn.Module, height: int, width: int, head: str | None) -> list[Tap]:
    """All feature maps of a classifier before its head, in the order of execution.

    A module that is called more than once, as the ReLU of a bottleneck, counts by its last call, which is the one that
    `recording` keeps.

    Args:
        model: classifier in eval mode, (B, 3, H, W) → (B, classes).
        head: name of the final layer; nothing from it onwards is listed.
    """
    found: dict[str, Tap] = {}
    names = {module: name for name, module in model.named_modules() if name}
    reached_head = False

    def before(module: nn.Module, _inputs: Any) -> None:
        nonlocal reached_head
        reached_head = reached_head or names[module] == head

    def after(module: nn.Module, _inputs: Any, output: Any) -> None:
        if reached_head:
            return
        found.pop(names[module], None)
        tap = describe_output(names[module], output, height, width)
        if tap is not None:
            found[tap.name] = tap

    handles = [m.register_forward_pre_hook(before) for m in names]
    handles += [m.register_forward_hook(after) for m in names]
    try:
        parameter = next(model.parameters())
        with torch.no_grad():
            model(torch.zeros(1, 3, height, width, dtype=parameter.dtype, device=parameter.device))
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())


def choose_taps(model: nn.Module, height: int, width: int, head: str | None, head_width: int | None) -> tuple[Tap, ...]:
    """Choose taps for any timm or torchvision classifier, coarse maps last.

    timm's `feature_info` names the stages where it exists; otherwise the last module at each map size stands for its
    stage (blocks at even depths for a plain ViT). The deepest tap is the last map before the head whose channels the
    head reads, so that class evidence can be computed from it.

    Raises:
        InputError: the classifier has no spatial feature map.
    """
    found = probe(model, height, width, head)
    if not found:
        raise InputError(
            "no feature map found in the classifier: none of its modules gives (B, C, h, w) or patch tokens; "
            "name modules with --taps, or use --explainer autoencoder"
        )
    stages = _timm_stages(model, found) or _stages_by_size(found)
    deepest = _deepest(found, head_width)
    shallower = [tap for tap in stages if tap.name != deepest.name and found.index(tap) < found.index(deepest)]
    return _thin(shallower, deepest, height)


def _timm_stages(model: nn.Module, found: list[Tap]) -> list[Tap]:
    info = getattr(model, "feature_info", None) or ()
    by_name = {tap.name: tap for tap in found}
    return [by_name[entry["module"]] for entry in info if entry.get("module") in by_name]


def _stages_by_size(found: list[Tap]) -> list[Tap]:
    if all(tap.layout == "tokens" for tap in found[-3:]):
        return _token_blocks(found)
    last_at_size = {tap.height: tap for tap in found}
    return list(last_at_size.values())


def _token_blocks(found: list[Tap]) -> list[Tap]:
    """The repeated blocks of a plain ViT: the outermost three or more siblings that give tokens."""
    siblings: dict[str, list[Tap]] = {}
    for tap in found:
        if tap.layout == "tokens":
            siblings.setdefault(tap.name.rpartition(".")[0], []).append(tap)
    families = [family for family in siblings.values() if len(family) >= 3]
    return min(families, key=lambda family: family[0].name.count(".")) if families else [found[-1]]


def _deepest(found: list[Tap], head_width: int | None) -> Tap:
    smallest = min(tap.height for tap in found)
    last = [tap for tap in found if tap.height == smallest]
    readable = [tap for tap in last if tap.channels == head_width]
    return (readable or last)[-1]


def _thin(shallower: list[Tap], deepest: Tap, height: int) -> tuple[Tap, ...]:
    """A few shallower taps beside the deepest: one a map size, or even depths where all sizes agree."""
    allowed = [tap for tap in shallower if tap.height <= min(MAX_MAP_HEIGHT, height // MIN_STRIDE)]
    if len({tap.height for tap in (*allowed, deepest)}) == 1:
        step = max(1, len(allowed) // 3)
        return (*allowed[step - 1 :: step][:2], deepest)
    by_size = {tap.height: tap for tap in allowed if tap.height > deepest.height}
    return (*sorted(by_size.values(), key=lambda tap: -tap.height)[:MAX_SHALLOWER], deepest)


def named_taps(model: nn.Module, names: Sequence[str], height: int, width: int, head: str | None) -> tuple[Tap, ...]:
    """Taps that the user named, in the given order.

    Raises:
        InputError: a name is unknown or gives no feature map.
    """
    found = {tap.name: tap for tap in probe(model, height, width, head)}
    for name in names:
        if name not in found:
            nearest = difflib.get_close_matches(name, found, 3)
            hint = f"; near names: {', '.join(nearest)}" if nearest else f"; for example: {', '.join(list(found)[-3:])}"
            raise InputError(f"tap {name!r} is not a module with a feature map before the classifier's head{hint}")
    return tuple(found[name] for name in names)
