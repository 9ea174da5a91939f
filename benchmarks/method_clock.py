"""The clock of per-image methods: the processor's time, which other work does not move, or the wall beside a GPU."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DEVICE_HELP, DEVICE_DEFAULT = "Of per-image methods: cpu, cuda, cuda:N or mps.", "a GPU of CUDA's, else cpu"
PROCESSOR = "processor time"


class Clock:
    """Adds up what calls take; `seconds` is the sum.

    Args:
        device: where they compute; None and a processor are told by the processor's time. A GPU's calls have to end
            with their results in host memory, or they are not over.

    Attributes:
        seconds: so far.
        words: what was timed, for a record.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.seconds = 0.0
        self.words, self._now = PROCESSOR, time.process_time
        if device is not None and device.type != "cpu":
            from whymask.train.device import device_label

            self.words, self._now = f"wall clock on {device_label(device)}", time.perf_counter

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the body."""
        began = self._now()
        yield
        self.seconds += self._now() - began


def settings_of_device(device: torch.device | None) -> dict[str, str]:
    """What the settings of pictures that are done say of a GPU: one's masks and times do not mix with another's.

    Nothing of a processor, as before there was a choice.
    """
    if device is None or device.type == "cpu":
        return {}
    from whymask.train.device import device_label

    return {"device": device_label(device)}
