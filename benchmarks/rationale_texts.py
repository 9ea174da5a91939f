"""Texts whose reason is known: short reports on a device, with one or two opinions that alone make the class.

An opinion is a pair of an adverb and an adjective. The adverb may turn the adjective around ("not poor" is praise), and
adjectives stand in neutral sentences too, so that neither word decides alone: a right rationale is the pair.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from whymask.runtime.errors import InputError

LABELS = ("complaint", "praise", "report")
COMPLAINT, PRAISE, REPORT = range(3)

GOOD = ("good", "reliable", "quick", "clear", "sturdy", "pleasant")
BAD = ("poor", "slow", "fragile", "noisy", "faulty", "dull")
AFFIRMING = ("really", "very", "quite")
DENYING = ("not", "never", "hardly")
DENIED = 0.3
"""Share of the opinions whose adverb turns the adjective around; at a half, an adjective alone would say nothing."""
THINGS = ("case", "screen", "motor", "sensor", "handle", "display", "cable", "service")
OPINIONS = ("the {thing} is {phrase}", "i find the {thing} {phrase}", "after a week the {thing} was {phrase}")
FILLERS = (
    "i ordered it on {day}",
    "it came in a {colour} box",
    "we did not open it before {day}",
    "the manual has {count} pages",
    "my {relative} has never used one before",
    "the shop sent a {colour} bag with it",
    "there was hardly any tape on the box",
    "a {adjective} friend of mine works there",
    "the {adjective} news came on {day}",
    "it was very early on {day}",
    "the {thing} was wrapped in {colour} paper",
    "we keep it next to the {thing} of my {relative}",
)
WORDS = {
    "day": ("monday", "tuesday", "wednesday", "thursday", "friday", "sunday"),
    "colour": ("red", "blue", "brown", "grey", "white"),
    "count": ("four", "ten", "twelve", "thirty"),
    "relative": ("sister", "uncle", "father", "neighbour"),
    "adjective": GOOD + BAD,
    "thing": THINGS,
}


@dataclass(frozen=True)
class ReasonedText:
    """A text, its class and the reason.

    Attributes:
        text: some sentences.
        label: position in LABELS.
        spans: first character and the one after the last of each opinion's pair; none for a report.
    """

    text: str
    label: int
    spans: tuple[tuple[int, int], ...]


def make_texts(count: int, seed: int) -> list[ReasonedText]:
    """Texts of all classes in turn: seeded, and the same for the same arguments.

    Args:
        count: of texts, at least 1.
        seed: of all draws.

    Raises:
        InputError: no text is asked for.
    """
    if count < 1:
        raise InputError(f"texts: {count} asked for, expected at least 1")
    draw = random.Random(seed)
    return [_text(index % len(LABELS), draw) for index in range(count)]


def _text(label: int, draw: random.Random) -> ReasonedText:
    sentences: list[tuple[str, str]] = [(_filled(draw.choice(FILLERS), draw), "") for _ in range(draw.randint(2, 3))]
    if label != REPORT:
        sentences += [_opinion(label, draw) for _ in range(draw.randint(1, 2))]
    draw.shuffle(sentences)
    text, spans = "", []
    for sentence, phrase in sentences:
        start = len(text) + (1 if text else 0)
        if phrase:
            at = start + sentence.rindex(phrase)
            spans.append((at, at + len(phrase)))
        text += (" " if text else "") + sentence[0].upper() + sentence[1:] + "."
    return ReasonedText(text, label, tuple(spans))


def _opinion(label: int, draw: random.Random) -> tuple[str, str]:
    """A sentence, and the pair of words in it that is the opinion."""
    denied = draw.random() < DENIED
    adjectives = GOOD if (label == PRAISE) != denied else BAD
    phrase = f"{draw.choice(DENYING if denied else AFFIRMING)} {draw.choice(adjectives)}"
    return draw.choice(OPINIONS).format(thing=draw.choice(THINGS), phrase=phrase), phrase


def _filled(pattern: str, draw: random.Random) -> str:
    return pattern.format(**{name: draw.choice(words) for name, words in WORDS.items()})
