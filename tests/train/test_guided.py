from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_run import SIZE, make_run
from torch import Tensor

from whymask.export.config import ExportConfig
from whymask.export.fuse import FusedGraph
from whymask.export.onnx_from_run import export_run
from whymask.runtime.errors import InputError
from whymask.train.explainers import TEMPERATURE
from whymask.train.guided import (
    GuidedExplainer,
    box_mean,
    grey,
    guided_multiply_adds,
    guided_upsample,
    shrink,
    standardised,
)


def by_windows(guide: np.ndarray, map_: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Eqs. 5, 6 and 8 of the guided filter at one resolution, window by window."""
    h, w = guide.shape
    a, b = np.zeros((h, w)), np.zeros((h, w))

    def window(values: np.ndarray, i: int, j: int) -> np.ndarray:
        return values[max(0, i - radius) : i + radius + 1, max(0, j - radius) : j + radius + 1]

    for i, j in np.ndindex(h, w):
        guides, maps = window(guide, i, j), window(map_, i, j)
        covariance = (guides * maps).mean() - guides.mean() * maps.mean()
        a[i, j] = covariance / (guides.var() + epsilon)
        b[i, j] = maps.mean() - a[i, j] * guides.mean()
    return np.array([window(a, i, j).mean() * guide[i, j] + window(b, i, j).mean() for i, j in np.ndindex(h, w)])


def test_at_one_resolution_it_is_the_guided_filter_of_the_paper():
    generator = torch.Generator().manual_seed(0)
    x, coarse = torch.randn(1, 3, 9, 7, generator=generator), torch.randn(1, 9, 7, generator=generator)
    expected = by_windows(standardised(grey(x))[0, 0].double().numpy(), coarse[0].double().numpy(), 2, 0.05)
    assert guided_upsample(coarse, x, 2, 0.05)[0].flatten().numpy() == pytest.approx(expected, abs=1e-5)


def test_a_classifiers_normalisation_does_not_matter():
    generator = torch.Generator().manual_seed(2)
    x, coarse = torch.rand(2, 3, 32, 32, generator=generator), torch.randn(2, 8, 8, generator=generator)
    wide = (x - 0.48) * 255.0  # as a classifier with a deviation of 1/255 sees the same picture
    assert torch.allclose(guided_upsample(coarse, x, 1, 0.05), guided_upsample(coarse, wide, 1, 0.05), atol=1e-4)


def step_edge() -> tuple[Tensor, Tensor, Tensor]:
    """A picture dark on the left and bright from column 28 on, and a map that says so at an eighth of the size."""
    x = torch.full((1, 3, 64, 64), -1.0)
    x[..., 28:] = 1.0
    truth = (x[:, 0] > 0).float()
    return x, truth, F.avg_pool2d(truth[:, None], 8)[:, 0]


def test_a_coarse_map_follows_the_pictures_edge():
    x, truth, coarse = step_edge()
    guided = guided_upsample(coarse, x, 1, 1e-3)
    plain = F.interpolate(coarse[:, None], size=(64, 64), mode="bilinear", align_corners=False)[:, 0]
    assert guided.shape == truth.shape
    assert (guided - truth).abs().mean() < 0.3 * (plain - truth).abs().mean()
    assert torch.equal((guided >= 0.5).float(), truth)


def test_a_flat_picture_gives_the_smoothed_map_and_a_flat_map_stays_flat():
    x, _, coarse = step_edge()
    smooth = box_mean(box_mean(coarse[:, None], 1), 1)
    wanted = F.interpolate(smooth, size=(64, 64), mode="bilinear", align_corners=False)[:, 0]
    assert torch.allclose(guided_upsample(coarse, torch.zeros_like(x), 1, 0.05), wanted, atol=1e-6)
    flat = guided_upsample(torch.full((1, 8, 8), 2.5), x, 1, 0.05)
    assert torch.allclose(flat, torch.full_like(flat, 2.5), atol=1e-5)


def test_a_map_whose_cells_do_not_divide_the_picture_is_taken_too():
    x = torch.randn(2, 3, 50, 34, generator=torch.Generator().manual_seed(1))
    assert shrink(grey(x), 7, 5).shape == (2, 1, 7, 5)
    assert guided_upsample(torch.randn(2, 7, 5), x, 1, 0.1).shape == (2, 50, 34)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((8, 0, 0.1), "radius 0, epsilon 0.1; expected at least 1, and above 0"),
        ((8, 1, 0.0), "radius 1, epsilon 0.0"),
        ((32, 1, 0.1), "a map of 32 × 32 for 16 × 16 pixels, expected a coarser one"),
    ],
)
def test_what_cannot_be_filtered_is_refused(options: tuple[int, int, float], says: str):
    side, radius, epsilon = options
    with pytest.raises(InputError, match=says):
        guided_upsample(torch.zeros(1, side, side), torch.zeros(1, 3, 16, 16), radius, epsilon)


def test_a_guided_explainer_gives_a_map_of_the_pictures_size_and_leaves_the_logits(tmp_path):
    run = make_run(tmp_path, "tapped")
    guided = GuidedExplainer(run.explainer, 1, 0.05).eval()
    plain, fine = (
        FusedGraph(run.classifier, each, run.card, ExportConfig()).eval() for each in (run.explainer, guided)
    )
    image = torch.randint(0, 256, (2, SIZE, SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (logits, coarse, _), (same, saliency, mask) = plain(image), fine(image)
    assert torch.equal(logits, same)
    assert saliency.shape == mask.shape == (2, SIZE, SIZE)
    assert coarse.shape[-1] < SIZE
    assert torch.equal(mask, (saliency >= run.card.threshold).to(torch.uint8))


def test_training_learns_from_the_map_that_is_deployed(tmp_path):
    run = make_run(tmp_path, "tapped")
    guided = GuidedExplainer(run.explainer.requires_grad_(True), 1, 0.05).eval()
    x = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    logits, features = run.classifier.with_taps(x)
    target = logits.argmax(1)
    ranking, breaking = guided.ranking_and_breaking(features, x, logits, target)
    saliency = guided(features, x, logits, target, predicted=True)
    level = ranking[:, 0] - TEMPERATURE * saliency
    assert ranking.shape == (2, 1, SIZE, SIZE)
    assert breaking.unfiltered is not None and breaking.unfiltered.shape[-1] < SIZE
    assert torch.allclose(level, level.mean((1, 2), keepdim=True).expand_as(level), atol=1e-4)
    (ranking.square().sum() + breaking.centre.sum() + breaking.scale.sum()).backward()
    without = [name for name, each in guided.inner.out.named_parameters() if each.grad is None or not each.grad.any()]
    assert without in ([], ["bias"])  # a constant is lost by standardising


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_guided_run_is_exported_within_its_gates(tmp_path, precision: str):
    run = make_run(tmp_path, "tapped")
    guided = replace(run, explainer=GuidedExplainer(run.explainer, 1, 0.05).eval())
    card = export_run(guided, tmp_path / "fused.onnx", precision=precision, max_batch=4)
    assert (card.explainer.height, card.explainer.width) == (SIZE, SIZE)
    assert card.metrics["parity_top1_agreement"] == 1.0


def test_several_classes_are_filtered_one_by_one(tmp_path):
    run = make_run(tmp_path, "tapped")
    guided = GuidedExplainer(run.explainer, 1, 0.05)
    x = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(4))
    logits, features = run.classifier.with_taps(x)
    targets = torch.tensor([[0, 3], [1, 2]])
    each = guided.forward_classes(features, x, logits, targets)
    assert each.shape == (2, 2, SIZE, SIZE)
    assert torch.allclose(each[:, 1], guided(features, x, logits, targets[:, 1]), atol=1e-4)


def test_the_cost_grows_with_the_window_and_is_that_of_the_formula():
    assert guided_multiply_adds(4, 4, 32, 32, 1) == 16 * (6 * 9 + 10) + 1024 * 13
    assert guided_multiply_adds(4, 4, 32, 32, 2) > guided_multiply_adds(4, 4, 32, 32, 1)
