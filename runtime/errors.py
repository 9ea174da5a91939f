"""Every error that whymask raises on purpose.

    WhymaskError
    ├── InputError        an image, a target or an option is not what was expected
    ├── ArtefactError     a graph, an engine, a card or a run directory cannot be used
    ├── BackendError      a provider, a device or a library is absent or refuses to work
    ├── MissingExtra      a Python package of an extra is not installed
    ├── TrainingError     training cannot start or go on
    └── ParityError       two forms of one model disagree by more than they may

A message says what came, what was expected and what to do. The command line prints the message alone and exits with 1.
"""

from __future__ import annotations


class WhymaskError(Exception):
    """Base of all errors that whymask raises on purpose."""


class InputError(WhymaskError, ValueError):
    """An image, a target or an option is not what was expected."""


class ArtefactError(WhymaskError):
    """A graph, an engine, a card or a run directory cannot be used."""


class BackendError(WhymaskError):
    """A provider, a device or a library is absent or refuses to work."""


class MissingExtra(WhymaskError, ImportError):
    """A Python package of an extra is not installed.

    Args:
        package: name of the package that could not be imported.
        extra: the extra of whymask that brings it.
        purpose: what it is needed for, as the end of "… is needed to".
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f'{package} is needed to {purpose} and is not installed. Run: pip install "whymask[{extra}]"')
        self.package, self.extra = package, extra

    def __reduce__(self) -> tuple[type[ImportError], tuple[str]]:
        """Pickle as a plain ImportError: worker processes send errors home by message."""
        return ImportError, (str(self),)


class TrainingError(WhymaskError):
    """Training cannot start or go on."""


class ParityError(WhymaskError):
    """Two forms of one model disagree by more than they may."""
