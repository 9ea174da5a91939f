"""Rival maps on tiny classifiers: against formulas written out by hand, and the classifier untouched afterwards."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
from tiny_run import FILL, SIZE, make_run

from whymask.benchmarks import imagenet
from whymask.benchmarks.masking import background_from_fill
from whymask.benchmarks.pictures import read_pictures
from whymask.benchmarks.rivals.registry import NAMES, Rival, rivals
from whymask.benchmarks.rivals.rise import RandomMasks, rise_maps
from whymask.runtime.card import Card, ExplainerCard
from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.images import resize_map

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from whymask.benchmarks.rivals.attributions import (  # noqa: E402
    integrated_gradients,
    integrated_gradients_maps,
    occlusion_maps,
    occlusion_passes,
    window_and_step,
)
from whymask.benchmarks.rivals.gradcams import CLASSES, gradcam_maps  # noqa: E402
from whymask.benchmarks.rivals.recipro_cam import recipro_cam_maps  # noqa: E402
from whymask.benchmarks.rivals.score_cam import score_cam_maps  # noqa: E402
from whymask.benchmarks.rivals.torch_maps import last_layer, normalised, normalised_fill  # noqa: E402
from whymask.train.classifier import FrozenClassifier, InputRule  # noqa: E402
from whymask.train.model_spec import classifier_from_config  # noqa: E402

BACKGROUND = background_from_fill(FILL)
TORCH_NAMES = tuple(name for name in NAMES if name not in ("random", "centre", "rise"))
TARGET = np.array([3, 0, 4], np.int64)
PLACES = np.arange(3)


class PointwiseNet(nn.Module):
    """A ReLU in place and a 1 × 1 convolution follow the last map, so that its gradient varies by cell."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 4, 1), nn.Tanh(), nn.Conv2d(6, 8, 3, 2, 1))
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x):
        cells = self.head(functional.relu(self.body(x), inplace=True))
        return functional.relu(cells, inplace=True).mean((2, 3))

    def after(self, features):
        """What follows the last map."""
        return functional.relu(self.head(functional.relu(features))).mean((2, 3))


class SharedReluNet(nn.Module):
    """One ReLU module that runs twice; its last output is the last map."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 4, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.relu, self.head = nn.ReLU(), nn.Linear(8, 5)

    def forward(self, x):
        return self.after(self.relu(self.second(self.relu(self.first(x)))))

    def after(self, features):
        """What follows the last map."""
        return self.head(features.square().mean((2, 3)))


class FullSizeNet(nn.Module):
    """Its last map is as large as the picture, so that no two ways to enlarge it differ."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 20, 3, 1, 1), nn.Linear(20, 5)

    def forward(self, x):
        return self.head(self.body(x).tanh().mean((2, 3)))


class FixedBatchNet(PointwiseNet):
    """Insists behind the last map on as many maps as pictures."""

    def forward(self, x):
        return self.head(self.body(x).view(len(x), 8, SIZE // 8, SIZE // 8)).mean((2, 3))


def frozen(net: nn.Module, taps: tuple[str, ...] | None = None) -> FrozenClassifier:
    torch.manual_seed(1)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return FrozenClassifier(net, f"tests:{type(net).__name__}", InputRule(SIZE, SIZE), taps=taps)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> FrozenClassifier:
    return make_run(tmp_path_factory.mktemp("run"), "tapped").classifier


@pytest.fixture(scope="module")
def pointwise() -> FrozenClassifier:
    return frozen(PointwiseNet())


def pictures(count: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def ask_of(classifier: FrozenClassifier) -> Callable[[np.ndarray], np.ndarray]:
    @torch.no_grad()
    def ask(images: np.ndarray) -> np.ndarray:
        return classifier(normalised(classifier, images)).numpy()

    return ask


def rivals_of(classifier: FrozenClassifier, names=None, **options):
    """Those of the registry, with the card of a run of that classifier and few masks for RISE."""
    return rivals(
        ask_of(classifier),
        card_of(classifier),
        options.pop("torch_classifier", classifier),
        names,
        saliency_size=(8, 8),
        seed=0,
        rise_masks=20,
        **options,
    )


def card_of(classifier: FrozenClassifier) -> Card:
    return Card(classifier.card(), classifier.rule.to_card(), ExplainerCard("tapped", 0), fill=FILL)


def scaled(maps: np.ndarray) -> np.ndarray:
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return (maps - low) / (high - low)


# --- the registry


def test_every_rival_maps_every_picture(tiny: FrozenClassifier):
    found, left_out = rivals_of(tiny)
    assert tuple(rival.name for rival in found) == NAMES
    assert left_out == {}
    for rival in found:
        maps = rival.maps(pictures(), TARGET, PLACES)
        assert maps.dtype == np.float32
        assert maps.shape[0] == 3
        assert maps.ndim == 3
        assert np.isfinite(maps).all()
        # Some pictures' Grad-CAM is nothing but the zeros of its ReLU.
        assert (maps.max((1, 2)) > maps.min((1, 2))).any(), f"{rival.name} is flat"
        assert "\n" not in rival.stated


@pytest.mark.parametrize("name", NAMES)
def test_a_map_does_not_depend_on_the_chunk_that_its_picture_came_in(tiny: FrozenClassifier, name: str):
    [rival], _ = rivals_of(tiny, [name])
    whole = rival.maps(pictures(), TARGET, PLACES)
    last = rival.maps(pictures()[2:], TARGET[2:], PLACES[2:])
    np.testing.assert_allclose(last[0], whole[2], atol=1e-5)


def test_without_the_classifier_what_needs_torch_is_left_out_with_the_reason(tiny: FrozenClassifier):
    found, left_out = rivals_of(tiny, torch_classifier=None)
    assert [rival.name for rival in found] == ["random", "centre", "rise"]
    assert set(left_out) == set(TORCH_NAMES)
    assert all("give its run directory" in reason for reason in left_out.values())


def test_a_rival_that_is_asked_for_and_cannot_be_is_an_error(tiny: FrozenClassifier):
    with pytest.raises(InputError, match=r"rival grad_cam: needs the classifier in torch"):
        rivals_of(tiny, ["random", "grad_cam"], torch_classifier=None)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["grad-cam"], "'grad-cam' is unknown; did you mean grad_cam"),
        (["zzz"], "known are random, centre"),
        (["cam", "cam"], "a name stands once"),
    ],
)
def test_names_that_cannot_be_meant_are_refused(tiny: FrozenClassifier, names: list[str], message: str):
    with pytest.raises(InputError, match=message):
        rivals_of(tiny, names)


def test_rivals_made_elsewhere_stand_beside_the_others_but_not_in_their_place(tiny: FrozenClassifier):
    other = Rival("optimised", "made elsewhere", lambda images, target, places: np.ones((len(images), 2, 2)), 9.0)
    assert rivals_of(tiny, ["optimised", "centre"], extra=[other])[0][0] is other
    assert rivals_of(tiny, extra=[other])[0][-1] is other
    for clash in ([other, other], [Rival("cam", "", other.maps, 1.0)]):
        with pytest.raises(InputError, match="a name stands once"):
            rivals_of(tiny, extra=clash)


@pytest.mark.parametrize(
    ("package", "extra", "names"),
    [
        ("captum", "captum", {"integrated_gradients", "occlusion"}),
        ("pytorch_grad_cam", "grad-cam", set(CLASSES)),
    ],
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    tiny: FrozenClassifier, monkeypatch: pytest.MonkeyPatch, package: str, extra: str, names: set[str]
):
    monkeypatch.setitem(sys.modules, package, None)
    _, left_out = rivals_of(tiny)
    assert set(left_out) == names
    assert all(f"{extra} is needed" in reason and "whymask[evaluate]" in reason for reason in left_out.values())
    with pytest.raises(MissingExtra, match=r"whymask\[evaluate\]"):
        rivals_of(tiny, [min(names)])


def test_a_classifier_without_class_evidence_has_no_cam_but_all_else():
    cells = 8 * (SIZE // 8) ** 2
    _, left_out = rivals_of(frozen(nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(cells, 5))))
    assert set(left_out) == {"cam"}
    assert "final layer does not read" in left_out["cam"]


# --- the classifier stays as it was


def state_of(classifier: FrozenClassifier) -> list[object]:
    """All that a method could have left behind."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    modules = [(m.training, *(len(getattr(m, name)) for name in hooks)) for m in classifier.modules()]
    return [classifier.sha256(), modules, [(p.requires_grad, p.grad) for p in classifier.parameters()]]


@pytest.mark.parametrize("name", TORCH_NAMES)
def test_the_classifier_is_bit_identical_and_unhooked_afterwards(tiny: FrozenClassifier, name: str):
    before = state_of(tiny)
    assert all(hooks == 0 for _, *counts in before[1] for hooks in counts)
    [rival], _ = rivals_of(tiny, [name])
    rival.maps(pictures(), TARGET, PLACES)
    assert state_of(tiny) == before


@pytest.mark.parametrize("name", TORCH_NAMES)
def test_the_classifier_is_unhooked_also_when_a_pass_fails(
    tiny: FrozenClassifier, monkeypatch: pytest.MonkeyPatch, name: str
):
    before = state_of(tiny)
    [rival], _ = rivals_of(tiny, [name])

    def fail(*_: object) -> None:
        raise IndexError("in the middle of a pass")

    monkeypatch.setattr(tiny.model.head, "forward", fail)
    with pytest.raises(IndexError, match="in the middle"):
        rival.maps(pictures(), TARGET, PLACES)
    assert state_of(tiny) == before


@pytest.mark.parametrize("name", TORCH_NAMES)
def test_a_caller_in_inference_mode_gets_the_same_maps(tiny: FrozenClassifier, name: str):
    [rival], _ = rivals_of(tiny, [name])
    with torch.inference_mode():
        inside = rival.maps(pictures(), TARGET, PLACES)
    np.testing.assert_allclose(inside, rival.maps(pictures(), TARGET, PLACES), atol=1e-6)


# --- class activation maps by gradients


def hand_written(name: str, features: torch.Tensor, gradients: torch.Tensor) -> np.ndarray:
    """The formulas of the papers on A and ∂y/∂A, (B, K, h, w)."""
    squares, cubes = gradients**2, gradients**3
    alpha = squares / (2 * squares + features.sum((2, 3), keepdim=True) * cubes + 1e-6)
    weights = {
        "grad_cam": gradients.mean((2, 3), keepdim=True),
        "grad_cam_pp": (alpha * gradients.relu()).sum((2, 3), keepdim=True),
        "layer_cam": gradients.relu(),
        "hires_cam": gradients,
    }
    return (weights[name] * features).sum(1).relu().detach().numpy()


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("net", [PointwiseNet, SharedReluNet])
def test_gradient_maps_agree_with_the_formulas_written_by_hand(net: type[nn.Module], name: str):
    classifier = frozen(net(), ("relu",) if net is SharedReluNet else None)
    x = normalised(classifier, pictures())
    if net is SharedReluNet:
        features = classifier.model.relu(classifier.model.second(classifier.model.relu(classifier.model.first(x))))
    else:
        features = classifier.model.body(x)
    features.requires_grad_()
    chosen = classifier.model.after(features)[range(3), torch.from_numpy(TARGET)]
    (gradients,) = torch.autograd.grad(chosen.sum(), features)
    expected = scaled(resize_map(scaled(hand_written(name, features.detach(), gradients)), SIZE, SIZE))
    found = gradcam_maps(classifier, last_layer(classifier), name)(pictures(), TARGET, PLACES)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_cost_of_a_layer_is_the_share_of_multiply_adds_behind_it(tiny: FrozenClassifier):
    layer = last_layer(tiny)
    before = 3 * 9 * 8 * 16**2 + 8 * 9 * 12 * 8**2 + 12 * 9 * 16 * 4**2
    assert layer.tap.name == tiny.taps[-1]
    assert layer.calls == 1
    assert layer.tail == pytest.approx(16 * 5 / (before + 16 * 5))
    [grad_cam, recipro], _ = rivals_of(tiny, ["grad_cam", "recipro_cam"])
    assert grad_cam.passes == pytest.approx(1 + 2 * layer.tail)
    assert recipro.passes == pytest.approx(1 + 15 * layer.tail)


@pytest.mark.parametrize(("pool", "read"), [("token", "blocks.2.norm1"), ("avg", "blocks.2")])
def test_a_transformer_is_read_where_its_patches_are_read_last(pool: str, read: str):
    timm = pytest.importorskip("timm")
    options = {"fc_norm": False, "global_pool": pool}
    net = timm.models.VisionTransformer(SIZE, 8, embed_dim=12, depth=3, num_heads=2, num_classes=5, **options)
    classifier = frozen(net)
    layer = last_layer(classifier)
    assert layer.tap.name in (read, "norm") if pool == "avg" else layer.tap.name == read
    for rival in rivals_of(classifier, ["grad_cam", "hires_cam", "recipro_cam"])[0]:
        maps = rival.maps(pictures(), TARGET, PLACES)
        assert (maps.max((1, 2)) > maps.min((1, 2))).all(), rival.name


# --- Score-CAM


def test_score_cam_agrees_with_a_direct_computation(pointwise: FrozenClassifier):
    x = normalised(pointwise, pictures())
    background, features = normalised_fill(pointwise, BACKGROUND), pointwise.model.body(x).detach()
    expected = np.zeros((3, SIZE // 8, SIZE // 8))
    for i, channels in enumerate(features):
        logits = []
        for channel in channels:
            mask = torch.from_numpy(scaled(resize_map(channel.numpy()[None], SIZE, SIZE)))
            logits.append(pointwise(mask * x[i : i + 1] + (1 - mask) * background)[0, TARGET[i]].item())
        weights = np.exp(logits) / np.exp(logits).sum()
        expected[i] = np.maximum((weights[:, None, None] * channels.numpy()).sum(0), 0)
    found = score_cam_maps(pointwise, last_layer(pointwise), BACKGROUND)(pictures(), TARGET, PLACES)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_score_cam_agrees_with_the_package_where_both_enlarge_alike():
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net = FullSizeNet()
    torch.manual_seed(2)
    mean_grey = InputRule(SIZE, SIZE, mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2))
    classifier = FrozenClassifier(net, "tests:full", mean_grey, taps=("body",))
    fill = np.full(3, 102, np.uint8)
    assert normalised_fill(classifier, fill).abs().max() < 1e-6
    cam = ScoreCAM(classifier, [net.body])
    expected = cam(normalised(classifier, pictures()), [ClassifierOutputTarget(int(c)) for c in TARGET])
    found = score_cam_maps(classifier, last_layer(classifier), fill)(pictures(), TARGET, PLACES)
    np.testing.assert_allclose(scaled(found), expected, atol=1e-4)


def test_score_cam_costs_a_pass_a_channel_and_counts_as_costly(pointwise: FrozenClassifier, tiny: FrozenClassifier):
    [score_cam, grad_cam], _ = rivals_of(pointwise, ["score_cam", "grad_cam"])
    assert (score_cam.passes, score_cam.is_costly) == (1 + 8, False)
    assert not grad_cam.is_costly
    assert [rival.name for rival in rivals_of(tiny)[0] if rival.is_costly] == [
        "integrated_gradients",
        "occlusion",
        "rise",
    ]


# --- Recipro-CAM


def test_recipro_cam_agrees_with_a_direct_computation(pointwise: FrozenClassifier):
    features = pointwise.model.body(normalised(pointwise, pictures()))
    side = SIZE // 8
    expected = np.zeros((3, side, side))
    for row, column in np.ndindex(side, side):
        mask = torch.zeros(side, side)
        for i, j in np.ndindex(side, side):
            distances = sorted((abs(i - row), abs(j - column)))
            mask[i, j] = {(0, 0): 1 / 4, (0, 1): 1 / 8, (1, 1): 1 / 16}.get(tuple(distances), 0.0)
        probabilities = pointwise.model.after(features * mask).double().softmax(1)
        expected[:, row, column] = probabilities[range(3), torch.from_numpy(TARGET)]
    found = recipro_cam_maps(pointwise, last_layer(pointwise))(pictures(), TARGET, PLACES)
    np.testing.assert_allclose(found, scaled(expected), atol=1e-5)


def test_a_classifier_that_cannot_carry_more_maps_than_pictures_has_no_recipro_cam():
    classifier = frozen(FixedBatchNet())
    _, left_out = rivals_of(classifier)
    assert set(left_out) == {"recipro_cam"}
    assert "cannot take more maps than pictures" in left_out["recipro_cam"]


# --- attributions


@torch.no_grad()
def test_integrated_gradients_add_up_to_what_the_picture_adds_to_the_logit():
    # Without kinks, so that 16 points of Gauss and Legendre are all but exact.
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    smooth, images = frozen(net), pictures(6)
    target = np.arange(6) % 5
    blank = np.broadcast_to(BACKGROUND, images.shape)
    ask = ask_of(smooth)
    gained = (ask(images) - ask(blank))[range(6), target]
    attributed = integrated_gradients(smooth, BACKGROUND, images, target).sum((1, 2, 3)).numpy()
    np.testing.assert_allclose(attributed, gained, atol=1e-3 * np.abs(gained).max())


def test_integrated_gradients_of_the_fill_itself_are_nothing(pointwise: FrozenClassifier):
    images = np.broadcast_to(BACKGROUND, (1, SIZE, SIZE, 3))
    assert not integrated_gradients_maps(pointwise, BACKGROUND)(images, TARGET[:1], 0).any()


@torch.no_grad()
def test_occlusion_agrees_with_a_loop_over_windows(tiny: FrozenClassifier):
    window, step = window_and_step(SIZE)
    assert (window, step) == (6, 3)
    images, ask = pictures(), ask_of(tiny)
    rows = np.arange(3)

    def chance(shown: np.ndarray) -> np.ndarray:
        return torch.from_numpy(ask(shown)).softmax(1).numpy()[rows, TARGET]

    whole, falls, covers = chance(images), np.zeros(images.shape[:3]), np.zeros((1, SIZE, SIZE))
    for row in range(0, 28, step):
        for column in range(0, 28, step):
            place = np.s_[:, row : row + window, column : column + window]
            shown = images.copy()
            shown[place] = BACKGROUND
            falls[place] += (whole - chance(shown))[:, None, None]
            covers[place] += 1
    found = occlusion_maps(tiny, BACKGROUND)(images, TARGET, PLACES)
    np.testing.assert_allclose(found, falls / covers, atol=1e-5)


def test_occlusion_takes_as_many_passes_as_it_says(tiny: FrozenClassifier):
    seen: list[int] = []
    handle = tiny.model.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    try:
        occlusion_maps(tiny, BACKGROUND)(pictures(1), TARGET[:1], 0)
    finally:
        handle.remove()
    assert sum(seen) == occlusion_passes(SIZE, SIZE) == 101


# --- RISE


def bright_square(images: np.ndarray) -> np.ndarray:
    """Two classes: the first as far as the planted square is white."""
    share = images[:, 4:12, 18:26].mean((1, 2, 3)) / 255.0
    return np.stack([10.0 * share, np.full(len(images), 5.0)], axis=1).astype(np.float32)


def test_rise_finds_the_planted_object():
    image = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    image[:, 4:12, 18:26] = 255
    black = np.zeros(3, np.uint8)
    [relevance] = rise_maps(bright_square, black, RandomMasks(2000, SIZE, SIZE, 0))(image, np.zeros(1, np.int64), 0)
    best = np.argsort(-relevance.ravel())[:64]
    inside = np.zeros((SIZE, SIZE), bool)
    inside[4:12, 18:26] = True
    assert inside.ravel()[best].mean() > 0.8
    [other] = rise_maps(bright_square, black, RandomMasks(2000, SIZE, SIZE, 0))(image, np.ones(1, np.int64), 0)
    assert inside.ravel()[np.argsort(other.ravel())[:64]].mean() > 0.8


def test_rise_is_the_mean_of_masks_weighted_by_probability_and_asks_in_small_batches():
    masks, images, sizes = RandomMasks(300, SIZE, SIZE, 3), pictures(2), []
    [*blocks] = masks.blocks()
    every = np.concatenate(blocks)

    def ask(shown: np.ndarray) -> np.ndarray:
        sizes.append(len(shown))
        return np.stack([shown[..., 0].mean((1, 2)), shown[..., 2].mean((1, 2))], axis=1).astype(np.float32) / 50

    found = rise_maps(ask, BACKGROUND, masks)(images, np.array([0, 1]), 0)
    assert sizes == [size for size in (*[32] * 9, 12) for _ in images]
    for picture, target in ((0, 0), (1, 1)):
        mixed = np.rint(BACKGROUND + every[..., None] * (images[picture].astype(np.float64) - BACKGROUND))
        scores = np.exp(mixed[..., (0, 2)].mean((1, 2)) / 50)
        chances = scores[:, target] / scores.sum(1)
        np.testing.assert_allclose(found[picture], np.tensordot(chances, every, 1) / 150, rtol=1e-4)


def test_masks_are_smooth_show_half_of_each_picture_and_are_drawn_from_the_seed():
    [masks] = RandomMasks(200, 40, 60, 5).blocks(200)
    assert masks.shape == (200, 40, 60)
    assert masks.min() >= 0.0
    assert masks.max() <= 1.0
    np.testing.assert_allclose(masks.mean(0), 0.5, atol=0.15)
    assert np.abs(np.diff(masks, axis=2)).max() <= 1 / 9 + 1e-6
    [again], [other] = (RandomMasks(200, 40, 60, seed).blocks(200) for seed in (5, 6))
    np.testing.assert_array_equal(masks, again)
    assert not np.array_equal(masks, other)


def test_rise_without_a_mask_is_refused():
    with pytest.raises(InputError, match="rise: 0 masks, expected at least 1"):
        RandomMasks(0, 8, 8, 0)


# --- a real classifier


@pytest.mark.data
def test_gradient_and_reciprocal_maps_of_a_real_classifier_agree_with_its_class_activation_maps():
    try:
        data = imagenet.data_root()
    except InputError as error:
        pytest.skip(f"no real data: {error}")
    classifier = classifier_from_config(imagenet.train_config("squeezenet1_1", data))
    before = classifier.sha256()
    photos = imagenet.evaluation_sets(data)["photos_ccby"][:4]
    images = np.stack(read_pictures(photos, 0, classifier.rule.to_card())[1])
    target = ask_of(classifier)(images).argmax(1)
    found, left_out = rivals_of(classifier, ["cam", "grad_cam", "layer_cam", "recipro_cam"])
    assert not left_out
    cam, *others = (
        resize_map(rival.maps(images, target, np.arange(len(images))), *images.shape[1:3]) for rival in found
    )
    for rival, maps in zip(found[1:], others, strict=True):
        likeness = [np.corrcoef(ours.ravel(), its.ravel())[0, 1] for ours, its in zip(maps, cam, strict=True)]
        assert np.mean(likeness) > 0.7, rival.name
    assert classifier.sha256() == before
