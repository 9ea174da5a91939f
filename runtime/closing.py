"""What is closed at the end of a `with` block, also when the body raised."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

C = TypeVar("C", bound="Closing")


class Closing(ABC):
    """A thing whose `close` ends a `with` block."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what it holds; closing twice does nothing."""

    def __enter__(self: C) -> C:
        """The thing itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
