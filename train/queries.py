"""What a training step asks: of most pictures why they are what they are, of some why they are something else.

A share of the pictures gets another one pasted in, and is asked about either; or is asked about its runner-up. Some of
these are asked in contrast: why the one and not the other. Of every picture, one more class is asked that is not there.

Letters: B batch, C classes, H W input size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from whymask.train.classifier import FrozenClassifier
from whymask.train.masks import bilinear_by_product

PASTED_SHARE = 0.75
"""Of the pictures that are asked about another class; the others are asked about their runner-up."""

SMALLEST_SIDE, LARGEST_SIDE = 0.45, 0.75
"""Side of a pasted picture as a share of its host's: both objects stay recognisable."""


@dataclass(frozen=True)
class Queries:
    """Pictures, what the classifier says of them, and what is asked.

    Attributes:
        x: normalised, float32 (B, 3, H, W).
        logits: float32 (B, C).
        features: the taps, finest first.
        target: int64 (B,), the asked class.
        against: int64 (B,), the class that it is held against, −1 for none; None where nothing is.
        own: bool (B,), whether the predicted class of an unchanged picture is asked.
        seen: bool (B,), whether the classifier sees the asked class: more than by chance, p ≥ 1/C.
        absent: int64 (B,), the class of another picture.
        is_absent: bool (B,), whether the classifier does not see that one, and it was not pasted in either.
    """

    x: Tensor
    logits: Tensor
    features: list[Tensor]
    target: Tensor
    against: Tensor | None
    own: Tensor
    seen: Tensor
    absent: Tensor
    is_absent: Tensor

    def about(self, classes: Tensor) -> Queries:
        """The same, but unchanged pictures are asked about these classes, int64 (B,), where they are seen."""
        target = torch.where(self.own & is_seen(self.logits, classes), classes, self.target)
        return replace(self, target=target, seen=is_seen(self.logits, target))

    def first(self, count: int) -> Queries:
        """The first `count` pictures; those that are asked about another class stand there."""
        against = None if self.against is None else self.against[:count]
        return Queries(
            self.x[:count],
            self.logits[:count],
            [feature[:count] for feature in self.features],
            self.target[:count],
            against,
            self.own[:count],
            self.seen[:count],
            self.absent[:count],
            self.is_absent[:count],
        )


@torch.no_grad()
def draw_queries(classifier: FrozenClassifier, x: Tensor, others: float, generator: torch.Generator) -> Queries:
    """Ask about a batch.

    Args:
        x: normalised, float32 (B, 3, H, W), in random order.
        others: share of the pictures that are asked about another class, in [0, 1].
        generator: of all randomness, on the CPU.
    """
    logits, features = classifier.with_taps(x)
    best = logits.argmax(1)
    target, against = best.clone(), torch.full_like(best, -1)
    count, pasted = counts(len(x), others)
    host = guest = best[:pasted]
    if pasted:
        guest = best.flip(0)[:pasted]
        x = torch.cat([paste(x[:pasted], x[-pasted:].flip(0), generator), x[pasted:]])
        again, again_features = classifier.with_taps(x[:pasted])
        logits = torch.cat([again, logits[pasted:]])
        for new, old in zip(again_features, features, strict=True):
            old[:pasted] = new  # in place: the finest maps are large, and nobody else reads them
        pairs = _either(guest, host, generator)
        target[:pasted], against[:pasted] = pairs
    if count > pasted:
        first, second = logits[pasted:count].topk(2, dim=1).indices.unbind(1)
        target[pasted:count], against[pasted:count] = _either(second, first, generator)
    absent = best.roll(len(x) // 2)
    there = is_seen(logits, absent)
    there[:pasted] |= (absent[:pasted] == host) | (absent[:pasted] == guest)
    own = torch.arange(len(x), device=x.device) >= count
    held = against if count else None
    return Queries(x, logits, features, target, held, own, is_seen(logits, target), absent, ~there)


def counts(pictures: int, others: float) -> tuple[int, int]:
    """How many pictures of a batch are asked about another class, and how many of these get another one pasted in."""
    count = round(others * pictures)
    return count, round(PASTED_SHARE * count)


def is_seen(logits: Tensor, target: Tensor) -> Tensor:
    """Whether the classifier gives a class at least chance, p ≥ 1/C: bool (B,)."""
    return logits.float().softmax(1).gather(1, target[:, None])[:, 0] >= 1.0 / logits.shape[1]


def _either(first: Tensor, second: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One of two classes a picture, the first twice as often, and half the time the other to hold against."""
    draws = torch.rand(2, len(first), generator=generator).to(first.device)
    is_first = draws[0] < 2 / 3
    asked, other = torch.where(is_first, first, second), torch.where(is_first, second, first)
    return asked, torch.where((draws[1] < 0.5) & (asked != other), other, -1)


def paste(x: Tensor, guests: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture with another one pasted in, made smaller, at a random place: float32 (N, 3, H, W).

    One size for all, drawn anew each time. Elsewhere known as CutMix (Yun et al. 2019, arXiv 1905.04899), but with the
    whole of the guest, so that its object is there.

    Args:
        x, guests: normalised, float32 (N, 3, H, W).
        generator: on the CPU.
    """
    height, width = x.shape[-2:]
    side = SMALLEST_SIDE + (LARGEST_SIDE - SMALLEST_SIDE) * float(torch.rand((), generator=generator))
    rows, columns = round(side * height), round(side * width)
    small = bilinear_by_product(guests, rows, columns, antialias=True)
    tops = torch.randint(height - rows + 1, (len(x),), generator=generator).tolist()
    lefts = torch.randint(width - columns + 1, (len(x),), generator=generator).tolist()
    out = x.clone()
    for index, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        out[index, :, top : top + rows, left : left + columns] = small[index]
    return out.contiguous(memory_format=torch.channels_last)
