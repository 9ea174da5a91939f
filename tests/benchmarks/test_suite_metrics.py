"""The metrics reach their known optimum for a map that knows, the worst for its reverse, and values worked by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from suite_samples import counting_ask, quadrant_sample, white_sample

from whymask.benchmarks.baselines import ALL_ONES, ALL_ZEROS, EXPLAINER
from whymask.benchmarks.suite.backgrounds import backgrounds, strange_pictures, strangers
from whymask.benchmarks.suite.drops import drops, soft_explanation
from whymask.benchmarks.suite.registry import METRICS, metrics_named
from whymask.benchmarks.suite.sample import Cell
from whymask.benchmarks.suite.truth import energy_inside
from whymask.runtime.errors import InputError

ASK, SAMPLE = quadrant_sample()
CELLS = {key: value for metric in METRICS for key, value in metric.measure(ASK, SAMPLE, 0).items()}

# Kept over the fill, a twentieth of the quadrant is enough; dropped, all of it has to go. In deletion the class is lost
# between 20 and 30 %, and for the reversed map between 80 and 100 %: trapezoids of 0.25 and 0.9. Black is all classes.
KNOWN = {
    "retention_auc": (1.0, 0.0),
    "retention_05": (1.0, 0.0),
    "retention_60": (1.0, 0.0),
    "retention_80": (1.0, 1.0),
    "deletion": (0.25, 0.9),
    "sufficiency": (0.0, 1.0),
    "comprehensiveness": (0.25, 0.0),
    "smallest_sufficient": (0.02, 0.80),
    "smallest_destroying": (0.30, 1.0),
    "kept_at_threshold": (1.0, 0.0),
    "flip_without": (1.0, 0.0),
    "confidence_kept": (1.0, 0.0),
    "confidence_without": (0.0, 1.0),
    "average_drop": (0.0, 1.0),
    "soft_drop": (0.0, 2 / 3),
    "fill_retention_same_areas": (1.0, 0.0),
    "pointing": (1.0, 0.0),
    "epg": (1.0, 0.0),
    "precision_10": (1.0, 0.0),
    "precision_own": (1.0, 0.0),
    "iou_own": (1.0, 0.0),
    "truth_area": (0.25, 0.25),
}


@pytest.mark.parametrize("column", KNOWN)
def test_a_perfect_map_reaches_the_optimum_and_its_reverse_the_worst(column: str):
    perfect, worst = (CELLS[Cell(name, column)] for name in ("perfect", "reversed"))
    assert perfect == pytest.approx(KNOWN[column][0], abs=0.01)
    assert worst == pytest.approx(KNOWN[column][1], abs=0.01)


def test_a_perfect_map_stands_every_background_and_its_reverse_only_those_that_show_the_class():
    assert (CELLS[Cell("perfect", "robust_retention")] == 1.0).all()
    assert (CELLS[Cell("perfect", "robust_own")] == 1.0).all()
    # The blurred picture still shows the colour, and a random colour may be the right one.
    assert (CELLS[Cell("reversed", "robust_retention")] <= 0.4).all()


def test_road_of_a_reversed_order_is_the_negative():
    assert CELLS[Cell("perfect", "road")] == pytest.approx(-CELLS[Cell("reversed", "road")])
    assert (CELLS[Cell("perfect", "road")] >= 0).all()
    assert CELLS[Cell("perfect", "road")].mean() > 0.1
    assert CELLS[Cell("perfect", "road_lerf")] == pytest.approx(1.0, abs=0.01)


def test_the_reference_masks_frame_the_own_mask():
    kept = {name: CELLS[Cell(name, "kept_at_threshold")].mean() for name in (ALL_ONES, ALL_ZEROS)}
    assert kept == {ALL_ONES: 1.0, ALL_ZEROS: 0.0}
    assert (CELLS[Cell(ALL_ONES, "confidence_gain")] == 0.0).all()
    assert (CELLS[Cell(ALL_ONES, "increase")] == 0.0).all()


def test_the_same_map_under_another_name_gets_the_same_numbers():
    columns = [key.column for key in CELLS if key.map == "perfect"]
    assert len(columns) == sum(len(metric.columns) for metric in METRICS)
    for column in columns:
        np.testing.assert_array_equal(CELLS[Cell("perfect", column)], CELLS[Cell("again", column)], column)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_fills_what_it_states_with_finite_numbers_a_picture(metric):
    cells = metric.measure(ASK, SAMPLE, 0)
    assert {key.column for key in cells if key.map == "perfect"} == {column.name for column in metric.columns}
    for values in cells.values():
        assert values.dtype == np.float64
        assert values.shape == (4,)
        assert np.isfinite(values).all()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_repeats_and_leaves_its_sample_alone(metric):
    before = {name: values.copy() for name, values in vars(SAMPLE).items() if isinstance(values, np.ndarray)}
    first, again = (metric.measure(ASK, SAMPLE, 3) for _ in range(2))
    for key, values in first.items():
        np.testing.assert_array_equal(values, again[key])
    for name, values in before.items():
        np.testing.assert_array_equal(values, getattr(SAMPLE, name))


def test_the_sweep_of_a_counted_picture_is_the_one_worked_by_hand():
    sweep = metrics_named(["sweep"], False)[0]
    cells = {key.column: value.item() for key, value in sweep.measure(counting_ask, white_sample(), 0).items()}
    # Pixels kept at 2 … 80 % of 16: 0, 1, 2, 3, 5, 6, 8, 10, 13; p is their share, top-1 from nine on.
    assert cells["retention_50"] == 0.0
    assert cells["retention_60"] == 1.0
    assert cells["retention_auc"] == pytest.approx(0.1 / 2 / 0.58)
    assert cells["retention_auc_blur"] == 1.0
    assert cells["insertion"] == pytest.approx(1.0)
    assert cells["deletion_20"] == pytest.approx(13 / 16)
    areas = [0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1]
    left = np.array([16, 16, 15, 14, 13, 11, 10, 8, 6, 3, 0]) / 16
    assert cells["deletion"] == pytest.approx((np.diff(areas) * (left[1:] + left[:-1]) / 2).sum())
    assert cells["sufficiency"] == pytest.approx(1 - (1 + 2 + 3 + 8) / 64)
    assert cells["comprehensiveness"] == pytest.approx((1 + 2 + 3 + 8) / 64)
    assert cells["smallest_sufficient"] == 0.60
    assert cells["smallest_destroying"] == 0.50


def test_the_own_mask_of_a_counted_picture_is_the_one_worked_by_hand():
    own = metrics_named(["own_mask"], False)[0]
    cells = {
        key.column: value.item()
        for key, value in own.measure(counting_ask, white_sample(), 0).items()
        if key.map == "falling"
    }
    wanted = {
        "kept_at_threshold": 0,
        "flip_without": 0,
        "confidence_kept": 0.25,
        "confidence_without": 0.75,
        "confidence_gain": -0.75,
        "average_drop": 0.75,
        "increase": 0,
        "gain": 0,
    }
    assert cells == pytest.approx(wanted)


def test_the_truth_of_a_counted_picture_is_the_one_worked_by_hand():
    truth = metrics_named(["truth"], True)[0]
    cells = {key.column: value.item() for key, value in truth.measure(counting_ask, white_sample(), 0).items()}
    # The object is the first column, the mask the first row; the map is 15, 14, … 0 above its least.
    wanted = {
        "pointing": 1,
        "epg": (15 + 11 + 7 + 3) / 120,
        "precision_10": 1 / 2,
        "iou_10": 1 / 5,
        "precision_own": 1 / 4,
        "iou_own": 1 / 7,
        "truth_area": 1 / 4,
    }
    assert cells == pytest.approx(wanted)


def test_drop_increase_and_gain_are_those_of_their_papers():
    drop, increase, gain = drops(np.array([0.5, 0.5, 1.0, 0.5]), np.array([0.2, 0.75, 1.0, 0.5 + 1e-9]))
    assert drop.tolist() == pytest.approx([0.6, 0.0, 0.0, 0.0])
    assert increase.tolist() == [0.0, 1.0, 0.0, 0.0]
    assert gain.tolist() == pytest.approx([0.0, 0.5, 0.0, 0.0], abs=1e-8)


def test_the_explainer_is_judged_by_the_mask_that_ships_and_others_by_its_area():
    ask, sample = quadrant_sample()
    wrong = ~sample.mask
    shipped = dataclasses.replace(
        sample,
        mask=wrong,
        maps={EXPLAINER: sample.maps["perfect"], "other": sample.maps["perfect"]},
        orders={EXPLAINER: sample.orders["perfect"], "other": sample.orders["perfect"]},
    )
    cells = metrics_named(["own_mask"], False)[0].measure(ask, shipped, 0)
    assert not cells[Cell(EXPLAINER, "kept_at_threshold")].any()
    assert cells[Cell("other", "kept_at_threshold")].all()


def test_a_soft_explanation_is_the_picture_times_the_scaled_map_and_nothing_for_a_flat_one():
    images = np.full((2, 1, 3, 3), 200, np.uint8)
    maps = np.array([[[-1.0, 0.0, 1.0]], [[7.0, 7.0, 7.0]]], np.float32)
    assert soft_explanation(images, maps)[..., 0].tolist() == [[[0, 100, 200]], [[0, 0, 0]]]


def test_the_soft_drop_is_that_of_grad_cam_over_the_whole_pictures_probability():
    pytest.importorskip("pytorch_grad_cam")
    import torch
    from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    class Quadrant(torch.nn.Module):
        def forward(self, x):
            return x[:, :, :8, :8].mean(dim=(2, 3)) / 60

    def ask(images):
        return Quadrant()(torch.from_numpy(images).permute(0, 3, 1, 2).float()).numpy()

    rng = np.random.default_rng(0)
    images, maps = rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8), rng.random((6, 16, 16), np.float32)
    maps = (maps - maps.min(axis=(1, 2), keepdims=True)) / np.ptp(maps, axis=(1, 2))[:, None, None]
    logits = ask(images)
    sample = dataclasses.replace(SAMPLE, images=images, logits=logits, target=logits.argmax(axis=1), maps={"map": maps})
    cells = metrics_named(["soft"], False)[0].measure(ask, sample, 0)
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    targets = [ClassifierOutputSoftmaxTarget(each) for each in sample.target.tolist()]
    theirs, risen = (metric()(planes, maps, targets, Quadrant()) for metric in (DropInConfidence, IncreaseInConfidence))
    # Theirs is not divided by p(x), and multiplies floats where ours rounds to what a uint8 picture can hold.
    ours = cells[Cell("map", "soft_drop")] * np.exp(logits).max(axis=1) / np.exp(logits).sum(axis=1)
    assert ours == pytest.approx(theirs, abs=1e-3)
    assert cells[Cell("map", "soft_increase")].tolist() == risen.tolist()
    assert 0 < ours.max()


def test_a_flat_map_has_the_objects_area_as_its_energy_inside():
    truth = np.zeros((1, 4, 4), np.bool_)
    truth[:, 0] = True
    assert energy_inside(np.full((1, 4, 4), 3, np.float32), truth).tolist() == [0.25]


def test_a_picture_without_an_object_has_no_value():
    truth = SAMPLE.truth.copy()
    truth[1] = False
    cells = metrics_named(["truth"], True)[0].measure(ASK, dataclasses.replace(SAMPLE, truth=truth), 0)
    for values in cells.values():
        assert np.isnan(values).tolist() == [False, True, False, False]


def test_the_picture_behind_is_of_another_class():
    assert strangers(np.array([5, 5, 7, 5])).tolist() == [2, 2, 3, 2]
    assert strangers(np.array([5, 5])).tolist() == [-1, -1]
    others, has_other = strange_pictures(SAMPLE.images, SAMPLE.target)
    assert has_other.all()
    assert (ASK(others).argmax(axis=1) != SAMPLE.target).all()


def test_without_a_picture_of_another_class_four_backgrounds_are_judged():
    alone = dataclasses.replace(SAMPLE.of_pictures(np.array([0])), has_stranger=np.zeros(1, bool))
    cells = metrics_named(["robust"], False)[0].measure(ASK, alone, 0)
    assert cells[Cell("perfect", "robust_retention")].tolist() == [1.0]
    assert cells[Cell("reversed", "robust_retention")].item() in (0.25, 0.5)


def test_backgrounds_are_seeded_by_the_place_in_the_set():
    def colour(rows, seed=0):
        images = SAMPLE.images[rows]
        return backgrounds(images, images, SAMPLE.fill, SAMPLE.places[rows], seed)["colour"]

    whole = colour(slice(None))
    np.testing.assert_array_equal(whole[2:], colour(slice(2, None)))
    np.testing.assert_array_equal(whole[[0, 3]], colour([0, 3]))
    assert (colour(slice(None), seed=1) != whole).any()


def test_columns_are_unique_and_stated():
    columns = [column for metric in METRICS for column in metric.columns]
    assert len({column.name for column in columns}) == len(columns)
    for column in columns:
        assert column.better in ("higher", "lower", "")
        assert len(column.stated) > 20


def test_metrics_are_chosen_by_name_in_the_suites_order():
    assert metrics_named(None, True) == METRICS
    assert [metric.name for metric in METRICS if metric not in metrics_named(None, False)] == ["truth"]
    assert [metric.name for metric in metrics_named(["road", "sweep", "road"], False)] == ["sweep", "road"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["swep"], "'swep' is unknown, expected some of sweep, .*; did you mean 'sweep'"),
        ([], "none chosen, expected some of"),
        (["sweep", "truth"], "truth needs to know where the objects are; give --truth"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(names: list[str], message: str):
    with pytest.raises(InputError, match=message):
        metrics_named(names, False)
