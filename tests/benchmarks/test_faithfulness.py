"""Retention on a classifier whose evidence is known to lie in one quadrant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from quadrant import FILL, SIZE, explainer, oracle, pictures

from whymask.benchmarks.faithfulness import Case, FaithfulnessConfig, measure_faithfulness
from whymask.runtime.errors import InputError

PLAIN = FaithfulnessConfig(fills=("fill",))


def test_the_oracle_keeps_every_class_at_every_area_and_beats_random():
    measured = measure_faithfulness(explainer(oracle()), pictures(40), PLAIN)
    assert all(measured.kept[Case("explainer", "fill", area)].all() for area in PLAIN.areas)
    against_random = measured.difference(Case("random", "fill", 0.05))
    assert against_random.interval.low > 0
    assert against_random.p_value < 0.01


def test_a_map_that_keeps_all_but_the_evidence_keeps_no_class():
    measured = measure_faithfulness(explainer(1.0 - oracle()), pictures(10), PLAIN)
    assert measured.retention(Case("explainer", "fill", 0.5)).value == 0.0
    assert measured.retention(Case("explainer", "fill", None)).value == 0.0


def test_all_ones_keep_every_class_and_all_zeros_leave_the_fills_own():
    measured = measure_faithfulness(explainer(oracle()), pictures(10), PLAIN)
    assert measured.retention(Case("all-ones", "fill", None)).value == 1.0
    assert measured.retention(Case("all-zeros", "fill", None)).value == 0.0


def test_a_blurred_background_keeps_what_a_plain_one_destroys():
    measured = measure_faithfulness(explainer(1.0 - oracle()), pictures(10), FaithfulnessConfig(areas=(0.5,)))
    assert measured.retention(Case("explainer", "blur", 0.5)).value == 1.0
    assert measured.retention(Case("explainer", "fill", 0.5)).value == 0.0


def test_every_map_keeps_as_many_pixels_as_asked_and_at_the_threshold_as_many_as_the_graphs_mask():
    judged = explainer(oracle() * 0.6)
    image = np.full((SIZE, SIZE, 3), 10, np.uint8)
    measured = measure_faithfulness(judged, [image], FaithfulnessConfig(areas=(0.1, 0.3), fills=("fill",)))
    whole, *cut = judged.backend.seen
    assert (whole == 10).all()
    kept_pixels = {case: int((shown == 10).all(axis=-1).sum()) for case, shown in zip(measured.kept, cut, strict=True)}
    own = SIZE * SIZE // 4
    assert kept_pixels == {
        **{Case(name, "fill", 0.1): 26 for name in ("explainer", "random", "centre")},
        **{Case(name, "fill", 0.3): 77 for name in ("explainer", "random", "centre")},
        **{Case(name, "fill", None): own for name in ("explainer", "random", "centre")},
        Case("all-ones", "fill", None): SIZE * SIZE,
        Case("all-zeros", "fill", None): 0,
    }
    assert measured.areas.tolist() == [0.25]
    dropped = {tuple(pixel) for pixel in cut[0].reshape(-1, 3)} - {(10, 10, 10)}
    assert dropped == {tuple(int(value) for value in FILL)}


def test_class_maps_are_asked_for_the_predicted_class_and_ranked_like_the_rest():
    asked: list[int] = []

    def class_maps(images, targets):
        asked.extend(targets.tolist())
        return np.broadcast_to(oracle()[::2, ::2], (len(images), 8, 8)).astype(np.float32)

    images = pictures(5)
    measured = measure_faithfulness(explainer(1.0 - oracle()), images, PLAIN, class_maps)
    assert asked == [1, 2, 1, 2, 1]
    assert measured.maps == ("explainer", "random", "centre", "cam", "all-ones", "all-zeros")
    assert measured.retention(Case("cam", "fill", 0.2)).value == 1.0
    assert measured.difference(Case("cam", "fill", 0.5)).interval.value == -1.0


@pytest.mark.parametrize("options", [{"batch": 4}, {"takes_target": True}, {"batch": 1, "takes_target": True}], ids=str)
def test_the_form_of_the_graph_does_not_change_the_outcome(options: dict):
    images = pictures(7)
    plain = measure_faithfulness(explainer(oracle()), images, FaithfulnessConfig(batch_size=3))
    other = measure_faithfulness(explainer(oracle(), **options), images, FaithfulnessConfig(batch_size=7))
    assert {case: kept.tolist() for case, kept in plain.kept.items()} == {
        case: kept.tolist() for case, kept in other.kept.items()
    }
    assert plain.passes == other.passes == 7 * (1 + len(plain.kept))


def test_another_seed_draws_other_random_maps():
    images = pictures(60)
    case = Case("random", "fill", 0.05)
    first, other = (
        measure_faithfulness(explainer(oracle()), images, FaithfulnessConfig(fills=("fill",), seed=seed)).kept[case]
        for seed in (0, 1)
    )
    assert (first != other).any()


def test_files_that_cannot_be_read_are_named_and_count_nowhere(tmp_path: Path):
    from PIL import Image

    Image.fromarray(pictures(1)[0]).save(tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    files = [tmp_path / "broken.png", tmp_path / "good.png"]
    measured = measure_faithfulness(explainer(oracle()), files, PLAIN)
    assert measured.files == (f"{tmp_path.name}/good.png",)
    assert len(measured.unreadable) == 1
    assert "broken.png: cannot be decoded" in measured.unreadable[0]
    with pytest.raises(InputError, match=r"none of 1 pictures could be read \(.*broken\.png"):
        measure_faithfulness(explainer(oracle()), files[:1], PLAIN)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"areas": (0.1, 1.0)}, "areas: 1.0 is not a share of the pixels"),
        ({"fills": ("fill", "black")}, "fills: 'black' is unknown, expected one of fill, blur"),
        ({"fills": ()}, "0 fills, batch size 32"),
        ({"batch_size": 0}, "expected at least one fill, a batch size of 1 or more"),
        ({"confidence": 95.0}, "confidence between 0 and 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_out_of_range_are_refused(changes: dict, message: str):
    with pytest.raises(InputError, match=message):
        FaithfulnessConfig(**changes)


def test_a_picture_of_another_size_is_brought_to_the_graphs_size():
    large = np.repeat(np.repeat(pictures(1)[0], 3, axis=0), 3, axis=1)
    measured = measure_faithfulness(explainer(oracle()), [large], PLAIN)
    assert measured.top1.tolist() == [1]
