from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_run
import torch
import torch.nn.functional as F
from tiny_run import SIZE
from torch import Tensor

from whymask.export.config import ExportConfig
from whymask.export.fuse import FusedGraph
from whymask.export.onnx_from_run import export_run
from whymask.export.tabled import TabledExplainer, deployed
from whymask.runtime.errors import InputError
from whymask.train.config import ExplainerConfig
from whymask.train.detail import Detail
from whymask.train.explainers import TEMPERATURE, build_explainer
from whymask.train.run import Run

TEXTURES = 4


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run whose explainer lays detail over its map, and wants a lot of it."""
    made = tiny_run.make_run(tmp_path, "tapped")
    config = ExplainerConfig("tapped", channels=8, presence=True, detail=TEXTURES)
    explainer = build_explainer(config, made.classifier).eval().requires_grad_(False)
    tiny_run._settle(explainer)
    torch.nn.init.normal_(explainer.detail.wanted.weight)
    torch.nn.init.normal_(explainer.level.out.weight)
    return replace(made, explainer=explainer)


def batch_of(run: Run) -> tuple[list[Tensor], Tensor, Tensor]:
    x = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    logits, features = run.classifier.with_taps(x)
    return features, x, logits


def test_it_is_the_coarse_map_and_as_much_of_each_texture_as_a_place_wants():
    generator = torch.Generator().manual_seed(0)
    detail = Detail(5, 3)
    coarse, decoded = torch.randn(2, 1, 4, 4, generator=generator), torch.randn(2, 5, 4, 4, generator=generator)
    textures = torch.rand(2, 3, 16, 16, generator=generator)
    wanted = detail.wanted(decoded)
    expected = F.interpolate(coarse, scale_factor=4, mode="bilinear")[:, 0]
    for k in range(3):
        expected = (
            expected + F.interpolate(wanted[:, k : k + 1], scale_factor=4, mode="bilinear")[:, 0] * textures[:, k]
        )
    torch.testing.assert_close(detail(coarse, decoded, textures)[:, 0], expected)


def test_in_half_precision_training_textures_are_laid_over_in_full():
    generator = torch.Generator().manual_seed(0)
    detail = Detail(5, 3)
    coarse, decoded = torch.randn(2, 1, 4, 4, generator=generator), torch.randn(2, 5, 4, 4, generator=generator)
    textures = torch.rand(2, 3, 16, 16, generator=generator).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        wanted, found = detail.wanted(decoded), detail(coarse, decoded, textures)
    assert wanted.dtype == torch.bfloat16
    assert found.dtype == torch.float32
    sums = sum(F.interpolate(wanted.float(), scale_factor=4, mode="bilinear")[:, k] * textures[:, k] for k in range(3))
    torch.testing.assert_close(found[:, 0], F.interpolate(coarse, scale_factor=4, mode="bilinear")[:, 0] + sums)


def test_it_learns_which_pixels_of_a_cell_matter_where_the_coarse_map_cannot():
    """Bright pixels count on the left, dark ones on the right; cells of 8 pixels hold both kinds."""
    torch.manual_seed(0)
    x = torch.randn(4, 1, 32, 32).sign().expand(-1, 3, -1, -1)
    side = torch.ones(4, 1, 4, 4)
    side[..., 2:] = -1.0
    wanted = (x[:, :1] * F.interpolate(side, scale_factor=8) > 0).float()
    detail, coarse = Detail(1, TEXTURES), torch.zeros(4, 1, 4, 4)
    optimiser = torch.optim.Adam(detail.parameters(), lr=0.05)
    losses = []
    for _ in range(150):
        loss = F.binary_cross_entropy_with_logits(detail(coarse, side, detail.textures(x)), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 0.6  # as good as no knowledge: log 2
    assert losses[-1] < 0.2


def test_an_untrained_explainer_ranks_nearly_as_without_it(tmp_path: Path):
    run = tiny_run.make_run(tmp_path, "tapped")
    features, x, logits = batch_of(run)
    maps = []
    for count in (0, TEXTURES):
        torch.manual_seed(0)
        explainer = build_explainer(ExplainerConfig("tapped", channels=8, detail=count), run.classifier).train()
        ranking, _ = explainer.ranking_and_breaking(features, x, logits, logits.argmax(1))
        maps.append(F.interpolate(ranking, size=(SIZE, SIZE), mode="bilinear").flatten(1).detach())
    plain, detailed = maps
    assert not torch.equal(plain, detailed)
    assert all(torch.corrcoef(torch.stack(pair))[0, 1] > 0.8 for pair in zip(plain, detailed, strict=True))


def test_training_learns_from_the_map_that_is_deployed(run: Run):
    features, x, logits = batch_of(run)
    target = logits.argmax(1)
    explainer = run.explainer.requires_grad_(True)
    ranking, breaking = explainer.ranking_and_breaking(features, x, logits, target)
    level = ranking[:, 0] - TEMPERATURE * explainer(features, x, logits, target, predicted=True)
    assert ranking.shape == (4, 1, SIZE, SIZE)
    assert breaking.unfiltered is not None and breaking.unfiltered.shape[-1] < SIZE
    assert torch.allclose(level, level.mean((1, 2), keepdim=True).expand_as(level), atol=1e-4)
    (ranking.pow(3).sum() + breaking.centre.sum()).backward()
    assert all(each.grad is not None and each.grad.any() for each in explainer.detail.parameters())


@pytest.mark.parametrize("predicted", [True, False], ids=["predicted class", "asked class"])
def test_the_deployed_form_gives_the_same_saliency(run: Run, predicted: bool):
    features, x, logits = batch_of(run)
    target = logits.argmax(1) if predicted else torch.tensor([0, 1, 2, 4])
    fast = deployed(run.explainer)
    assert isinstance(fast, TabledExplainer)
    expected = run.explainer(features, x, logits, target, None, predicted)
    torch.testing.assert_close(fast(features, x, logits, target, None, predicted), expected, rtol=1e-4, atol=1e-4)


def test_several_classes_share_the_textures_and_are_each_their_own(run: Run):
    features, x, logits = batch_of(run)
    targets = torch.tensor([[0, 3], [1, 2], [4, 0], [2, 1]])
    for explainer in (run.explainer, deployed(run.explainer)):
        both = explainer.forward_classes(features, x, logits, targets)
        assert both.shape == (4, 2, SIZE, SIZE)
        for k in range(2):
            alone = run.explainer(features, x, logits, targets[:, k])
            torch.testing.assert_close(both[:, k], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_is_exported_within_its_gates(run: Run, tmp_path: Path, precision: str):
    card = export_run(run, tmp_path / "fused.onnx", precision=precision, max_batch=4)
    assert (card.explainer.height, card.explainer.width) == (SIZE, SIZE)
    assert card.metrics["parity_top1_agreement"] == 1.0
    textures = SIZE * SIZE * 3 * 9 * TEXTURES
    assert card.cost["explainer_macs"] > textures


def test_the_mask_of_the_fused_graph_has_the_pictures_size(run: Run):
    graph = FusedGraph(run.classifier, run.explainer, run.card, ExportConfig()).eval()
    image = torch.randint(0, 256, (2, SIZE, SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, saliency, mask = graph(image)
    assert saliency.shape == mask.shape == (2, SIZE, SIZE)
    assert torch.equal(mask, (saliency >= run.card.threshold).to(torch.uint8))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"detail": -1}, "detail is -1, expected 0 to 64 textures"),
        ({"detail": 65}, "detail is 65"),
        ({"detail": 8, "kind": "autoencoder"}, "detail is 8 with the explainer 'autoencoder'"),
        ({"detail": 8, "sharpen": 2}, "sharpen is 2 and detail 8; give one"),
    ],
)
def test_what_cannot_be_built_is_refused(fields: dict[str, object], says: str):
    with pytest.raises(InputError, match=says):
        ExplainerConfig(**fields)
