"""The circuit of an explanation: which channels carry both picture and explanation, and along which edges.

After *Minimalist Explanation Generation and Circuit Discovery* (arXiv 2509.25686) and its follow-up (2604.13695): each
layer's most active channels are its nodes; an edge is scored by what its source sends into its target, and a class by
what each feature sends into it. Two rules score an edge i → j of the explanation's forward pass:

- `gradient`: |Σ a_i ∂s_j/∂a_i| over the positions of channel i, with s_j the mean of channel j (for the class: its
  logit). It holds for any layers, whatever lies between them.
- `weight`, as published: ingress weight magnitude times source activation, ‖W_ji‖₁ · mean |a_i|, of the later
  layer's first convolution that has the channels of both, and of the final layer for the class. A classifier without
  such layers is refused.

Letters: C channels of a layer, H W the input size, K channels a layer that are shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from whymask.runtime.errors import InputError
from whymask.train.backgrounds import masked
from whymask.train.classifier import FrozenClassifier
from whymask.train.matching.layers import MatchedLayer, matched_layers, read
from whymask.train.optimise import FILL

GRADIENT, WEIGHT = "gradient", "weight"
RULES = (GRADIENT, WEIGHT)
SCHEMA_VERSION = 1
CLASS = "class"
"""Name of the last layer, whose only node is the explained class."""


@dataclass(frozen=True)
class _Pass:
    """One forward pass.

    Attributes:
        logits: float32 (classes,).
        features: float32 (1, C, h, w) a layer.
    """

    logits: Tensor
    features: list[Tensor]

    @property
    def strength(self) -> list[Tensor]:
        """Mean magnitude of each channel, float32 (C,) a layer."""
        return [each.detach().abs().mean((0, 2, 3)) for each in self.features]


@torch.enable_grad()
def read_circuit(
    classifier: FrozenClassifier,
    pixels: Tensor,
    mask: Tensor,
    target: int,
    *,
    top: int = 8,
    rule: str = GRADIENT,
    fill: tuple[float, float, float] = FILL,
    taps: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The circuit of one explanation, as plain values for JSON.

    Args:
        classifier: asked, never changed.
        pixels: float (3, H, W) in 0–255.
        mask: bool or float (H, W), 1 where pixels are kept.
        target: the explained class.
        top: K, channels a layer; fewer where a layer has fewer.
        rule: `gradient` or `weight`.
        fill: RGB in 0–255 of dropped pixels.
        taps: layers; None takes those that are matched.

    Returns:
        `layers`: of each `name`, `channels` (how many it has), `nodes` and `overlap`. A node carries picture and
        explanation: the K channels with the largest min of both shares are shown; of each `channel`, `image` and
        `explanation`, its share of the layer's activation in [0, 1] in either pass. `overlap` is the Jaccard index of
        the two passes' own K strongest channels. The last layer is the class: of it `image` and `explanation` are
        probabilities. `edges`: of each `layer` (position of the source), `source`, `target` (channels) and `score`, a
        share of all scores between the two layers' shown channels; the strongest K² / 2, rounded up, a pair of layers.

    Raises:
        InputError: an unknown rule, no channel asked for, or a classifier that has no weights between its layers.
    """
    if rule not in RULES or top < 1:
        raise InputError(
            f"circuit: {top} channels a layer by rule {rule!r}; expected at least 1, by {' or '.join(RULES)}"
        )
    layers = matched_layers(classifier, taps)
    image, kept = _both_passes(classifier, layers, pixels, mask, fill)
    nodes = [_carriers(*each, top) for each in zip(image.strength, kept.strength, strict=True)]
    if rule == GRADIENT:
        scores = _gradient_scores(kept, nodes, target)
    else:
        scores = _weight_scores(classifier, layers, kept, nodes, target)
    return {
        "kind": "whymask.circuit",
        "schema": SCHEMA_VERSION,
        "classifier": classifier.id,
        "rule": rule,
        "target": target,
        "layers": [
            *(_layer(*each, top) for each in zip(layers, nodes, image.strength, kept.strength, strict=True)),
            _class_layer(image, kept, target),
        ],
        "edges": [edge for place, each in enumerate(scores) for edge in _edges(place, each, nodes, target)],
    }


@torch.no_grad()
def read_overlaps(
    classifier: FrozenClassifier,
    pixels: Tensor,
    mask: Tensor,
    *,
    top: int = 8,
    fill: tuple[float, float, float] = FILL,
    taps: Sequence[str] | None = None,
) -> dict[str, float]:
    """`overlap` of each layer of `read_circuit` by the layer's name, finest first, in [0, 1], at two passes alone.

    Args:
        classifier, pixels, mask, top, fill, taps: as of `read_circuit`.
    """
    layers = matched_layers(classifier, taps)
    image, kept = _both_passes(classifier, layers, pixels, mask, fill)
    strengths = zip(layers, image.strength, kept.strength, strict=True)
    return {layer.tap.name: _overlap(of_image, of_kept, top) for layer, of_image, of_kept in strengths}


def _both_passes(
    classifier: FrozenClassifier,
    layers: Sequence[MatchedLayer],
    pixels: Tensor,
    mask: Tensor,
    fill: tuple[float, float, float],
) -> tuple[_Pass, _Pass]:
    """The picture's pass, and the explanation's, through which gradients flow."""
    x = classifier.normalise(pixels[None].float())
    background = classifier.normalise(torch.tensor(fill, device=x.device).view(1, 3, 1, 1))
    with torch.no_grad():
        image = _look(classifier, layers, x)
    return image, _look(classifier, layers, masked(x, mask.to(x)[None, None], background).requires_grad_(True))


def _look(classifier: FrozenClassifier, layers: Sequence[MatchedLayer], x: Tensor) -> _Pass:
    logits, features = read(classifier, layers, x)
    return _Pass(logits[0], features)


def _carriers(image: Tensor, kept: Tensor, top: int) -> list[int]:
    """The channels that carry both, the strongest first."""
    both = torch.minimum(_shares(image), _shares(kept))
    channels: list[int] = both.topk(min(top, len(both))).indices.tolist()
    return channels


def _shares(strength: Tensor) -> Tensor:
    return strength / strength.sum().clamp_min(torch.finfo(strength.dtype).tiny)


def _gradient_scores(kept: _Pass, nodes: list[list[int]], target: int) -> list[Tensor]:
    """Scores between shown channels, float32 (sources, targets) a pair of layers; the class is the last target."""
    scores = []
    for place, source in enumerate(kept.features):
        if place + 1 < len(nodes):
            later = kept.features[place + 1].mean((0, 2, 3))
            ends = [later[channel] for channel in nodes[place + 1]]
        else:
            ends = [kept.logits[target]]
        columns = []
        for end in ends:
            (gradient,) = torch.autograd.grad(end, source, retain_graph=True)
            columns.append((gradient * source).sum((0, 2, 3)).abs()[nodes[place]])
        scores.append(torch.stack(columns, 1).detach())
    return scores


def _weight_scores(
    classifier: FrozenClassifier, layers: Sequence[MatchedLayer], kept: _Pass, nodes: list[list[int]], target: int
) -> list[Tensor]:
    """As `_gradient_scores`, by the weights that lie between the layers."""
    scores = []
    for place, strength in enumerate(kept.strength):
        if place + 1 < len(layers):
            weight = _ingress(classifier, layers[place], layers[place + 1])[nodes[place + 1]]
        else:
            weight = _class_row(classifier, target)
        scores.append((weight[:, nodes[place]] * strength[nodes[place]]).T)
    return scores


def _ingress(classifier: FrozenClassifier, source: MatchedLayer, end: MatchedLayer) -> Tensor:
    """‖W_ji‖₁, float32 (channels of the later layer, channels of the earlier one)."""
    shape = (end.tap.channels, source.tap.channels)
    for name, module in classifier.model.named_modules():
        inside = name == end.tap.name or name.startswith(f"{end.tap.name}.")
        if inside and isinstance(module, nn.Conv2d) and tuple(module.weight.shape[:2]) == shape:
            return module.weight.detach().abs().sum((2, 3))
    raise InputError(
        f"circuit: {end.tap.name} of {classifier.id!r} has no convolution from {shape[1]} to {shape[0]} channels, so "
        f"that rule {WEIGHT!r} has no weights between it and {source.tap.name}; take rule {GRADIENT!r}"
    )


def _class_row(classifier: FrozenClassifier, target: int) -> Tensor:
    weight = classifier.head_weight
    if weight is None or not classifier.has_class_evidence:
        raise InputError(
            f"circuit: the final layer of {classifier.id!r} does not read its deepest tap; take rule {GRADIENT!r}"
        )
    return weight[target : target + 1].abs()


def _layer(layer: MatchedLayer, nodes: list[int], image: Tensor, kept: Tensor, top: int) -> dict[str, Any]:
    of_image, of_kept = _shares(image), _shares(kept)
    return {
        "name": layer.tap.name,
        "channels": len(image),
        "overlap": _overlap(image, kept, top),
        "nodes": [
            {"channel": each, "image": round(float(of_image[each]), 6), "explanation": round(float(of_kept[each]), 6)}
            for each in nodes
        ],
    }


def _overlap(image: Tensor, kept: Tensor, top: int) -> float:
    """Jaccard index of the K strongest channels of both."""
    own, its = (set(each.topk(min(top, len(each))).indices.tolist()) for each in (image, kept))
    return round(len(own & its) / len(own | its), 6)


def _class_layer(image: _Pass, kept: _Pass, target: int) -> dict[str, Any]:
    shares = [round(float(each.logits.detach().softmax(0)[target]), 6) for each in (image, kept)]
    return {
        "name": CLASS,
        "channels": len(image.logits),
        "nodes": [{"channel": target, "image": shares[0], "explanation": shares[1]}],
    }


def _edges(place: int, scores: Tensor, nodes: list[list[int]], target: int) -> list[dict[str, Any]]:
    ends = nodes[place + 1] if place + 1 < len(nodes) else [target]
    shares = scores / scores.sum().clamp_min(torch.finfo(scores.dtype).tiny)
    best = shares.flatten().topk(math.ceil(shares.numel() / 2))
    return [
        {
            "layer": place,
            "source": nodes[place][index // len(ends)],
            "target": ends[index % len(ends)],
            "score": round(score, 6),
        }
        for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]
