"""Reading the next step's pictures while this one is computed."""

from __future__ import annotations

import threading

import pytest
import torch

from whymask.train.ahead import Ahead


def picture(step: int) -> torch.Tensor:
    return torch.full((1,), float(step))


def test_every_step_gets_its_own_pictures_whatever_the_order() -> None:
    ahead = Ahead(picture, 10)
    assert [int(ahead(step)) for step in (3, 4, 5, 2, 2, 9, 0)] == [3, 4, 5, 2, 2, 9, 0]


def test_the_next_step_is_read_before_it_is_asked_for_and_none_beyond_the_last() -> None:
    read: list[int] = []
    come = threading.Event()

    def note(step: int) -> torch.Tensor:
        read.append(step)
        if step == 2:
            come.set()
        return picture(step)

    ahead = Ahead(note, 3)
    ahead(1)
    assert come.wait(10)
    ahead(2)
    assert read == [1, 2]


def test_what_goes_wrong_is_raised_at_the_step_that_it_belongs_to() -> None:
    def torn(step: int) -> torch.Tensor:
        if step == 1:
            raise OSError("the disk is gone")
        return picture(step)

    ahead = Ahead(torn, 5)
    assert int(ahead(0)) == 0
    with pytest.raises(OSError, match="the disk is gone"):
        ahead(1)
