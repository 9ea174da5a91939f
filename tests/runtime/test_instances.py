from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from colour_engine import ColourEngine
from part_backend import SIZE, WHITE, PartBackend, explained, squares

from whymask.runtime import trt
from whymask.runtime.errors import BackendError, InputError
from whymask.runtime.explainer import Explainer, load
from whymask.runtime.explanation import Explanation
from whymask.runtime.growth import basins
from whymask.runtime.images import Picture

LEFT, RIGHT = (2, 2), (2, 10)
FAR = (12, 12)


def spans(result: Explanation) -> list[tuple[bool, int]]:
    """Whether each instance of the mask as it is keeps the class, and how many squares of 3 × 3 it has."""
    return [(each.kept, int(each.mask.sum()) // 9) for each in result.instances(grow=False)]


def test_regions_that_keep_the_class_alone_are_two_instances():
    backend, result = explained([LEFT, RIGHT], [2.0, 3.0])
    right, left = result.instances()
    assert backend.batches == [2]
    assert (right.kept, left.kept) == (True, True)
    assert right.confidence == pytest.approx(1 / (1 + np.exp(1.5 - 3.0)), abs=1e-6)
    assert right.confidence > left.confidence
    assert (right.label, right.index, right.area) == ("object", 0, 9 / SIZE**2)
    assert right.box == (10, 2, 13, 5)
    assert np.array_equal(left.mask + right.mask, result.mask)
    assert repr(left) == f"Instance(label='object', confidence={left.confidence:.3f}, area={left.area:.3f})"


def test_regions_that_only_keep_it_together_are_one_instance():
    backend, result = explained([LEFT, RIGHT], [1.0, 1.0])
    (both,) = result.instances(grow=False)
    assert backend.batches == [2, 1]
    assert both.kept
    assert np.array_equal(both.mask, result.mask)


def test_a_region_grows_into_its_own_surroundings_before_it_is_joined():
    saliency = np.maximum(squares(LEFT, RIGHT), 0.4 * squares((2, 2), (2, 10), side=5))
    evidence = {LEFT: 1.0, (6, 6): 1.0, RIGHT: 1.0, (6, 14): 1.0}
    backend = PartBackend(saliency, evidence)
    result = Explainer(backend).explain(WHITE)
    backend.batches.clear()
    right, left = result.instances()
    assert (right.kept, left.kept) == (True, True)
    assert {right.box, left.box} == {(2, 2, 7, 7), (10, 2, 15, 7)}
    assert not (right.mask & left.mask).any()
    assert right.mask_at(SIZE, SIZE).sum() == right.mask.sum() == 25
    assert backend.batches == [2, 2]
    (both,) = result.instances(grow=False)
    assert (both.kept, both.area) == (True, result.area)


@pytest.mark.parametrize("size", [16, 32, 97])
def test_one_that_grew_and_one_that_did_not_share_no_pixel_at_any_size(size: int):
    saliency = np.full((SIZE, SIZE), 0.45)
    saliency[4:12, 4:8] = saliency[4:12, 10:14] = 1.0
    result = Explainer(PartBackend(saliency, {(4, 4): 2.0, (4, 10): 1.0, (4, 8): 1.0})).explain(WHITE)
    found = result.instances()
    assert sorted(each.box for each in found) == [(4, 4, 8, 12), (8, 0, 16, 16)]
    assert sum(each.mask_at(size, size) for each in found).max() == 1


def test_a_region_grows_no_further_than_it_must():
    rows = np.linspace(1.0, 0.0, SIZE)[:, None].repeat(SIZE, axis=1)
    result = Explainer(PartBackend(rows, {(0, 0): 1.0, (9, 0): 1.0})).explain(WHITE, area=2 / SIZE)
    (grown,) = result.instances()
    assert grown.kept
    assert grown.mask[:10].all()
    assert grown.mask.sum() < 1.5 * 10 * SIZE + SIZE
    assert np.array_equal(grown.mask, result.cut_at(grown.whole.threshold).mask)


def test_surroundings_are_what_is_nearest():
    labels = np.zeros((SIZE, SIZE), np.int32)
    labels[:3, :3], labels[10:, 12:] = 1, 2
    found = basins(labels)
    assert (found[:4, :8] == 1).all() and (found[12:, 8:] == 2).all()
    assert (found[labels != 0] == labels[labels != 0]).all() and (found > 0).all()
    assert (basins(np.ones((4, 4), np.int32)) == 1).all()


def test_what_never_keeps_it_is_the_last_instance_and_says_so():
    _, result = explained([LEFT, RIGHT, FAR], [2.0, 0.5, 0.5])
    assert spans(result) == [(True, 1), (False, 2)]
    assert "kept=False" in repr(result.instances()[-1])


def test_nothing_that_keeps_it_is_one_uncertified_instance():
    _, result = explained([LEFT, RIGHT], [0.1, 0.1])
    result.logits[:] = (9, 0)
    assert spans(result) == [(False, 2)]


def test_the_nearest_are_joined_and_a_group_that_keeps_the_class_takes_no_more():
    corners = [(0, 0), (0, 4), (12, 0), (12, 5)]
    backend, result = explained(corners, [1.0] * 4)
    first, second = result.instances(grow=False)
    assert backend.batches == [4, 2]
    assert (first.kept, second.kept) == (True, True)
    assert {first.box, second.box} == {(0, 0, 7, 3), (0, 12, 8, 15)}


def test_joining_goes_on_over_rounds():
    backend, result = explained([(0, 0), (0, 4), (0, 8), (12, 0)], [0.5, 0.5, 0.2, 0.4])
    assert spans(result) == [(True, 4)]
    assert backend.batches == [4, 1, 1, 1]


def test_a_speck_belongs_to_the_nearest_region():
    saliency = squares(LEFT, FAR, side=4)
    saliency[7, 7] = 1.0
    explainer = Explainer(PartBackend(saliency, {LEFT: 2.0, FAR: 3.0}))
    result = explainer.explain(WHITE)
    far, left = result.instances()
    assert (far.mask.sum(), left.mask.sum(), left.mask[7, 7]) == (16, 17, 1)
    assert [(each.kept, each.mask.sum()) for each in explainer.instances(result, least_share=0.0)] == [
        (True, 16),
        (True, 16),
        (False, 1),
    ]


def test_an_empty_mask_has_no_instance():
    backend = PartBackend(np.zeros((SIZE, SIZE)), {(0, 0): 2.0})
    result = Explainer(backend).explain(WHITE)
    backend.batches.clear()
    assert result.instances() == []
    assert backend.batches == []


def test_a_full_mask_is_one_instance():
    result = Explainer(PartBackend(np.ones((SIZE, SIZE)), {(0, 0): 2.0})).explain(WHITE)
    (whole,) = result.instances()
    assert (whole.kept, whole.area, whole.box) == (True, 1.0, (0, 0, SIZE, SIZE))
    assert whole.mask_at(40, 50).all()


@pytest.mark.parametrize(
    ("options", "batches"), [({"batch": 2}, [2, 2]), ({"batch": 4}, [4]), ({"largest": 2}, [2, 1]), ({}, [3])]
)
def test_a_round_is_one_batch_as_far_as_the_graph_takes_it(options: dict[str, object], batches: list[int]):
    backend, result = explained([LEFT, RIGHT, FAR], [2.0, 2.0, 2.0], **options)
    assert spans(result) == [(True, 1)] * 3
    assert backend.batches[: len(batches)] == batches


def test_a_mask_of_ones_own_threshold_or_area_is_divided_too():
    saliency = squares(LEFT) + 0.4 * squares(RIGHT)
    explainer = Explainer(PartBackend(saliency, {LEFT: 2.0, RIGHT: 2.0}))
    assert len(explainer.explain(WHITE).instances()) == 1
    assert len(explainer.explain(WHITE, threshold=0.3).instances()) == 2


def test_an_instance_is_seen_in_the_callers_frame():
    explainer = Explainer(PartBackend(squares(LEFT, FAR, side=4), {LEFT: 2.0, FAR: 3.0}))
    result = explainer.explain(np.full((64, 48, 3), 255, np.uint8))
    far, left = result.instances()
    assert far.mask_at(64, 48).dtype == np.uint8
    assert np.array_equal(far.mask_at(64, 48) + left.mask_at(64, 48), result.mask_at(64, 48))
    assert far.box == (36, 48, 48, 64)
    assert left.box == (6, 8, 18, 24)
    with pytest.raises(InputError, match="got 0, expected whole numbers of at least 1 pixel"):
        far.mask_at(0, 5)


def test_a_cropping_graph_places_instances_where_they_are(graph: Callable[..., Path]):
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, 40:56, 0] = picture[:, 72:88, 0] = 255
    result = load(graph(resize="crop", crop_fraction=1.0, stride=4)).explain(picture)
    assert sorted(each.box for each in result.instances()) == [(40, 0, 56, 64), (72, 0, 88, 64)]


def test_real_graphs_answer_the_same_from_many_threads(explainer: Explainer, red_square: Picture):
    results = [explainer.explain(red_square) for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda result: result.instances(), results))
    assert {tuple(each.box for each in instances) for instances in found} == {((0, 8, 16, 24),)}
    assert all(instances[0].kept for instances in found)


def test_an_engine_is_asked_too(engine: Callable[..., ColourEngine], monkeypatch: pytest.MonkeyPatch):
    made = engine(batches=(1, 2))
    monkeypatch.setattr(trt, "open_cuda", lambda: made.cuda)
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:16, :8] = picture[:16, 24:] = (255, 0, 0)
    with load(made.path, cuda_graph=True) as explainer:
        found = explainer.explain(picture).instances()
    assert [(each.kept, each.box) for each in found] == [(True, (0, 0, 8, 16)), (True, (24, 0, 32, 16))]


def test_a_closed_explainer_says_so(fused: Path, red_square: Picture):
    with load(fused) as explainer:
        result = explainer.explain(red_square)
    for ask in (result.instances, result.certify, lambda: explainer.instances(result)):
        with pytest.raises(BackendError, match="was closed; load it again"):
            ask()


def test_a_pickle_has_no_graph_and_names_what_has(explainer: Explainer, red_square: Picture):
    copied = pickle.loads(pickle.dumps(explainer.explain(red_square)))
    with pytest.raises(InputError, match=r"has no graph to ask; ask the explainer: explainer\.instances\(result\)"):
        copied.instances()
    with pytest.raises(InputError, match=r"explainer\.certify\(result\)"):
        copied.certify()
    assert [each.kept for each in explainer.instances(copied)] == [True]
    assert explainer.certify(copied).kept


def test_another_graphs_explanation_and_wrong_shares_are_refused(explainer: Explainer, red_square: Picture):
    _, other = explained([LEFT], [2.0])
    with pytest.raises(InputError, match=r"explained by another graph than Explainer.*ask the explainer that made it"):
        explainer.instances(other)
    with pytest.raises(InputError, match="explained by another graph"):
        explainer.certify(other)
    with pytest.raises(InputError, match=r"least_share: got 1.5, expected a share of the mask in \[0, 1\]"):
        explainer.instances(explainer.explain(red_square), least_share=1.5)
