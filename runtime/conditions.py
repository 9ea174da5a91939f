"""When a frame needs a why: the conditions that a trigger is made of, and the reader of their short language.

    always · never · every N · changed · confidence<P · confidence>P · margin<P · margin>P · class in {zebra, 340}

joined by `and` and `or`; `and` binds tighter, parentheses group. Probabilities P are in [0, 1]. A label that holds a
comma or a brace is put in quotes.

A condition answers True, False, or None where it cannot tell before the classifier has run.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import NoReturn, Protocol

from whymask.runtime.card import Card
from whymask.runtime.errors import InputError
from whymask.runtime.question import class_index

FORMS = (
    "always, never, every N, changed, confidence<P, confidence>P, margin<P, margin>P, class in {NAME, …}, joined by "
    "and / or"
)
FIGURES = ("confidence", "margin")
WORDS = ("always", "never", "every", "changed", *FIGURES, "class", "and", "or")

_TOKEN = re.compile(r"""\s*(\{(?:"[^"]*"|'[^']*'|[^}])*\}|[()<>]|\d*\.\d+|\d+\.?|\w+)""")
_NAME = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^,]+))\s*(?:,|$)""")


@dataclass(frozen=True)
class Seen:
    """What is known of one frame.

    Attributes:
        number: how many frames came before it.
        top: index of the predicted class; None before the classifier has run.
        confidence: its softmax probability, in [0, 1].
        margin: by how much that lies above the second's, in [0, 1].
        previous: index of the class predicted for the frame before; None for the first.
    """

    number: int
    top: int | None = None
    confidence: float = 0.0
    margin: float = 0.0
    previous: int | None = None


class Condition(Protocol):
    """One condition, or several joined."""

    def judge(self, seen: Seen) -> bool | None:
        """Whether it holds for this frame; None where the classifier must run first."""

    def of(self, card: Card) -> Condition:
        """The same with its classes looked up; raises InputError for one that the graph does not have."""


@dataclass(frozen=True)
class Constant:
    """`always` or `never`."""

    value: bool

    def judge(self, seen: Seen) -> bool | None:
        """The same for every frame."""
        return self.value

    def of(self, card: Card) -> Condition:
        """Itself."""
        return self


@dataclass(frozen=True)
class Every:
    """`every N`: the first frame, and each N-th after it."""

    count: int

    def judge(self, seen: Seen) -> bool | None:
        """Known without the classifier."""
        return seen.number % self.count == 0

    def of(self, card: Card) -> Condition:
        """Itself."""
        return self


@dataclass(frozen=True)
class Changed:
    """`changed`: another class than that of the frame before; also the first frame."""

    def judge(self, seen: Seen) -> bool | None:
        """Needs the predicted class."""
        return None if seen.top is None else seen.top != seen.previous

    def of(self, card: Card) -> Condition:
        """Itself."""
        return self


@dataclass(frozen=True)
class Bound:
    """`confidence<P` and its like."""

    figure: str
    below: bool
    limit: float

    def judge(self, seen: Seen) -> bool | None:
        """Needs the probabilities."""
        if seen.top is None:
            return None
        value: float = getattr(seen, self.figure)
        return value < self.limit if self.below else value > self.limit

    def of(self, card: Card) -> Condition:
        """Itself."""
        return self


@dataclass(frozen=True)
class ClassIn:
    """`class in {…}`: the predicted class is one of these, given by label or index."""

    names: tuple[str, ...]
    indices: frozenset[int] = frozenset()

    def judge(self, seen: Seen) -> bool | None:
        """Needs the predicted class."""
        return None if seen.top is None else seen.top in self.indices

    def of(self, card: Card) -> Condition:
        """With the indices of its classes."""
        return ClassIn(self.names, frozenset(class_index(card, name, "when: class") for name in self.names))


@dataclass(frozen=True)
class Joined:
    """Conditions joined by `and` (`decisive` False: one that fails decides) or by `or` (True: one that holds does)."""

    decisive: bool
    parts: tuple[Condition, ...]

    def judge(self, seen: Seen) -> bool | None:
        """What is known decides where it can, whatever is not known yet."""
        found = [part.judge(seen) for part in self.parts]
        if self.decisive in found:
            return self.decisive
        return None if None in found else not self.decisive

    def of(self, card: Card) -> Condition:
        """With the classes of all parts looked up."""
        return Joined(self.decisive, tuple(part.of(card) for part in self.parts))


def condition_from(spec: str) -> Condition:
    """Read a condition.

    Args:
        spec: such as `confidence<0.6 or every 30`; the module's docstring has the language.

    Raises:
        InputError: not a condition; says where and what was expected.
    """
    reader = _Reader(spec)
    condition = reader.joined("or")
    if reader.next:
        reader.refuse(reader.next)
    return condition


class _Reader:
    """Recursive descent over the words of one specification."""

    def __init__(self, spec: str) -> None:
        self.spec, self._tokens, at = spec, [], 0
        while spec[at:].strip():
            match = _TOKEN.match(spec, at)
            if match is None:
                self.refuse(spec[at:].strip())
            self._tokens.append(match[1])
            at = match.end()
        self._tokens.reverse()

    @property
    def next(self) -> str:
        return self._tokens[-1] if self._tokens else ""

    def take(self) -> str:
        return self._tokens.pop() if self._tokens else ""

    def joined(self, word: str) -> Condition:
        parts = [self._part(word)]
        while self.next == word:
            self.take()
            parts.append(self._part(word))
        return parts[0] if len(parts) == 1 else Joined(word == "or", tuple(parts))

    def _part(self, word: str) -> Condition:
        return self.joined("and") if word == "or" else self._single()

    def _single(self) -> Condition:
        word = self.take()
        if word == "(":
            inside = self.joined("or")
            self._expect(")")
            return inside
        if word in ("always", "never"):
            return Constant(word == "always")
        if word == "changed":
            return Changed()
        if word == "every":
            return Every(self._count())
        if word in FIGURES:
            return Bound(word, self._expect("<", ">") == "<", self._probability(word))
        if word == "class":
            self._expect("in")
            return ClassIn(self._names())
        self.refuse(word)

    def _count(self) -> int:
        token = self.take()
        if not token.isdecimal() or int(token) < 1:
            self.refuse(token, "a whole number of frames of at least 1 after every")
        return int(token)

    def _probability(self, figure: str) -> float:
        token = self.take()
        if not re.fullmatch(r"\d*\.?\d+|\d+\.", token) or float(token) > 1:
            self.refuse(token, f"a probability in [0, 1] after {figure}")
        return float(token)

    def _names(self) -> tuple[str, ...]:
        token = self.take()
        names = [next(filter(None, found), "").strip() for found in _NAME.findall(token[1:-1])]
        if not token.startswith("{") or not names or not all(names):
            self.refuse(token, "classes in braces, such as class in {zebra, 340}")
        return tuple(names)

    def _expect(self, *wanted: str) -> str:
        token = self.take()
        if token not in wanted:
            self.refuse(token, " or ".join(wanted))
        return token

    def refuse(self, token: str, wanted: str = FORMS) -> NoReturn:
        at = f"at {token!r}" if token else "where it ends"
        near = difflib.get_close_matches(token, WORDS, 1, cutoff=0.7) if token not in WORDS else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"when: {self.spec!r} cannot be read {at}, expected {wanted}{hint}")
