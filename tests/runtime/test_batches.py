"""Any number of pictures through a graph that takes some batch sizes only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from whymask.runtime.batches import batch_slices, run_all
from whymask.runtime.ort import OrtBackend


@pytest.mark.parametrize(
    ("count", "smallest", "largest", "sizes"),
    [
        (12, 1, None, [1, 3, 8]),
        (14, 1, None, [1, 3, 8, 1, 1]),
        (5, 1, 2, [1, 2, 2]),
        (9, 4, 4, [4, 4, 1]),
        (11, 2, 8, [2, 3, 6]),
        (1, 1, 1, [1]),
    ],
    ids=["all sizes", "round again", "small", "fixed", "profile", "one"],
)
def test_batches_are_of_all_sizes_that_the_graph_takes_and_leave_no_picture_out(
    count: int, smallest: int, largest: int | None, sizes: list[int]
):
    parts = list(batch_slices(count, smallest, largest))
    assert [len(range(count)[part]) for part in parts] == sizes
    assert [index for part in parts for index in range(count)[part]] == list(range(count))


@pytest.mark.parametrize("batch", ["B", 4])
def test_every_picture_gets_its_own_outputs_whatever_the_batch(graph: Callable[..., Path], batch: int | str):
    pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    targets = np.array([-1, 0, 1, 2, 1, 0])
    done: list[int] = []
    with OrtBackend(graph(batch=batch)) as backend, OrtBackend(graph("one.onnx")) as alone:
        outputs = run_all(backend, pictures, targets, done.append)
        expected = [alone.run({"image": pictures[i : i + 1], "target": targets[i : i + 1]}) for i in range(6)]
    assert sum(done) == 6
    for name, values in outputs.items():
        np.testing.assert_allclose(values, np.concatenate([each[name] for each in expected]), atol=1e-6, err_msg=name)


def test_a_graph_without_targets_is_not_fed_any(graph: Callable[..., Path]):
    with OrtBackend(graph(target=False)) as backend:
        assert run_all(backend, np.zeros((2, 32, 32, 3), np.uint8))["logits"].shape == (2, 3)
