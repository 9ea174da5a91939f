"""Rationales that people gave, read from a file, and how explanations agree with them.

The file has a JSON object a line: `text`, and `spans`, pairs of a first character and the one after the last.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from whymask.runtime.errors import InputError
from whymask.runtime.text_files import lines_of
from whymask.train.text.measures import Agreement, agreement, touches
from whymask.train.text.record import Rationale

EXPECTED = 'expected lines such as {"text": "It is not good.", "spans": [[6, 14]]}'


@dataclass(frozen=True)
class GivenRationale:
    """A text and the characters that hold its reason.

    Attributes:
        text: any.
        spans: first character and the one after the last of each part, at least one.
    """

    text: str
    spans: tuple[tuple[int, int], ...]


def read_given(file: Path) -> list[GivenRationale]:
    """Read a file of given rationales.

    Raises:
        InputError: it cannot be read, or a line is not as expected.
    """
    try:
        lines = lines_of(file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); {EXPECTED}") from None
    found = [_given(line, f"{file}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise InputError(f"{file}: holds no rationale; {EXPECTED}")
    return found


def judge(
    explain: Callable[[str], Rationale],
    given: Sequence[GivenRationale],
    on_text: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Explain texts and compare tokens with the given rationales.

    Args:
        explain: one text.
        given: at least one.
        on_text: told after each.

    Returns:
        A record: `n`, `mean` and `texts`, with precision, recall, f1 and iou.

    Raises:
        InputError: a given rationale that no token shares a character with.
    """
    rows = []
    for each in given:
        rows.append(dataclasses.asdict(agreement_with(explain(each.text), each)))
        on_text()
    mean = {name: round(fmean(row[name] for row in rows), 6) for name in rows[0]}
    return {"kind": "whymask.rationale-agreement", "schema": 1, "n": len(rows), "mean": mean, "texts": rows}


def agreement_with(found: Rationale, given: GivenRationale) -> Agreement:
    """Compare an explanation's tokens with a given rationale of the same text.

    Raises:
        InputError: no token shares a character with the given rationale.
    """
    inside = [touches(token, given.spans) for token in found.tokens]
    return agreement(np.array(found.mask) >= found.cut, np.array(inside))


def _given(line: str, where: str) -> GivenRationale:
    try:
        record: Any = json.loads(line)
        text, spans = record["text"], tuple((int(start), int(end)) for start, end in record["spans"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: {type(error).__name__}: {error}; {EXPECTED}") from None
    if not isinstance(text, str) or not spans or not all(0 <= start < end <= len(text) for start, end in spans):
        raise InputError(f"{where}: spans {spans} of a text of {len(str(text))} characters; {EXPECTED}")
    return GivenRationale(text, spans)
