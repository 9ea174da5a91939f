"""The fast guided filter: a coarse map brought to the picture's size along the picture's own edges.

He, Sun and Tang 2013, "Guided Image Filtering" (eqs. 5, 6 and 8): in a window around each place the output is a linear
function of the guide, q = a I + b, with a = cov(I, p) / (var(I) + ε) and b = mean(p) − a mean(I), and a and b are
averaged over all windows that hold the place. He and Sun 2015, "Fast Guided Filter" (arXiv 1505.00996, algorithm 2): a
and b are found at the low resolution and enlarged bilinearly, the guide is taken at the full one.

Here the low resolution is the map's own, so that the map is never enlarged before it is filtered. Only means, products
and bilinear resizes: it exports to ONNX at opset 17.

Letters: B batch, h w the map's size, H W the picture's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whymask.runtime.errors import InputError
from whymask.train.explainers import Explainer
from whymask.train.levels import Breaking
from whymask.train.masks import bilinear, resize_to

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the guide (ITU-R BT.601)."""

SMALLEST_VARIANCE = 1e-8
"""Of a picture that has any contrast, in the units of any normalisation."""


def guided_upsample(saliency_logits: Tensor, x: Tensor, radius: int, epsilon: float) -> Tensor:
    """Bring a map to the picture's size along the picture's edges.

    Args:
        saliency_logits: float (B, h, w).
        x: float (B, 3, H, W), the normalised picture; its weighted mean over the channels, standardised, is the guide.
        radius: of the square window, in cells of the map, at least 1.
        epsilon: variance of the guide, as a share of that of the whole picture, below which a window counts as flat;
            above 0. In the picture's own units it would mean another thing for every classifier: some are normalised
            to a deviation of 1, some of 255.

    Returns:
        float32 (B, H, W). Computed in float32 whatever comes in: variances are differences of nearly equal numbers.

    Raises:
        InputError: a radius or an epsilon out of range, or a map finer than the picture.
    """
    (h, w), (height, width) = saliency_logits.shape[-2:], x.shape[-2:]
    if radius < 1 or epsilon <= 0.0:
        raise InputError(f"guided filter: radius {radius}, epsilon {epsilon}; expected at least 1, and above 0")
    if h > height or w > width:
        raise InputError(f"guided filter: a map of {h} × {w} for {height} × {width} pixels, expected a coarser one")
    coarse, guide = saliency_logits.float()[:, None], standardised(grey(x.float()))
    low = shrink(guide, int(h), int(w))
    mean_guide, mean_map = box_mean(low, radius), box_mean(coarse, radius)
    covariance = box_mean(low * coarse, radius) - mean_guide * mean_map
    variance = (box_mean(low * low, radius) - mean_guide * mean_guide).clamp_min(0.0)  # rounding may leave −1e-8
    slope = covariance / (variance + epsilon)
    offset = mean_map - slope * mean_guide
    slope, offset = (resize_to(box_mean(each, radius), guide) for each in (slope, offset))
    return (slope * guide + offset)[:, 0]


def grey(x: Tensor) -> Tensor:
    """(B, 3, H, W) → (B, 1, H, W), weighted by LUMA."""
    red, green, blue = LUMA
    return red * x[:, :1] + green * x[:, 1:2] + blue * x[:, 2:]


def standardised(guide: Tensor) -> Tensor:
    """(B, 1, H, W) of mean 0 and deviation 1 in each picture; 0 where a picture is of one colour."""
    centred = guide - guide.mean((2, 3), keepdim=True)
    return centred * (centred.square().mean((2, 3), keepdim=True) + SMALLEST_VARIANCE).rsqrt()


def box_mean(maps: Tensor, radius: int) -> Tensor:
    """Mean over a square window of 2 · radius + 1 cells a side, of the cells inside the map: (B, 1, h, w) again."""
    return F.avg_pool2d(maps, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)


def shrink(maps: Tensor, h: int, w: int) -> Tensor:
    """(B, 1, H, W) → (B, 1, h, w): means over whole cells first, so that nothing is skipped, then bilinear."""
    cell = (maps.shape[-2] // h, maps.shape[-1] // w)
    return bilinear(F.avg_pool2d(maps, cell), h, w)


def guided_multiply_adds(h: int, w: int, height: int, width: int, radius: int) -> int:
    """What one picture costs, as multiply-adds; `whymask.export.cost` counts convolutions and matrices alone.

    Six window means of (2 · radius + 1)² cells, about ten products at the low resolution; the grey guide, its means,
    two bilinear resizes of four products each and the line q = a I + b at the full one.
    """
    return h * w * (6 * (2 * radius + 1) ** 2 + 10) + height * width * (3 + 1 + 2 * 4 + 1)


class GuidedExplainer(Explainer):
    """An explainer whose map is brought to the picture's size by the filter, which has no weights of its own.

    The filter is linear in the map and keeps constants: to filter a map that is cut at a level and divided by a
    temperature is to cut the filtered map. So training learns from the filtered map, and the level stays.

    Args:
        explainer: trained or not; it stays as it is.
        radius, epsilon: see `guided_upsample`.
    """

    def __init__(self, explainer: Explainer, radius: int, epsilon: float) -> None:
        nn.Module.__init__(self)
        self.kind, self.retention = explainer.kind, explainer.retention
        self.inner, self.radius, self.epsilon = explainer, radius, epsilon

    def forward(
        self,
        features: list[Tensor],
        x: Tensor,
        logits: Tensor,
        target: Tensor,
        against: Tensor | None = None,
        predicted: bool = False,
    ) -> Tensor:
        """As of the base class, but float32 (B, H, W)."""
        coarse = self.inner(features, x, logits, target, against, predicted)
        return guided_upsample(coarse, x, self.radius, self.epsilon)

    def ranking_and_breaking(
        self,
        features: list[Tensor],
        x: Tensor,
        logits: Tensor,
        target: Tensor,
        against: Tensor | None = None,
        absent: Tensor | None = None,
    ) -> tuple[Tensor, Breaking]:
        """As of the base class, but the map is float32 (B, 1, H, W)."""
        ranking, breaking = self.inner.ranking_and_breaking(features, x, logits, target, against, absent)
        sharp = guided_upsample(ranking[:, 0], x, self.radius, self.epsilon)[:, None]
        return sharp, breaking._replace(unfiltered=ranking)

    def forward_classes(self, features: list[Tensor], x: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
        """As of the base class, but float32 (B, K, H, W)."""
        coarse = self.inner.forward_classes(features, x, logits, targets)
        each = [guided_upsample(coarse[:, k], x, self.radius, self.epsilon) for k in range(int(targets.shape[1]))]
        return torch.stack(each, dim=1)


def unfiltered(explainer: Explainer) -> Explainer:
    """The explainer in front of the filter, where there is one."""
    return explainer.inner if isinstance(explainer, GuidedExplainer) else explainer
