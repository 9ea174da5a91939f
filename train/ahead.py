"""Reading ahead: the next step's pictures are fetched while this one is computed, so that no step waits for them.

What is read depends on the number of the step alone, so that a run that reads ahead equals one that does not.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor


class Ahead:
    """Answers as `read` does, and has the next step's answer ready where steps are asked for in turn.

    Args:
        read: step → pictures; called in one thread of its own. What it raises is raised where its step is asked for.
        steps: nothing is read ahead from this step on.
    """

    def __init__(self, read: Callable[[int], Tensor], steps: int) -> None:
        self._read, self._steps = read, steps
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._next: tuple[int, Future[Tensor]] | None = None

    def __call__(self, step: int) -> Tensor:
        """The pictures of a step."""
        waiting, self._next = self._next, None
        found = waiting[1] if waiting and waiting[0] == step else self._pool.submit(self._read, step)
        pictures = found.result()
        if step + 1 < self._steps:
            self._next = (step + 1, self._pool.submit(self._read, step + 1))
        return pictures
